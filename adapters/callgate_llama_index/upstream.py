"""What callgate takes from LlamaIndex's workflows beneath their public names, in one place.

`llama_index.core` itself takes `WaitingForEvent` from there.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

from llama_index.core.agent.workflow.workflow_events import ToolCall
from workflows import Context
from workflows.events import Event
from workflows.runtime.types.results import (  # pyright: ignore[reportMissingTypeStubs]
    AddWaiter,
    StepWorkerStateContextVar,
    StepWorkerWaiter,
    WaitingForEvent,
)

__all__ = [
    "StepCall",
    "WaitingForEvent",
    "answered",
    "current_call",
    "let_go",
    "number_in_step",
    "same_context",
    "waiting",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall:
    """What a running step carries out: a tool call, or anything else."""

    work: str
    """Names the work of the step: the same each time that it is entered anew, also from a serialised Context."""
    id: str
    """As the model gave it; "" where it gave none."""
    tool: str
    """Its name; "" where it is no tool call."""
    content: str
    """A digest of the tool's name and the arguments, or the type of the event."""


def current_call() -> StepCall | None:
    """Return what the running step carries out; None outside a step."""
    try:
        step = StepWorkerStateContextVar.get()
    except LookupError:
        return None
    event, work = step.event, step.state.work_item_id
    if work is None:
        return None
    if not isinstance(event, ToolCall):
        return StepCall(work=work, id="", tool="", content=type(event).__name__)
    arguments: object = cast("Any", event).tool_kwargs
    content = json.dumps([event.tool_name, arguments], sort_keys=True, default=str)
    return StepCall(
        work=work,
        id="" if event.tool_id == event.tool_name else event.tool_id,  # what vendors without ids put there
        tool=event.tool_name,
        content=hashlib.sha256(content.encode()).hexdigest()[:16],
    )


_begun = weakref.WeakKeyDictionary[Any, Counter[str]]()
"""What each entry of a step began, by its context."""


def number_in_step(context: Context[Any], what: str) -> int:
    """Return how often something was begun before in this entry of its step, and count it."""
    face: Any = context._face  # pyright: ignore[reportPrivateUsage] - a tool may be given another wrapper of the same one
    begun = _begun.setdefault(face, Counter())
    begun[what] += 1
    return begun[what] - 1


def answered(waiter: str) -> tuple[bool, Event | None]:
    """Say whether the running step has a waiter, and return the event that it was given before the step was entered."""
    try:
        state: Any = StepWorkerStateContextVar.get().state
    except LookupError:
        return False, None
    waiters: list[StepWorkerWaiter[Event]] = state.collected_waiters
    found = next((one for one in waiters if one.waiter_id == waiter), None)
    return found is not None, found.resolved_event if found is not None else None


def waiting(
    waiter: str, event_type: type[Event], requirements: dict[str, Any], event: Event | None = None
) -> WaitingForEvent[Event]:
    """Return the exception that lets the running step wait for an event, whatever its waiter was given before.

    `Context.wait_for_event` would return what it was given before. A waiter for each event is no way either: until the
    step is over, those that have theirs take further events, and have the step entered once more for each.

    Args:
        waiter: of the step.
        event_type: that is waited for.
        requirements: that it has to meet.
        event: is put into the stream once the step waits; not if its waiter waited before.
    """
    add = AddWaiter[Event](
        waiter_id=waiter, requirements=requirements, timeout=None, event_type=event_type, waiter_event=event
    )
    return WaitingForEvent(add)


async def let_go(context: Context[Any], waiter: str) -> None:
    """Let the running step, which is about to be over, end its waiter."""
    if answered(waiter)[1] is not None:
        await context.wait_for_event(Event, waiter_id=waiter)


def same_context(made: Context[Any], context: Context[Any]) -> None:
    """Let an instance of a subclass be the same context as another one."""
    made._face = context._face  # pyright: ignore[reportPrivateUsage]
