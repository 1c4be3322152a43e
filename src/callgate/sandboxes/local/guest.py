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
from struct import Struct

from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.local import cures, forks
from callgate.sandboxes.local.forkserver import START_SECONDS, Bounds, ForkServer

__all__ = ["ENDING_SECONDS", "Order"]

ENDING_SECONDS = 0.05
"""How long a fork server may end after its guest: where both are killed, the guest may be seen to die first."""

_READY = b"+"
_REPORT = 1 << 12
_DESCRIPTOR = Struct("i")
_CREDENTIALS = Struct("iII")
_ANCILLARY = socket.CMSG_SPACE(_DESCRIPTOR.size) + socket.CMSG_SPACE(_CREDENTIALS.size)


class Order:
    """A guest that was asked for. It sends two greetings: its pidfd, and one byte when it is confined.

    Args:
        server: which is to make it.
        bounds: its limits.

    Raises:
        OSError: if the server is gone; a BlockingIOError if it takes no more orders now.
    """

    def __init__(self, server: ForkServer, bounds: Bounds) -> None:
        self._gone = server.gone
        self._process: _Process | None = None
        with forks.held_off():  # a child that held the guest's end would hide the guest's death
            self._channel, theirs = socket.socketpair()
            self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            with theirs:
                try:
                    server.hand_over(theirs, bounds)
                except BaseException:
                    self._channel.close()
                    raise
            forks.watch(self)

    def wait(self, ended: Callable[[], None] | None = None) -> SocketGuest:
        """Return the guest once it is confined. Where there is none, everything is closed.

        Args:
            ended: is called once, when the guest is killed.

        Raises:
            SandboxUnavailable: if a layer could not be set up.
            OSError: if the guest ended; a TimeoutError if it did not come up in time.
        """
        self._channel.settimeout(START_SECONDS)
        try:
            self._greet()
            self._confirm()
            return self._guest(ended)
        except BaseException:
            self.discard()
            raise

    async def awaited(self, ended: Callable[[], None] | None = None) -> SocketGuest:
        """The awaitable twin of `wait`. Cancelled, it ends the guest."""
        self._channel.setblocking(False)
        try:
            async with asyncio.timeout(START_SECONDS):
                for step in (self._greet, self._confirm):
                    while True:
                        try:
                            step()
                            break
                        except BlockingIOError:
                            await _readable(self._channel)
            return self._guest(ended)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """End the guest: without a host at the other end of its channel it exits, if it is not killed."""
        self._channel.close()
        if self._process is not None:
            self._process.kill()

    def forked(self) -> None:
        """In a forked child: let go of what is the parent's."""
        self._channel.close()

    def _greet(self) -> None:
        """Take the first message: a pidfd, which the guest sends before anything else. The kernel adds its number."""
        data, ancillary, _, _ = self._channel.recvmsg(1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        found = {kind: content for _, kind, content in ancillary}
        if socket.SCM_RIGHTS in found:
            pid = _CREDENTIALS.unpack(found[socket.SCM_CREDENTIALS])[0]
            self._process = _Process(pid, _DESCRIPTOR.unpack(found[socket.SCM_RIGHTS])[0])
            return
        if data:
            self._channel.setblocking(False)
            _confined(data + self._channel.recv(_REPORT))
        raise ConnectionResetError

    def _confirm(self) -> None:
        """Take the second message: one byte, or what is missing."""
        _confined(self._channel.recv(_REPORT))

    def _guest(self, ended: Callable[[], None] | None) -> SocketGuest:
        process = self._process
        assert process is not None  # noqa: S101 - it has greeted
        self._channel.setblocking(False)
        with suppress(BlockingIOError):
            if not self._channel.recv(1, socket.MSG_PEEK):  # a spare may die while it waits
                raise ConnectionResetError

        def end() -> None:
            process.kill()
            if ended is not None:
                ended()

        guest = SocketGuest(
            self._channel,
            kill=end,
            cpu=process.cpu_seconds,
            lost=self._gone,
            ending_seconds=ENDING_SECONDS,
            pid=process.pid,
        )
        forks.watch(guest)
        return guest


class _Process:
    """A guest's process by its pidfd, which stands for this process and never for a later one of the same number."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd = pid, pidfd
        # The clock of a whole process (include/linux/posix-timers.h: CPUCLOCK_SCHED).
        self._clock = (~pid << 3) | 2
        forks.watch(self)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self.forked()

    def cpu_seconds(self) -> float:
        return time.clock_gettime(self._clock)

    def forked(self) -> None:
        """Let go of it without touching it."""
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd != -1:
            os.close(pidfd)


def _confined(report: bytes) -> None:
    if report == _READY:
        return
    if not report:
        raise ConnectionResetError
    missing = json.loads(report)
    raise cures.unavailable(missing["missing"], missing["reason"])


async def _readable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(channel, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(channel)
