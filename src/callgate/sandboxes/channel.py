"""A guest at the other end of a stream socket.

Reading and writing never block inside a system call that nobody can end: the socket is non-blocking and both twins
wait for it beside something that wakes them, a pipe for threads and the event loop itself for coroutines.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

__all__ = ["SocketGuest", "awent_away", "running_loop", "went_away"]

AHEAD = 16
"""Reads ahead of who waits for them, at most."""

CHUNK = 1 << 16
"""Bytes read at a time; below the size from which the allocator asks the kernel for each buffer."""

CORES = os.cpu_count() or 1
"""Processors that a guest can use at once."""


LOOK_SECONDS = 0.005
"""Between two looks at whether a sandbox went away."""


class SocketGuest:
    """The `Guest` of `callgate.sandboxes.base` over a connected stream socket.

    Args:
        sock: the host's end; it belongs to this object from now on.
        kill: ends the process and everything it started, and reaps it. Called once.
        cpu: returns the processor seconds used so far; an OSError stands for "not known". Never called after kill.
        lost: says whether the sandbox itself went away.
        ending_seconds: how long a sandbox that goes away may seem to be there after its guest has ended.
        pid: the number of its process on this host, where it has one.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        kill: Callable[[], None],
        cpu: Callable[[], float],
        lost: Callable[[], bool],
        ending_seconds: float = 0.0,
        pid: int | None = None,
    ) -> None:
        self.pid = pid
        sock.setblocking(False)
        self._sock = sock
        self._end, self._cpu, self._lost = kill, cpu, lost
        self._ending_seconds = ending_seconds
        self._used = 0.0
        self._measured: float | None = None
        """When, by the monotonic clock."""
        self._lock = threading.Lock()
        self._users = 0  # operations inside the socket now; the last one closes it after kill()
        self._killed = False
        self._woken = False
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop that reads ahead, if one does
        self._arrived: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._arrivals = select.poll()
        self._arrivals.register(sock.fileno(), select.POLLIN)
        self._arrivals.register(self._bell, select.POLLIN)

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send whole frames; see `Guest.send`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        rest = memoryview(data)
        if not self._enter():
            return
        try:
            while rest:
                try:
                    rest = rest[self._sock.send(rest) :]
                except BlockingIOError:
                    self._wait_writable(deadline)
        except TimeoutError:
            raise
        except OSError:
            return
        finally:
            self._leave()

    def _wait_writable(self, deadline: float | None) -> None:
        room = select.poll()
        room.register(self._sock.fileno(), select.POLLOUT)
        if not room.poll(_left_ms(deadline)):
            raise TimeoutError("the guest does not read what it is sent")

    def receive(self, timeout: float | None) -> bytes | None:
        """Return the next bytes, b"" or None; see `Guest.receive`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._enter():
            return b""
        try:
            while True:
                ready = self._arrivals.poll(_left_ms(deadline))
                if self._woken:
                    self._woken = False
                    self._silence()
                    return None
                if not ready:
                    return None
                if ready[0][0] == self._bell and len(ready) == 1:  # rung again by a wake() that is answered already
                    self._silence()
                    continue
                with suppress(BlockingIOError):
                    if not (data := self._read()) and not self._killed:
                        went_away(self._lost, self._ending_seconds)
                    return data
        finally:
            self._leave()

    def wake(self) -> None:
        """Make the running or the next `receive` or `areceive` return None at once."""
        with self._lock:
            if self._killed:
                return
            self._woken = True
            loop = self._loop
            if loop is None:
                with suppress(BlockingIOError):
                    os.write(self._ring, b"!")
        if loop is not None and loop is running_loop():
            self._rouse()
        elif loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._rouse)

    def _rouse(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter)

    async def asend(self, data: bytes, timeout: float | None) -> None:
        """The awaitable twin of `send`."""
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        rest = memoryview(data)
        if not self._enter():
            return
        try:
            while rest:
                try:
                    rest = rest[self._sock.send(rest) :]
                except BlockingIOError:
                    async with asyncio.timeout_at(deadline):
                        await self._writable()
        except TimeoutError:
            raise
        except OSError:
            return
        finally:
            self._leave()

    async def areceive(self) -> bytes | None:
        """Return the next bytes, b"" or None; see `Guest.areceive`."""
        if not self._enter():
            return b""
        waiter = None
        try:
            self._listen()
            if self._arrived:
                await asyncio.sleep(0)  # a guest that talks without end must not hold up the loop
            while not self._arrived and not self._woken:
                self._waiter = waiter = asyncio.get_running_loop().create_future()
                await waiter
            if self._woken:
                self._woken = False
                return None
            if not (data := self._arrived.popleft()) and not self._killed:
                await awent_away(self._lost, self._ending_seconds)
            return data
        finally:
            if self._waiter is waiter:
                self._waiter = None
            self._leave()

    def _listen(self) -> None:
        """Have the running loop read what comes: once, for asking it anew each time costs more than reading."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.add_reader(self._sock.fileno(), self._take)

    def _take(self) -> None:
        with suppress(BlockingIOError):
            self._arrived.append(self._read())
        if self._arrived and (not self._arrived[-1] or len(self._arrived) > AHEAD):
            self._unlisten()  # at the end, or until somebody has read
        self._rouse()

    def _unlisten(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock.fileno())
        self._loop = None

    async def _writable(self) -> None:
        loop, descriptor = asyncio.get_running_loop(), self._sock.fileno()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(descriptor, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_writer(descriptor)

    def cpu_seconds(self) -> float:
        """Return the processor time used so far, in seconds; after `kill`, the last figure.

        Of a guest that is gone by itself it is the most that it can have used: all cores since it was last measured.
        """
        with self._lock:
            if not self._killed and not self._measure() and self._measured is not None:
                self._used += (time.monotonic() - self._measured) * CORES
                self._measured = None
            return self._used

    def kill(self) -> None:
        """End the guest, reap it and close everything. Does nothing the second time."""
        with self._lock:
            if self._killed:
                return
            self._measure()
            self._killed = True
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # ends a receive that another thread or a loop waits in
            if not self._users:
                self._close()
        self._end()

    def lost(self) -> bool:
        """Say whether the sandbox itself went away, rather than this one guest."""
        return self._lost()

    def forked(self) -> None:
        """In a forked child: let go of the parent's guest without touching it. Afterwards it seems to be killed."""
        self._lock = threading.Lock()
        self._killed = True
        self._loop = None  # its selector is the parent's too
        self._close_now()

    def _enter(self) -> bool:
        """Keep the descriptors open for one operation; False where they are closed already."""
        with self._lock:
            self._users += not self._killed
            return not self._killed

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._killed and not self._users:
                self._close()

    def _read(self) -> bytes:
        try:
            return self._sock.recv(CHUNK)
        except BlockingIOError:
            raise
        except OSError:  # reset: the guest died with something unread
            return b""

    def _silence(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell, CHUNK)

    def _measure(self) -> bool:
        """Measure the processor time; False where the process is gone."""
        try:
            self._used = max(self._used, self._cpu())
        except OSError:
            return False
        self._measured = time.monotonic()
        return True

    def _close(self) -> None:
        loop = self._loop
        if loop is None or loop is running_loop():
            self._close_now()
            return
        try:
            loop.call_soon_threadsafe(self._close_now)  # a loop must not find a descriptor gone that it waits for
        except RuntimeError:  # it is closed
            self._close_now()

    def _close_now(self) -> None:
        self._unlisten()
        self._sock.close()
        bell, self._bell = self._bell, -1
        if bell != -1:
            os.close(bell)
            os.close(self._ring)


def went_away(lost: Callable[[], bool], seconds: float) -> bool:
    """Say whether a sandbox whose guest has ended went away itself, or does so within that time."""
    deadline = time.monotonic() + seconds
    while not (found := lost()) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return found


async def awent_away(lost: Callable[[], bool], seconds: float) -> bool:
    """The awaitable twin of `went_away`."""
    deadline = time.monotonic() + seconds
    while not (found := lost()) and time.monotonic() < deadline:  # noqa: ASYNC110 - a loop has no event for it
        await asyncio.sleep(LOOK_SECONDS)
    return found


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _left_ms(deadline: float | None) -> float | None:
    """Return the milliseconds until deadline, as poll wants them."""
    return None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1000)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
