"""Programs on E2B under random faults: no call is lost, made twice or answered to another one."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from cloud.conftest import HASTY
from cloud.waiting import until

from callgate import CodeRunner, Limits, Outcome, Tool
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing.e2b import LoopbackE2B

RUNS = 300

PROGRAMS = {
    "one after another": """
total = 0
for n in range(24):
    total += take(n=n, pad="")
    print("at", n)
total
""",
    "at the same time": """
import asyncio
async def one(n):
    return await acall_tool("take", n=n, pad="")
found = await asyncio.gather(*[one(n) for n in range(24)])
for n in range(24): print("at", n)
sum(found)
""",
    "in threads": """
import threading
found = []
def some(first):
    for n in range(first, 24, 3): found.append(take(n=n, pad=""))
threads = [threading.Thread(target=some, args=(first,)) for first in range(3)]
for one in threads: one.start()
for one in threads: one.join()
for n in range(24): print("at", n)
sum(found)
""",
    "large": """
total = 0
for n in range(24):
    total += take(n=n, pad="x" * (n % 4 * 150_000))
    print("at", n)
total
""",
}
VALUE = sum(n * n for n in range(24))


def faults(rng: random.Random) -> list[Callable[[LoopbackE2B], object]]:
    """Return what may go wrong, each with odds of its own."""

    def shortly(name: str, value: object, before: object) -> Callable[[LoopbackE2B], object]:
        seconds = rng.uniform(0.05, 0.6)

        def strike(server: LoopbackE2B) -> None:
            setattr(server.faults, name, value)
            threading.Timer(seconds, setattr, (server.faults, name, before)).start()

        return strike

    def refuse(status: int) -> Callable[[LoopbackE2B], object]:
        paths = ["/process.Process/Connect", "/process.Process/StreamInput", "/files"]
        if status != 404:  # nobody says of a process that runs that it cannot be killed because it is not there
            paths.append("/process.Process")
        path = rng.choice(paths)

        def strike(server: LoopbackE2B) -> None:
            server.faults.fail(path, status, rng.randint(1, 3))
            server.drop_streams()

        return strike

    return [
        lambda server: server.drop_streams(),
        lambda server: server.drop_streams("/process.Process/Start"),
        lambda server: server.drop_streams("/process.Process/StreamInput"),
        lambda server: server.kill_processes(),
        lambda server: server.lose_sandboxes(),
        lambda server: server.freeze(),
        shortly("mute", True, False),
        shortly("deaf", True, False),
        shortly("stall_stdin", 0.05, 0.0),
        shortly("latency", 0.01, 0.0),
        shortly("largest", rng.randint(1, 40), None),
        refuse(404),
        refuse(429),
        refuse(502),
    ]


def one_run(server: LoopbackE2B, sandbox: E2BSandbox, seed: int) -> Outcome:
    """Run a program whose calls strike at random moments, and look at every call."""
    rng = random.Random(seed)
    strikes: dict[int, Callable[[LoopbackE2B], object]] = {
        rng.randrange(24): rng.choice(faults(rng)) for _ in range(rng.randint(1, 2))
    }
    made: list[int] = []
    lock = threading.Lock()

    def take(call: Any) -> int:
        n = call.arguments["n"]
        with lock:
            made.append(n)
            strike = strikes.pop(len(made), None)
        if strike is not None:
            strike(server)
        return n * n

    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "pad": {"type": "string"}}}
    tool = Tool(name="take", input_schema=schema, effect="write", invoke=take)
    runner = CodeRunner([tool], sandbox=sandbox, limits=Limits(seconds=90))
    program = rng.choice(list(PROGRAMS.values()))
    outcome = asyncio.run(runner.arun(program)) if rng.random() < 0.5 else runner.run(program)
    assert len(set(made)) == len(made), f"seed {seed}: made twice: {sorted(made)}"
    if outcome.status == "completed":
        assert outcome.value == VALUE, f"seed {seed}: crossed or lost: {outcome.text}"
        assert sorted(made) == list(range(24)), f"seed {seed}"
        assert outcome.stdout == "".join(f"at {n}\n" for n in range(24)), f"seed {seed}"
    else:
        assert outcome.status == "lost", f"seed {seed}: {outcome.text}"
    return outcome


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_random_faults(nothing_left: None) -> None:
    with LoopbackE2B() as server, E2BSandbox(**server.options, timing=HASTY) as sandbox:
        ended: dict[str, int] = {}
        for seed in range(RUNS):
            outcome = one_run(server, sandbox, seed)
            ended[outcome.status] = ended.get(outcome.status, 0) + 1
            server.faults.forget()
        assert ended["completed"] >= RUNS * 0.9
        until(lambda: len(server.sandboxes()) <= 1)
        until(lambda: server.processes() <= 1)
