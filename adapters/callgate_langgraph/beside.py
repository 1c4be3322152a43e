"""What inner calls gave that is LangGraph's own business, kept beside the action's journal: state updates, interrupts.

It is durable before the call's own entry is, so whoever goes on with the action finds everything that counts. Before
that entry a read's id is nobody's: after a crash another call may have it, so what is kept names the call itself too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from langgraph.types import Command

from callgate import Call, Journal, JournalError, UsageError
from callgate.codec import JSON, decode, digest, encode
from callgate_langgraph.interrupts import Interrupted
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.steps import Steps

__all__ = ["Beside", "Identity", "identity"]

Identity: TypeAlias = tuple[str, str]
"""Tool, and SHA-256 of the canonical arguments that it is run with."""


class Beside:
    """What the inner calls of one action gave, by the last run of each call.

    Args:
        keeping: where it is kept.
        key: under which.
    """

    def __init__(self, keeping: Keeping, key: str) -> None:
        self._keeping, self._key, self._journal = keeping, key, Journal(key=keeping.seal)
        self._updates: dict[str, tuple[Identity, list[Command[Any]]]] = {}
        self._interrupted: dict[str, tuple[Identity, Interrupted]] = {}
        self._lock, self._alock = threading.Lock(), asyncio.Lock()

    def load(self) -> Steps[None]:
        """Read what earlier passes kept.

        Raises:
            JournalError: if it was changed.
        """
        self._journal = yield from self._keeping.journal(self._key)
        for line in self._journal.lines:
            self._take(decode(line))

    def commands(self) -> list[tuple[str, Identity, Command[Any]]]:
        """Return every Command with the id and the identity of its call, in the order in which the calls ended."""
        return [(call_id, of, one) for call_id, (of, commands) in self._updates.items() for one in commands]

    def asked(self, call: Call) -> Interrupted | None:
        """Return what the tool of exactly this call asked last."""
        of, asked = self._interrupted.get(call.id, (None, None))
        return asked if of == identity(call) else None

    def interrupted(self, call_id: str) -> Interrupted | None:
        """Return what the tool of a call asked last, of which the journal says that it waits."""
        return self._interrupted[call_id][1] if call_id in self._interrupted else None

    # ---- lines

    def keep(self, call: Call, commands: Sequence[Command[Any]]) -> None:
        """Keep what a run of a call gave; nothing, too, where an earlier run of it gave something.

        Raises:
            UsageError: to end the action, if it cannot be kept.
        """
        if commands or call.id in self._updates:
            with self._lock, _kept(call.id):
                self._append("updates", call, commands=self._packed(call.id, commands))
                self._updates[call.id] = identity(call), list(commands)  # as they are: a line may change their types

    async def akeep(self, call: Call, commands: Sequence[Command[Any]]) -> None:
        """The awaitable twin of `keep`."""
        if commands or call.id in self._updates:
            async with self._alock:
                with _kept(call.id):
                    await self._aappend("updates", call, commands=self._packed(call.id, commands))
                    self._updates[call.id] = identity(call), list(commands)

    def interrupt(self, call: Call, asked: Interrupted) -> None:
        """Keep what the tool of a call asks.

        Raises:
            UsageError: to end the action, if it cannot be kept.
        """
        with self._lock, _kept(call.id):
            self._append("interrupted", call, asked=list(asked))

    async def ainterrupt(self, call: Call, asked: Interrupted) -> None:
        """The awaitable twin of `interrupt`."""
        async with self._alock:
            with _kept(call.id):
                await self._aappend("interrupted", call, asked=list(asked))

    def _packed(self, call_id: str, commands: Sequence[Command[Any]]) -> str:
        try:
            return self._keeping.pack(list(commands))
        except Exception as error:
            raise UsageError(f"the Command of call {call_id} holds what no checkpoint can store: {error}") from error

    def _append(self, kind: str, call: Call, **fields: JSON) -> None:
        position, line = self._add(kind, call, fields)
        self._keeping.store.append(self._key, position, [line])

    async def _aappend(self, kind: str, call: Call, **fields: JSON) -> None:
        position, line = self._add(kind, call, fields)
        await self._keeping.store.aappend(self._key, position, [line])

    def _add(self, kind: str, call: Call, fields: dict[str, JSON]) -> tuple[int, str]:
        position, entry = len(self._journal), {"call": call.id, "of": list(identity(call)), **fields}
        self._take({"e": kind, **entry})
        return position, self._journal.add_text(f'{{"e":"{kind}",{encode(entry)[1:-1]}')

    def _take(self, entry: dict[str, Any]) -> None:
        call, of = entry["call"], (entry["of"][0], entry["of"][1])
        if entry["e"] == "interrupted":
            self._interrupted[call] = of, Interrupted(*entry["asked"])
        else:
            self._updates.pop(call, None)  # so that the order is that of the last runs
            self._updates[call] = of, self._keeping.unpack(entry["commands"])


def identity(call: Call) -> Identity:
    """Return what makes a call this one, beside its id."""
    return call.tool, digest(encode(call.arguments))


@contextmanager
def _kept(call_id: str) -> Generator[None]:
    try:
        yield
    except JournalError as error:
        raise UsageError(f"what call {call_id} gave could not be kept: {error}") from error
