"""Journals in the store of a workflow's Context: they are serialised with it, and go on where it is restored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, cast

from workflows import Context

from callgate import JournalError, UsageError
from callgate.action import KEPT
from callgate_llama_index.upstream import current_call, number_in_step

__all__ = ["JOURNALS", "PARKED", "TURN", "WAITS", "ContextJournal", "context_in", "forget", "key_of", "scope_of"]

JOURNALS = "callgate_journals"
"""The key of the store that holds them."""

_OF_THREAD = "kept_"

TURN = "callgate_turn"
"""The key of the store that counts what models of CallgateAgents said."""

WAITS = "callgate_waits"
"""The key of the store that says what steps wait for."""

PARKED = "callgate_parked"
"""The key of the store that names the steps which wait for ever, should they be entered once more."""

SCOPE = "callgate_scope"
"""The key that tells this Context from all others, for journals that are kept elsewhere."""


class ContextJournal:
    """Keeps lines in the store of a Context. They last as long as whoever keeps the Context keeps it.

    Args:
        store: of the Context.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep lines; see `JournalStore.append`."""
        kept: Mapping[str, str] = await self._store.get(_path(key), default={})
        if len(kept) != position:
            raise JournalError(f"journal {key!r} does not end at line {position}: another run appended to it")
        for number, line in enumerate(lines, position):
            await self._store.set(f"{_path(key)}.{number}", line)

    async def aread(self, key: str) -> list[str]:
        """Return the lines under key; see `JournalStore.read`."""
        kept: Mapping[str, str] = await self._store.get(_path(key), default={})
        try:
            return [kept[str(number)] for number in range(len(kept))]
        except KeyError as missing:
            raise JournalError(f"journal {key!r} lacks a line: the Context was changed") from missing

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Cannot be: a Context is only read and written on its event loop."""
        raise UsageError("the journal in a Context is only awaited; give code_tool a journal to call it plainly")

    def read(self, key: str) -> list[str]:
        """Cannot be either."""
        raise UsageError("the journal in a Context is only awaited; give code_tool a journal to call it plainly")


def _path(key: str) -> str:
    """Return where the lines of a key stand: dots in a path of the store are steps, so it has none."""
    return f"{JOURNALS}.{_OF_THREAD if key.startswith(KEPT) else ''}{hashlib.sha256(key.encode()).hexdigest()[:32]}"


async def scope_of(store: Any) -> str:
    """Return the name of a Context, which it keeps wherever it is restored."""
    scope: str | None = await store.get(SCOPE, default=None)
    if scope is None:
        scope = secrets.token_hex(8)
        await store.set(SCOPE, scope)
    return scope


def context_in(given: object) -> Context[Any] | None:
    """Return what an agent hands over as its Context; None for what is none, such as an argument of a model."""
    return cast("Context[Any]", given) if isinstance(given, Context) else None


async def key_of(context: Context[Any], what: str) -> tuple[str, str, str]:
    """Return the name of a Context, the key of the journal of an action of the running step, and the id of its call.

    The key is that of the model's call, and the same whenever its step is entered anew. A restored workflow may also
    send a call once more that is on its way: so it is not the step that the key goes by, where the model gives ids.
    Outside a step it is a new one.

    Args:
        context: of the step.
        what: is done. The step may be that of another tool, which does several things.
    """
    store = context.store
    scope, call = await scope_of(store), current_call()
    if call is None:
        made = secrets.token_hex(8)
        return scope, f"{scope}/{made}", made
    asked = hashlib.sha256(str(await store.get("user_msg_str", default="")).encode()).hexdigest()[:8]
    before = len(await store.get("current_tool_calls", default=()))
    turn = f"{await store.get(TURN, default=0)}.{before}.{asked}"
    own = f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.{number_in_step(context, what)}"
    return scope, f"{scope}/{turn}/{call.id or call.work}/{call.content}/{own}", call.id or call.work


async def forget(store: Any) -> None:
    """Let go of all journals, when all of a turn's actions are over; what their programs kept stays."""
    kept: dict[str, dict[str, str]] = await store.get(JOURNALS, default={})
    left = {key: lines for key, lines in kept.items() if key.startswith(_OF_THREAD)}
    if len(left) < len(kept):
        await store.set(JOURNALS, left)
    waits: dict[str, dict[str, Any]] = await store.get(WAITS, default={})
    if waits:  # a restored workflow may still have calls of this turn on their way
        parked: list[str] = await store.get(PARKED, default=[])
        await store.set(PARKED, list(dict.fromkeys([*parked, *(one["by"] for one in waits.values())])))
        await store.set(WAITS, {})
