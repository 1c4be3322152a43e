"""The plain calls of a message that also runs programs, or waits for humans.

Each goes through the plain ToolNode by itself, in a scope of its own, and what it gave is kept if the node run has to
be entered again because of another one. One that a human had a say in is kept in any case, from before it starts, and
whichever calls are beside it then: what somebody approved, or answered, happens once. If its tool raises, that is used
up, and a write runs again only when somebody is asked anew. All others a crash repeats, as it does those of a ToolNode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables.config import get_executor_for_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from callgate import Catalogue
from callgate.codec import decode
from callgate.surface import EXECUTE_CODE
from callgate_langgraph.approvals import Approvals, Question, Setting, instead_of_result, with_notice
from callgate_langgraph.call_limits import CallBudget
from callgate_langgraph.forms import Output, Pipeline, flatten, with_calls
from callgate_langgraph.interrupts import Scope, scoped
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.steps import Step, Steps
from callgate_langgraph.turn import Ref, Turn, ref_of

__all__ = ["PlainCalls", "may_be_plain"]


@dataclass(slots=True, kw_only=True)
class _Run:
    """One plain call about to run."""

    ref: Ref
    edited: str | None
    """Canonical text of the arguments a human put in place of its own."""
    scope: Scope
    input: Any
    result: Any = None
    """What the ToolNode returned."""
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class PlainCalls:
    """The plain calls of one node run."""

    calls: dict[int, ToolCall]
    """By their position in the message."""
    node: Pipeline
    input: Any
    messages_key: str
    gates: Approvals
    catalogue: Catalogue
    setting: Setting
    turn: Turn
    keeping: Keeping
    budget: CallBudget

    outputs: dict[int, list[Output]] = field(default_factory=dict[int, list[Output]])
    """What the node returns for each call that is over, by position."""

    def load(self) -> None:
        """Take what the turn says of them, and answer those above a limit and those that only programs may make."""
        self.outputs.update((at, [refused]) for at, refused in self.budget.refused.items())
        begun = {at for at, _ in (*self.turn.started, *self.turn.waiting)}  # a tool may have had other callers then
        for at, call in self.calls.items():
            if at not in begun and not may_be_plain(call["name"], self.catalogue):
                self.outputs[at] = [_refusal(call, self.catalogue)]
        for (at, _), packed in self.turn.done.items():
            if at in self.calls:
                self.outputs[at] = self.keeping.unpack(packed)
        for ref in self._open():
            decision = self.turn.decisions.get(ref)
            message = instead_of_result(self._question(ref), decision) if decision is not None else None
            if message is not None:
                self.outputs[ref[0]] = [message]

    def questions(self) -> list[Question]:
        """Return the calls that wait for a human to decide."""
        return [self._question(ref) for ref in self._open() if self._waits(ref)]

    def interrupted(self) -> Ref | None:
        """Return the first call whose tool waits for an answer."""
        return next((ref for ref in self._open() if ref in self.turn.waiting and self._answer(ref) is None), None)

    def _answer(self, ref: Ref) -> str | None:
        return self.turn.answer_to(ref, self.turn.interrupted.get(ref))

    def _open(self) -> list[Ref]:
        return [ref_of(at, call) for at, call in self.calls.items() if at not in self.outputs]

    def _question(self, ref: Ref) -> Question:
        call, edited = self.calls[ref[0]], self.turn.edited.get(ref)
        arguments = call["args"] if edited is None else decode(edited)
        return Question(
            at=ref[0],
            id=ref[1],
            tool=call["name"],
            arguments=arguments,
            unknown=self._unknown(ref),
            raised=self.turn.failed.get(ref),
        )

    def _unknown(self, ref: Ref) -> bool:
        """Say whether an earlier entry began to run a call that a human had a say in, and nobody knows how it ended."""
        if ref not in self.turn.started or ref in self.turn.waiting or ref in self.turn.failed:
            return False
        tool = self.catalogue.tools.get(self.calls[ref[0]]["name"])
        return tool is None or tool.effect == "write"

    def _waits(self, ref: Ref) -> bool:
        turn, call = self.turn, self.calls[ref[0]]
        there = call["name"] in self.catalogue.tools  # else the ToolNode says so
        if ref in turn.waiting:
            return False
        if ref in turn.decisions:
            return there and turn.agreed[ref] != self.gates.shown(self._question(ref))
        if ref in turn.failed:
            return there and self.catalogue.tools[call["name"]].effect == "write"
        if ref in turn.started:
            return self._unknown(ref)
        asked = there and turn.asked is not None and ref in turn.asked.calls
        return asked or self.gates.wants(call, self.setting)

    # ---- running

    def untouched(self) -> Step:
        """Return the step that runs all calls as the ToolNode runs them alone."""
        node, given, config = self.node, self.input, self.setting.config
        return Step(lambda: node.invoke(given, config), lambda: node.ainvoke(given, config))

    def run(self) -> Steps[None]:
        """Run every call that is not over and waits for nobody.

        Raises:
            JournalError: if another run goes on with the same node run.
            Exception: what the ToolNode raises, of the first call that raises; all are over then.
        """
        turn = self.turn
        ready = [ref for ref in self._open() if ref not in turn.waiting or self._answer(ref) is not None]
        runs = [self._prepare(ref) for ref in ready]
        asked = [ref for ref in ready if ref in turn.decisions or ref in turn.started or ref in turn.waiting]
        if asked:
            turn.start(asked)
            yield from turn.save()
        yield Step(lambda: self._run_all(runs), lambda: self._arun_all(runs))
        finished = {run.ref: self._outputs(run) for run in runs if run.error is None}
        self.outputs.update((ref[0], outputs) for ref, outputs in finished.items())
        questions = {
            run.ref: run.scope.question(run.error, self.keeping)
            for run in runs
            if isinstance(run.error, GraphInterrupt)
        }
        failed = [run.error for run in runs if run.error is not None and run.ref not in questions]
        if questions:
            turn.interrupt(questions)
        returns = not failed and self.interrupted() is None
        if kept := {ref: outputs for ref, outputs in finished.items() if not returns or ref in asked}:
            turn.finish({ref: self.keeping.pack(outputs) for ref, outputs in kept.items()})
        turn.fail({run.ref: type(run.error).__name__ for run in runs if run.ref in asked and _failed(run)})
        yield from turn.save()
        if failed:
            raise failed[0]

    def _prepare(self, ref: Ref) -> _Run:
        turn, call = self.turn, self.calls[ref[0]]
        decision = turn.decisions.get(ref)
        edited = decision.arguments if decision is not None and decision.arguments else turn.edited.get(ref)
        if edited is not None:
            call = ToolCall({**call, "args": decode(edited)})
        name, waits = f"plain {ref[0]} {ref[1]}", turn.interrupted.get(ref)
        scope = scoped(self.setting.config, name, self.keeping, waits, self._answer(ref))
        return _Run(ref=ref, edited=edited, scope=scope, input=with_calls(self.input, [call], self.messages_key))

    def _run_all(self, runs: Sequence[_Run]) -> None:
        if len(runs) == 1:
            self._run(runs[0])
        elif runs:
            with get_executor_for_config(self.setting.config) as executor:  # leaves when all are over
                list(executor.map(self._run, runs))

    def _run(self, run: _Run) -> None:
        try:
            with run.scope.entered() as config:
                run.result = self.node.invoke(run.input, config)
        except Exception as error:  # noqa: BLE001 - raised when all are over
            run.error = error

    async def _arun_all(self, runs: Sequence[_Run]) -> None:
        await asyncio.gather(*map(self._arun, runs))

    async def _arun(self, run: _Run) -> None:
        try:
            with run.scope.entered() as config:
                run.result = await self.node.ainvoke(run.input, config)
        except Exception as error:  # noqa: BLE001 - raised when all are over
            run.error = error

    def _outputs(self, run: _Run) -> list[Output]:
        outputs = flatten(run.result, self.messages_key)
        if run.edited is None:
            return outputs
        return [with_notice(one, run.ref[1], run.edited, self.messages_key) for one in outputs]


def may_be_plain(name: str, catalogue: Catalogue) -> bool:
    """Say whether the model may make a call of that name plainly; of a tool that is not there, the ToolNode speaks."""
    tool = catalogue.tools.get(name)
    return tool is None or "direct" in tool.callers


def _refusal(call: ToolCall, catalogue: Catalogue) -> ToolMessage:
    """Return the answer to a plain call that was not made: it says how to make it."""
    name = call["name"]
    text = f"{name} was not called: it may not be called at all"
    for function, tool in catalogue.functions.items():
        if tool.name == name:
            cure = f"use {EXECUTE_CODE}, with {function}(...) in its code"
            text = f"{name} was not called: only a program may call it; {cure}"
    return ToolMessage(text, name=name, tool_call_id=call["id"], status="error")


def _failed(run: _Run) -> bool:
    """Say whether a tool raised; what LangGraph's control flow raises is no failure."""
    return run.error is not None and not isinstance(run.error, GraphBubbleUp)
