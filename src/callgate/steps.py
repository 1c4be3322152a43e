"""What the gate tells its driver to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from callgate.calls import CallState
from callgate.codec import JSON, NotJSON, recode
from callgate.sandboxes.base import EndFrame
from callgate.tools import Call, Tool

__all__ = [
    "End",
    "Keep",
    "Notify",
    "Pause",
    "Record",
    "Send",
    "Start",
    "Status",
    "Step",
    "Waiting",
    "broken",
    "end_of",
    "limited",
]

Status: TypeAlias = Literal["completed", "failed", "rejected", "limited", "paused", "lost"]
"""completed | failed: the program raised | rejected: nothing ran | limited | paused | lost: cannot know."""


class Keep(NamedTuple):
    """Store a large value durably under its handle; the next `Record` refers to it."""

    handle: str
    text: str


class Record(NamedTuple):
    """Make these journal lines durable, then say so with `Gate.recorded`."""

    position: int
    lines: tuple[str, ...]


class Start(NamedTuple):
    """Run a tool now and report with `Gate.returned`."""

    n: int
    tool: Tool
    call: Call


class Send(NamedTuple):
    """Hand the guest this event."""

    frame: bytes


class Notify(NamedTuple):
    """Tell whoever watches what happens to a call; its `status` says what."""

    call: CallState


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A call that waits for a human."""

    id: str
    """Its inner id; it is answered under it."""
    tool: str
    arguments: dict[str, JSON] = field(repr=False)
    """Exactly what will run if it is approved."""
    unknown: bool
    """Whether it was started before and nobody knows how it ended, rather than waiting for an approval."""
    interrupted: bool
    """Whether its tool waits for an answer of its own, in its own way. No decision is taken about it."""
    description: str
    allowed: tuple[str, ...]
    """The decisions that may be taken."""


class Pause(NamedTuple):
    """Tear the guest down and ask humans."""

    waiting: tuple[Waiting, ...]


class End(NamedTuple):
    """The action is over; tear the guest down."""

    status: Status
    value: str = "null"
    """Canonical text of the program's value."""
    error: dict[str, JSON] | None = None
    printed: int = 0
    """Characters printed, also those that were cut."""
    limit: str | None = None
    """The field of `Limits` that ended it, with status limited."""


Step: TypeAlias = Keep | Record | Start | Send | Notify | Pause | End


def end_of(frame: EndFrame, printed: int) -> End:
    """Return how an action ends whose program ended by itself; printed is how much the host saw printed."""
    error, limit = frame.error, None
    try:
        value = recode(frame.value)
    except NotJSON as fault:
        value, error = "null", {"type": "NotJSON", "text": f"the value is not JSON: {fault}", "line": None}
    if error is not None:
        limit = error.get("limit")
    status = "completed" if error is None else "limited" if isinstance(limit, str) else "failed"
    return End(status=status, value=value, error=error, limit=limit, printed=max(printed, frame.printed))


def limited(limit: str, printed: int) -> End:
    """Return how an action ends that used up a limit."""
    return End(status="limited", limit=limit, printed=printed)


def broken(kind: str, text: str, printed: int, *, lost: bool = False) -> End:
    """Return how an action ends for a fault outside the program; lost if what it did cannot be known."""
    error: dict[str, JSON] = {"type": kind, "text": text, "line": None, "trace": []}
    return End(status="lost" if lost else "failed", error=error, printed=printed)
