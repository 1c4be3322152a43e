"""The journal of a code action, kept in the checkpointer that the graph has anyway."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from callgate.action import KEPT
from callgate.errors import JournalError
from callgate.journal import JournalStore
from callgate_langgraph.adopting import adopt, find_origin
from callgate_langgraph.placement import HasExecutionInfo, Place, place_of
from callgate_langgraph.rows import Chain, append_row, read_rows, taken
from callgate_langgraph.saving import Asks, aask, ask, get_tuple, pause

__all__ = ["AfterCheckpoint", "CheckpointJournal", "Durability", "checkpoint_journal", "starts_write"]

WAIT_SECONDS = 5.0
"""How long the rows of this checkpoint and of those around it are waited for."""
LATE_SECONDS = 1.0
"""How long for our own once the others are there. It is stored next, or never: a graph compiled with
checkpointer=False."""

_NO_READ_BACK = '{"e":"done"'
_WRITE_STARTS = '{"e":"started"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """Whether a crash from here on is resumed where it happened."""

    holds: bool
    reason: str
    """Why not; empty if it holds."""


class CheckpointJournal:
    """A `JournalStore` for one run of one node: lines lie beside the checkpoint the node was started from.

    Get one from `checkpoint_journal`. Entered again after an interrupt, a crash or a retry, the node finds what it
    wrote; so it does at a copy of the checkpoint made while it was paused. No stream, state or history shows any of it,
    and it goes when the thread is deleted. Keys that begin with "kept/" belong to the thread instead.

    Before a write starts, the checkpoint itself has to be stored, for it is what a crash is resumed from: by default
    LangGraph starts a node before that. It is waited for once; `durability` says what came of it.

    Args:
        place: of the node.
        require_durable: refuse to start a write where a crash would not be resumed.
        tell: is told the durability when it is known.

    Safe to share between the threads of a node run. Its sync methods block on the checkpointer, the awaitable ones use
    its awaitable methods.
    """

    def __init__(
        self,
        place: Place,
        *,
        require_durable: bool = False,
        tell: Callable[[Durability], None] | None = None,
    ) -> None:
        self._place, self._require, self._tell = place, require_durable, tell
        self._chains: dict[str, Chain] = {}
        self._own: CheckpointTuple | None = None
        self._found: Durability | None = None
        self.durability: Durability | None = None
        """None until the first write is about to start."""

    @property
    def serde(self) -> SerializerProtocol:
        """How the checkpointer turns values into bytes."""
        return self._place.saver.serde

    # ---- JournalStore

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep lines; see `JournalStore.append`.

        Lines that only say how calls ended may be lost to another run without an error here; the next append of any
        other kind raises it.

        Raises:
            JournalError: if another run appended, the checkpointer failed, or a write is about to start that a crash
                would lose and `require_durable` was asked for.
        """
        ask(self._place.saver, self._append(key, position, lines))

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """The awaitable twin of `append`."""
        await aask(self._place.saver, self._append(key, position, lines))

    def read(self, key: str) -> list[str]:
        """Return the lines under key; see `JournalStore.read`.

        Where there are none and the checkpoint is a copy, those of its original are adopted.

        Raises:
            JournalError: if the lines were changed, another run goes on with them, or the checkpointer failed.
        """
        return ask(self._place.saver, self._read(key))

    async def aread(self, key: str) -> list[str]:
        """The awaitable twin of `read`."""
        return await aask(self._place.saver, self._read(key))

    # ---- for lines that are kept elsewhere

    def before(self, lines: Sequence[str]) -> None:
        """Do what comes before an append of lines that start a write.

        Raises:
            JournalError: as `append`.
        """
        if starts_write(lines):
            ask(self._place.saver, self._rows_are_stored())

    async def abefore(self, lines: Sequence[str]) -> None:
        """The awaitable twin of `before`."""
        if starts_write(lines):
            await aask(self._place.saver, self._rows_are_stored())

    # ---- both ways

    def _chain(self, place: Place, key: str) -> Chain:
        return Chain(place, key, of_thread=key.startswith(KEPT))

    def _append(self, key: str, position: int, lines: Sequence[str]) -> Asks[None]:
        chain = self._chains.pop(key, None)  # back when all went well: after a failure nobody knows what is stored
        if chain is None:
            chain = self._chain(self._place, key)
            yield from read_rows(chain)
        if chain.position != position:
            raise taken(chain, position)
        if starts_write(lines):
            yield from self._rows_are_stored()
        # A kept value is named by its digest, so whoever comes first keeps the same one.
        once = chain.of_thread or all(line.startswith(_NO_READ_BACK) for line in lines)
        # A saver in pipeline mode comes back before its database does; what is read back is stored.
        yield from append_row(chain, lines, read_back=not once or getattr(self._place.saver, "pipe", None) is not None)
        self._chains[key] = chain

    def _read(self, key: str) -> Asks[list[str]]:
        chain = self._chain(self._place, key)
        lines = yield from read_rows(chain)
        if not lines and not chain.of_thread:
            lines = yield from self._adopted(chain)
        self._chains[key] = chain
        return lines

    def _adopted(self, chain: Chain) -> Asks[list[str]]:
        if self._own is None and self._found is None:
            if self._place.may_fork or self._place.ancestors:
                yield from self._look()
            else:
                self._own = yield from get_tuple(self._place.own())
        origin = yield from find_origin(self._place, self._own, lambda place: self._chain(place, chain.key))
        if origin is None:
            return []
        yield from adopt(origin, chain)
        return origin[1]

    # ---- the checkpoint's own rows

    def _rows_are_stored(self) -> Asks[None]:
        """Wait for the rows that a crash would be resumed from, once."""
        if self.durability is None:
            found = self._found or (yield from self._look())
            if self.durability is None and self._tell is not None:  # another thread may have been faster
                self._tell(found)
            self.durability = found
        if self._require and not self.durability.holds:
            raise JournalError(
                f"a write was about to start, and {self.durability.reason}. Nothing was started. "
                'Run the graph with durability="sync" or "async" and a checkpointer that outlives the process, '
                "or leave out require_durable"
            )

    def _look(self) -> Asks[Durability]:
        """Wait for our own row and those of the graphs around, once."""
        reason = yield from self._missing()
        if not reason and type(self._place.saver) is InMemorySaver:
            reason = "InMemorySaver keeps checkpoints in this process only"
        self._found = Durability(holds=not reason, reason=reason)
        return self._found

    def _missing(self) -> Asks[str]:
        """Return why a row is not there; nothing if all are."""
        place = self._place
        if place.only_at_exit:
            self._own = yield from get_tuple(place.own())
            return 'durability="exit" stores checkpoints only when the run ends'
        began, late, delay = time.monotonic(), None, 0.001
        missing = list(place.ancestors)
        while True:
            if self._own is None:
                self._own = yield from get_tuple(place.own())
            while missing and (yield from get_tuple(place.config(*missing[0]))) is not None:
                missing.pop(0)
            if self._own is not None and not missing:
                return ""
            now = time.monotonic()
            late = late or (now if place.ancestors and not missing else None)
            if late is not None and now - late > LATE_SECONDS:
                return "its graph stores no checkpoint: it is compiled with checkpointer=False, or its store is slow"
            if now - began > WAIT_SECONDS:
                return f"the checkpointer has not stored the checkpoint within {WAIT_SECONDS:g} s"
            yield from pause(delay)
            delay = min(delay * 1.5, 0.05)


