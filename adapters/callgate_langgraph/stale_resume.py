"""Answers to interrupts where LangGraph keeps them: clearing one that was heard, and seeing what was asked at all.

`Command(resume=answer)` is stored with the checkpoint of the outermost graph under no task, and stays there. A node
that waits at its next interrupt then takes it once more when it is entered without an answer: after a crash, or by
`invoke(None)`. LangGraph knows of it (langchain-ai/langgraph#8837).
"""

from __future__ import annotations

import time
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Interrupt

from callgate_langchain.guards import is_list
from callgate_langgraph.placement import HasExecutionInfo, Place, place_of
from callgate_langgraph.saving import Ask, Asks, aask, ask, get_tuple, pause
from callgate_langgraph.upstream import INTERRUPT, NO_TASK, RESUME, answers_given, has_untaken_answer

__all__ = ["aclear_stale_resume", "ainterrupts_shown", "clear_stale_resume", "interrupts_shown"]

LANDING_SECONDS = 2.0
"""How long an answer that is still being stored is waited for."""


def clear_stale_resume(runtime: HasExecutionInfo, config: RunnableConfig, *, heard: bool = True) -> None:
    """Make sure that the next `interrupt()` of this run is answered by nobody but its own human.

    What this task was answered so far is stored with the task first, as LangGraph does when the task asks again: so a
    crash in between loses no answer. An answer given by interrupt id does not stay, and is nothing to clear.

    Args:
        runtime: of the node.
        config: of the same.
        heard: whether an interrupt of this task was answered since the last time. If not, only an answer is cleared
            that came with this run although nothing took it; say so before a question is asked for the first time.

    Raises:
        JournalError: if the checkpointer failed.
    """
    place = place_of(runtime, config)
    if place is not None and (heard or has_untaken_answer(config)):
        ask(place.saver, _clear(place, list(answers_given(config)), heard))


async def aclear_stale_resume(runtime: HasExecutionInfo, config: RunnableConfig, *, heard: bool = True) -> None:
    """The awaitable twin of `clear_stale_resume`."""
    place = place_of(runtime, config)
    if place is not None and (heard or has_untaken_answer(config)):
        await aask(place.saver, _clear(place, list(answers_given(config)), heard))


def interrupts_shown(runtime: HasExecutionInfo, config: RunnableConfig) -> list[Interrupt]:
    """Return what this task asked last, as far as it is stored: only that can anybody have answered.

    A question that a journal holds and that is not among these was never asked, because the process ended before.

    Args:
        runtime: of the node.
        config: of the same.

    Raises:
        JournalError: if the checkpointer failed.
    """
    place = place_of(runtime, config)
    return ask(place.saver, _shown(place)) if place is not None else []


async def ainterrupts_shown(runtime: HasExecutionInfo, config: RunnableConfig) -> list[Interrupt]:
    """The awaitable twin of `interrupts_shown`."""
    place = place_of(runtime, config)
    return await aask(place.saver, _shown(place)) if place is not None else []


def _clear(place: Place, answers: list[Any], heard: bool) -> Asks[None]:
    if place.only_at_exit:
        return
    known = _writes((yield from get_tuple(place.own())), place.task, RESUME)
    new = not known or len(known[0]) < len(answers)
    if answers and new:
        yield Ask("put_writes", (place.own(), [(RESUME, answers)], place.task))
    if place.by_interrupt_id:
        return
    root = place.config(*place.root)
    # What was stored with the task before came with an earlier run: that one is not storing anything any more.
    until, delay = time.monotonic() + (LANDING_SECONDS if new or not heard else 0.0), 0.001
    while True:
        found = yield from get_tuple(root)
        stored = _writes(found, NO_TASK, RESUME)
        if stored or time.monotonic() > until:
            break
        yield from pause(delay)  # cleared before it is stored, it would come back
        delay = min(delay * 1.5, 0.05)
    if stored and stored[0] is not None:
        yield Ask("put_writes", (root, [(RESUME, None)], NO_TASK))


def _shown(place: Place) -> Asks[list[Interrupt]]:
    found = yield from get_tuple(place.own())
    values = [one for value in _writes(found, place.task, INTERRUPT) for one in (value if is_list(value) else [*value])]
    return [one for one in values if isinstance(one, Interrupt)]


def _writes(found: Any, task: str, channel: str) -> list[Any]:
    """Return the values a task has written to a channel."""
    writes: Any = (found.pending_writes if found is not None else None) or ()
    return [value for task_id, name, value in writes if (task_id, name) == (task, channel)]
