"""An event loop that whoever waits for it runs, and a thread of its own while nobody does.

Two threads that hand each other every call of a tool spend more time on that than on the call. A thread that has
nothing to do but to wait for the loop therefore runs it meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from callgate.sandboxes.channel import running_loop

__all__ = ["SharedLoop"]

T = TypeVar("T")

ABSENCE = 0.005
"""Seconds without a turn after which the loop's own thread runs it again."""


class SharedLoop:
    """One event loop, run by one thread at a time: by its own, until that is told to stop; then by whoever takes turns.

    Args:
        name: of its own thread.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.SelectorEventLoop()
        self._running = threading.Lock()
        """Held by whoever runs it."""
        self._runner: int | None = None
        """The thread that does."""
        self._turns = 0
        self._back = threading.Event()
        """Its own thread is to look whether it runs the loop."""
        self._asleep = False
        """Whether its own thread has to be told of the end of a turn."""
        self._closed = False
        self._gate = threading.RLock()  # garbage that is collected beneath it may close this
        self._over = False
        """Whether it takes nothing more."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, work: Callable[..., object], *arguments: object) -> None:
        """Have something done on the loop, from any thread."""
        running = self._running.locked()  # before: it may be that this ends the turn
        with suppress(RuntimeError):  # it is closed, and everything with it
            self.loop.call_soon_threadsafe(work, *arguments)
        if not running:
            self._back.set()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop, from any thread.

        Raises:
            RuntimeError: if it is closed.
        """
        with self._gate:
            if self._over:
                work.close()
                raise RuntimeError("the loop is closed")
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        self.call_back()
        return future

    @property
    def mine(self) -> bool:
        """Whether this very thread runs it, or is about to."""
        return self._runner == threading.get_ident()

    def at_once(self, work: Callable[[], object]) -> None:
        """Do something on the loop, from it or from any thread."""
        if running_loop() is self.loop:
            work()
        else:
            self.post(work)

    def do(self, work: Callable[[], object]) -> None:
        """Do something in place of the loop if nobody runs it, for somebody who takes a turn next; else on the loop.

        What is done must not ask for the running loop.
        """
        if running_loop() is not None or not self._running.acquire(blocking=False):
            self.post(work)
            return
        self._runner = threading.get_ident()
        try:
            if not self._closed:
                work()
        finally:
            self._leave()

    def turn(self, seconds: float | None, unless: Callable[[], bool]) -> bool:
        """Run the loop in this thread until it is stopped, or so long; False if that cannot be.

        The main thread does not: a signal of the terminal would end whatever the loop is at.

        Args:
            seconds: at most; None is for ever.
            unless: what the loop is run for. It is asked once nobody else runs the loop: what others did before stops
                their turn and not this one.
        """
        if (
            running_loop() is not None
            or threading.current_thread() is threading.main_thread()
            or not self._running.acquire(blocking=False)
        ):
            return False
        self._runner = threading.get_ident()
        try:
            if self._closed:
                return False
            if not unless():
                self._run_for(seconds)
        finally:
            self._leave()
        return True

    def _run_for(self, seconds: float | None) -> None:
        timer = self.loop.call_later(seconds, self.loop.stop) if seconds is not None else None
        try:
            self.loop.run_forever()
        finally:
            if timer is not None:
                timer.cancel()

    def _leave(self) -> None:
        self._turns += 1
        self._runner = None
        self._running.release()
        if self._asleep:
            self._back.set()

    def call_back(self) -> None:
        """Have its own thread run it, unless it is being run."""
        if not self._running.locked():
            self._back.set()

    def close(self, seconds: float) -> None:
        """Close it, waiting so long for its own thread. Nobody runs it afterwards."""
        self._closed = True
        self.post(self.loop.stop)
        self._back.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._closed:
            with self._running:
                self._runner = threading.get_ident()
                if not self._closed:
                    self.loop.run_forever()
                self._runner = None
            self._stay_away()
        with self._running:
            self._runner = threading.get_ident()
            with self._gate:
                self._over = True
            try:
                self.loop.run_until_complete(_cancel_all())
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            finally:
                self.loop.close()

    def _stay_away(self) -> None:
        """Wait until nobody has taken a turn for a while, or until it is called back."""
        seen = -1
        while not self._closed and not self._back.wait(ABSENCE):
            if self._turns == seen and not self._wait_for_long_turn():
                break
            seen = self._turns
        self._back.clear()

    def _wait_for_long_turn(self) -> bool:
        """Wait for the end of the turn that somebody takes; False if nobody does."""
        self._asleep = True
        if long := self._running.locked():
            self._back.wait()
            if not self._closed:
                self._back.clear()
        self._asleep = False
        return long


async def _cancel_all() -> None:
    me = asyncio.current_task()
    rest = [task for task in asyncio.all_tasks() if task is not me]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
