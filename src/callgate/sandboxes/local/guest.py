"""From an order for a guest to the guest, for threads and for event loops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.local import cures
from callgate.sandboxes.local.forkserver import START_SECONDS

__all__ = ["await_guest", "wait_for_guest"]

_READY = b"+"
_REPORT = 1 << 12


def wait_for_guest(channel: socket.socket, lost: Callable[[], bool]) -> SocketGuest:
    """Return the guest at the other end of channel once it is confined. The channel is closed where there is none.

    Raises:
        SandboxUnavailable: if a layer could not be set up.
        OSError: if the guest ended; a TimeoutError if it did not come up in time.
    """
    channel.settimeout(START_SECONDS)
    process = None
    try:
        process = _greeted(channel)
        _confined(channel.recv(_REPORT))
    except BaseException:
        _discard(channel, process)
        raise
    return SocketGuest(channel, kill=process.kill, cpu=process.cpu_seconds, lost=lost)


async def await_guest(channel: socket.socket, lost: Callable[[], bool]) -> SocketGuest:
    """The awaitable twin of `wait_for_guest`. Cancelled, it ends the guest."""
    channel.setblocking(False)
    process = None
    try:
        async with asyncio.timeout(START_SECONDS):
            await _readable(channel)
            process = _greeted(channel)
            await _readable(channel)
            _confined(channel.recv(_REPORT))
    except BaseException:
        _discard(channel, process)
        raise
    return SocketGuest(channel, kill=process.kill, cpu=process.cpu_seconds, lost=lost)


class _Process:
    """A guest's process by its pidfd, which stands for this process and never for a later one of the same number."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self._clock: int | None = None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.close(self._pidfd)

    def cpu_seconds(self) -> float:
        if self._clock is None:
            # The clock of a whole process (include/linux/posix-timers.h: CPUCLOCK_SCHED), by its number on this host.
            self._clock = (~_pid(self._pidfd) << 3) | 2
        return time.clock_gettime(self._clock)


def _pid(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "Pid" and int(value) > 0:
            return int(value)
    raise ProcessLookupError


def _greeted(channel: socket.socket) -> _Process:
    """Take the first message: a pidfd, which the guest sends before anything else."""
    data, descriptors, _, _ = socket.recv_fds(channel, 1, 1, socket.MSG_CMSG_CLOEXEC)
    if descriptors:
        return _Process(descriptors[0])
    if data:
        channel.setblocking(False)
        _confined(data + channel.recv(_REPORT))
    raise ConnectionResetError


def _confined(report: bytes) -> None:
    """Take the second message: one byte, or what is missing."""
    if report == _READY:
        return
    if not report:
        raise ConnectionResetError
    missing = json.loads(report)
    raise cures.unavailable(missing["missing"], missing["reason"])


def _discard(channel: socket.socket, process: _Process | None) -> None:
    channel.close()
    if process is not None:
        process.kill()


async def _readable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(channel, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(channel)
