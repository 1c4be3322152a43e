"""Threads that run sync tools.

Not a ThreadPoolExecutor: that joins its threads when the interpreter ends, so one tool that hangs would keep the whole
process alive. These threads are daemons, are started when needed, reused, and survive a fork of the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

__all__ = ["Workers"]

T = TypeVar("T")

IDLE_SECONDS = 10.0
"""How long a thread without work lives on."""


class Workers:
    """Runs each task at once, in a thread that has nothing else to do."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = 0
        self._process = os.getpid()

    def submit(self, task: Callable[[], None]) -> None:
        """Run task in a thread. It must not raise."""
        if self._process != os.getpid():
            self._reset()
        with self._lock:
            spawn = self._idle == 0
            self._idle -= not spawn
        self._tasks.put(task)
        if spawn:
            threading.Thread(target=self._work, name="callgate-tool", daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread, with the caller's context variables, and return what it returns.

        Cancelled, it leaves the thread to finish on its own.
        """
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result, error = context.run(function), None
            except BaseException as raised:  # noqa: BLE001 - whatever it is belongs to the waiting task
                result, error = None, raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, future, result, error)

        self.submit(work)
        return await future

    def each(self, functions: Sequence[Callable[[], T]], *, most: int, seconds: float) -> list[T | None]:
        """Run functions in threads, so many at a time, each with the caller's context variables.

        Returns:
            What they return, in their order; None for those that take longer than seconds, and are left to themselves.
            They must not raise.
        """
        results: list[T | None] = [None] * len(functions)
        returned: SimpleQueue[tuple[int, T]] = SimpleQueue()
        deadline = time.monotonic() + seconds

        def start(at: int) -> None:
            context = contextvars.copy_context()
            self.submit(lambda: returned.put((at, context.run(functions[at]))))

        for at in range(min(most, len(functions))):
            start(at)
        for begun in range(most, most + len(functions)):
            try:
                at, results[at] = returned.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            if begun < len(functions):
                start(begun)
        return results

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._idle == 0:  # somebody counted on this thread and its task is on the way
                        continue
                    self._idle -= 1
                return
            task()
            del task  # do not keep its arguments alive while waiting
            with self._lock:
                self._idle += 1


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
