"""Approvals in LangChain's form: what `HumanInTheLoopMiddleware` asks and is answered, for calls of programs too."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import pydantic
from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime

from callgate import Call, Catalogue, UsageError
from callgate.codec import JSON, decode, encode
from callgate.decisions import Decision, outcomes_of, parse_decision
from callgate.outcome import visible
from callgate.policy import Approval, InterruptOn, approvals, shown_digest
from callgate_langchain.answers import storable
from callgate_langchain.guards import is_dict, is_list
from callgate_langgraph.forms import Output
from callgate_langgraph.lift import map_answer

__all__ = ["Approvals", "Question", "Setting", "Unfit", "instead_of_result", "request", "with_notice"]

logger = logging.getLogger("callgate")

_RUNTIME_FIELDS = tuple(one.name for one in fields(ToolRuntime))

_APPROVAL = "Tool execution requires approval"
_SHOWN = 4_000
"""Characters of a program, and of arguments, that a description repeats."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What surrounds a call."""

    state: Any
    """Of the graph, as the call sees it."""
    config: RunnableConfig
    """Of the node."""
    runtime: Runtime[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call that waits for a human."""

    at: int
    """Position, in the message, of the call it belongs to."""
    id: str
    """The inner id, or the id of a plain call."""
    tool: str
    arguments: dict[str, JSON]
    """Exactly what will run if it is approved."""
    unknown: bool = False
    """Whether it was started before and nobody knows how it ended."""
    raised: str | None = None
    """The type of the exception that its tool raised when it ran before."""
    code: str | None = None
    """The program that makes the call; None for a plain call."""

    @property
    def call(self) -> ToolCall:
        """The call as LangChain writes it."""
        return {"name": self.tool, "args": self.arguments, "id": self.id, "type": "tool_call"}


class Unfit(Exception):
    """An answer that does not fit its questions; the text says why."""


class Approvals:
    """The user's `interrupt_on`.

    Args:
        interrupt_on: LangChain's: tool name to True, False, or allowed_decisions, description and when.
        catalogue: of the tools.
        tools: the same ones, by name.

    Raises:
        UsageError: for a tool that is not there, or a configuration of another form.
    """

    def __init__(self, interrupt_on: InterruptOn | None, catalogue: Catalogue, tools: Mapping[str, BaseTool]) -> None:
        self._gated: dict[str, Approval] = approvals(interrupt_on, catalogue)
        self._catalogue, self._tools = catalogue, tools

    def __contains__(self, name: object) -> bool:
        return name in self._gated

    def __bool__(self) -> bool:
        return bool(self._gated)

    def for_programs(self, setting: Callable[[], Setting]) -> InterruptOn:
        """Return the same rules as the core takes them; setting is asked for around each call."""

        def when(call: Call) -> bool:
            asked: ToolCall = {"name": call.tool, "args": call.arguments, "id": call.id, "type": "tool_call"}
            return self.wants(asked, setting())

        return {name: {"allowed_decisions": list(one.allowed), "when": when} for name, one in self._gated.items()}

    def wants(self, call: ToolCall, setting: Setting) -> bool:
        """Say whether a human is asked about a call; also where `when` raises."""
        gated = self._gated.get(call["name"])
        if gated is None or gated.when is None:
            return gated is not None
        runtime = setting.runtime
        known: dict[str, Any] = {
            "state": setting.state,
            "context": runtime.context,
            "config": setting.config,
            "stream_writer": runtime.stream_writer,
            "tool_call_id": call["id"],
            "store": runtime.store,
            "execution_info": runtime.execution_info,
            "server_info": runtime.server_info,
        }
        when = cast("Callable[[ToolCallRequest], object]", gated.when)
        try:
            made = ToolRuntime[Any, Any](**{key: known[key] for key in _RUNTIME_FIELDS if key in known})
            return bool(when(ToolCallRequest(call, self._tools.get(call["name"]), setting.state, made)))
        except Exception:
            logger.exception("interrupt_on[%r]: `when` raised; the call is asked for", call["name"])
            return True

    def allowed(self, question: Question) -> tuple[str, ...]:
        """Return the decisions that may be taken."""
        if question.unknown:
            return outcomes_of(self._catalogue.tools.get(question.tool))
        return self._gated.get(question.tool, Approval()).allowed

    def shown(self, question: Question) -> str:
        """Return a digest of the tool that a question is about, as a human is shown it."""
        return shown_digest(question.tool, self._catalogue.tools.get(question.tool))

    def description(self, question: Question, setting: Setting) -> str | None:
        """Return what the user says about a call, None where that is nothing."""
        told = self._gated.get(question.tool, Approval()).description
        if question.unknown or told is None:
            return None
        if isinstance(told, str):
            return told
        describe = cast("Callable[[ToolCall, Any, Runtime[Any]], object]", told)
        try:
            return str(describe(question.call, setting.state, setting.runtime))
        except Exception:
            logger.exception("interrupt_on[%r]: `description` raised", question.tool)
            return None

    def read(self, answer: object, questions: Sequence[Question]) -> list[Decision]:
        """Read a HITLResponse: one decision for each question, in their order.

        Raises:
            Unfit: if anything about it does not fit. Then nothing of it counts.
        """
        given = answer.get("decisions") if is_dict(answer) else None
        if not is_list(given):
            raise Unfit('answer with {"decisions": [...]}, one decision for each action request, in their order')
        if len(given) != len(questions):
            raise Unfit(f"{len(questions)} calls wait and the answer holds {len(given)} decisions; give one for each")
        return [self._decision(one, question) for one, question in zip(given, questions, strict=True)]

    def _decision(self, given: object, question: Question) -> Decision:
        tool, allowed = self._catalogue.tools.get(question.tool), self.allowed(question)
        try:
            decision = parse_decision(given, name=question.tool, tool=tool, allowed=allowed)
        except UsageError as error:
            raise Unfit(f"{question.id}: {error}") from error
        if decision.type == "respond" and not (is_dict(given) and isinstance(given.get("message"), str)):
            raise Unfit(f"{question.id}: a respond decision carries the answer as its `message`")
        if decision.arguments is not None:
            self._check_types(question, decode(decision.arguments))
        return decision

    def _check_types(self, question: Question, arguments: dict[str, Any]) -> None:
        schema: Any = self._tools[question.tool].tool_call_schema
        if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
            try:
                schema.model_validate(arguments)
            except pydantic.ValidationError as error:
                parts = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
                raise Unfit(f"{question.id}: edited arguments: {'; '.join(parts)}") from error


def request(
    questions: Sequence[Question],
    gates: Approvals,
    settings: Mapping[int, Setting],
    *,
    heads: Mapping[str, str],
    pause: int,
    error: str | None,
) -> dict[str, Any]:
    """Return a HITLRequest about calls, in their order.

    Args:
        questions: one for each call.
        gates: says what may be answered.
        settings: of the calls, by their position in the message.
        heads: id of a code action to the digest that pins its journal.
        pause: number of the interrupt in its node run.
        error: what was wrong with the answer before.

    Screens that know LangChain's form show `action_requests` and `review_configs`. The key "callgate" holds more:
    which call is of which program, the programs, and each call's arguments as canonical text.
    """
    shown = set[int]()
    described = [_described(one, gates.description(one, settings[one.at]), shown) for one in questions]
    if error is not None:
        described[0] = f"The answer before was not used: {visible(error)}\n\n{described[0]}"
    return {
        "action_requests": [
            {"name": one.tool, "args": storable(one.arguments), "description": text}
            for one, text in zip(questions, described, strict=True)
        ],
        "review_configs": [
            {"action_name": one.tool, "allowed_decisions": list(gates.allowed(one))} for one in questions
        ],
        "callgate": {
            "calls": [
                {"id": one.id, "arguments": encode(one.arguments), "unknown": one.unknown, "code": one.code is not None}
                for one in questions
            ],
            "programs": {one.id.rpartition("/")[0]: visible(one.code) for one in questions if one.code is not None},
            "journals": dict(heads),
            "pause": pause,
            "error": error,
        },
    }


def _described(question: Question, told: str | None, shown: set[int]) -> str:
    """Return what a person reads about a call; nothing in it can hide or turn around what stands there."""
    if told is not None:
        return visible(told)
    if question.unknown:
        head = (
            "It is unknown whether this call happened: it was started, and its process ended before it returned. "
            "Look, then decide done (with its value), failed, or run again"
        )
    elif question.raised is not None:
        head = f"{_APPROVAL}, again: it ran before and raised {question.raised}; what it did until then may stand"
    else:
        head = _APPROVAL
    arguments = json.dumps(question.arguments, ensure_ascii=False, sort_keys=True)
    text = f"{head}\n\nTool: {visible(question.tool)}\nArgs: {_cut(arguments, 'args')}"
    if question.code is None:
        return text
    if question.at in shown:
        return f"{text}\n\nCalled by the same program."
    shown.add(question.at)
    return f"{text}\n\nCalled by a program:\n{_cut(question.code, 'callgate.programs')}"


def _cut(text: str, whole: str) -> str:
    """Return the beginning of a text, and where the rest is."""
    shown = visible(text)
    more = len(shown) - _SHOWN
    return shown if more <= 0 else f"{shown[:_SHOWN]}\n… {more:,} more characters, all of it is in {whole}"


def instead_of_result(question: Question, decision: Decision) -> ToolMessage | None:
    """Return the answer to a plain call that a human decided about without running it; None if it runs."""
    status = "error" if decision.type in ("reject", "failed") else "success"
    match decision.type:
        case "respond":
            text = decision.message
        case "done":
            value = decode(decision.value)
            text = value if isinstance(value, str) else decision.value
        case "failed":
            text = decision.message or f"{question.tool} failed"
        case "reject" if decision.message:
            text = f"User rejected the tool call for `{question.tool}` with reason: {decision.message}"
        case "reject":
            text = (
                f"User rejected the tool call for `{question.tool}` with id {question.id}. The tool was not executed. "
                "Do not retry this tool call unless the user explicitly requests it."
            )
        case _:
            return None
    return ToolMessage(text, name=question.tool, tool_call_id=question.id, status=status)


def with_notice(output: Output, call_id: str, arguments: str, messages_key: str) -> Output:
    """Return the output of a plain call that ran with other arguments, with a note of it for the model."""
    note = (
        "Note: a human changed the arguments of this call before it ran, on purpose. Do not call it again with the "
        f"original ones. It ran with: {arguments}"
    )

    def noted(message: ToolMessage) -> ToolMessage:
        content: Any = message.content
        added = f"{note}\n\n{content}" if isinstance(content, str) else [{"type": "text", "text": note}, *content]
        return message.model_copy(update={"content": added})

    return map_answer(output, call_id, noted, messages_key)
