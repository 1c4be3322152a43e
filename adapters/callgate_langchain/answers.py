"""What a code action leaves for the host beside the text for the model: the artifact of its ToolMessage."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

from callgate import Artifact, Outcome
from callgate.codec import JSON
from callgate.outcome import CallRecord
from callgate_langchain.guards import is_dict, is_list

__all__ = ["artifact_of", "storable"]

_SHOWN_VALUE = 2_000
"""Characters of a call's result that the artifact repeats beside the journal."""


def artifact_of(outcome: Outcome) -> dict[str, Any]:
    """Return how a program ended, its calls, what was cut, its files, and the head of its journal."""
    return {
        "status": outcome.status,
        "error": asdict(outcome.error) if outcome.error is not None else None,
        "limit": outcome.limit,
        "calls": [_plain(one) for one in outcome.calls],
        "truncated": [asdict(one) for one in outcome.truncated],
        "artifacts": [_file(one) for one in outcome.artifacts],
        "left_out": [asdict(one) for one in outcome.left_out],
        "journal_head": outcome.journal.head,
    }


def _file(one: Artifact) -> dict[str, JSON]:
    """Return a file as a dict, its data in base64, for a checkpoint holds what JSON does."""
    return {"name": one.name, "size": one.size, "digest": one.digest, "data": base64.b64encode(one.data).decode()}


def _plain(call: CallRecord) -> dict[str, JSON]:
    """Return a call as a dict; large arguments and a large result stand only in the journal, some results nowhere."""
    fields = asdict(call)
    arguments, text = fields.pop("arguments_text"), fields.pop("result")
    if len(arguments) <= _SHOWN_VALUE:
        fields["arguments"] = call.arguments
    if fields.pop("held") and (text is None or len(text) <= _SHOWN_VALUE):
        fields["value"] = call.value
    return storable(fields)


def storable(value: JSON) -> JSON:
    """Return a value whose integers a checkpoint can hold; larger ones become text."""
    if is_dict(value):
        return {key: storable(item) for key, item in value.items()}
    if is_list(value):
        return [storable(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 63 else value
