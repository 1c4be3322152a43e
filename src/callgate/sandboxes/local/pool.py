"""Guests, some of them ordered ahead.

Making a guest takes some milliseconds, and none of them needs its program. So a few are ordered before anybody wants
them: each is confined, has rehearsed what every guest does, and waits. Another one is ordered when the program of a
taken one is over, so that they do not compete, or at once if none is left.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from callgate.errors import SandboxUnavailable
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.local import forks
from callgate.sandboxes.local.forkserver import START_SECONDS, Bounds, ForkServer
from callgate.sandboxes.local.guest import Order
from callgate.sandboxes.local.seats import Seats

__all__ = ["Pool"]

AT_ONCE = 64
"""Guests that are made on demand at the same time: far fewer than the orders that fit into the server's socket."""


class Pool:
    """The guests of one fork server. Many threads and event loops may share it.

    Args:
        server: makes the guests; it ends with the pool.
        spares: how many are kept waiting, over all bounds.
    """

    def __init__(self, server: ForkServer, spares: int) -> None:
        self.server = server
        self._spares = spares
        self._making = Seats(AT_ONCE)
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Bounds, Order]] = deque()  # the oldest first
        self._closed = False
        self._end = weakref.finalize(self, _discard, self._waiting)
        forks.watch(self)

    def guest(self, bounds: Bounds, ended: Callable[[], None]) -> SocketGuest:
        """Return a guest: a spare that is alive, else one made on demand.

        Args:
            bounds: its limits.
            ended: is called once, when the guest is killed.

        Raises:
            SandboxUnavailable: if a layer could not be set up.
            OSError: if there is no guest; a TimeoutError or a BlockingIOError if the server does not answer.
        """
        end = functools.partial(self._over, bounds, ended)
        while (spare := self._take(bounds)) is not None:
            try:
                return self._taken(spare.wait(end), bounds)
            except TimeoutError:
                raise
            except (OSError, SandboxUnavailable):  # it died, or what was there is not any more: the next one will tell
                continue
        if not self._making.take(START_SECONDS):
            raise TimeoutError
        try:
            return self._taken(Order(self.server, bounds).wait(end), bounds)
        finally:
            self._making.give_back()

    async def aguest(self, bounds: Bounds, ended: Callable[[], None]) -> SocketGuest:
        """The awaitable twin of `guest`. Cancelled, it leaves none behind."""
        end = functools.partial(self._over, bounds, ended)
        while (spare := self._take(bounds)) is not None:
            try:
                return self._taken(await spare.awaited(end), bounds)
            except TimeoutError:
                raise
            except (OSError, SandboxUnavailable):
                continue
        if not await self._making.atake(START_SECONDS):
            raise TimeoutError
        try:
            return self._taken(await Order(self.server, bounds).awaited(end), bounds)
        finally:
            self._making.give_back()

    def close(self) -> None:
        """End the spares, the server, and all its guests. Does nothing the second time."""
        with self._lock:
            self._closed = True
            _discard(self._waiting)
        self.server.close()

    def forked(self) -> None:
        """In a forked child: forget the parent's spares, each of which lets go by itself."""
        self._end.detach()
        self._lock = threading.Lock()
        self._waiting.clear()
        self._closed = True

    def _take(self, bounds: Bounds) -> Order | None:
        with self._lock:
            for position, (each, spare) in enumerate(self._waiting):
                if each == bounds:
                    del self._waiting[position]
                    return spare
        return None

    def _taken(self, guest: SocketGuest, bounds: Bounds) -> SocketGuest:
        self._fill(bounds, unless_left=True)
        return guest

    def _over(self, bounds: Bounds, ended: Callable[[], None]) -> None:
        ended()
        self._fill(bounds)

    def _fill(self, bounds: Bounds, *, unless_left: bool = False) -> None:
        """Order spares of these bounds until the pool is full. One is ordered at least: the oldest other makes room.

        Args:
            bounds: of the guests to make.
            unless_left: do nothing while one of these bounds waits.
        """
        with self._lock, suppress(OSError):  # of a server that is gone, or in arrears, there are none
            alike = any(each == bounds for each, _ in self._waiting)
            if self._closed or not self._spares or (alike and unless_left):
                return
            if not alike and len(self._waiting) == self._spares:
                self._waiting.popleft()[1].discard()
            while len(self._waiting) < self._spares:
                self._waiting.append((bounds, Order(self.server, bounds)))


def _discard(waiting: deque[tuple[Bounds, Order]]) -> None:
    while waiting:
        waiting.popleft()[1].discard()
