"""What a program can ask callgate itself: tools it was not shown, and values that were too large to show."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Any

from callgate.calls import Result
from callgate.codec import JSON, digest
from callgate.errors import ToolFailed
from callgate.journal import JournalStore
from callgate.schema import stub
from callgate.tools import Call, Catalogue, Tool

__all__ = ["reserved_tools", "search"]

QUERY_CHARS = 1_000
"""Characters of a query that are looked at."""
FOUND = 10
"""Tools that `search_tools` returns at most."""


def search(catalogue: Catalogue, query: str) -> list[dict[str, JSON]]:
    """Return the tools whose names and descriptions share most words with query, best first.

    Each is {"name": the function to call, "stub": its signature and description in one line}.
    """
    wanted = _words(query[:QUERY_CHARS])
    scored: list[tuple[int, str]] = []
    for name, one in catalogue.functions.items():
        score = 2 * len(wanted & _words(one.name)) + len(wanted & _words(one.description))
        if score:
            scored.append((score, name))
    scored.sort(key=lambda pair: -pair[0])
    return [{"name": name, "stub": stub(name, catalogue.functions[name])} for _, name in scored[:FOUND]]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower()))


def describe(catalogue: Catalogue, name: str) -> dict[str, JSON]:
    """Return a tool's stub, its whole description and its schemas.

    Raises:
        ToolFailed: if no tool has that name or function name.
    """
    one = catalogue.functions.get(name) or catalogue.tools.get(name)
    if one is None or "code" not in one.callers:
        raise ToolFailed(f"there is no tool {name!r}; search_tools(query) finds tools")
    function = next(key for key, tool in catalogue.functions.items() if tool is one)
    return {
        "name": function,
        "stub": stub(function, one),
        "description": one.description,
        "input_schema": dict(one.input_schema),
        "output_schema": dict(one.output_schema) if one.output_schema is not None else None,
    }


def reserved_tools(
    catalogue: Catalogue, store: JournalStore, kept_key: Callable[[str], str], most: int
) -> dict[str, Tool]:
    """Return load_value, search_tools and describe_tool for one action, by name.

    Args:
        catalogue: the action's.
        store: where values are kept.
        kept_key: turns a handle into the key of the action's own thread.
        most: bytes that the values a program loads may take together; one may always be loaded.
    """
    loaded: dict[str, Result] = {}  # the host holds a large value once, however often it is asked for
    one_by_one, aone_by_one = threading.Lock(), asyncio.Lock()

    def found(handle: str, lines: list[str]) -> Result:
        if not lines or digest(lines[0])[: len(handle)] != handle:
            raise ToolFailed(f"no value is kept under {handle!r} in this thread")
        before = sum(len(each.text) for each in loaded.values())
        if before and before + len(lines[0]) > most:
            raise ToolFailed(
                f"this program has loaded {before:,} bytes of kept values and may load {most:,} in all; "
                "load fewer of them, or do the rest in another program"
            )
        return loaded.setdefault(handle, Result(text=lines[0]))

    def checked(call: Call) -> str:
        handle = call.arguments["handle"]
        if not isinstance(handle, str) or not re.fullmatch("[0-9a-f]{32}", handle):
            raise ToolFailed("load_value takes a handle as an outcome showed it: 32 hexadecimal digits")
        return handle

    async def aload(call: Call) -> Result:
        handle = checked(call)
        async with aone_by_one:
            return loaded.get(handle) or found(handle, await store.aread(kept_key(handle)))

    def load(call: Call) -> Result:
        handle = checked(call)
        with one_by_one:
            return loaded.get(handle) or found(handle, store.read(kept_key(handle)))

    return {
        "load_value": _reserved("load_value", "handle", load, aload),
        "search_tools": _reserved(
            "search_tools", "query", lambda call: search(catalogue, str(call.arguments["query"]))
        ),
        "describe_tool": _reserved(
            "describe_tool", "name", lambda call: describe(catalogue, str(call.arguments["name"]))
        ),
    }


def _reserved(
    name: str,
    parameter: str,
    invoke: Callable[[Call], Any],
    ainvoke: Callable[[Call], Any] | None = None,
) -> Tool:
    async def at_once(call: Call) -> Any:
        return invoke(call)

    schema: dict[str, JSON] = {"type": "object", "properties": {parameter: {"type": "string"}}}
    schema |= {"required": [parameter], "additionalProperties": False}
    return Tool(name=name, input_schema=schema, effect="read", invoke=invoke, ainvoke=ainvoke or at_once)
