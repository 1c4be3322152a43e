"""Limits on how often tools run in a conversation: plain calls and calls of programs count alike.

What ran before is read in the messages: plain calls in AIMessages, those of programs in the artifact of their answer.
So the count needs no state of its own, and is the same whenever a node is entered again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage

from callgate import Journal, UsageError
from callgate.names import EXECUTE_CODE, RESERVED_NAMES
from callgate_langchain.guards import is_dict, is_list
from callgate_langchain.hooks import CallLimit

__all__ = ["CallBudget", "known_limits"]


def known_limits(limits: Sequence[CallLimit], tools: Container[str]) -> Sequence[CallLimit]:
    """Return the limits.

    Raises:
        UsageError: for one on a tool that is not there.
    """
    for limit in limits:
        if limit.tool is not None and limit.tool not in tools:
            raise UsageError(f"middleware: a ToolCallLimitMiddleware names {limit.tool!r}, which is no tool here")
    return limits


class CallBudget:
    """What one node run may still call. The plain calls of its message come first, in their order.

    Args:
        limits: the user's.
        messages: of the state, the asking AIMessage among them.
        calls: of the node run.

    Raises:
        UsageError: if the message has programs that run elsewhere at the same time: nobody counts all their calls.
    """

    def __init__(self, limits: Sequence[CallLimit], messages: Any, calls: Sequence[ToolCall]) -> None:
        if limits:
            _refuse_apart(messages, calls)
        self._limits, self._lock = limits, threading.Lock()
        self._thread, self._run = _counted(messages, {call["id"] for call in calls}) if limits else _NOTHING
        self._here = Counter[str]()
        self._counted = set[tuple[str, str]]()
        self.refused: dict[int, ToolMessage] = {}
        """Answers to the plain calls above a limit, by position in the message."""
        for at, call in enumerate(calls):
            if call["name"] == EXECUTE_CODE:
                continue
            if (text := self._take(call["name"])) is not None:
                self.refused[at] = ToolMessage(text, name=call["name"], tool_call_id=call["id"], status="error")

    def know(self, action: str, journal: Journal) -> None:
        """Count the calls that a program made in earlier entries of the node run."""
        if not self._limits:
            return
        made: dict[str, str] = {}
        for entry in journal.entries():
            error = entry.get("error")
            if entry.get("tool") in (None, *RESERVED_NAMES):
                continue
            if not is_dict(error) or error["type"] == "ToolFailed":
                made[entry["call"]] = entry["tool"]
        with self._lock:
            self._counted.update((action, call) for call in made)
            self._here.update(made.values())

    def refuse(self, action: str, call: str, tool: str) -> str | None:
        """Count a call of a program, or return why it may not run; the same call counts once.

        Args:
            action: key of the code action: ids of calls may repeat in a message.
            call: inner id.
            tool: its name.
        """
        with self._lock:
            refused = None if (action, call) in self._counted else self._take(tool)
            if refused is None:
                self._counted.add((action, call))
            return refused

    def _take(self, tool: str) -> str | None:
        for limit in self._limits:
            if limit.tool in (None, tool) and (text := self._over(limit)) is not None:
                return text
        self._here[tool] += 1
        return None

    def _over(self, limit: CallLimit) -> str | None:
        """Return what is said about one more call, None while the limit allows it."""
        what = "tools" if limit.tool is None else limit.tool
        for most, before, where in (
            (limit.thread, self._thread, "in this conversation"),
            (limit.run, self._run, "for this request"),
        ):
            if most is not None and _of(limit, before) + _of(limit, self._here) >= most:
                return f"{what} may be called {most} times {where}, and that is used up; do not call {what} again"
        return None


def _refuse_apart(messages: Any, calls: Sequence[ToolCall]) -> None:
    here = {call["id"] for call in calls}
    if not any(call["name"] == EXECUTE_CODE for call in calls):
        return
    for message in reversed(messages) if is_list(messages) else ():
        if isinstance(message, AIMessage) and here <= {one["id"] for one in message.tool_calls}:
            if any(one["name"] == EXECUTE_CODE and one["id"] not in here for one in message.tool_calls):
                raise UsageError(
                    "ToolCallLimitMiddleware: the programs of one message were sent to the node one by one, where no "
                    "limit can count all their calls. Nothing ran; lead an edge to the node instead of Send, so that "
                    "it is given the whole message, or leave out the limit"
                )
            return


_NOTHING: tuple[Counter[str], Counter[str]] = Counter(), Counter()


def _of(limit: CallLimit, counted: Counter[str]) -> int:
    return counted.total() if limit.tool is None else counted[limit.tool]


def _counted(messages: Any, current: set[str | None]) -> tuple[Counter[str], Counter[str]]:
    """Return what ran in the conversation and since the last human message, without the calls that are current."""
    thread, run = Counter[str](), Counter[str]()
    for message in messages if is_list(messages) else ():
        if isinstance(message, HumanMessage):
            run.clear()
        tools = list(_tools_in(message, current))
        thread.update(tools)
        run.update(tools)
    return thread, run


def _tools_in(message: Any, current: set[str | None]) -> Iterable[str]:
    """Return the tools whose calls a message tells of."""
    if isinstance(message, AIMessage):
        return [one["name"] for one in message.tool_calls if one["name"] != EXECUTE_CODE and one["id"] not in current]
    if isinstance(message, ToolMessage) and message.name == EXECUTE_CODE and is_dict(message.artifact):
        calls: Any = message.artifact.get("calls")
        told = [one for one in calls if is_dict(one)] if is_list(calls) else []
        names = [str(one.get("tool")) for one in told if one.get("status") != "refused"]
        return [name for name in names if name not in RESERVED_NAMES]
    return []
