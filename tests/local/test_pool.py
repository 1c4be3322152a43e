"""Guests ordered ahead, and how many are alive at the same time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import pytest
from local.harness import PATIENCE, alive, descendants, eventually, order, settled, value

from callgate.errors import LimitExceeded, SandboxLost, SandboxUnavailable, UsageError
from callgate.limits import Limits
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.local import LocalSandbox
from callgate.sandboxes.local.forkserver import Bounds, ForkServer
from callgate.sandboxes.local.pool import Pool
from callgate.sandboxes.local.seats import Seats

LIMITS = Limits()
TWINS = pytest.mark.parametrize("is_async", [False, True], ids=["start", "astart"])


class Jail:
    """A sandbox of one's own that keeps count of its processes; the second way to start a guest is on a loop."""

    def __init__(self, *, is_async: bool = False, **arguments: Any) -> None:
        self._others = settled()
        self._is_async = is_async
        self.sandbox = LocalSandbox(**arguments)
        self.sandbox.check()
        self._server = settled() - self._others
        self._taken = set[int | None]()

    def start(self, limits: Limits = LIMITS) -> SocketGuest:
        guest = asyncio.run(self.sandbox.astart(limits)) if self._is_async else self.sandbox.start(limits)
        self._taken.add(guest.pid)
        return guest

    def processes(self) -> set[int]:
        return descendants() - self._others

    def waiting(self, number: int) -> set[int]:
        """Return the processes of the spares, once there are so many and each is confined."""
        eventually(lambda: len(spares := self._spares()) == number and all(map(_confined, spares)))
        return self._spares()

    def _spares(self) -> set[int]:
        return self.processes() - self._server - self._taken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.close()


def _confined(pid: int) -> bool:
    return _filters(pid) > _filters(os.getpid())


def _filters(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/status").read_text().partition("Seccomp_filters:")[2].split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return -1


def _confinement(guest: SocketGuest) -> list[int]:
    """Return the address space above the server's and the processor seconds that a guest is confined to."""
    guest.send(
        order("import resource as r\n[r.getrlimit(r.RLIMIT_AS)[0] >> 20, r.getrlimit(r.RLIMIT_CPU)[0]]"), PATIENCE
    )
    data = guest.receive(PATIENCE)
    assert data is not None
    return [int(number) for number in data.partition(b'"value":[')[2].partition(b"]")[0].split(b",")]


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# ---- spares


@TWINS
def test_a_start_takes_a_guest_that_waits(sandbox: LocalSandbox, is_async: bool) -> None:
    with Jail(is_async=is_async) as jail:
        jail.waiting(0)
        jail.start().kill()
        waiting = jail.waiting(2)
        guest = jail.start()
        assert guest.pid in waiting
        guest.kill()


@TWINS
def test_every_program_has_a_process_of_its_own(sandbox: LocalSandbox, is_async: bool) -> None:
    seen: list[int | None] = []
    with Jail(is_async=is_async) as jail:
        for _ in range(20):
            guest = jail.start()
            seen.append(guest.pid)
            guest.kill()
    assert len(set(seen)) == 20


def test_a_spare_is_replaced_when_its_program_is_over(sandbox: LocalSandbox) -> None:
    with Jail(spares=2) as jail:
        value(jail, "1")
        waiting = jail.waiting(2)
        guest = jail.start()
        assert jail.waiting(1) < waiting
        guest.kill()
        assert len(jail.waiting(2) - waiting) == 1


@TWINS
def test_spares_are_ordered_at_once_when_none_is_left(sandbox: LocalSandbox, is_async: bool) -> None:
    with Jail(is_async=is_async, spares=2) as jail:
        value(jail, "1")
        waiting = jail.waiting(2)
        guests = [jail.start() for _ in range(2)]
        assert {guest.pid for guest in guests} == waiting
        jail.waiting(2)
        for guest in guests:
            guest.kill()


def test_without_spares_nothing_waits(sandbox: LocalSandbox) -> None:
    with Jail(spares=0) as jail:
        value(jail, "1")
        jail.waiting(0)


def test_a_spare_is_as_confined_as_it_was_ordered(sandbox: LocalSandbox) -> None:
    small, large = Limits(memory_mb=300, cpu_seconds=5), Limits(memory_mb=600, cpu_seconds=9)
    with Jail(spares=2) as jail:
        guest = jail.start(small)
        expected = _confinement(guest)
        guest.kill()
        for limits, bound in ((large, 300), (small, 0), (large, 300), (small, 0)):
            waiting = jail.waiting(2)
            guest = jail.start(limits)
            assert _confinement(guest) == [expected[0] + bound, limits.cpu_seconds + 1]
            known = guest.pid in waiting
            guest.kill()
    assert known  # each kind has one waiting at last


def test_the_oldest_of_other_bounds_makes_room(sandbox: LocalSandbox) -> None:
    with Jail(spares=2) as jail:
        value(jail, "1")
        first = jail.waiting(2)
        for memory_mb in (300, 600):
            value(jail, "1", Limits(memory_mb=memory_mb))
        eventually(lambda: not first & jail.processes())
        jail.waiting(2)


@TWINS
def test_spares_that_died_are_passed_over(sandbox: LocalSandbox, is_async: bool) -> None:
    with Jail(is_async=is_async) as jail:
        value(jail, "1")
        for pid in jail.waiting(2):
            os.kill(pid, signal.SIGKILL)
        jail.waiting(0)
        guest = jail.start()
        assert _confinement(guest)
        guest.kill()


@TWINS
def test_spares_of_a_server_that_died_are_passed_over(sandbox: LocalSandbox, is_async: bool) -> None:
    with Jail(is_async=is_async) as jail:
        value(jail, "1")
        waiting = jail.waiting(2)
        for pid in jail.processes():
            with suppress(ProcessLookupError):  # they end one another
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(map(alive, waiting)))
        guest = jail.start()
        assert _confinement(guest)
        guest.kill()


