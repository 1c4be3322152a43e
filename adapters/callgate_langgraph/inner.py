"""Inner calls, each through a ToolNode of the user's tools as a plain call would go."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from callgate import Call, Tool, ToolFailed, UsageError
from callgate_langchain.raw import Capture, capture, text_of
from callgate_langgraph.forms import flatten, is_messages, with_calls
from callgate_langgraph.lift import answer_in, without_answer
from callgate_langgraph.state import SeenState

__all__ = ["InnerCalls"]

_SCRATCHPAD = "__pregel_scratchpad"
"""Where LangGraph keeps the answers to interrupts of the running task. It has no public name."""


class InnerCalls:
    """Runs the calls of one action's program.

    Args:
        node: the user's tools, as stand-ins that note raw values, with the user's error handling and wrappers.
        state: of the graph; later calls see the updates of earlier ones.
        config: the action's.
        messages_key: of the state.
    """

    def __init__(self, node: ToolNode, state: SeenState, config: RunnableConfig, messages_key: str) -> None:
        self._node, self._state, self._messages_key = node, state, messages_key
        self._config = _without_answers(config)
        self.commands: list[tuple[str, Command[Any]]] = []
        """Id of a call and a Command it gave."""
        self.left: GraphBubbleUp | None = None
        """Control flow that has to leave the node: a Command of a subgraph for its parent, say."""

    def invoke(self, tool: Tool, call: Call) -> Any:
        """Run one call and return its raw value.

        Raises:
            ToolFailed: with text that a program may read.
            UsageError: to end the action.
        """
        with capture(call.id) as captured:
            try:
                return self._take(call, self._node.invoke(self._request(call), self._config), captured)
            except (GraphBubbleUp, ToolException) as error:
                raise self._told(error, tool) from error

    async def ainvoke(self, tool: Tool, call: Call) -> Any:
        """The awaitable twin of `invoke`."""
        with capture(call.id) as captured:
            try:
                return self._take(call, await self._node.ainvoke(self._request(call), self._config), captured)
            except (GraphBubbleUp, ToolException) as error:
                raise self._told(error, tool) from error

    def _request(self, call: Call) -> Any:
        asked: ToolCall = {"name": call.tool, "args": call.arguments, "id": call.id, "type": "tool_call"}
        state = self._state.current
        if is_messages(state):  # ToolNode takes Commands with a list only of a list
            return with_calls(state, [asked], self._messages_key)
        return {"__type": "tool_call_with_context", "tool_call": asked, "state": state}

    def _take(self, call: Call, result: Any, captured: Capture) -> Any:
        outputs = flatten(result, self._messages_key)
        answer, in_command = answer_in(outputs, call.id, self._messages_key)
        for one in outputs:
            if isinstance(one, Command):
                if one.graph is None:
                    one = without_answer(one, call.id, self._messages_key)  # noqa: PLW2901 - the same one, reduced
                    self._state.apply(one.update)
                self.commands.append((call.id, one))
        if answer is None:
            return None
        if answer.status == "error":
            raise ToolFailed(text_of(answer))
        return text_of(answer) if in_command else captured.value(answer)

    def _told(self, error: GraphBubbleUp | ToolException, tool: Tool) -> Exception:
        if isinstance(error, ToolException):  # validation errors are ToolExceptions here
            return ToolFailed(str(error))
        if isinstance(error, GraphInterrupt):
            return UsageError(
                f"tool {tool.name} asks a human by interrupt(), which a program cannot wait for: "
                'call it as a plain tool call, with mode "json" or allowed_callers ["direct"]'
            )
        self.left = error
        return UsageError(f"tool {tool.name} left the node ({type(error).__name__})")


def _without_answers(config: RunnableConfig) -> RunnableConfig:
    """Return the config of inner calls: `interrupt()` there finds no answer that was meant for another call."""
    configurable = config.get("configurable", {})
    scratchpad = configurable.get(_SCRATCHPAD)
    if not dataclasses.is_dataclass(scratchpad) or isinstance(scratchpad, type):
        return config
    own: dict[str, Any] = {
        "resume": [],
        "get_null_resume": lambda consume=False: None,  # pyright: ignore[reportUnknownLambdaType]
        "interrupt_counter": itertools.count().__next__,
    }
    known = {field.name: own[field.name] for field in dataclasses.fields(scratchpad) if field.name in own}
    return {**config, "configurable": {**configurable, _SCRATCHPAD: dataclasses.replace(scratchpad, **known)}}
