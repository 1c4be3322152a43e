"""One `execute_code` call: a program, its inner calls, and the ToolMessage about them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, cast

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import Command

from callgate import Call, CodeRunner, Journal, Outcome
from callgate.action import kept_key
from callgate.codec import JSON, decode
from callgate.finished import arguments_in, handles_in, is_over, outcome_of
from callgate.outcome import lost
from callgate.reach import reach
from callgate.recording import kept_handles, read_recording
from callgate.surface import EXECUTE_CODE
from callgate_langchain.answers import artifact_of
from callgate_langchain.guards import is_dict
from callgate_langgraph.approvals import Approvals, Question, Setting
from callgate_langgraph.beside import Beside, Identity
from callgate_langgraph.call_limits import CallBudget
from callgate_langgraph.forms import Output, Pipeline
from callgate_langgraph.inner import InnerCalls
from callgate_langgraph.interrupts import can_ask
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.lift import lift, number_of
from callgate_langgraph.state import Channels, SeenState
from callgate_langgraph.steps import Steps, read_lines
from callgate_langgraph.turn import Turn

__all__ = ["CodeAction", "admit", "current_setting", "execute_code_tool"]


@dataclass(slots=True, kw_only=True)
class CodeAction:
    """One `execute_code` call, in one entry of its node run."""

    at: int
    """Position of the call in the message."""
    call: ToolCall
    key: str
    """Of its lines in the journal."""
    runner: CodeRunner
    """Over the node run's store."""
    tool: BaseTool
    """`execute_code` itself, so that callbacks and streams see it start and end like any tool."""
    node: Pipeline
    """Of stand-ins of the user's tools, for the inner calls."""
    gates: Approvals
    keeping: Keeping
    beside: Beside
    turn: Turn
    budget: CallBudget
    given: Setting
    """What the node run began with."""
    channels: Channels | None
    messages_key: str

    journal: Journal | None = None
    """What earlier entries left; None where this is the first."""
    decisions: Mapping[str, object] = field(default_factory=dict[str, object])
    """Of humans, by inner id, to be handed to the program."""
    waiting: list[Question] = field(default_factory=list[Question])
    """Calls for which this entry's run of the program stopped."""
    outputs: list[Output] | None = None
    """What the node returns for it, once it is over."""
    files: bool = False
    """Whether the program left files in this entry: no journal holds those."""
    inner: InnerCalls | None = None
    """Set when the program starts."""
    outcome: Outcome | None = None
    """How it ended, or why it waits, as far as this entry knows."""
    _seen: SeenState | None = None

    @property
    def setting(self) -> Setting:
        """What surrounds its calls."""
        return replace(self.given, state=self._seen.current) if self._seen is not None else self.given

    @property
    def id(self) -> str:
        """The id of the call."""
        return cast(str, self.call["id"])

    @property
    def lines(self) -> int:
        """How many lines its journal has."""
        return len(self.journal) if self.journal is not None else 0

    # ---- what earlier entries left

    def load(self) -> Steps[None]:
        """Read what earlier entries of the node run left; an action that is over gets its outputs from there.

        Raises:
            JournalError: if it was changed.
        """
        if (fault := _fault(self.call)) is not None:
            self.outputs = [fault]
            return
        journal = yield from self.keeping.journal(self.key)
        if not len(journal):
            return
        self.journal = journal
        self.budget.know(self.key, journal)
        yield from self.beside.load()
        self._see()
        if is_over(self.journal):
            self.outputs = self._lifted(self.message((yield from self._recorded(self.journal))))

    def ended(self) -> Steps[Outcome | None]:
        """Return how an action that is over ended; None for a call without a program.

        Raises:
            JournalError: if its journal was changed.
        """
        if self.outcome is None and _fault(self.call) is None:
            self.journal = yield from self.keeping.journal(self.key)
            yield from self._recorded(self.journal)
        return self.outcome

    @property
    def answer(self) -> str:
        """What the model is told, once it is over."""
        told = (one for one in self.outputs or () if isinstance(one, ToolMessage) and one.tool_call_id == self.id)
        return next((one.text for one in told), "")

    def _recorded(self, journal: Journal) -> Steps[Outcome]:
        kept = yield from self._kept(handles_in(journal))
        self.outcome = outcome_of(journal, kept.__getitem__)
        return self.outcome

    def questions(self) -> Steps[list[Question]]:
        """Return the calls that wait for a human, by the journal."""
        if self.journal is None or self.outputs is not None:
            return []
        kept = yield from self._kept(kept_handles(self.journal))
        recording, arguments = read_recording(self.journal, kept.__getitem__), arguments_in(self.journal)
        return [
            self._question(one.call, one.key[0], arguments[one.call], unknown=one.unknown)
            for one in recording.waiting()
        ]

    def interrupted(self) -> str | None:
        """Return the first call whose tool waits for an answer, by the journal: the first one the program made."""
        if self.journal is None or self.outputs is not None:
            return None
        waiting = set[str]()
        for line in self.journal.lines[1:]:
            entry = decode(line)
            if entry["e"] == "interrupted":
                waiting.add(entry["call"])
            elif entry["e"] in ("started", "done"):
                waiting.discard(entry["call"])
        asked = ((call, self.beside.interrupted(call)) for call in sorted(waiting, key=number_of))
        return next((call for call, one in asked if self.turn.answer_to((self.at, call), one) is None), None)

    def _question(self, call: str, tool: str, arguments: dict[str, JSON], *, unknown: bool) -> Question:
        code = self.call["args"]["code"]
        return Question(at=self.at, id=call, tool=tool, arguments=arguments, unknown=unknown, code=code)

    def _kept(self, handles: list[str]) -> Steps[dict[str, str]]:
        assert self.journal is not None  # noqa: S101 - set by load
        kept: dict[str, str] = {}
        for handle in handles:
            kept[handle] = "".join((yield from read_lines(self.keeping.store, kept_key(self.journal, handle))))
        return kept

    # ---- running

    def run(self) -> None:
        """Run the program, or go on with it.

        Raises:
            SandboxError: if programs cannot run.
            ReplayDivergence: if it does not repeat what its journal holds.
            GraphBubbleUp: control flow of a tool that has to leave the node.
        """
        token = _current.set(self)
        try:
            answer = self.tool.invoke(self._request(), self.given.config)
        finally:
            _current.reset(token)
        self._ended(answer)

    async def arun(self) -> None:
        """The awaitable twin of `run`."""
        token = _current.set(self)
        try:
            answer = await self.tool.ainvoke(self._request(), self.given.config)
        finally:
            _current.reset(token)
        self._ended(answer)

    def _request(self) -> ToolCall:
        return {**self.call, "args": {"code": self.call["args"]["code"]}, "type": "tool_call"}

    def _ended(self, answer: ToolMessage) -> None:
        assert self.inner is not None  # noqa: S101 - set by the tool's body
        if self.inner.left is not None:
            raise self.inner.left
        if answer.artifact["status"] != "paused":
            self.outputs = self._lifted(answer)

    def go(self, code: str) -> ToolMessage:
        """Run the program inside the tool's own run; one that waits has a message that nobody is shown."""
        inner = self._inner()
        if self.journal is not None:
            return self._take(self.runner.resume(self.key, self.decisions, invoke=inner.invoke))
        return self._take(self.runner.run(code, **self._named(), invoke=inner.invoke))

    async def ago(self, code: str) -> ToolMessage:
        """The awaitable twin of `go`."""
        inner = self._inner()
        if self.journal is not None:
            return self._take(await self.runner.aresume(self.key, self.decisions, invoke=inner.ainvoke))
        return self._take(await self.runner.arun(code, **self._named(), invoke=inner.ainvoke))

    def _inner(self) -> InnerCalls:
        self.inner = InnerCalls(
            self.node,
            self._see(),
            beside=self.beside,
            keeping=self.keeping,
            key=self.key,
            answer=lambda call, asked: self.turn.answer_to((self.at, call), asked),
            config=ensure_config(),
            messages_key=self.messages_key,
        )
        return self.inner

    def _see(self) -> SeenState:
        """Return the state with the updates of earlier entries in it."""
        self._seen = SeenState(self.given.state, self.channels, self.messages_key)
        for _, command in self._counting():
            if command.graph is None:
                self._seen.apply(command.update)
        return self._seen

    def _named(self) -> dict[str, Any]:
        thread = self.given.config.get("configurable", {}).get("thread_id") or ""
        return {"id": self.id, "key": self.key, "thread": str(thread)}

    def _take(self, outcome: Outcome) -> ToolMessage:
        if outcome.waiting and all(one.unknown for one in outcome.waiting) and not can_ask(self.given.config):
            outcome = lost(outcome)
        self.outcome, self.journal, self.files = outcome, outcome.journal, bool(outcome.artifacts)
        self.waiting = [
            self._question(one.id, one.tool, one.arguments, unknown=one.unknown)
            for one in outcome.waiting
            if not one.interrupted
        ]
        return self.message(outcome)

    # ---- the answer

    def message(self, outcome: Outcome) -> ToolMessage:
        """Return the answer to the model."""
        artifact = artifact_of(outcome)
        if self.gates:
            artifact["reachable"] = self.reachable(outcome.journal.header["program"])
        if self.keeping.lasting:
            artifact["journal_key"] = self.key
        else:
            artifact["journal"] = list(outcome.journal.lines)
        return ToolMessage(
            outcome.text,
            name=EXECUTE_CODE,
            tool_call_id=self.id,
            status="success" if outcome.status == "completed" else "error",
            artifact=artifact,
        )

    def reachable(self, program: str) -> list[str]:
        """Return the gated tools a program can reach, by its text."""
        return [name for name in reach(program, self.runner.catalogue).tools if name in self.gates]

    def _lifted(self, answer: ToolMessage) -> list[Output]:
        return lift(self._counting(), answer, self.channels, self.messages_key)

    def _counting(self) -> list[tuple[str, Command[Any]]]:
        """Return the Commands of the calls that are over, but for those of which a human said that they failed.

        Over is also what a human is about to say it of.
        """
        commands = self.beside.commands()
        if not commands or self.journal is None:
            return []
        over: dict[str, Identity] = {}
        edited = set[str]()
        failed = {call for call, one in self.decisions.items() if is_dict(one) and one["type"] == "failed"}
        for entry in self.journal.entries():
            if entry["e"] == "done" or (entry["e"] == "started" and entry["call"] in self.decisions):
                over[entry["call"]] = entry["tool"], entry["key"]
            if entry["e"] == "started" and "ran" in entry:
                edited.add(entry["call"])
            elif entry["e"] == "decision" and entry["decision"]["type"] == "failed":
                failed.add(entry["call"])
        return [
            (call, one)
            for call, of, one in commands
            if call not in failed and (over.get(call) == of or (call in over and call in edited))
        ]


