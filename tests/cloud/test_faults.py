"""Programs on E2B while the way there, or E2B itself, fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from cloud.waiting import told, until

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from callgate import CodeRunner, Limits, tool
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing.e2b import LoopbackE2B

PROGRAM = """
total = 0
print("begin")
for n in range(30):
    total = call_tool("add", a=total, b=n)
open("/out/sum", "w").write(str(total))
print("end")
total
"""
STRIKE = 15


@dataclass(frozen=True)
class Fault:
    name: str
    strike: Callable[[LoopbackE2B], object]
    relent: Callable[[LoopbackE2B], object] | None = None
    machines: int = 1


def setting(
    name: str, value: object, before: object
) -> tuple[Callable[[LoopbackE2B], None], Callable[[LoopbackE2B], None]]:
    return lambda server: setattr(server.faults, name, value), lambda server: setattr(server.faults, name, before)


FAULTS = [
    Fault("all streams drop", lambda server: server.drop_streams()),
    Fault("output drops", lambda server: server.drop_streams("/process.Process/Start")),
    Fault("input drops", lambda server: server.drop_streams("/process.Process/StreamInput")),
    Fault("the guest is killed", lambda server: server.kill_processes()),
    Fault("the sandbox is lost", lambda server: server.lose_sandboxes(), machines=2),
    Fault("everything stands still", lambda server: server.freeze(), machines=2),
    Fault("output is lost for a while", *setting("mute", True, False)),
    Fault("input is lost for a while", *setting("deaf", True, False)),
    Fault("input is stalled", *setting("stall_stdin", 0.02, 0.0)),
    Fault("the network is slow", *setting("latency", 0.01, 0.0)),
    Fault("output is in pieces", *setting("largest", 5, None)),
    Fault("a proxy fails", lambda server: (server.faults.fail("/process.Process", 502, 2), server.drop_streams())),
    Fault(
        "requests are refused", lambda server: (server.faults.fail("/process.Process", 429, 2), server.drop_streams())
    ),
]


def both_ways() -> Iterator[object]:
    """Every fault on threads and on a loop; one of both is left to the soak."""
    for number, fault in enumerate(FAULTS):
        for on_a_loop in (False, True):
            marks = [pytest.mark.soak] if number % 2 == on_a_loop else []
            yield pytest.param(fault, on_a_loop, id=f"{fault.name}-{'loop' if on_a_loop else 'threads'}", marks=marks)


@pytest.mark.parametrize(("fault", "on_a_loop"), [*both_ways()])
async def test_no_call_is_lost_or_made_twice(
    server: LoopbackE2B, sandbox: E2BSandbox, fault: Fault, on_a_loop: bool
) -> None:
    made: list[tuple[int, int]] = []

    @tool(effect="write")
    def add(a: int, b: int) -> int:
        """Add."""
        made.append((a, b))
        if len(made) == STRIKE:
            fault.strike(server)
            if fault.relent is not None:
                threading.Timer(0.4, fault.relent, [server]).start()
        return a + b

    runner = CodeRunner([add], sandbox=sandbox)
    outcome = await runner.arun(PROGRAM) if on_a_loop else runner.run(PROGRAM)
    assert (outcome.status, outcome.value, outcome.stdout) == ("completed", 435, "begin\nend\n")
    assert made == [(n * (n - 1) // 2, n) for n in range(30)]
    assert [one.name for one in outcome.artifacts] == ["sum"]
    assert server.made == fault.machines


def test_a_large_value_survives_the_loss_of_its_sandbox(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    @tool(effect="write")
    def take(value: str) -> str:
        """Take."""
        server.lose_sandboxes()
        return value[::-1]

    program = "v = call_tool('take', value='ab' * 400_000)\n[len(v), v[:4]]"
    outcome = CodeRunner([take], sandbox=sandbox).run(program)
    assert (outcome.status, outcome.value) == ("completed", [800_000, "baba"])


def test_a_sandbox_lost_again_and_again_is_lost(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    calls: list[int] = []

    @tool(effect="write")
    def lose(n: int) -> int:
        """Lose it."""
        calls.append(n)
        server.lose_sandboxes()
        return n

    outcome = CodeRunner([lose], sandbox=sandbox).run("for n in range(9): call_tool('lose', n=n)")
    assert outcome.status == "lost"
    assert calls == sorted(set(calls))
    assert told(outcome).type == "SandboxLost"


def test_where_no_new_sandbox_can_be_had_the_action_is_lost(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    @tool(effect="write")
    def lose() -> None:
        """Lose it."""
        server.limit(0)
        server.faults.fail("/v2/sandboxes", 500, 9, headers={"Should-Retry": "false"})
        server.lose_sandboxes()

    assert CodeRunner([lose], sandbox=sandbox).run("call_tool('lose')\n1").status == "lost"


def test_a_program_that_does_not_repeat_itself_is_lost(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    """Its process number, as the kernel tells it, is another one in the new sandbox."""

    @tool(effect="write")
    def lose(pid: str) -> None:
        """Lose it."""
        server.lose_sandboxes()

    program = "call_tool('lose', pid=open('/proc/self/stat').read().split()[0])\n1"
    outcome = CodeRunner([lose], sandbox=sandbox).run(program)
    assert outcome.status == "lost"


def test_a_sandbox_that_went_away_between_programs_is_replaced(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    runner = CodeRunner([], sandbox=sandbox)
    assert runner.run("1 + len([])").value == 1
    server.lose_sandboxes()
    assert runner.run("2 + len([])").value == 2
    assert server.made == 2


def test_a_sandbox_that_cannot_start_guests_leaves_none_behind(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    server.faults.fail("/process.Process/Start", 502, 9)
    with pytest.raises(Exception, match="no guest came up"):
        sandbox.start(Limits())
    until(lambda: server.sandboxes() == [])
