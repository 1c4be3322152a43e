"""A guest in an E2B sandbox, for threads and for event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from callgate.limits import Limits
from callgate.sandboxes.channel import running_loop
from callgate.sandboxes.e2b.session import Session

if TYPE_CHECKING:
    from callgate.sandboxes.e2b.engine import Engine

__all__ = ["E2BGuest"]

WINDOW = 1 << 23
"""Bytes that a guest may not have read yet before whoever sends waits."""
LOOK = 0.01
"""Seconds between two looks at whether it has."""
FULL = 1 << 22
"""Bytes that nobody has taken yet, at which no more are read."""
STALE = 0.5
"""Seconds after which the processor time is asked for anew."""


class E2BGuest:
    """The `Guest` of `callgate.sandboxes.base` whose process is in an E2B sandbox.

    Args:
        engine: has the sandboxes.
        limits: of the action.
        killed: is called once, when it is killed.
    """

    pid = None

    def __init__(self, engine: Engine, limits: Limits, killed: Callable[[], None]) -> None:
        self._engine, self._killed_once = engine, killed
        self._changed = threading.Condition()
        self._arrived: deque[bytes] = deque()
        self._held = 0
        self._full = False
        self._woken = self._gone = self._killed = self._was_lost = False
        self._waiter: asyncio.Future[None] | None = None
        self._asked = 0.0
        self._sent = 0
        self._outgoing: deque[bytes] = deque()
        self._posted = False
        """Whether the engine will come for it."""
        self.session = Session(engine, limits, deliver=self._deliver, over=self._end)

    # ---- the driver's side

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send whole frames; see `Guest.send`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._post(data)
        while self._full_of_unread():
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("the guest does not read what it is sent")
            time.sleep(LOOK)

    def receive(self, timeout: float | None) -> bytes | None:
        """Return the next bytes, b"" or None; see `Guest.receive`."""
        with self._changed:
            self._changed.wait_for(self._anything, timeout)
            return self._pop()

    def wake(self) -> None:
        """Make the running or the next `receive` or `areceive` return None at once."""
        with self._changed:
            self._woken = True
            self._tell()

    async def asend(self, data: bytes, timeout: float | None) -> None:
        """The awaitable twin of `send`."""
        self._post(data)
        if self._full_of_unread():
            async with asyncio.timeout(timeout):
                while self._full_of_unread():  # noqa: ASYNC110 - what it waits for happens on another loop
                    await asyncio.sleep(LOOK)

    async def areceive(self) -> bytes | None:
        """Return the next bytes, b"" or None; see `Guest.areceive`."""
        waiter = None
        try:
            while True:
                with self._changed:
                    if self._anything():
                        return self._pop()
                    self._waiter = waiter = asyncio.get_running_loop().create_future()
                await waiter
        finally:
            with self._changed:
                if self._waiter is waiter:
                    self._waiter = None

    def cpu_seconds(self) -> float:
        """Return the processor time as the sandbox last told it, and ask for it anew."""
        now = time.monotonic()
        if now - self._asked > STALE and not self._over():
            self._asked = now
            self._engine.post(self.session.ping)
        return self.session.cpu

    def kill(self) -> None:
        """End the guest. It does not wait for the sandbox. Does nothing the second time."""
        with self._changed:
            if self._killed:
                return
            self._killed = True
            self._arrived.clear()
            self._tell()
        self._engine.post(self.session.close)
        self._killed_once()

    def lost(self) -> bool:
        """Say whether the sandbox itself went away, rather than this one guest."""
        return self._was_lost

    def _post(self, data: bytes) -> None:
        self._sent += len(data)
        self._outgoing.append(data)
        if not self._posted:
            self._posted = True
            self._engine.post(self._hand_over)

    def _full_of_unread(self) -> bool:
        return self._sent - self.session.read > WINDOW and not self._over()

    def _over(self) -> bool:
        return self._gone or self._killed

    def _anything(self) -> bool:
        return bool(self._woken or self._arrived or self._gone or self._killed)

    def _pop(self) -> bytes | None:
        if self._killed:
            return b""
        if self._woken:
            self._woken = False
            return None
        if self._arrived:
            data = self._arrived.popleft()
            self._held -= len(data)
            if self._full and not self._arrived:
                self._full = False
                self._engine.post(self.session.drained)
            return data
        return b"" if self._gone else None

    # ---- the engine's side

    def _hand_over(self) -> None:
        """Send what there is, as much at a time as there is."""
        self._posted = False  # first: what comes from here on is posted anew
        pieces: list[bytes] = []
        while self._outgoing:
            pieces.append(self._outgoing.popleft())
        self.session.send(*pieces)

    def _deliver(self, data: bytes) -> bool:
        with self._changed:
            if not self._killed:
                self._arrived.append(data)
                self._held += len(data)
                self._full = self._held > FULL
                self._tell()
            return self._full

    def _end(self, lost: bool) -> None:
        with self._changed:
            self._gone, self._was_lost = True, lost and not self._killed
            self._tell()

    def _tell(self) -> None:
        """Rouse who waits; the lock is held."""
        self._changed.notify_all()
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        loop = waiter.get_loop()
        if loop is running_loop():
            _settle(waiter)
            return
        with suppress(RuntimeError):  # it is closed: nobody waits
            loop.call_soon_threadsafe(_settle, waiter)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
