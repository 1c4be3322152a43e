"""One inner call while its action runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from callgate.codec import JSON, NotJSON, decode, digest, encode, quote, recode
from callgate.limits import Limits
from callgate.room import room_of
from callgate.sandboxes.base import TEXT_CHARS, CallFrame
from callgate.tools import Call

__all__ = ["CallState", "Key", "Result", "Running", "asked_for", "refusal"]

MOST_NAMES, NAME_SIZE = 1000, 1000
"""Arguments of one call, and characters of their names, that are looked at."""

Key: TypeAlias = tuple[str, str, int]
"""Identity of a call: tool, SHA-256 of its canonical arguments, occurrence in the action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a call ended: the canonical text of its value, or an error."""

    text: str = "null"
    digest: str | None = None
    """SHA-256 of the text, where the journal holds that in its place."""
    error: dict[str, JSON] | None = None
    """None, or {"type", "text", "tool", "limit"} as the guest is told."""
    waits: bool = False
    """Whether it did not end: the tool waits for somebody itself, or nobody knows how it ended."""
    unknown: bool = False
    """Whether nobody knows how it ended."""

    @property
    def status(self) -> str:
        """done, failed: the tool raised, or refused."""
        if self.error is None:
            return "done"
        return "failed" if self.error["type"] == "ToolFailed" else "refused"


def refusal(kind: str, text: str, *, tool: str, limit: str | None = None) -> Result:
    """Return the result of a call that ended with the error kind."""
    return Result(error={"type": kind, "text": text[:TEXT_CHARS], "tool": tool, "limit": limit})


@dataclass(slots=True, kw_only=True)
class CallState:
    """One inner call of one pass over the program."""

    n: int
    id: str
    tool: str
    arguments: str
    """Canonical text."""
    names: tuple[str, ...]
    """Of the arguments."""
    key: Key
    size: int = 0
    """Bytes that its arguments take when they are parsed; 0 where they are few."""
    label: str
    """Its id and identity as they stand in each of its journal lines."""
    fault: str | None = None
    """Why its arguments cannot be carried, if they cannot."""
    asked: str | None = None
    """None, or the digest of the tool that a human was shown, by an earlier pass."""
    unknown: bool = False
    """Whether it was started, by an earlier pass as a rule, and nobody knows how it ended."""
    interrupted: bool = False
    """Whether its tool waited for somebody itself in an earlier pass."""
    recorded: bool = False
    """Whether the journal holds its arguments already."""
    dropped: bool = False
    """Whether the program no longer waits for it."""
    ran: str | None = None
    """Canonical text of the arguments a human put in place of its own."""
    result: Result | None = None
    at: float = 0.0
    """Program time of its result, in seconds."""
    status: str = "held"
    """held | waiting | started | interrupted | done | failed | refused | withdrawn"""

    def as_call(self) -> Call:
        """Return what its tool, and whoever decides about it, is given: arguments nobody else holds."""
        return Call(id=self.id, tool=self.tool, arguments=decode(self.ran or self.arguments))


class Running(dict[int, CallState]):
    """The calls whose tools run now, by number.

    Args:
        limits: how many there may be, and what their arguments may take together; but one may always run.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.room = room_of(limits.frame_mb) // 2
        """Bytes that the arguments of calls that run, or that wait for a human, may take together."""
        self.busy = 0
        """Bytes that the arguments of those that run take."""
        self._most = limits.parallel_calls

    def admits(self, call: CallState) -> bool:
        """Say whether a call may start now."""
        return len(self) < self._most and (not (call.size and self.busy) or self.busy + call.size <= self.room)

    def add(self, call: CallState) -> None:
        """Count a call that starts."""
        self[call.n] = call
        self.busy += call.size

    def take(self, n: int) -> CallState:
        """Return a call that is over."""
        call = self.pop(n)
        self.busy -= call.size
        return call


def asked_for(frame: CallFrame, seen: Counter[tuple[str, str]], name: Callable[[Key], str]) -> CallState:
    """Return the call a frame asks for.

    Args:
        frame: of the guest.
        seen: the equal calls so far; this one is counted in it.
        name: gives the inner id of a call.
    """
    arguments, fault, names = "{}", None, tuple(frame.args)
    try:
        arguments = recode(frame.args)
        if len(names) > MOST_NAMES or len(arguments) > NAME_SIZE < max(map(len, names)):
            fault = f"more than {MOST_NAMES:,} arguments, or a name of more than {NAME_SIZE:,} characters"
    except NotJSON as error:
        fault = str(error)
    if fault is not None:
        arguments, names = "{}", ()
    base = (frame.tool, digest(arguments if fault is None else encode([fault])))
    occurrence = seen[base]
    seen[base] += 1
    call = name((*base, occurrence))
    return CallState(
        n=frame.n,
        id=call,
        tool=frame.tool,
        arguments=arguments,
        names=names,
        size=frame.size,
        key=(*base, occurrence),
        label=f'"call":{quote(call)},"tool":{quote(frame.tool)},"key":"{base[1]}","n":{occurrence}',
        fault=fault,
    )
