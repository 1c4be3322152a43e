"""At most so many at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future

__all__ = ["Seats"]


class Seats:
    """So many seats. Who comes first is served first, threads and coroutines of any event loop alike."""

    def __init__(self, number: int) -> None:
        self._lock = threading.Lock()
        self._free = number
        self._waiting: deque[Future[None]] = deque()

    def take(self, seconds: float) -> bool:
        """Take a seat; False if none becomes free within so many seconds."""
        waiter = self._enter()
        if waiter is None:
            return True
        try:
            waiter.result(seconds)
        except TimeoutError:
            return not self._withdraw(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        return True

    async def atake(self, seconds: float) -> bool:
        """The awaitable twin of `take`. Cancelled, it has taken nothing."""
        waiter = self._enter()
        if waiter is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(waiter)
        except TimeoutError:
            return not self._withdraw(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        return True

    def give_back(self) -> None:
        """Give a seat to who waits longest, or keep it for who comes."""
        with self._lock:
            while self._waiting:
                waiter = self._waiting.popleft()
                if waiter.set_running_or_notify_cancel():
                    break
            else:
                self._free += 1
                return
        waiter.set_result(None)

    def let_in(self) -> None:
        """Let everybody in who waits now."""
        with self._lock:
            number = len(self._waiting)
        for _ in range(number):
            self.give_back()

    def _enter(self) -> Future[None] | None:
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            waiter: Future[None] = Future()
            self._waiting.append(waiter)
            return waiter

    def _withdraw(self, waiter: Future[None]) -> bool:
        """Stop waiting; False if the seat came at the last moment."""
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                return True
        return waiter.cancelled()

    def _leave(self, waiter: Future[None]) -> None:
        if not self._withdraw(waiter):
            self.give_back()
