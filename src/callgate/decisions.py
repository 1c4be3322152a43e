"""What a human may answer about a waiting call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from callgate.codec import JSON, NotJSON, encode
from callgate.errors import UsageError
from callgate.tools import Tool

__all__ = ["DECISIONS", "OUTCOMES", "Decision", "decision_line", "outcomes_of", "parse_decision"]

DECISIONS = ("approve", "edit", "reject", "respond")
"""The decisions about a call that has not run."""
OUTCOMES = ("done", "failed", "run again")
"""The decisions about a call of which nobody knows whether it happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A human's answer to one waiting call."""

    type: str
    """One of `DECISIONS`; for an unknown outcome one of `OUTCOMES`."""
    arguments: str | None = None
    """edit: the canonical text of the arguments to run instead."""
    message: str = ""
    """reject, respond, failed: what the program is told."""
    value: str = "null"
    """done: the canonical text of the value the call had."""


def outcomes_of(tool: Tool | None) -> tuple[str, ...]:
    """Return the decisions about an unknown outcome of a tool, None for one that is gone: that cannot run again."""
    return OUTCOMES if tool is not None else OUTCOMES[:2]


def parse_decision(given: object, *, name: str, tool: Tool | None, allowed: tuple[str, ...]) -> Decision:
    """Read a decision in LangChain's form, `{"type": "approve"}`, or just its type as a string.

    An edit carries `edited_action: {"name", "args"}`; reject, respond and failed a `message`; done a `value`. The tool
    is None where it is gone since; `outcomes_of` it is what may be allowed then.

    Raises:
        UsageError: for a decision that is unknown or not allowed for this call, or edited arguments the tool does not
            take. Nothing is recorded then.
    """
    fields: Mapping[str, Any] = {"type": given} if isinstance(given, str) else cast(Mapping[str, Any], given)
    if not isinstance(cast(object, fields), Mapping) or fields.get("type") not in allowed:
        raise UsageError(f"{name}: decide one of {', '.join(allowed)}, got {given!r}")
    kind = fields["type"]
    try:
        if kind == "edit" and tool is not None:
            return Decision(type=kind, arguments=_edited(fields, tool))
        if kind == "done":
            return Decision(type=kind, value=encode(fields.get("value")))
    except NotJSON as error:
        raise UsageError(f"{name}: {error}") from error
    return Decision(type=kind, message=str(fields.get("message", "")).encode(errors="replace").decode())


def decision_line(
    call: str, given: object, *, name: str, tool: Tool | None, allowed: tuple[str, ...]
) -> tuple[dict[str, JSON], dict[str, str]]:
    """Return the journal line of a decision about a waiting call, as fields and canonical text.

    Raises:
        UsageError: as `parse_decision`.
    """
    decision = parse_decision(given, name=name, tool=tool, allowed=allowed)
    told: JSON = {"type": decision.type, "message": decision.message}
    raw = {"edited": decision.arguments} if decision.arguments is not None else {}
    if decision.type == "done":
        raw["value"] = decision.value
    return {"e": "decision", "call": call, "decision": told}, raw


def _edited(fields: Mapping[str, Any], tool: Tool) -> str:
    action = fields.get("edited_action")
    if not isinstance(action, Mapping) or not isinstance(cast(Mapping[str, Any], action).get("args"), dict):
        raise UsageError(f"{tool.name}: an edit carries edited_action={{'name': ..., 'args': {{...}}}}")
    edited = cast(Mapping[str, Any], action)
    if edited.get("name", tool.name) != tool.name:
        raise UsageError(f"{tool.name}: an edit may change arguments, not the tool; got {edited['name']!r}")
    if fault := tool.fault(edited["args"]):
        raise UsageError(f"edited arguments: {fault}")
    return encode(edited["args"])
