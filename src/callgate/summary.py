"""An outcome as what JSON can carry, for hosts that keep it beside the text for the model."""

from __future__ import annotations

import base64
from dataclasses import asdict

from callgate.artifacts import Artifact
from callgate.codec import JSON
from callgate.outcome import CallRecord, Outcome

__all__ = ["summary"]

_SHOWN_VALUE = 2_000
"""Characters of a call's arguments, and of its result, that are repeated beside the journal."""


def summary(outcome: Outcome) -> dict[str, JSON]:
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
    """Return a file as a dict, its data in base64."""
    return {"name": one.name, "size": one.size, "digest": one.digest, "data": base64.b64encode(one.data).decode()}


def _plain(call: CallRecord) -> dict[str, JSON]:
    """Return a call as a dict; large arguments and a large result stand only in the journal, some results nowhere."""
    fields = asdict(call)
    arguments, text = fields.pop("arguments_text"), fields.pop("result")
    if len(arguments) <= _SHOWN_VALUE:
        fields["arguments"] = call.arguments
    if fields.pop("held") and (text is None or len(text) <= _SHOWN_VALUE):
        fields["value"] = call.value
    return fields