_current: ContextVar[CodeAction] = ContextVar("callgate_action")


def execute_code_tool() -> BaseTool:
    """Return the tool that runs the action of its context."""

    def run(code: str) -> ToolMessage:
        return _current.get().go(code)

    async def arun(code: str) -> ToolMessage:
        return await _current.get().ago(code)

    schema = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    return StructuredTool(
        name=EXECUTE_CODE, description="Run a program that calls tools.", args_schema=schema, func=run, coroutine=arun
    )


def admit(call: Call) -> str | None:
    """Count a call of the running action; return why it may not run, if it may not."""
    action = _current.get()
    return action.budget.refuse(action.key, call.id, call.tool) if call.tool in action.node.tools_by_name else None


def current_setting() -> Setting:
    """Return what surrounds the calls of the running action."""
    return _current.get().setting


def _fault(call: ToolCall) -> ToolMessage | None:
    """Return the answer to a call without a program, None for one that has it."""
    code: object = call["args"].get("code")
    if isinstance(code, str):
        return None
    return ToolMessage(
        f"Error: code {'is missing' if code is None else 'must be a string'}, so nothing ran. "
        f'Call {EXECUTE_CODE} again with {{"code": "<the Python program>"}}.',
        name=EXECUTE_CODE,
        tool_call_id=cast(str, call["id"]),
        status="error",
    )