class AfterCheckpoint:
    """A `JournalStore` of the user's own, for a node of a graph that has a checkpointer.

    What a crash is resumed from is the checkpoint all the same: no write starts before it is stored.

    Args:
        store: where the lines are kept.
        journal: of the running node.
    """

    def __init__(self, store: JournalStore, journal: CheckpointJournal) -> None:
        self._store, self._journal = store, journal

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep lines; see `JournalStore.append`."""
        self._journal.before(lines)
        self._store.append(key, position, lines)

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """The awaitable twin of `append`."""
        await self._journal.abefore(lines)
        await self._store.aappend(key, position, lines)

    def read(self, key: str) -> list[str]:
        """Return the lines under key."""
        return self._store.read(key)

    async def aread(self, key: str) -> list[str]:
        """The awaitable twin of `read`."""
        return await self._store.aread(key)


def starts_write(lines: Sequence[str]) -> bool:
    """Say whether lines hold the start of a write."""
    return any(line.startswith(_WRITE_STARTS) for line in lines)


def checkpoint_journal(
    runtime: HasExecutionInfo,
    config: RunnableConfig,
    *,
    require_durable: bool = False,
    tell: Callable[[Durability], None] | None = None,
) -> CheckpointJournal | None:
    """Return the journal of the running node; None if its graph has no checkpointer.

    Args:
        runtime: of the node, or of a tool in it.
        config: of the same.
        require_durable: as for `CheckpointJournal`.
        tell: as for `CheckpointJournal`.
    """
    place = place_of(runtime, config)
    return CheckpointJournal(place, require_durable=require_durable, tell=tell) if place is not None else None
