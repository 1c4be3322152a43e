"""Inner calls, each through a ToolNode of the user's tools as a plain call would go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.types import Command

from callgate import Call, Tool, ToolFailed, ToolWaits, UsageError
from callgate_langchain.raw import Capture, capture, text_of
from callgate_langgraph.beside import Beside
from callgate_langgraph.forms import Output, Pipeline, flatten, is_messages, with_calls
from callgate_langgraph.interrupts import Interrupted, Scope, scoped
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.lift import answer_in, without_answer
from callgate_langgraph.state import SeenState

__all__ = ["InnerCalls"]


class InnerCalls:
    """Runs the calls of one action's program.

    Args:
        node: the user's tools, as stand-ins that note raw values, with the user's error handling and wrappers.
        state: of the graph; later calls see the updates of earlier ones.
        beside: where those are kept, and what tools ask.
        keeping: of the node run.
        key: of the action.
        answer: returns what a call's question was answered, packed; None if it was not.
        config: the action's.
        messages_key: of the state.
    """

    def __init__(
        self,
        node: Pipeline,
        state: SeenState,
        *,
        beside: Beside,
        keeping: Keeping,
        key: str,
        answer: Callable[[str, Interrupted], str | None],
        config: RunnableConfig,
        messages_key: str,
    ) -> None:
        self._node, self._state, self._beside = node, state, beside
        self._keeping, self._key, self._answer = keeping, key, answer
        self._config, self._messages_key = config, messages_key
        self.left: GraphBubbleUp | None = None
        """Control flow that has to leave the node: a Command of a subgraph for its parent, say."""

    def invoke(self, tool: Tool, call: Call) -> Any:
        """Run one call and return its raw value.

        Raises:
            ToolFailed: with text that a program may read.
            ToolWaits: if the tool asks somebody.
            OutcomeUnknown: if nobody knows whether it ran.
            UsageError: to end the action.
        """
        with capture(call.id) as captured:
            scope = self._scoped(call)
            try:
                with scope.entered() as config:
                    outputs = self._outputs(self._node.invoke(self._request(call), config))
            except GraphInterrupt as error:
                self._beside.interrupt(call, self._question(scope, error, tool))
                raise ToolWaits from error
            except (GraphBubbleUp, ToolException) as error:
                raise self._told(error, tool) from error
            self._beside.keep(call, self._commands(call, outputs))
            return self._value(call, outputs, captured)

    async def ainvoke(self, tool: Tool, call: Call) -> Any:
        """The awaitable twin of `invoke`."""
        with capture(call.id) as captured:
            scope = self._scoped(call)
            try:
                with scope.entered() as config:
                    outputs = self._outputs(await self._node.ainvoke(self._request(call), config))
            except GraphInterrupt as error:
                await self._beside.ainterrupt(call, self._question(scope, error, tool))
                raise ToolWaits from error
            except (GraphBubbleUp, ToolException) as error:
                raise self._told(error, tool) from error
            await self._beside.akeep(call, self._commands(call, outputs))
            return self._value(call, outputs, captured)

    def _scoped(self, call: Call) -> Scope:
        """Return the scope of a call.

        Raises:
            ToolWaits: if it waits for an answer that is still to come.
        """
        waits = self._beside.asked(call)
        answer = self._answer(call.id, waits) if waits is not None else None
        if waits is not None and answer is None:
            raise ToolWaits
        return scoped(self._config, f"{self._key} {call.id}", self._keeping, waits, answer)

    def _question(self, scope: Scope, raised: GraphInterrupt, tool: Tool) -> Interrupted:
        try:
            return scope.question(raised, self._keeping)
        except Exception as error:
            raise UsageError(f"tool {tool.name} asks with what no checkpoint can store: {error}") from error

    def _request(self, call: Call) -> Any:
        asked: ToolCall = {"name": call.tool, "args": call.arguments, "id": call.id, "type": "tool_call"}
        state = self._state.current
        if is_messages(state):  # ToolNode takes Commands with a list only of a list
            return with_calls(state, [asked], self._messages_key)
        return {"__type": "tool_call_with_context", "tool_call": asked, "state": state}

    def _outputs(self, result: Any) -> list[Output]:
        return flatten(result, self._messages_key)

    def _commands(self, call: Call, outputs: list[Output]) -> list[Command[Any]]:
        """Return the Commands among the outputs of a call, and let later calls see their updates."""
        commands: list[Command[Any]] = []
        for one in outputs:
            if isinstance(one, Command):
                if one.graph is None:
                    one = without_answer(one, call.id, self._messages_key)  # noqa: PLW2901 - the same one, reduced
                    self._state.apply(one.update)
                commands.append(one)
        return commands

    def _value(self, call: Call, outputs: list[Output], captured: Capture) -> Any:
        answer, in_command = answer_in(outputs, call.id, self._messages_key)
        if answer is None:
            return None
        if answer.status == "error":
            raise captured.failed(answer)
        return text_of(answer) if in_command else captured.value(answer)

    def _told(self, error: GraphBubbleUp | ToolException, tool: Tool) -> Exception:
        if isinstance(error, ToolException):  # validation errors are ToolExceptions here
            return ToolFailed(str(error))
        self.left = error
        return UsageError(f"tool {tool.name} left the node ({type(error).__name__})")
