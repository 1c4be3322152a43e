"""What a node without a journal keeps in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from callgate import MemoryJournal
from callgate.action import KEPT
from callgate_langgraph.checkpoint_journal import starts_write

__all__ = ["KeptValues", "NodeMemory", "RunMemory"]

_MOST_CHARS = 64 << 20
"""Characters of values kept per node; the oldest go first."""

_MOST_RUNS = 256


class KeptValues:
    """The values too large to show that later programs may load, the newest 64 Mi characters of them."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, str] = OrderedDict()
        self._chars = 0
        self._lock = threading.Lock()

    def keep(self, key: str, value: str) -> None:
        """Keep a value; the first one counts."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self._chars += len(value)
            while self._chars > _MOST_CHARS and len(self._values) > 1:
                self._chars -= len(self._values.popitem(last=False)[1])

    def read(self, key: str) -> list[str]:
        """Return the value under key as one line; nothing where there is none."""
        with self._lock:
            return [self._values[key]] if key in self._values else []


class RunMemory:
    """A JournalStore for one node run: its lines go when it returns, kept values stay with the node."""

    def __init__(self, kept: KeptValues) -> None:
        self._kept, self._lines = kept, MemoryJournal()
        self.objects: list[Any] = []
        """What only has to outlive a pass, as it is."""
        self.before_write: Callable[[], None] | None = None
        """Called once, before the first write starts; raises to stop it."""

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep lines; see `JournalStore.append`."""
        if self.before_write is not None and starts_write(lines):
            self.before_write()
            self.before_write = None
        if key.startswith(KEPT):
            self._kept.keep(key, lines[0])
        else:
            self._lines.append(key, position, lines)

    def read(self, key: str) -> list[str]:
        """Return the lines under key; see `JournalStore.read`."""
        return self._kept.read(key) if key.startswith(KEPT) else self._lines.read(key)

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """The awaitable twin of `append`; never waits."""
        self.append(key, position, lines)

    async def aread(self, key: str) -> list[str]:
        """The awaitable twin of `read`; never waits."""
        return self.read(key)


class NodeMemory:
    """The stores of node runs that have not returned, the newest 256 of them."""

    def __init__(self) -> None:
        self._kept = KeptValues()
        self._runs: OrderedDict[tuple[str, ...], RunMemory] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, scope: tuple[str, ...]) -> RunMemory:
        """Return the store of a node run: the same one when the run is entered again."""
        with self._lock:
            found = self._runs.setdefault(scope, RunMemory(self._kept))
            while len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
            return found

    def forget(self, scope: tuple[str, ...]) -> None:
        """The node run has returned."""
        with self._lock:
            self._runs.pop(scope, None)
