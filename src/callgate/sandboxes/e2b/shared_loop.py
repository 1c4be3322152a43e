"""An event loop that whoever waits for it runs, and a thread of its own while nobody does.

Two threads that hand each other every call of a tool spend more time on that than on the call. A thread that has
nothing to do but to wait for the loop therefore runs it meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from callgate.sandboxes.channel import running_loop

__all__ = ["SharedLoop"]

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
        self._turns = 0
        self._back = threading.Event()
        """Its own thread is to look whether it runs the loop."""
        self._asleep = False
        """Whether its own thread has to be told of the end of a turn."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, work: Callable[..., object], *arguments: object) -> None:
        """Have something done on the loop, from any thread."""
        running = self._running.locked()  # before: it may be that this ends the turn
        with suppress(RuntimeError):  # it is closed, and everything with it
            self.loop.call_soon_threadsafe(work, *arguments)
        if not running:
            self._back.set()

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
                if not self._closed:
                    self.loop.run_forever()
            self._stay_away()
        with self._running:
            try:
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
