"""Questions to a human and their answers, as events of a workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from workflows.events import HumanResponseEvent, InputRequiredEvent

from callgate import Call, Catalogue, UsageError
from callgate.codec import JSON, encode
from callgate.decisions import outcomes_of, parse_decision
from callgate.outcome import visible
from callgate.policy import Approval, InterruptOn, approvals

__all__ = ["Approvals", "Question", "question_event"]

_SHOWN = 4_000
"""Characters of a program, and of arguments, that the text for a human repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call that waits for a human."""

    id: str
    """The inner id, or the id of a plain call."""
    tool: str
    arguments: dict[str, JSON]
    """Exactly what will run if it is approved."""
    unknown: bool = False
    """Whether it was started before and nobody knows how it ended."""


class Approvals:
    """The user's `interrupt_on`.

    Args:
        interrupt_on: tool name to True, False, or a dict of allowed_decisions, description and when.
        catalogue: of the tools.

    Raises:
        UsageError: for a tool that is not there, or a configuration of another form.
    """

    def __init__(self, interrupt_on: InterruptOn | None, catalogue: Catalogue) -> None:
        self._gated, self._catalogue = approvals(interrupt_on, catalogue), catalogue

    def __contains__(self, name: object) -> bool:
        return name in self._gated

    def __bool__(self) -> bool:
        return bool(self._gated)

    def allowed(self, question: Question) -> tuple[str, ...]:
        """Return the decisions that may be taken."""
        if question.unknown:
            return outcomes_of(self._catalogue.tools.get(question.tool))
        return self._gated.get(question.tool, Approval()).allowed

    def described(self, question: Question, *, by: str) -> str:
        """Return what a human is told of a call; nothing in it can hide or turn around what stands there.

        Args:
            question: of the call.
            by: who wants to make it.
        """
        if question.unknown:
            head = (
                "It is unknown whether this call happened: it was started, and its run ended before it returned. "
                "Look, then decide done (with its value), failed, or run again."
            )
        else:
            call = Call(id=question.id, tool=question.tool, arguments=dict(question.arguments))
            gated = self._gated.get(question.tool, Approval())
            head = f"{by} wants to call {call.tool}." if gated.description is None else gated.describe(call)
        arguments = json.dumps(question.arguments, ensure_ascii=False, sort_keys=True)
        return f"{visible(head)}\n{visible(question.tool)} {_cut(arguments)}"

    def read(self, answer: HumanResponseEvent, questions: Sequence[Question]) -> dict[str, object]:
        """Return the decisions that an answer holds, by the ids of their calls.

        Raises:
            UsageError: if anything about it does not fit. Then nothing of it counts.
        """
        given: Any = answer.get("decisions")
        if isinstance(given, Mapping):
            decisions = dict(cast("Mapping[str, object]", given))
            if odd := sorted(set(decisions) ^ {one.id for one in questions}):
                raise UsageError(f"give one decision for each waiting call; odd or missing: {', '.join(odd)}")
        elif isinstance(given, list | tuple):
            listed = cast("Sequence[object]", given)
            if len(listed) != len(questions):
                raise UsageError(f"{len(questions)} calls wait and the answer holds {len(listed)} decisions")
            decisions = {one.id: decision for one, decision in zip(questions, listed, strict=True)}
        else:
            raise UsageError("answer with decisions=[...], one for each action request, in their order")
        for one in questions:
            tool = self._catalogue.tools.get(one.tool)
            parse_decision(decisions[one.id], name=one.tool, tool=tool, allowed=self.allowed(one))
        return decisions


def question_event(
    questions: Sequence[Question], gates: Approvals, *, id: str, program: str | None, error: str | None
) -> InputRequiredEvent:
    """Return the event that asks about calls.

    Its `prefix` is a text for a human; `action_requests` and `review_configs` are what LangChain's screens know;
    `callgate` holds each call's id and canonical arguments, the program, and what was wrong with the answer before. It
    is answered by a HumanResponseEvent of the same `id`, with `decisions`.
    """
    texts = [gates.described(one, by="The agent" if program is None else "A program") for one in questions]
    prefix = "\n\n".join(texts) + (f"\n\nCalled by a program:\n{_cut(program)}" if program is not None else "")
    if error is not None:
        prefix = f"The answer before was not used: {visible(error)}\n\n{prefix}"
    told: dict[str, Any] = {
        "prefix": prefix,
        "id": id,
        "action_requests": [
            {"name": one.tool, "args": one.arguments, "description": text}
            for one, text in zip(questions, texts, strict=True)
        ],
        "review_configs": [
            {"action_name": one.tool, "allowed_decisions": list(gates.allowed(one))} for one in questions
        ],
        "callgate": {
            "calls": [{"id": one.id, "arguments": encode(one.arguments), "unknown": one.unknown} for one in questions],
            "program": visible(program) if program is not None else None,
            "error": error,
        },
    }
    return InputRequiredEvent(**told)


def _cut(text: str) -> str:
    shown = visible(text)
    more = len(shown) - _SHOWN
    return shown if more <= 0 else f"{shown[:_SHOWN]}\n… {more:,} more characters"
