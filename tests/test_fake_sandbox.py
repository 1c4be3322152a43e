"""FakeSandbox, and the socket-backed guest that it shares with real sandboxes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from callgate.errors import SandboxLost
from callgate.limits import Limits
from callgate.sandboxes.base import EndFrame, Guest, RestFrame, Sandbox, frame
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.frames import Frames
from callgate.testing.fake import FakeSandbox


@pytest.fixture
def sandbox() -> Iterator[FakeSandbox]:
    one = FakeSandbox()
    yield one
    one.close()


def order(program: str) -> bytes:
    bounds = {"output_kb": 64, "frame_mb": 16, "threads": 64}
    return frame({"run": {"program": program, "seed": 1, "wall": 0.0, "tools": {}, "limits": bounds}})


def last(guest: SocketGuest, frames: Frames) -> EndFrame:
    while data := guest.receive(20):
        for one in frames.feed(data):
            if isinstance(one, EndFrame):
                return one
    raise AssertionError("no end")


async def alast(guest: SocketGuest) -> EndFrame:
    frames = Frames(16)
    while data := await guest.areceive():
        for one in frames.feed(data):
            if isinstance(one, EndFrame):
                return one
    raise AssertionError("no end")


def until_rest(guest: SocketGuest) -> None:
    frames = Frames(16)
    while data := guest.receive(20):
        if any(isinstance(one, RestFrame) for one in frames.feed(data)):
            return


SLEEP = "import time\ntime.sleep(9)\n'slept'"


def test_it_is_a_sandbox_and_gives_guests(sandbox: FakeSandbox) -> None:
    typed: Sandbox = sandbox
    guest: Guest = typed.start(Limits())
    assert isinstance(sandbox, Sandbox)
    assert (sandbox.name, sandbox.level) == ("fake", "L0")
    guest.kill()


def test_a_guest_runs_a_program(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order("6 * 7"), 5)
    assert last(guest, Frames(16)).value == 42
    assert guest.receive(5) == b""


def test_a_guest_sees_an_empty_environment_and_an_empty_folder(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order("import os\n[sorted(os.environ), os.listdir()]"), 5)
    value = last(guest, Frames(16)).value
    assert set(value[0]) - {"LC_CTYPE"} == {"PYTHONHASHSEED", "TZ"}
    assert value[1] == []


def test_receive_returns_none_after_its_timeout(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    started = time.monotonic()
    assert guest.receive(0.05) is None
    assert time.monotonic() - started < 5


def test_wake_ends_the_running_receive(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    timer = threading.Timer(0.05, guest.wake)
    timer.start()
    assert guest.receive(20) is None
    timer.join()


def test_wake_ends_the_next_receive_and_only_that(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.wake()
    guest.wake()
    assert guest.receive(20) is None
    guest.send(order("1"), 5)
    assert last(guest, Frames(16)).value == 1


def test_wake_loses_no_bytes(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order("1"), 5)
    frames, seen = Frames(16), []
    while not seen:
        guest.wake()
        assert guest.receive(20) is None
        seen = list(frames.feed(guest.receive(0.01) or b""))
    assert isinstance(seen[0], EndFrame)


def test_kill_ends_a_receive_in_another_thread_and_is_idempotent(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    timer = threading.Timer(0.05, guest.kill)
    timer.start()
    assert guest.receive(20) == b""
    timer.join()
    guest.kill()
    assert guest.receive(1) == b""
    guest.send(b"nobody", 1)
    guest.wake()


def test_kill_leaves_no_process_and_no_descriptor(sandbox: FakeSandbox) -> None:
    sandbox.start(Limits()).kill()
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        guest = sandbox.start(Limits())
        guest.send(order("1"), 5)
        assert last(guest, Frames(16)).value == 1
        os.kill(guest.pid, 0)
        guest.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(guest.pid, 0)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_guest_that_does_not_read_is_a_timeout(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order("while True: pass"), 5)
    with pytest.raises(TimeoutError):
        guest.send(bytes(8 << 20), 0.2)


async def test_a_guest_that_does_not_read_is_a_timeout_in_a_loop_too(sandbox: FakeSandbox) -> None:
    guest = await sandbox.astart(Limits())
    await guest.asend(order("while True: pass"), 5)
    with pytest.raises(TimeoutError):
        await guest.asend(bytes(8 << 20), 0.2)


async def test_many_guests_of_one_sandbox_run_side_by_side(sandbox: FakeSandbox) -> None:
    async def one(n: int) -> object:
        guest = await sandbox.astart(Limits())
        await guest.asend(order(f"'x' * 100_000 + '{n}'"), 5)
        end = await alast(guest)
        guest.kill()
        return end.value

    values = await asyncio.gather(*[one(n) for n in range(4)])
    assert values == ["x" * 100_000 + str(n) for n in range(4)]


def test_event_loops_of_several_threads_share_one_sandbox(sandbox: FakeSandbox) -> None:
    async def one(n: int) -> object:
        guest = await sandbox.astart(Limits())
        await guest.asend(order(str(n)), 5)
        return (await alast(guest)).value

    values: list[object] = []
    threads = [threading.Thread(target=lambda n=n: values.append(asyncio.run(one(n)))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, map(str, values))) == [0, 1, 2]


async def test_cancelling_a_receive_loses_nothing(sandbox: FakeSandbox) -> None:
    guest = await sandbox.astart(Limits())
    await guest.asend(order("7"), 5)
    for _ in range(20):
        waiting = asyncio.ensure_future(guest.areceive())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert (await alast(guest)).value == 7


async def test_kill_ends_an_awaited_receive(sandbox: FakeSandbox) -> None:
    guest = await sandbox.astart(Limits())
    asyncio.get_running_loop().call_later(0.05, guest.kill)
    assert await guest.areceive() == b""


def test_cpu_seconds_grow_and_stay_known_after_the_end(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order("sum(range(3_000_000))\n" + SLEEP), 5)
    until_rest(guest)
    used = guest.cpu_seconds()
    guest.kill()
    if used == 0.0:
        pytest.skip("this system does not tell the processor time of another process")
    assert 0.02 < used <= guest.cpu_seconds() < 20


def test_losing_the_sandbox_ends_its_guests_and_says_so(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order(SLEEP), 5)
    until_rest(guest)
    assert not guest.lost()
    sandbox.lose()
    assert guest.receive(5) == b""
    assert guest.lost()
    with pytest.raises(SandboxLost):
        sandbox.start(Limits())


def test_closing_ends_guests_and_is_idempotent() -> None:
    sandbox = FakeSandbox()
    guest = sandbox.start(Limits())
    sandbox.close()
    sandbox.close()
    assert guest.receive(5) == b""
    with pytest.raises(SandboxLost):
        sandbox.start(Limits())
