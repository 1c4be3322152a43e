"""Clearing the answer to an earlier question before the next one is asked.

`Command(resume=answer)` is stored with the checkpoint under no task, and stays there. A node that waits at its second
interrupt then takes it once more when it is entered without an answer: after a crash, or by `invoke(None)`. LangGraph
knows of it (langchain-ai/langgraph#8837).
"""

from __future__ import annotations

import time

from langchain_core.runnables import RunnableConfig

from callgate_langgraph.placement import HasExecutionInfo, Place, place_of
from callgate_langgraph.saving import Ask, Steps, acarry_out, carry_out, get_tuple, pause

__all__ = ["aclear_stale_resume", "clear_stale_resume"]

NO_TASK, RESUME = "00000000-0000-0000-0000-000000000000", "__resume__"
"""Under which the answer stands. This channel is overwritten, and None in it counts as no answer."""

LANDING_SECONDS = 2.0
"""How long an answer that is still being stored is waited for."""


def clear_stale_resume(runtime: HasExecutionInfo, config: RunnableConfig) -> None:
    """Make sure that the next `interrupt()` of this node run is answered by nobody but its own human.

    Call it right before that, once an earlier interrupt of the same node run was answered. An answer given by interrupt
    id does not stay, so there is nothing to clear then.

    Args:
        runtime: of the node.
        config: of the same.

    Raises:
        JournalError: if the checkpointer failed.
    """
    place = place_of(runtime, config)
    if place is not None:
        carry_out(place.saver, _clear(place))


async def aclear_stale_resume(runtime: HasExecutionInfo, config: RunnableConfig) -> None:
    """The awaitable twin of `clear_stale_resume`."""
    place = place_of(runtime, config)
    if place is not None:
        await acarry_out(place.saver, _clear(place))


def _clear(place: Place) -> Steps[None]:
    if place.by_interrupt_id or place.only_at_exit:
        return
    root = place.config(*place.root)
    until, delay = time.monotonic() + LANDING_SECONDS, 0.001
    while True:
        found = yield from get_tuple(root)
        writes = (found.pending_writes if found is not None else None) or ()
        answers = [value for task_id, channel, value in writes if (task_id, channel) == (NO_TASK, RESUME)]
        if answers or time.monotonic() > until:
            break
        yield from pause(delay)  # cleared before it is stored, it would come back
        delay = min(delay * 1.5, 0.05)
    if answers and answers[0] is not None:
        yield Ask("put_writes", (root, [(RESUME, None)], NO_TASK))
