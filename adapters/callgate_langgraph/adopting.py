"""Whose journal a node run goes on with when its checkpoint is a copy of another one.

`update_state` and going back to an earlier checkpoint give a thread a new checkpoint, under which nothing was recorded.
If the node had not finished at the checkpoint it was copied from, its journal is adopted: a pause, say, that a human
looked at and then changed the state. If it had, the thread goes another way from there, and the node runs as new.
"""

from __future__ import annotations

from collections.abc import Callable

from langgraph.checkpoint.base import CheckpointTuple

from callgate_langgraph.placement import Place
from callgate_langgraph.rows import Chain, append_row, read_rows
from callgate_langgraph.saving import Steps, get_tuple

__all__ = ["Origin", "adopt", "find_origin"]

_COPIES = ("update", "fork")
"""What the metadata of a copied checkpoint name as its source."""

_NO_OUTPUT = ("__error__", "__error_source_node__", "__interrupt__", "__resume__", "__scheduled__")
"""Channels a task writes to that has not finished."""

Origin = tuple[Chain, list[str]]
"""A journal, and its lines."""


def find_origin(place: Place, own: CheckpointTuple | None, chain_at: Callable[[Place], Chain]) -> Steps[Origin | None]:
    """Return the journal that a node run should adopt; None if there is none.

    Args:
        place: of the node.
        own: its checkpoint.
        chain_at: returns the chain to look for, at a place.
    """
    copy = own
    while copy is not None and copy.metadata.get("source") in _COPIES and copy.parent_config is not None:
        before = place.at(copy.parent_config.get("configurable", {})["checkpoint_id"])
        chain = chain_at(before)
        lines = yield from read_rows(chain)
        copy = yield from get_tuple(before.own())
        if lines:
            return None if _finished(copy, chain.task) else (chain, lines)
    return None


def _finished(found: CheckpointTuple | None, task: str | None) -> bool:
    """Say whether a task has given the graph what it returned."""
    writes = found.pending_writes if found is not None else None
    return any(task_id == task and channel not in _NO_OUTPUT for task_id, channel, _ in writes or ())


def adopt(origin: Origin, own: Chain) -> Steps[None]:
    """Go on with a journal under a key of our own.

    Raises:
        JournalError: if another run is going on with it where it was, or has adopted it at the same time.
    """
    chain, lines = origin
    yield from append_row(chain, [], read_back=True)  # a run that is still at work there starts nothing more
    yield from append_row(own, lines, read_back=True)
