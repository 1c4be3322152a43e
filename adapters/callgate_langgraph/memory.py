"""What a node keeps in memory between code actions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, TypeVar

__all__ = ["KeptValues", "Unreturned"]

ACTION = "callgate-action:"
"""Begins the keys that lines of an action are stored under; all other keys are of kept values."""

_MOST_CHARS = 64 << 20
"""Characters of values kept per node; the oldest go first."""

_MOST_UNRETURNED = 256

T = TypeVar("T")


class KeptValues:
    """A JournalStore that keeps only the values too large to show; the lines of an action leave with its answer."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, str] = OrderedDict()
        self._chars = 0
        self._lock = threading.Lock()

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep a value; lines of an action are dropped."""
        if key.startswith(ACTION):
            return
        with self._lock:
            if key in self._values:
                return
            self._values[key] = lines[0]
            self._chars += len(lines[0])
            while self._chars > _MOST_CHARS and len(self._values) > 1:
                self._chars -= len(self._values.popitem(last=False)[1])

    def read(self, key: str) -> list[str]:
        """Return the value under key as one line; nothing where there is none."""
        with self._lock:
            return [self._values[key]] if key in self._values else []

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """The awaitable twin of `append`; never waits."""
        self.append(key, position, lines)

    async def aread(self, key: str) -> list[str]:
        """The awaitable twin of `read`; never waits."""
        return self.read(key)


class Unreturned(Generic[T]):
    """Results of actions whose node run then failed or was interrupted beside them.

    LangGraph starts such a node run again from its beginning, as the same task; its finished actions must not run
    twice. Only the newest 256 are kept, and only in this process.
    """

    def __init__(self) -> None:
        self._results: OrderedDict[tuple[str, ...], T] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: tuple[str, ...], result: T) -> None:
        """Keep a result until it is taken."""
        with self._lock:
            self._results[key] = result
            while len(self._results) > _MOST_UNRETURNED:
                self._results.popitem(last=False)

    def take(self, key: tuple[str, ...]) -> T | None:
        """Return a result and forget it; None where there is none."""
        if not self._results:
            return None
        with self._lock:
            return self._results.pop(key, None)
