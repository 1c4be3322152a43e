"""Whose journal a node run goes on with when nothing was recorded where it stands.

`update_state` and going back to an earlier checkpoint give a thread a new checkpoint, a copy. If what runs from it had
not finished at the original, its journal is adopted: a pause, say, that a human looked at and then changed the state.
If it had, the thread goes another way from there, and the node runs as new.

A graph inside another one is started over by LangGraph when the outer checkpoint is copied, or when it stores no
checkpoints of its own. Its node then stands in another place with the same key: the calls it was given are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from langgraph.checkpoint.base import CheckpointTuple

from callgate.errors import JournalError
from callgate_langgraph.placement import Place
from callgate_langgraph.rows import Chain, append_row, read_rows
from callgate_langgraph.saving import Ask, Asks, get_tuple

__all__ = ["Origin", "adopt", "find_origin"]

_COPIES = ("update", "fork")
"""What the metadata of a copied checkpoint name as its source."""

_NO_OUTPUT = ("__error__", "__error_source_node__", "__interrupt__", "__resume__", "__scheduled__")
"""Channels a task writes to that has not finished."""

Origin = tuple[Chain, list[str]]
"""A journal, and its lines."""

_Levels = Sequence[tuple[str, str]]
"""Namespace and checkpoint id of nested graphs, outermost first."""


def find_origin(place: Place, own: CheckpointTuple | None, chain_at: Callable[[Place], Chain]) -> Asks[Origin | None]:
    """Return the journal that a node run should adopt; None if there is none.

    Args:
        place: of the node.
        own: its checkpoint, None if that is not stored.
        chain_at: returns the chain to look for, at a place.

    Raises:
        JournalError: if a journal was changed, or several may be the one.
    """
    copy = own
    while copy is not None and (original := _original(copy)) is not None:
        chain = chain_at(place.at(original))
        lines = yield from read_rows(chain)
        copy = yield from get_tuple(place.config(place.namespace, original))
        if lines:
            return None if _finished(copy, chain.task) else (chain, lines)
    if place.ancestors:
        return (yield from _find_elsewhere(place, own, chain_at))
    return None


def _original(found: CheckpointTuple) -> str | None:
    """Return the id of the checkpoint that one is a copy of; None if it is none."""
    if found.metadata.get("source") not in _COPIES or found.parent_config is None:
        return None
    return found.parent_config.get("configurable", {})["checkpoint_id"]


def _finished(found: CheckpointTuple | None, task: str | None) -> bool:
    """Say whether a task has given the graph what it returned."""
    writes = found.pending_writes if found is not None else None
    return any(task_id == task and channel not in _NO_OUTPUT for task_id, channel, _ in writes or ())


def _find_elsewhere(
    place: Place, own: CheckpointTuple | None, chain_at: Callable[[Place], Chain]
) -> Asks[Origin | None]:
    """Return the journal of the same node in an earlier run of the graphs around it."""
    originals: list[list[str]] = [[]] * len(place.levels)
    for at, level in enumerate(place.levels):
        originals[at] = yield from _originals(place, level)
    if own is not None and not any(originals):
        return None
    listed = yield Ask("list", (place.thread_config(), chain_at(place).first_chunks))
    ranked: dict[tuple[int, int], list[_Levels]] = {}
    for found in sorted(listed, key=lambda one: one.checkpoint["ts"]):
        levels = sorted(found.metadata["parents"].items(), key=lambda one: len(one[0]))
        rank = _rank(place.levels, levels, originals, lost=own is None)
        if rank is not None:
            ranked.setdefault(rank, []).append(levels)
    if not ranked:
        return None
    (apart, nearest), earlier = min(ranked.items())
    journals: list[tuple[Chain, list[str], _Levels]] = []
    for levels in earlier:
        chain = chain_at(place.inside(levels))
        journals.append((chain, (yield from read_rows(chain)), levels))
    open_ = [one for one in journals if not one[0].fenced]  # the others were adopted by one after them
    if len(open_) > 1:
        raise JournalError(
            f"{place.node!r} was given the same tool calls {len(open_)} times at once, and its checkpoint was copied: "
            "nothing says which of its journals this is. Nothing was executed; give each tool call an id of its own"
        )
    chain, lines, levels = (open_ or journals)[-1]
    below = _task_below(levels, apart)
    found = yield from get_tuple(place.config(*levels[apart if below else -1]))
    if nearest < 0 and found is not None:
        return None  # that one is stored, so LangGraph did not start it over
    return (chain, lines) if lines and not _finished(found, below or chain.task) else None


def _originals(place: Place, level: tuple[str, str]) -> Asks[list[str]]:
    """Return the ids of the checkpoints that one is a copy of a copy of, nearest first."""
    namespace, checkpoint = level
    ids: list[str] = []
    while (found := (yield from get_tuple(place.config(namespace, checkpoint)))) is not None:
        original = _original(found)
        if original is None:
            break
        ids.append(checkpoint := original)
    return ids


def _rank(own: _Levels, other: _Levels, originals: Sequence[Sequence[str]], *, lost: bool) -> tuple[int, int] | None:
    """Say how another place comes before our own: where the two part, and over how many copies; None if it does not.

    Args:
        own: where we are.
        other: where lines were found.
        originals: for each of our levels, what its checkpoint is a copy of.
        lost: whether our own checkpoint is not stored, so that an earlier one may have been lost likewise: -1 copies.
    """
    if len(own) != len(other) or _names(own[-1][0]) != _names(other[-1][0]):
        return None
    for apart, (ours, theirs) in enumerate(zip(own, other, strict=True)):
        if ours != theirs:
            if ours[0] != theirs[0]:
                return None
            if theirs[1] in originals[apart]:
                return apart, originals[apart].index(theirs[1])
            return (apart, -1) if lost and apart == len(own) - 1 else None
    return None


def _names(namespace: str) -> str:
    """Return a namespace without the ids of tasks."""
    return re.sub(r":[^|]*", "", namespace)


def _task_below(levels: _Levels, apart: int) -> str | None:
    """Return the id of the task, at one level, that the graph of the next one runs in; None where it is not named."""
    if apart + 1 == len(levels):
        return None
    inside = levels[apart + 1][0].removeprefix(levels[apart][0]).strip("|")
    return inside.partition("|")[0].partition(":")[2] or None


def adopt(origin: Origin, own: Chain) -> Asks[None]:
    """Go on with a journal under a key of our own.

    Raises:
        JournalError: if another run is going on with it where it was, or has adopted it at the same time.
    """
    chain, lines = origin
    yield from append_row(chain, [], read_back=True)  # a run that is still at work there starts nothing more
    yield from append_row(own, lines, read_back=True)