def test_a_spare_sees_what_a_guest_made_on_demand_sees(sandbox: LocalSandbox) -> None:
    program = (
        "import sys, gc\nclass Thing: pass\n[[id(x) for x in (object(), Thing, Thing(), [], sys)], gc.get_count()]"
    )
    if not sandbox.fixed_addresses:
        pytest.skip("this host does not let a process switch address randomisation off")
    with Jail(spares=0) as without, Jail(spares=1) as jail:
        expected = value(without.sandbox, program)
        assert value(jail, program) == expected
        jail.waiting(1)
        assert value(jail, program) == expected


def test_a_forked_child_leaves_the_spares_alone(sandbox: LocalSandbox) -> None:
    with Jail() as jail:
        value(jail, "1")
        waiting = jail.waiting(2)
        descriptors = _descriptors()
        guest = jail.start()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                held = _descriptors()
                guest.kill()
                jail.sandbox.close()
                code = 0 if held < descriptors and guest.receive(1) == b"" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert _confinement(guest)
        assert guest.pid in waiting
        guest.kill()
        assert waiting & jail.waiting(2)


class _Server:
    """Stands for a fork server; its guests send what they are told to after their first greeting."""

    def __init__(self, *reports: bytes) -> None:
        self._reports = list(reports)
        self._held: list[socket.socket] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def hand_over(self, channel: socket.socket, bounds: Bounds) -> None:
        process = subprocess.Popen(["sleep", "60"])
        self.processes.append(process)
        pidfd = os.pidfd_open(process.pid)
        socket.send_fds(channel, [b"+"], [pidfd])
        os.close(pidfd)
        channel.send(self._reports.pop(0))
        self._held.append(channel.dup())

    def gone(self) -> bool:
        return False

    def close(self) -> None:
        assert not self._reports
        for channel in self._held:
            channel.close()


READY, MISSING = b"+", b'{"missing": "seccomp", "reason": "not allowed"}\n'


@TWINS
def test_a_missing_layer_counts_only_for_a_guest_that_is_made_on_demand(is_async: bool) -> None:
    server = _Server(READY, MISSING, MISSING, READY, MISSING, MISSING, MISSING)
    pool = Pool(cast("ForkServer", server), 2)
    bounds, ended = Bounds.of(LIMITS), list[str]()

    def guest() -> SocketGuest:
        over = partial(ended.append, "over")
        return asyncio.run(pool.aguest(bounds, over)) if is_async else pool.guest(bounds, over)

    first = guest()
    second = guest()  # passes two spares over
    assert len(server.processes) == 6
    with pytest.raises(SandboxUnavailable, match="seccomp"):
        guest()
    assert not ended
    pool.close()
    for each in (first, second):
        each.kill()
    assert ended == ["over", "over"]
    for process in server.processes:
        process.kill()  # where it was only ordered, nobody knew its process yet
        process.wait()


# ---- how many are alive


@TWINS
def test_a_start_above_the_bound_is_limited(sandbox: LocalSandbox, is_async: bool) -> None:
    with Jail(is_async=is_async, guests=2) as jail:
        guests = [jail.start() for _ in range(2)]
        jail.waiting(1)  # spares do not count
        with pytest.raises(LimitExceeded, match="2 programs") as caught:
            jail.start(Limits(seconds=0.05))
        assert caught.value.limit == "guests"
        guests.pop().kill()
        guests.append(jail.start(Limits(seconds=0.05)))
        for guest in guests:
            guest.kill()


