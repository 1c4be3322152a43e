"""The calls of one AIMessage, where at least one is code or may need a human."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_core.runnables.config import get_executor_for_config
from langgraph.types import Interrupt

from callgate import JournalError
from callgate.codec import JSON, decode
from callgate.decisions import Decision
from callgate.runner import Event
from callgate_langchain.guards import is_dict
from callgate_langgraph.actions import CodeAction
from callgate_langgraph.approvals import Approvals, Question, Setting, Unfit, request
from callgate_langgraph.forms import combine
from callgate_langgraph.interrupts import NodeInterrupts
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.plain import PlainCalls
from callgate_langgraph.stale_resume import (
    aclear_stale_resume,
    ainterrupts_shown,
    clear_stale_resume,
    interrupts_shown,
)
from callgate_langgraph.steps import Step, Steps
from callgate_langgraph.turn import Asked, Ref, Turn

__all__ = ["Batch"]


@dataclass(slots=True, kw_only=True)
class Batch:
    """One entry of a node run: the code actions beside one another, then the plain calls.

    LangGraph enters the node anew after an interrupt, a crash or a retry. Then everything that is over comes from the
    journal, and the rest goes on. The plain calls come last, when no action waits.
    """

    actions: Mapping[int, CodeAction]
    """By the position of their call."""
    plain: PlainCalls
    turn: Turn
    keeping: Keeping
    gates: Approvals
    setting: Setting
    interrupts: NodeInterrupts
    as_list: bool
    """Whether the node returns a list of messages."""
    messages_key: str
    task: str
    """The task of the graph that this is, the same when it is entered again."""
    tell: Callable[[Event], None]

    def steps(self) -> Steps[Any]:
        """Run everything and return what the node returns.

        Raises:
            GraphInterrupt: while somebody has to answer.
            SandboxError: if a program could not run.
            JournalError: if a journal was changed, or another run goes on with it.
            ReplayDivergence: if a program does not repeat what its journal holds.
            UsageError: if somebody has to be asked, and the graph has no checkpointer to wait in.
            Exception: what the ToolNode raises of the plain calls.
        """
        yield from self._load()
        if not self.actions and self.turn.asked is None and not self.plain.outputs and not self.plain.questions():
            return (yield self.plain.untouched())
        yield from self._hear()
        self.plain.load()
        ready = [action for action in self.actions.values() if action.outputs is None and not self._rests(action)]
        try:
            yield Step(lambda: self._run_all(ready), lambda: self._arun_all(ready))
            yield from self._ask_about_calls()
            yield from self._ask_for_tools()
            yield from self.plain.run()
            yield from self._ask_for_tools()
        except Exception:
            yield from self._keep_files()
            raise
        return self._merged()

    def _load(self) -> Steps[None]:
        """Take what earlier entries left."""
        yield from self.turn.load()
        for at, action in self.actions.items():
            if (packed := self.turn.done.get((at, action.id))) is not None:
                action.outputs = self.keeping.unpack(packed)
            else:
                yield from action.load()
                self._check_length(action)
        self.plain.load()

    def _check_length(self, action: CodeAction) -> None:
        asked = self.turn.asked
        if asked is not None and action.lines < asked.lengths.get(action.at, 0):
            raise JournalError(f"the journal of {action.id} ends before somebody was asked: lines were taken away")

    def _keep_files(self) -> Steps[None]:
        """Keep what actions return whose programs left files: the node will be entered again."""
        found = {(at, one.id): one.outputs for at, one in self.actions.items() if one.files and one.outputs is not None}
        if found:
            self.turn.finish({ref: self.keeping.pack(outputs) for ref, outputs in found.items()})
            yield from self.turn.save()

    def _merged(self) -> Any:
        """Return all outputs in the order of the calls, in the form of the input."""
        found = {at: action.outputs or [] for at, action in self.actions.items()} | self.plain.outputs
        outputs = [one for at in sorted(found) for one in found[at]]
        return combine(outputs, as_list=self.as_list, messages_key=self.messages_key)

    # ---- code actions

    def _rests(self, action: CodeAction) -> bool:
        """Say whether an action still waits for answers that are to come."""
        asked = self.turn.asked
        if asked is None or not asked.answered or asked.lengths.get(action.at) != action.lines:
            return False
        return all(at != action.at for at, _ in asked.calls)

    def _run_all(self, actions: Sequence[CodeAction]) -> None:
        if len(actions) == 1:
            actions[0].run()
        elif actions:
            with get_executor_for_config(self.setting.config) as executor:
                running = [executor.submit(action.run) for action in actions]
            for one in running:  # all are over: the executor waits for them
                one.result()

    async def _arun_all(self, actions: Sequence[CodeAction]) -> None:
        for one in await asyncio.gather(*(action.arun() for action in actions), return_exceptions=True):
            if one is not None:
                raise one

    # ---- hearing what humans answered

    def _hear(self) -> Steps[None]:
        """Take the answer to the question that is open, if one is, and hand decisions to the actions they are for.

        Raises:
            GraphInterrupt: if nobody has answered yet.
        """
        waits, asked = self.turn.waits, self.turn.asked
        if asked is not None and asked.task == self.task:
            self.interrupts.fill(asked.index + asked.answered)
            self.interrupts.pass_by(asked.index + asked.answered)
        if waits is not None and waits.kind == "tool":
            yield from self._hear_for_tool(waits)
        elif waits is not None:
            yield from self._hear_about_calls(waits)
        asked = self.turn.asked
        if asked is None or not asked.answered or asked.kind == "tool":
            return
        for action in self.actions.values():
            if asked.lengths.get(action.at) == action.lines:  # else it was handed them before
                action.decisions = {
                    one.id: _mapping(self.turn.decisions[one.at, one.id])
                    for one in (yield from action.questions())
                    if self.turn.agreed.get((one.at, one.id)) == self.gates.shown(one)
                }

    def _hear_about_calls(self, waits: Asked) -> Steps[None]:
        questions = yield from self._repeated(waits)
        if questions is None:
            return
        if not (yield from self._was_shown(waits)):
            yield from self._ask(questions, waits.error)
        index = yield from self._index(waits)
        answer = self.interrupts.again(index, self._request(questions, waits.pause, waits.error))
        try:
            decisions = self.gates.read(answer, questions)
        except Unfit as error:
            yield from self._heard()
            yield from self._ask(questions, str(error))
        else:
            self.turn.decide(decisions)
            yield from self._heard()

    def _hear_for_tool(self, waits: Asked) -> Steps[None]:
        if not (yield from self._was_shown(waits)):
            yield from self._ask_for_tool(waits.calls[0])
        index = yield from self._index(waits)
        question = self._question_of(waits.calls[0])[1]
        answer = self.interrupts.again(index, question.value, _schema(question))
        self.turn.answer(self.keeping.pack(answer))
        yield from self._heard()

    def _heard(self) -> Steps[None]:
        """Make an answer durable, and take it out of where LangGraph would find it for the next question."""
        yield from self.turn.save()
        yield self._clear(heard=True)

    def _clear(self, *, heard: bool) -> Step:
        runtime, config = self.setting.runtime, self.setting.config
        return Step(
            lambda: clear_stale_resume(runtime, config, heard=heard),
            lambda: aclear_stale_resume(runtime, config, heard=heard),
        )

    def _was_shown(self, waits: Asked) -> Steps[bool]:
        """Say whether anybody can have answered an open question.

        A process that ended between its journal and LangGraph's own rows asked nobody: what comes as an answer then is
        one to the question before, given again.
        """
        if waits.task != self.task:
            return True  # the state was updated, which leaves nothing to see
        runtime, config = self.setting.runtime, self.setting.config
        shown: list[Interrupt] = yield Step(
            lambda: interrupts_shown(runtime, config), lambda: ainterrupts_shown(runtime, config)
        )
        wanted = self.interrupts.id_at(waits.index)
        return any(one.id == wanted and (waits.kind == "tool" or _pause(one) == waits.pause) for one in shown)

    def _repeated(self, waits: Asked) -> Steps[list[Question] | None]:
        """Return the questions that were asked; None if a call, or its tool, is not what it was: it has to ask anew."""
        known: dict[Ref, Question] = {(one.at, one.id): one for one in self.plain.questions()}
        for action in self.actions.values():
            if waits.lengths.get(action.at) == action.lines:
                known.update({(one.at, one.id): one for one in (yield from action.questions())})
        if not all(ref in known for ref in waits.calls):
            return None
        questions = [known[ref] for ref in waits.calls]
        return questions if list(map(self.gates.shown, questions)) == waits.shown else None

    def _index(self, waits: Asked) -> Steps[int]:
        """Return the position of an open question among the interrupts of this task.

        It is another one where the state was updated meanwhile.
        """
        if waits.task == self.task:
            return waits.index
        index = self.interrupts.given
        self.turn.ask(replace(waits, task=self.task, index=index))
        yield from self.turn.save()
        return index

    # ---- asking

    def _ask_about_calls(self) -> Steps[None]:
        """Ask about all calls that wait, in one interrupt."""
        questions = [*self.plain.questions(), *(one for action in self.actions.values() for one in action.waiting)]
        if questions:
            yield from self._ask(sorted(questions, key=lambda one: one.at), None)

    def _ask_for_tools(self) -> Steps[None]:
        """Ask what the first tool asks that interrupted itself."""
        waiting = ((at, action.interrupted()) for at, action in self.actions.items())
        ref = next(((at, call) for at, call in waiting if call is not None), None) or self.plain.interrupted()
        if ref is not None:
            yield from self._ask_for_tool(ref)

    def _ask_for_tool(self, ref: Ref) -> Steps[None]:
        number, question = self._question_of(ref)
        yield from self._first(question.value, _schema(question), kind="tool", calls=[ref], number=number)

    def _question_of(self, ref: Ref) -> tuple[int, Interrupt]:
        """Return the number of what a tool asks, and the question."""
        action = self.actions.get(ref[0])
        asked = action.beside.interrupted(ref[1]) if action is not None else self.turn.interrupted.get(ref)
        if asked is None:
            raise JournalError(f"nothing says what the tool of call {ref[1]} asks: the journal was changed")
        return asked.number, self.keeping.unpack(asked.question)

    def _ask(self, questions: Sequence[Question], error: str | None) -> Steps[None]:
        for one in questions:
            if one.at not in self.actions and error is None:
                asked: Event = {"type": "callgate.call", "status": "waiting", "id": one.id, "tool": one.tool}
                self.tell({**asked, "arguments": one.arguments})
        calls = [(one.at, one.id) for one in questions]
        request = self._request(questions, self.turn.next_pause, error)
        shown = list(map(self.gates.shown, questions))
        yield from self._first(request, None, kind="approval", calls=calls, shown=shown, error=error)

    def _first(
        self,
        value: Any,
        schema: Any,
        *,
        kind: Literal["approval", "tool"],
        calls: list[Ref],
        shown: Sequence[str] = (),
        number: int = 0,
        error: str | None = None,
    ) -> Steps[None]:
        self.interrupts.check()
        lengths = {action.at: action.lines for action in self.actions.values() if action.outputs is None}
        index = self.interrupts.given
        asked = Asked(
            kind=kind,
            calls=calls,
            task=self.task,
            index=index,
            lengths=lengths,
            shown=list(shown),
            number=number,
            pause=self.turn.next_pause,
            error=error,
        )
        self.turn.ask(asked)
        yield from self.turn.save()
        yield self._clear(heard=False)
        self.interrupts.first(value, schema)

    def _request(self, questions: Sequence[Question], pause: int, error: str | None) -> dict[str, Any]:
        settings = {
            one.at: self.actions[one.at].setting if one.at in self.actions else self.setting for one in questions
        }
        heads = {action.id: action.journal.head for action in self.actions.values() if action.journal is not None}
        return request(questions, self.gates, settings, heads=heads, pause=pause, error=error)


def _pause(shown: Interrupt) -> object:
    """Return the number of an approval request, None for another interrupt."""
    value: Any = shown.value
    more = value.get("callgate") if is_dict(value) else None
    return more.get("pause") if is_dict(more) else None


def _schema(question: Interrupt) -> Any:
    """Return what an answer has to look like, if the tool says so; early versions of LangGraph have no such thing."""
    return getattr(question, "response_schema", None)


def _mapping(decision: Decision) -> dict[str, JSON]:
    """Return a decision as `CodeRunner.resume` takes it."""
    told: dict[str, JSON] = {"type": decision.type, "message": decision.message, "value": decode(decision.value)}
    if decision.arguments is not None:
        told["edited_action"] = {"args": decode(decision.arguments)}
    return told
