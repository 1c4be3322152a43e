"""The sandbox in hosts of many kinds: what works in each, and that nothing outlives any of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from local.harness import NOBODY, PATIENCE, alive, eventually, open_python, order, value

from callgate import CodeRunner, Limits, Tool
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.local import LocalSandbox

HOSTS = Path(__file__).parent / "hosts.py"
MULTIPROCESSING = ["fork", "forkserver", "spawn"]


def host(kind: str, *, user: int | None = None) -> dict[str, Any]:
    """Run a host to its end and return what it tells; what it started is gone a second later."""
    python = sys.executable if user is None else open_python() or sys.executable
    identity: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    tests = HOSTS.parent.parent
    path = [str(tests.parent / "src"), str(tests), *(entry for entry in sys.path if entry.endswith("-packages"))]
    ended = subprocess.run(
        [python, "-B", "-W", "ignore", str(HOSTS), kind],
        env={"PYTHONPATH": os.pathsep.join(path), "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=100,
        cwd="/",
        **identity,
    )
    after = time.monotonic()
    assert ended.returncode == (-signal.SIGKILL if kind == "killed" else 0), ended.stderr
    told = json.loads(ended.stdout)
    assert told["jailed"]
    eventually(lambda: not any(map(alive, told["jailed"])))
    assert time.monotonic() - after < 1.0
    return told


def _preforked(told: dict[str, Any]) -> None:
    assert told["parent"] == [0, 42, 18]
    assert told["workers"] == [[2 * (10 * worker + n) for n in range(4)] for worker in range(3)]
    assert told["ends"] == [0, 0, 0]


def test_a_server_that_forks_its_workers_shares_nothing_with_them(sandbox: LocalSandbox) -> None:
    _preforked(host("prefork"))


def test_an_ordinary_user_may_fork_workers_too(sandbox: LocalSandbox) -> None:
    if os.getuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    _preforked(host("prefork", user=NOBODY))


@pytest.mark.parametrize("method", MULTIPROCESSING)
def test_children_of_multiprocessing_use_it(sandbox: LocalSandbox, method: str) -> None:
    told = host(method)
    assert told["found"] == [2, 4, 6, 8, 10, 12]
    assert told["end"] == 0


def test_threads_and_event_loops_share_it_at_the_same_time(sandbox: LocalSandbox) -> None:
    told = host("crowd")
    loops = [2 * (10 * n + each) for n in (0, 1, 2, 3, 8) for each in range(6)]
    assert told["found"] == sorted([*loops, *(20 * n for n in range(4, 8))])
    assert not told["left"]


def test_a_host_that_is_killed_takes_everything_with_it(sandbox: LocalSandbox) -> None:
    host("killed")


async def test_a_notebook_runs_programs_inside_its_running_loop(sandbox: LocalSandbox) -> None:
    runner = CodeRunner([], sandbox=sandbox)
    assert runner.run("6 * 7").value == 42
    assert (await runner.arun("6 * 7")).value == 42
    assert value(sandbox, "6 * 7") == 42


class _Watched:
    """A sandbox that remembers its guests."""

    def __init__(self, sandbox: LocalSandbox) -> None:
        self._sandbox = sandbox
        self.guests: list[SocketGuest] = []

    async def astart(self, limits: Limits) -> SocketGuest:
        self.guests.append(await self._sandbox.astart(limits))
        return self.guests[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sandbox, name)


@pytest.mark.parametrize(
    "program", ["nothing()\nwhile True: pass", "nothing()\nimport time\ntime.sleep(1e6)", "slow()\nslow()"]
)
async def test_cancelling_a_run_kills_its_guest(sandbox: LocalSandbox, program: str) -> None:
    called = asyncio.Event()

    async def call(_: object) -> None:
        called.set()

    async def call_slow(_: object) -> None:
        called.set()
        await asyncio.sleep(PATIENCE)

    tools = [
        Tool(
            name=name,
            input_schema={"type": "object", "properties": {}},
            effect="read",
            invoke=NotImplemented,
            ainvoke=one,
        )
        for name, one in (("nothing", call), ("slow", call_slow))
    ]
    watched = _Watched(sandbox)
    task = asyncio.create_task(CodeRunner(tools, sandbox=watched).arun(program))  # type: ignore[arg-type]
    await asyncio.wait_for(called.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [guest] = watched.guests
    assert guest.pid is not None
    eventually(lambda: not alive(guest.pid or 0))


def test_a_guest_of_a_loop_that_is_closed_serves_a_thread(sandbox: LocalSandbox) -> None:
    async def begin() -> SocketGuest:
        guest = await sandbox.astart(Limits())
        await guest.asend(order("import os\nos.write(3, b'one')\nos.read(3, 9)\nos.write(3, b'two')"), PATIENCE)
        assert await guest.areceive() == b"one"
        return guest

    guest = asyncio.run(begin())  # that loop is closed
    guest.send(b"go on", PATIENCE)
    assert (guest.receive(PATIENCE) or b"").startswith(b"two")
    guest.kill()
