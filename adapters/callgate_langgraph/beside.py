"""What inner calls gave that is LangGraph's own business, kept beside the action's journal: state updates, interrupts.

It is durable before the call's own entry is, so whoever goes on with the action finds everything that counts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from langgraph.types import Command

from callgate import Journal, JournalError, UsageError
from callgate.codec import JSON, decode, encode
from callgate_langgraph.interrupts import Interrupted
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.steps import Steps

__all__ = ["Beside"]


class Beside:
    """What the inner calls of one action gave, by the last run of each call.

    Args:
        keeping: where it is kept.
        key: under which.
    """

    def __init__(self, keeping: Keeping, key: str) -> None:
        self._keeping, self._key, self._journal = keeping, key, Journal(key=keeping.seal)
        self._updates: dict[str, list[Command[Any]]] = {}
        self._interrupted: dict[str, Interrupted] = {}
        self._lock, self._alock = threading.Lock(), asyncio.Lock()

    def load(self) -> Steps[None]:
        """Read what earlier passes kept.

        Raises:
            JournalError: if it was changed.
        """
        self._journal = yield from self._keeping.journal(self._key)
        for line in self._journal.lines:
            self._take(decode(line))

    def commands(self) -> list[tuple[str, Command[Any]]]:
        """Return every Command and the id of its call, in the order in which the calls ended."""
        return [(call_id, one) for call_id, commands in self._updates.items() for one in commands]

    def interrupted(self, call_id: str) -> Interrupted | None:
        """Return what the tool of a call asked last."""
        return self._interrupted.get(call_id)

    # ---- lines

    def keep(self, call_id: str, commands: Sequence[Command[Any]]) -> None:
        """Keep what a run of a call gave; nothing, too, where an earlier run of it gave something.

        Raises:
            UsageError: to end the action, if it cannot be kept.
        """
        if commands or call_id in self._updates:
            with self._lock, _kept(call_id):
                self._append("updates", call_id, commands=self._packed(call_id, commands))
                self._updates[call_id] = list(commands)  # as they are: what comes from a line may differ in type

    async def akeep(self, call_id: str, commands: Sequence[Command[Any]]) -> None:
        """The awaitable twin of `keep`."""
        if commands or call_id in self._updates:
            async with self._alock:
                with _kept(call_id):
                    await self._aappend("updates", call_id, commands=self._packed(call_id, commands))
                    self._updates[call_id] = list(commands)

    def interrupt(self, call_id: str, asked: Interrupted) -> None:
        """Keep what the tool of a call asks.

        Raises:
            UsageError: to end the action, if it cannot be kept.
        """
        with self._lock, _kept(call_id):
            self._append("interrupted", call_id, asked=list(asked))

    async def ainterrupt(self, call_id: str, asked: Interrupted) -> None:
        """The awaitable twin of `interrupt`."""
        async with self._alock:
            with _kept(call_id):
                await self._aappend("interrupted", call_id, asked=list(asked))

    def _packed(self, call_id: str, commands: Sequence[Command[Any]]) -> str:
        try:
            return self._keeping.pack(list(commands))
        except Exception as error:
            raise UsageError(f"the Command of call {call_id} holds what no checkpoint can store: {error}") from error

    def _append(self, kind: str, call_id: str, **fields: JSON) -> None:
        position, line = self._add(kind, call_id, fields)
        self._keeping.store.append(self._key, position, [line])

    async def _aappend(self, kind: str, call_id: str, **fields: JSON) -> None:
        position, line = self._add(kind, call_id, fields)
        await self._keeping.store.aappend(self._key, position, [line])

    def _add(self, kind: str, call_id: str, fields: dict[str, JSON]) -> tuple[int, str]:
        position, entry = len(self._journal), {"call": call_id, **fields}
        self._take({"e": kind, **entry})
        return position, self._journal.add_text(f'{{"e":"{kind}",{encode(entry)[1:-1]}')

    def _take(self, entry: dict[str, Any]) -> None:
        call = entry["call"]
        if entry["e"] == "interrupted":
            self._interrupted[call] = Interrupted(*entry["asked"])
        else:
            self._updates.pop(call, None)  # so that the order is that of the last runs
            self._updates[call] = self._keeping.unpack(entry["commands"])


@contextmanager
def _kept(call_id: str) -> Generator[None]:
    try:
        yield
    except JournalError as error:
        raise UsageError(f"what call {call_id} gave could not be kept: {error}") from error
