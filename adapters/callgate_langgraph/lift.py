"""Commands of inner calls become part of what the node returns.

No AIMessage asked for an inner call, so its ToolMessage has no place in the history: it is taken out of the Command,
whose other updates, gotos and commands to the parent graph stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from langchain_core.messages import BaseMessage, ToolMessage, convert_to_messages
from langgraph.channels import (  # pyright: ignore[reportMissingTypeStubs] - typed, without py.typed
    EphemeralValue,
    LastValue,
    UntrackedValue,
)
from langgraph.types import Command, Send

from callgate_langchain.guards import is_dict, is_list
from callgate_langgraph.forms import Output
from callgate_langgraph.state import Channels

__all__ = ["answer_in", "lift", "map_answer", "number_of", "without_answer"]

_ONE_VALUE = (LastValue, EphemeralValue, UntrackedValue)
"""Channels that take one update a step."""


def answer_in(outputs: Iterable[Output], call_id: str, messages_key: str) -> tuple[ToolMessage | None, bool]:
    """Return the ToolMessage that answers a call, and whether it stands in a Command."""
    for one in outputs:
        if isinstance(one, ToolMessage):
            if one.tool_call_id == call_id:
                return one, False
            continue
        for message in _messages(one.update, messages_key) or ():
            if _answers(message, call_id):
                return cast(ToolMessage, message), True
    return None, False


def map_answer(output: Output, call_id: str, change: Callable[[ToolMessage], ToolMessage], messages_key: str) -> Output:
    """Return an output in which the ToolMessage that answers a call is changed, in a Command for this graph too."""
    if isinstance(output, ToolMessage):
        return change(output) if _answers(output, call_id) else output
    update: Any = output.update
    messages = _messages(update, messages_key)
    if output.graph is not None or messages is None:
        return output
    changed = [change(cast(ToolMessage, one)) if _answers(one, call_id) else one for one in messages]
    return dataclasses.replace(output, update=changed if is_list(update) else {**update, messages_key: changed})


def number_of(inner_id: str) -> int:
    """Return the number of an inner call in its action."""
    return int(inner_id.rpartition("/")[2])


def without_answer(command: Command[Any], call_id: str, messages_key: str) -> Command[Any]:
    """Return an inner call's Command for this graph without the ToolMessage of that call."""
    update: Any = command.update
    messages = _messages(update, messages_key)
    if messages is None or not any(_answers(one, call_id) for one in messages):
        return command
    kept = [one for one in messages if not _answers(one, call_id)]
    if is_list(update):
        return dataclasses.replace(command, update=kept or None)
    others = {key: value for key, value in update.items() if key != messages_key}
    return dataclasses.replace(command, update={**others, messages_key: kept} if kept else others or None)


def lift(
    inner: Sequence[tuple[str, Command[Any]]],
    answer: ToolMessage,
    channels: Channels | None,
    messages_key: str,
) -> list[Output]:
    """Return what a node gives back for one action: its answer, then the Commands of its inner calls, in their order.

    Args:
        inner: id of an inner call and a Command of it; those for this graph without the inner answer.
        answer: the action's own ToolMessage. The parent graph does not get to see what this graph is given, so in
            Commands for it the answer takes the place of the inner one.
        channels: of the graph, where they are known. Of a key that takes one update a step, the last one counts, as it
            would have in a loop of JSON calls.
        messages_key: of the state.
    """
    lifted: list[Output] = []
    taken: set[str] = set()
    ordered = sorted(inner, key=lambda one: number_of(one[0]))
    for call_id, command in reversed(ordered):
        update: Any = command.update
        if command.graph is not None:
            lifted.append(_answered(command, call_id, answer, messages_key))
            continue
        if is_dict(update):
            single = {key for key in update if isinstance((channels or {}).get(key), _ONE_VALUE)}
            update = {key: value for key, value in update.items() if key not in single & taken} or None
            taken |= single
        if update is not None or command.goto:
            lifted.append(dataclasses.replace(command, update=update))
    return [answer, *reversed(lifted)]


def _answered(command: Command[Any], call_id: str, answer: ToolMessage, messages_key: str) -> Command[Any]:
    """Return a Command for another graph with the action's answer in place of the inner call's."""

    def put(update: Any) -> Any:
        messages = _messages(update, messages_key)
        if messages is None or not any(_answers(one, call_id) for one in messages):
            return update
        replaced = [answer if _answers(one, call_id) else one for one in messages]
        return replaced if is_list(update) else {**update, messages_key: replaced}

    goto: Any = command.goto
    if isinstance(goto, Send):
        goto = Send(goto.node, put(goto.arg))
    elif not isinstance(goto, str):
        goto = [Send(to.node, put(to.arg)) if isinstance(to, Send) else to for to in goto]
    return dataclasses.replace(command, update=put(command.update), goto=goto)


def _messages(update: Any, messages_key: str) -> list[BaseMessage] | None:
    """Return the messages of an update, None where there are none to be seen."""
    messages = update.get(messages_key) if is_dict(update) else update
    if not is_list(messages) or not messages:
        return None
    try:
        return convert_to_messages(messages)
    except (ValueError, TypeError, NotImplementedError):  # a list, but not of messages
        return None


def _answers(message: BaseMessage, call_id: str) -> bool:
    return isinstance(message, ToolMessage) and message.tool_call_id == call_id
