"""Sandboxes that begin or end when it does not suit: nothing hangs, and none is left at E2B."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from cloud.waiting import until

from callgate import CallgateError, CodeRunner, Limits, SandboxLost, UsageError
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing.e2b import LoopbackE2B, control

PROGRAM = "1 + len([])"
SOURCES = str(Path(__file__).resolve().parents[2] / "src")


def start(sandbox: E2BSandbox) -> None:
    sandbox.start(Limits())


def astart(sandbox: E2BSandbox) -> None:
    asyncio.run(sandbox.astart(Limits()))


both_ways = pytest.mark.parametrize("begin", [start, astart])


def beside(work: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Do something in a thread; what is returned waits for its end and says what it raised."""
    raised: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=do)
    thread.start()

    def end() -> BaseException | None:
        thread.join(20)
        assert not thread.is_alive()
        return raised[0] if raised else None

    return end


@pytest.fixture
def answers_late(server: LoopbackE2B, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Sandboxes are made at once, and the client is told when this is set."""
    told, answer = threading.Event(), getattr(control, "_answer")  # noqa: B009 - it is nobody else's

    async def late(send: Any, status: int, what: Any) -> None:
        if status == 201:
            await asyncio.to_thread(told.wait, 20)
        await answer(send, status, what)

    monkeypatch.setattr(control, "_answer", late)
    return told


@pytest.fixture
def sandbox(server: LoopbackE2B) -> E2BSandbox:
    return E2BSandbox(**server.options)


def test_a_forgotten_sandbox_that_its_own_thread_collects_is_ended(server: LoopbackE2B) -> None:
    sandbox = E2BSandbox(**server.options)
    guest = sandbox.start(Limits())
    engine = guest._engine  # type: ignore[attr-defined]
    sandbox.itself = sandbox  # type: ignore[attr-defined]
    gc.disable()
    try:
        del sandbox
        engine.post(gc.collect)
        until(lambda: server.sandboxes() == [], 10)
    finally:
        gc.enable()


@both_ways
def test_who_waits_for_a_seat_is_told_that_the_sandbox_is_closed(
    server: LoopbackE2B, begin: Callable[[E2BSandbox], None]
) -> None:
    sandbox = E2BSandbox(**server.options, guests=1)
    sandbox.start(Limits())
    end = beside(lambda: begin(sandbox))
    until(lambda: len(sandbox._seats._waiting) == 1)  # type: ignore[attr-defined]
    sandbox.close()
    assert isinstance(end(), UsageError)


@both_ways
def test_closing_while_one_is_made_ends_it(
    server: LoopbackE2B, sandbox: E2BSandbox, answers_late: threading.Event, begin: Callable[[E2BSandbox], None]
) -> None:
    end = beside(lambda: begin(sandbox))
    until(lambda: server.made == 1)
    threading.Timer(0.2, answers_late.set).start()
    sandbox.close()
    assert isinstance(end(), SandboxLost)
    assert server.sandboxes() == []


def test_closing_does_not_wait_for_packages(server: LoopbackE2B, tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    runs = tmp_path / "runs"
    (tmp_path / "pip" / "__main__.py").write_text(f"import time\nopen({str(runs)!r}, 'w').close()\ntime.sleep(60)")
    sandbox = E2BSandbox(**server.options, packages=["numpy"], envs={"PYTHONPATH": str(tmp_path)})
    end = beside(lambda: start(sandbox))
    until(runs.exists)
    began = time.monotonic()
    sandbox.close()
    assert time.monotonic() - began < 10
    assert isinstance(end(), CallgateError)
    assert server.sandboxes() == []


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that raise a signal")
def test_an_interrupted_start_leaves_no_sandbox(
    server: LoopbackE2B, sandbox: E2BSandbox, answers_late: threading.Event
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def strike() -> None:
        until(lambda: server.made == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Thread(target=strike).start()
        with pytest.raises(KeyboardInterrupt):
            sandbox.start(Limits())
    finally:
        signal.signal(signal.SIGUSR1, before)
    answers_late.set()
    sandbox.close()
    assert server.sandboxes() == []


def test_a_sandbox_whose_making_was_not_answered_is_the_next_one(
    server: LoopbackE2B, sandbox: E2BSandbox, answers_late: threading.Event
) -> None:
    def cut() -> None:
        until(lambda: server.made == 1)
        server.drop_streams("/v2/sandboxes")

    threading.Thread(target=cut).start()
    with pytest.raises(SandboxLost):
        sandbox.start(Limits())
    answers_late.set()
    sandbox.start(Limits())
    assert server.made == 1
    sandbox.close()
    assert server.sandboxes() == []


def test_a_paused_sandbox_that_cannot_be_resumed_is_ended(server: LoopbackE2B) -> None:
    with E2BSandbox(**server.options, idle="pause", idle_seconds=0.1) as sandbox:
        runner = CodeRunner([], sandbox=sandbox)
        runner.run(PROGRAM)
        until(lambda: [one["state"] for one in server.sandboxes()] == ["paused"])
        server.faults.fail("/v2/sandboxes/", 502, 9, headers={"Should-Retry": "false"})
        assert runner.run(PROGRAM).value == 1
    assert server.made == 2
    assert server.sandboxes() == []


def test_cancelled_starts_take_no_more_seats_than_there_are(server: LoopbackE2B) -> None:
    server.faults.latency = 0.02
    most = 0

    async def scene(sandbox: E2BSandbox) -> None:
        nonlocal most
        await sandbox.astart(Limits())
        for _ in range(12):
            task = asyncio.create_task(sandbox.astart(Limits()))
            await asyncio.wait([task], timeout=0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            most = max(most, server.processes())

    with E2BSandbox(**server.options, guests=3) as sandbox:
        asyncio.run(scene(sandbox))
        until(lambda: server.processes() == 2, 20)  # what relays are forked from, and one guest
    assert most <= 1 + 3


LATE = """
import atexit, sys
from callgate import CodeRunner
from callgate.sandboxes.e2b import E2BSandbox
sandbox = E2BSandbox(api_key=sys.argv[1], api_url=sys.argv[2], sandbox_url=sys.argv[2])
runner = CodeRunner([], sandbox=sandbox)
atexit.register(lambda: print(runner.run("1 + len([])").value))
"""


def test_one_that_is_made_while_the_interpreter_exits_is_ended(server: LoopbackE2B) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, server.api_key, server.url],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"PYTHONPATH": f"{SOURCES}:{':'.join(one for one in sys.path if one)}"},
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
    assert server.sandboxes() == []
