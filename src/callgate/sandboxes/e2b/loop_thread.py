"""An event loop in a thread of its own, to which any thread hands work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs one event loop until it is closed; what it took until then comes to an end.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._gate = threading.RLock()  # garbage that is collected beneath it may close this
        self._over = False
        """Whether it takes no more coroutines."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def current(self) -> bool:
        """Whether it is this thread that asks."""
        return threading.current_thread() is self._thread

    def post(self, work: Callable[..., object], *arguments: object) -> None:
        """Have something done on the loop."""
        with suppress(RuntimeError):  # it is closed, and everything with it
            self.loop.call_soon_threadsafe(work, *arguments)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop.

        Raises:
            RuntimeError: if it is closed.
        """
        with self._gate:
            if not self._over:
                return asyncio.run_coroutine_threadsafe(work, self.loop)
        work.close()
        raise RuntimeError("the loop is closed")

    def close(self, seconds: float) -> None:
        """Cancel what runs, and wait so long for the end of the thread."""
        self.post(self.loop.stop)
        self._thread.join(seconds)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            with self._gate:
                self._over = True
            self.loop.run_until_complete(_cancel_all())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


async def _cancel_all() -> None:
    me = asyncio.current_task()
    rest = [task for task in asyncio.all_tasks() if task is not me]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
