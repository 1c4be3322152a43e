"""What a program can ask callgate itself: tools it was not shown, and values that were too large to show."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

from callgate.calls import Result
from callgate.codec import JSON, digest
from callgate.errors import ToolFailed
from callgate.journal import JournalStore
from callgate.search import Index, index_of
from callgate.stubs import Stubs
from callgate.tools import Call, Catalogue, Tool

__all__ = ["Discovery", "reserved_tools"]

QUERY_CHARS = 1_000
"""Characters of a query that are looked at."""
FOUND = 10
"""Tools that `search_tools` returns at most."""


class Discovery:
    """What a program can find out about the tools of a catalogue; made ready when it is first asked.

    Args:
        catalogue: the tools.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._functions = catalogue.functions
        self._tools = {one.name: function for function, one in catalogue.functions.items()}

    @cached_property
    def stubs(self) -> Stubs:
        """The lines of the tools."""
        return Stubs(self._functions)

    @cached_property
    def _index(self) -> Index:
        return index_of(self._functions.items())

    def search(self, query: str) -> list[dict[str, JSON]]:
        """Return the tools whose names, descriptions and arguments fit query best.

        Each is {"name": the function to call, "stub": its signature and the first sentence of its description}.
        """
        names = list(self._functions)
        found = [names[at] for at in self._index.best(query[:QUERY_CHARS], FOUND)]
        return [{"name": name, "stub": self.stubs.one(name)} for name in found]

    def describe(self, name: str) -> dict[str, JSON]:
        """Return a tool's stub, its whole description and its schemas.

        Raises:
            ToolFailed: if no tool has that name or function name.
        """
        function = name if name in self._functions else self._tools.get(name)
        if function is None:
            raise ToolFailed(f"there is no tool {name!r}; search_tools(query) finds tools")
        one = self._functions[function]
        return {
            "name": function,
            "stub": self.stubs.one(function),
            "description": one.description,
            "input_schema": dict(one.input_schema),
            "output_schema": dict(one.output_schema) if one.output_schema is not None else None,
        }


def reserved_tools(
    discovery: Discovery, store: JournalStore, kept_key: Callable[[str], str], most: int
) -> dict[str, Tool]:
    """Return load_value, search_tools and describe_tool for one action, by name.

    Args:
        discovery: of the action's tools.
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
        "search_tools": _reserved("search_tools", "query", lambda call: discovery.search(str(call.arguments["query"]))),
        "describe_tool": _reserved(
            "describe_tool", "name", lambda call: discovery.describe(str(call.arguments["name"]))
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
