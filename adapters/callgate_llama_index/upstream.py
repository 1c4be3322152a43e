"""What callgate takes from LlamaIndex's workflows beneath their public names, in one place.

`llama_index.core` itself takes `WaitingForEvent` from there.
"""

from __future__ import annotations

from typing import Any

from workflows import Context
from workflows.events import Event
from workflows.runtime.types.results import (  # pyright: ignore[reportMissingTypeStubs]
    AddWaiter,
    StepWorkerStateContextVar,
    StepWorkerWaiter,
    WaitingForEvent,
)

__all__ = ["WaitingForEvent", "answered", "current_call", "let_go", "same_context", "waiting"]


def current_call() -> tuple[str, str]:
    """Return what the running step is called by, and the id of the tool call that it carries out.

    The first is the same each time the step is entered anew for the same event, also from a serialised Context, and
    another one for each event. Both are "" outside a step.
    """
    try:
        step = StepWorkerStateContextVar.get()
    except LookupError:
        return "", ""
    return step.state.work_item_id or "", str(getattr(step.event, "tool_id", None) or "")


def answered(waiter: str) -> Event | None:
    """Return the event that a waiter of the running step was given before the step was entered; None without one."""
    try:
        state: Any = StepWorkerStateContextVar.get().state
    except LookupError:
        return None
    waiters: list[StepWorkerWaiter[Event]] = state.collected_waiters
    return next((one.resolved_event for one in waiters if one.waiter_id == waiter), None)


def waiting(waiter: str, event_type: type[Event], requirements: dict[str, Any]) -> WaitingForEvent[Event]:
    """Return the exception that lets the running step wait for an event, whatever its waiter was given before.

    `Context.wait_for_event` would return what it was given before. A waiter for each event is no way either: until the
    step is over, those that have theirs take further events, and have the step entered once more for each.
    """
    add = AddWaiter[Event](waiter_id=waiter, requirements=requirements, timeout=None, event_type=event_type)
    return WaitingForEvent(add)


async def let_go(context: Context[Any], waiter: str) -> None:
    """Let the running step, which is about to be over, end its waiter."""
    if answered(waiter) is not None:
        await context.wait_for_event(Event, waiter_id=waiter)


def same_context(made: Context[Any], context: Context[Any]) -> None:
    """Let an instance of a subclass be the same context as another one."""
    made._face = context._face  # pyright: ignore[reportPrivateUsage]
