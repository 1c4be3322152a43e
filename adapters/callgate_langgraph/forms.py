"""The forms in which a node of tools is given calls, and gives back results; those of `ToolNode`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from langgraph.types import Command, Send
from pydantic import BaseModel

__all__ = ["Output", "calls_in", "combine", "flatten", "inlined_state", "is_list", "with_calls"]

Output: TypeAlias = "ToolMessage | Command[Any]"
"""What one tool call gives back; it may give several."""


def calls_in(input: Any, messages_key: str) -> Sequence[ToolCall]:
    """Return the tool calls of an input: those of its last AIMessage. None where there are none to be found."""
    if isinstance(input, list):
        messages = cast("list[Any]", input)
        last = messages[-1] if messages else None
        if isinstance(last, dict) and cast("dict[str, Any]", last).get("type") == "tool_call":
            return cast("list[ToolCall]", messages)
    elif isinstance(input, dict):
        if cast("dict[str, Any]", input).get("__type") == "tool_call_with_context":
            return [input["tool_call"]]
        messages = cast("dict[str, Any]", input).get(messages_key) or ()
    else:
        messages = getattr(input, messages_key, None) or ()
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return message.tool_calls
    return ()


def is_list(input: Any) -> bool:
    """Say whether the input is a list of messages, which is answered by a list."""
    if not isinstance(input, list) or not input:
        return False
    last = cast("list[Any]", input)[-1]
    return not (isinstance(last, dict) and cast("dict[str, Any]", last).get("type") == "tool_call")


def inlined_state(input: Any) -> Any:
    """Return the state an input brings with it, None for plain tool calls, which bring none."""
    if isinstance(input, list):
        return cast("list[Any]", input) if is_list(cast(Any, input)) else None
    if isinstance(input, dict) and cast("dict[str, Any]", input).get("__type") == "tool_call_with_context":
        return cast("dict[str, Any]", input)["state"]
    return input


def with_calls(input: Any, calls: list[ToolCall], messages_key: str) -> Any:
    """Return a copy of the input that asks for exactly these of its calls."""
    if isinstance(input, list):
        return _asking(cast("list[Any]", input), calls) if is_list(cast(Any, input)) else calls
    if isinstance(input, dict):
        fields = cast("dict[str, Any]", input)
        if fields.get("__type") == "tool_call_with_context":
            return {**fields, "tool_call": calls[0]}
        return {**fields, messages_key: _asking(fields[messages_key], calls)}
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
    if isinstance(result, dict):
        return list(cast("dict[str, Any]", result)[messages_key])
    flat: list[Output] = []
    for one in cast("list[Any]", result):
        flat.extend([one] if isinstance(one, ToolMessage | Command) else flatten(one, messages_key))
    return flat


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
        elif (
            one.graph is Command.PARENT and isinstance(one.goto, list) and all(isinstance(to, Send) for to in one.goto)
        ):
            sends.append(one)
        else:
            combined.append(one)
    if sends:
        combined.append(Command(graph=Command.PARENT, goto=[to for one in sends for to in one.goto]))
    return combined
