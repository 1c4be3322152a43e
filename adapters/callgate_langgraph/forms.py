"""The forms in which a node of tools is given calls, and gives back results; those of `ToolNode`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.types import Command, Send
from pydantic import BaseModel

from callgate_langchain.guards import is_dict, is_list

__all__ = [
    "Output",
    "Pipeline",
    "calls_in",
    "combine",
    "flatten",
    "inlined_state",
    "is_messages",
    "with_calls",
]

Output: TypeAlias = "ToolMessage | Command[Any]"
"""What one tool call gives back; it may give several."""


class Pipeline(Protocol):
    """Runs tool calls with all that the user has put around them: a ToolNode, or the rest of an agent's middleware."""

    @property
    def tools_by_name(self) -> Mapping[str, BaseTool]:
        """The tools."""
        ...

    def invoke(self, input: Any, config: RunnableConfig | None = None) -> Any:
        """Run the calls of an input; see `ToolNode`."""
        ...

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None) -> Any:
        """The awaitable twin of `invoke`."""
        ...


def calls_in(input: Any, messages_key: str) -> Sequence[ToolCall]:
    """Return the tool calls of an input: those of its last AIMessage; nothing where there is none."""
    if is_list(input):
        if _is_bare(input):
            return input
        messages = input
    elif is_dict(input):
        if input.get("__type") == "tool_call_with_context":
            return [input["tool_call"]]
        messages = input.get(messages_key) or ()
    else:
        messages = getattr(input, messages_key, None) or ()
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return message.tool_calls
    return ()


def _is_bare(input: list[Any]) -> bool:
    """Say whether a list holds tool calls and not messages."""
    return bool(input) and is_dict(input[-1]) and input[-1].get("type") == "tool_call"


def is_messages(input: Any) -> bool:
    """Say whether the input is a list of messages, which is answered by a list."""
    return is_list(input) and bool(input) and not _is_bare(input)


def inlined_state(input: Any) -> Any:
    """Return the state an input brings with it, None for bare tool calls, which bring none."""
    if is_list(input):
        return None if _is_bare(input) else input
    return input["state"] if is_dict(input) and input.get("__type") == "tool_call_with_context" else input


def with_calls(input: Any, calls: list[ToolCall], messages_key: str) -> Any:
    """Return a copy of the input that asks for exactly these of its calls."""
    if is_list(input):
        return calls if _is_bare(input) else _asking(input, calls)
    if is_dict(input):
        if input.get("__type") == "tool_call_with_context":
            return {**input, "tool_call": calls[0]}
        return {**input, messages_key: _asking(input[messages_key], calls)}
    asking = _asking(getattr(input, messages_key), calls)
    if isinstance(input, BaseModel):
        return input.model_copy(update={messages_key: asking})
    return dataclasses.replace(input, **{messages_key: asking})


def _asking(messages: Sequence[AnyMessage], calls: list[ToolCall]) -> list[AnyMessage]:
    copied = list(messages)
    at = max(index for index, message in enumerate(copied) if isinstance(message, AIMessage))
    copied[at] = copied[at].model_copy(update={"tool_calls": calls})
    return copied


def flatten(result: Any, messages_key: str) -> list[Output]:
    """Return what a ToolNode returned as a plain list."""
    if isinstance(result, ToolMessage | Command):
        return [cast(Output, result)]
    items: list[Any] = result[messages_key] if is_dict(result) else result
    return [one for item in items for one in flatten(item, messages_key)]


def combine(outputs: Iterable[Output], *, as_list: bool, messages_key: str) -> Any:
    """Return what a ToolNode returns for these outputs: an update, or a list of updates and Commands.

    Commands for the parent graph that only send are merged into one, which comes last.
    """
    flat = list(outputs)
    if not any(isinstance(one, Command) for one in flat):
        return flat if as_list else {messages_key: flat}
    combined: list[Any] = []
    sends: list[Any] = []
    for one in flat:
        if not isinstance(one, Command):
            combined.append([one] if as_list else {messages_key: [one]})
        elif one.graph is Command.PARENT and is_list(one.goto) and all(isinstance(to, Send) for to in one.goto):
            sends.append(one)
        else:
            combined.append(one)
    if sends:
        combined.append(Command(graph=Command.PARENT, goto=[to for one in sends for to in one.goto]))
    return combined
