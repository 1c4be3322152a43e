"""The rest of an agent's middleware, as what runs the calls of programs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.prebuilt.tool_node import ToolCallRequest

from callgate_langchain.guards import is_list
from callgate_langchain.raw import subclass, twin

__all__ = ["Chain"]

_CONFIG = "_callgate_config"


class Chain:
    """Runs tool calls through the handler that a tool call wrapper was given, as a `ToolNode` runs them.

    The handler may be called any number of times, from other threads too, and what it runs a tool with is the config of
    the node. Each call here has one of its own, so the tool is a twin that keeps to it.

    Args:
        request: that the wrapper was given.
        handler: that the wrapper was given, sync or awaitable.
        tools: that calls are made of, by name.
    """

    def __init__(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any], tools: Mapping[str, BaseTool]
    ) -> None:
        self._request, self._handler = request, handler
        self._tools = tools

    @property
    def tools_by_name(self) -> Mapping[str, BaseTool]:
        """The tools."""
        return self._tools

    def invoke(self, input: Any, config: RunnableConfig | None = None) -> Any:
        """Run one call: a list that holds nothing else, or a tool call with its state, as `ToolNode` takes them."""
        return self._handler(self._asked(input, config))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None) -> Any:
        """The awaitable twin of `invoke`."""
        handler: Callable[[ToolCallRequest], Awaitable[Any]] = self._handler
        return await handler(self._asked(input, config))

    def _asked(self, input: Any, config: RunnableConfig | None) -> ToolCallRequest:
        config = ensure_config(config)
        call, state = (input[0], self._request.state) if is_list(input) else (input["tool_call"], input["state"])
        tool = self._tools.get(call["name"])
        around = cast("Any", self._request).runtime
        changed: dict[str, Any] = {
            "tool_call": call,
            "tool": None if tool is None else _kept_to(tool, config),
            "state": state,
            "runtime": dataclasses.replace(around, state=state, tool_call_id=call["id"], config=config),
        }
        return self._request.override(**cast("Any", changed))


def _kept_to(tool: BaseTool, config: RunnableConfig) -> BaseTool:
    """Return a tool that runs with a config whatever it is invoked with, and is the same in all else."""
    kept = twin(tool, _keeping_class(type(tool)))
    object.__setattr__(kept, _CONFIG, config)
    return kept


@functools.cache
def _keeping_class(kind: type[BaseTool]) -> type[BaseTool]:
    """Make the subclass once per class."""

    def invoke(self: BaseTool, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return kind.invoke(self, input, getattr(self, _CONFIG), **kwargs)

    async def ainvoke(self: BaseTool, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return await kind.ainvoke(self, input, getattr(self, _CONFIG), **kwargs)

    return subclass(kind, {"__slots__": (_CONFIG,), "invoke": invoke, "ainvoke": ainvoke})
