"""Tools of several sources, as one list."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as make_tool

from callgate import UsageError
from callgate.names import told_apart
from callgate_langchain.raw import subclass, twin

__all__ = ["LangChainTools", "listed"]

LangChainTools: TypeAlias = Iterable["BaseTool | Callable[..., Any]"]
"""Tools, and functions that LangChain's `tool` turns into tools."""


def listed(tools: LangChainTools | Mapping[str, LangChainTools]) -> list[BaseTool | Callable[..., Any]]:
    """Return tools as a list: one as it is; of a mapping of sources, all, those of one name told apart.

    Raises:
        UsageError: if sources have tools that cannot be told apart.
    """
    if isinstance(tools, BaseTool) or callable(tools):
        raise UsageError("give tools as a list, or as a mapping of sources to lists of theirs")
    if not isinstance(tools, Mapping):
        return list(tools)
    sources = {
        source: [one if isinstance(one, BaseTool) else make_tool(one) for one in listed(given)]
        for source, given in cast("Mapping[str, LangChainTools]", tools).items()
    }
    return [_renamed(one, name) for name, one in told_apart(sources, lambda one: one.name)]


def _renamed(tool: BaseTool, name: str) -> BaseTool:
    """Return a tool under another name: its own code, which may go by its name, still sees it as it was."""
    if tool.name == name:
        return tool
    renamed = twin(tool, _renaming_class(type(tool)))
    object.__setattr__(renamed, "__dict__", {**tool.__dict__, "name": name, _OWN: tool})
    return renamed


_OWN = "_callgate_own"


@functools.cache
def _renaming_class(kind: type[BaseTool]) -> type[BaseTool]:
    @functools.wraps(kind._run)  # pyright: ignore[reportPrivateUsage] - the documented method to override
    def run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        return kind._run(self.__dict__[_OWN], *args, **kwargs)  # pyright: ignore[reportPrivateUsage]

    @functools.wraps(kind._arun)  # pyright: ignore[reportPrivateUsage]
    async def arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        return await kind._arun(self.__dict__[_OWN], *args, **kwargs)  # pyright: ignore[reportPrivateUsage]

    body: dict[str, Any] = {"_run": run}
    if kind._arun is not BaseTool._arun:  # pyright: ignore[reportPrivateUsage] - LangChain asks the same question
        body["_arun"] = arun
    return subclass(kind, body)
