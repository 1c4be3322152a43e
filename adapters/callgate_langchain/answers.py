"""What a code action leaves for the host beside the text for the model: the artifact of its ToolMessage."""

from __future__ import annotations

from typing import Any

from callgate import Outcome
from callgate.codec import JSON
from callgate.summary import summary
from callgate_langchain.guards import is_dict, is_list

__all__ = ["artifact_of", "storable"]


def artifact_of(outcome: Outcome) -> dict[str, Any]:
    """Return the summary of an outcome as a checkpoint can hold it."""
    told = summary(outcome)
    return {**told, "calls": storable(told["calls"])}


def storable(value: JSON) -> JSON:
    """Return a value whose integers a checkpoint can hold; larger ones become text."""
    if is_dict(value):
        return {key: storable(item) for key, item in value.items()}
    if is_list(value):
        return [storable(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 63 else value
