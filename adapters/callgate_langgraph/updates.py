"""State updates that inner calls gave, kept beside the action's journal until the node returns them.

They are durable before the call's own `done` is, so whoever goes on with the action finds every one that counts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from langgraph.types import Command

from callgate import Journal, JournalError, UsageError
from callgate.codec import decode
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.steps import Steps

__all__ = ["Updates"]


class Updates:
    """The Commands of one action's inner calls, by the last run of each call.

    Args:
        keeping: where they are kept.
        key: under which.
    """

    def __init__(self, keeping: Keeping, key: str) -> None:
        self._keeping, self._key, self._journal = keeping, key, Journal(key=keeping.seal)
        self._of: dict[str, list[Command[Any]]] = {}
        self._lock, self._alock = threading.Lock(), asyncio.Lock()

    def load(self) -> Steps[None]:
        """Read what earlier passes kept.

        Raises:
            JournalError: if it was changed.
        """
        self._journal = yield from self._keeping.journal(self._key)
        for line in self._journal.lines:
            entry = decode(line)
            self._set(entry["call"], self._keeping.unpack(entry["commands"]))

    def keep(self, call_id: str, commands: Sequence[Command[Any]]) -> None:
        """Keep what a run of a call gave; nothing, too, where an earlier run of it gave something.

        Raises:
            UsageError: to end the action, if they cannot be kept.
        """
        if commands or call_id in self._of:
            with self._lock:
                position, line = len(self._journal), self._line(call_id, commands)
                try:
                    self._keeping.store.append(self._key, position, [line])
                except JournalError as error:
                    raise _lost(call_id, error) from error

    async def akeep(self, call_id: str, commands: Sequence[Command[Any]]) -> None:
        """The awaitable twin of `keep`."""
        if commands or call_id in self._of:
            async with self._alock:
                position, line = len(self._journal), self._line(call_id, commands)
                try:
                    await self._keeping.store.aappend(self._key, position, [line])
                except JournalError as error:
                    raise _lost(call_id, error) from error

    def _line(self, call_id: str, commands: Sequence[Command[Any]]) -> str:
        try:
            packed = self._keeping.pack(list(commands))
        except Exception as error:
            raise UsageError(f"the Command of call {call_id} holds what no checkpoint can store: {error}") from error
        self._set(call_id, list(commands))
        return self._journal.add({"e": "updates", "call": call_id, "commands": packed}, {})

    def _set(self, call_id: str, commands: list[Command[Any]]) -> None:
        self._of.pop(call_id, None)  # so that the order is that of the last runs
        self._of[call_id] = commands

    def all(self) -> list[tuple[str, Command[Any]]]:
        """Return every Command and the id of its call, in the order in which the calls ended."""
        return [(call_id, one) for call_id, commands in self._of.items() for one in commands]


def _lost(call_id: str, error: Exception) -> UsageError:
    return UsageError(f"the state update of call {call_id} could not be kept: {error}")