@TWINS
def test_a_guest_that_never_came_up_takes_no_seat(sandbox: LocalSandbox, is_async: bool, monkeypatch: Any) -> None:
    with Jail(is_async=is_async, guests=1) as jail:

        def refuse(*_: object) -> None:
            raise SandboxLost("no")

        monkeypatch.setattr(Pool, "aguest" if is_async else "guest", refuse)
        with pytest.raises(SandboxLost):
            jail.start()
        monkeypatch.undo()
        assert value(jail, "1", Limits(seconds=0.05)) == 1


def test_seats_are_given_in_order_to_threads_and_coroutines(sandbox: LocalSandbox) -> None:
    got: list[int] = []
    seats = Seats(1)
    assert seats.take(1)

    def sit(number: int) -> None:
        if number % 2:
            assert seats.take(PATIENCE)
        else:
            assert asyncio.run(seats.atake(PATIENCE))
        got.append(number)
        seats.give_back()

    threads = list[threading.Thread]()
    for number in range(6):
        threads.append(threading.Thread(target=sit, args=(number,)))
        threads[-1].start()
        eventually(lambda: len(seats._waiting) == len(threads))
    seats.give_back()
    for thread in threads:
        thread.join()
    assert got == list(range(6))
    assert seats.take(0)


async def test_a_cancelled_wait_for_a_seat_leaves_it_to_the_next() -> None:
    seats = Seats(1)
    assert await seats.atake(1)
    for moment in ("while it waits", "when it is given"):
        first, second = (asyncio.create_task(seats.atake(PATIENCE)) for _ in range(2))
        await asyncio.sleep(0)
        if moment == "when it is given":
            seats.give_back()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        if moment == "while it waits":
            seats.give_back()
        assert await second


async def test_a_wait_that_ends_takes_no_seat() -> None:
    seats = Seats(1)
    assert seats.take(0)
    assert not seats.take(0.01)
    assert not await seats.atake(0.01)
    seats.give_back()
    assert seats.take(0)
    assert not seats.take(0)


@TWINS
def test_who_waits_for_a_closed_sandbox_learns_it(sandbox: LocalSandbox, is_async: bool) -> None:
    with Jail(is_async=is_async, guests=1) as jail:
        guest = jail.start()
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                jail.start()
            except UsageError as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: bool(jail.sandbox._seats._waiting))
        jail.sandbox.close()
        thread.join(PATIENCE)
        assert "closed" in str(caught[0])
        guest.kill()


@pytest.mark.parametrize(
    "arguments",
    [
        {"spares": -1},
        {"spares": True},
        {"spares": 1.5},
        {"guests": 0},
        {"guests": "64"},
        {"floor": "L4"},
        {"floor": 2},
    ],
    ids=str,
)
def test_nonsense_is_refused_when_it_is_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        LocalSandbox(**arguments)


# ---- an event loop is never held up


async def _beats_during(coroutine: Coroutine[Any, Any, Any]) -> int:
    """Return how often another task of the loop could run until a coroutine ended."""
    task, beats = asyncio.ensure_future(coroutine), 0
    while not task.done():
        await asyncio.sleep(0.01)
        beats += 1
    with suppress(SandboxLost):
        await task
    return beats


async def test_a_server_that_hangs_does_not_hold_up_a_loop(sandbox: LocalSandbox, monkeypatch: Any) -> None:
    monkeypatch.setattr("callgate.sandboxes.local.guest.START_SECONDS", 1.0)
    before = settled()
    with LocalSandbox(spares=0) as own:
        guest = own.start(LIMITS)
        for pid in descendants() - before:
            os.kill(pid, signal.SIGSTOP)
        assert await _beats_during(own.astart(LIMITS)) >= 20
        assert guest.lost()  # it goes with its server
        assert await asyncio.to_thread(value, own, "2") == 2
        guest.kill()


async def test_a_crash_does_not_hold_up_a_loop(sandbox: LocalSandbox, monkeypatch: Any) -> None:
    monkeypatch.setattr("callgate.sandboxes.local.guest.ENDING_SECONDS", 1.0)
    guest = await sandbox.astart(LIMITS)
    await guest.asend(order("import os\nos.abort()"), PATIENCE)
    assert await _beats_during(guest.areceive()) >= 20
    assert not guest.lost()
    guest.kill()
