"""A graph whose node runs code actions with a CheckpointJournal, and nothing else of callgate's nodes around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from callgate import CodeRunner, Outcome, Tool, tool
from callgate.journal import Journal
from callgate.recording import read_recording
from callgate.testing.fake import FakeSandbox
from callgate_langgraph.checkpoint_journal import CheckpointJournal, Durability, checkpoint_journal
from callgate_langgraph.stale_resume import (
    aclear_stale_resume,
    ainterrupts_shown,
    clear_stale_resume,
    interrupts_shown,
)

__all__ = [
    "ANSWER",
    "SANDBOX",
    "SHAPES",
    "WRITES",
    "Life",
    "answers",
    "answers_in",
    "config_of",
    "effects",
    "graph_of",
    "happened",
    "input_of",
    "said",
    "writes",
]


def program(first: int = 0) -> str:
    """Return the program of an action; all its calls have numbers of their own above first."""
    return f"""
seen = [look(n=n) for n in range(2)]
a = book(n={first + 1})
b = pay(n={first + 2})
c, d = call_tools([("book", {{"n": {first + 3}}}), ("look", {{"n": {first + 4}}})])
e = pay(n={first + 5})
[a, b, c, d, e]
"""


def answer(first: int = 0) -> list[int]:
    """Return the value of `program`."""
    return [10 * (first + n) for n in range(1, 6)]


def writes(actions: int = 1) -> list[str]:
    """Return what the programs of a message do, sorted."""
    firsts = range(0, 10 * actions, 10)
    return sorted(
        f"{name} {first + n}" for first in firsts for name, n in (("book", 1), ("pay", 2), ("book", 3), ("pay", 5))
    )


def answers(actions: int) -> list[list[int]]:
    """Return the values of the programs of a message."""
    return [answer(first) for first in range(0, 10 * actions, 10)]


ANSWER, WRITES = answer(), writes()

SANDBOX = FakeSandbox()
SHAPES = ("plain", "sub", "sub True", "sub own", "send", "two", "function", "entrypoint", "task")


def merged(left: dict[str, Any] | None, right: dict[str, Any]) -> dict[str, Any]:
    return {**(left or {}), **right}


class State(TypedDict, total=False):
    calls: list[dict[str, str]]
    answers: Annotated[dict[str, Any], merged]
    note: str


@dataclass(kw_only=True)
class Life:
    """One process: what it opens, what it does, and when it dies."""

    kind: str
    address: str
    thread: str
    ledger: str
    """A file: every effect of a tool, and every call of the model."""
    shape: str = "plain"
    is_async: bool = False
    sync_node: bool = False
    """Whether the node is a plain function even where the graph is awaited."""
    durability: str = "async"
    slow: float = 0.0
    """Seconds that every put of a checkpoint takes."""
    step: str = "start"
    """start | none (`invoke(None)`) | resume"""
    value: Any = None
    """What to resume with."""
    update: dict[str, Any] | None = None
    """State to update before that."""
    at: str | None = None
    """Checkpoint id to give explicitly."""
    kill_at: int | None = None
    """Number of the moment to die at, counted from 0; None lives on."""
    kill_at_effect: tuple[str, str] | None = None
    """("before" | "after", an effect): die then."""
    clear: bool = True
    """Whether the stale resume value is cleared."""
    actions: int = 1
    require_durable: bool = False
    meeting: str | None = None
    """A directory in which two lives meet before they enter the graph: LangGraph gives an answer that comes late to
    whatever is asked by then."""

    moments: int = 0
    """Passed so far."""
    durability_said: list[Durability] = field(default_factory=list)

    def moment(self) -> None:
        """Die here if this is the moment."""
        if self.moments == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.moments += 1

    def noted(self) -> list[str]:
        """Return the ledger, oldest first."""
        return effects(self.ledger)

    def die_if(self, when: str, effect: str) -> None:
        if self.kill_at_effect is not None and tuple(self.kill_at_effect) == (when, effect):
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, text: str) -> None:
        """Write to the ledger; it is on disk before this returns."""
        handle = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{text}\n".encode())
        os.fsync(handle)
        os.close(handle)


# ---- tools


def tools_of(life: Life) -> list[Tool]:
    def effect(name: str, n: int) -> int:
        life.die_if("before", f"{name} {n}")
        life.note(f"{name} {n}")
        life.die_if("after", f"{name} {n}")
        life.moment()
        return n * 10

    @tool(effect="read")
    def look(n: int) -> int:
        """Look."""
        return n * 10

    @tool
    def book(n: int) -> int:
        """Book."""
        return effect("book", n)

    @tool
    def pay(n: int) -> int:
        """Pay."""
        return effect("pay", n)

    return [look, book, pay]


# ---- the node


@dataclass(kw_only=True)
class NodeRun:
    """One run of the node, written once for both ways: it yields what to call, sync and awaitable."""

    life: Life
    calls: list[dict[str, str]]
    runtime: Any
    config: RunnableConfig
    records: list[dict[str, Any]] = field(default_factory=list)
    """What was asked: {"task", "calls", "asked", "lengths"}, the lines of each action then; or {"void": number} for a record
    whose answer was given to something else."""
    answers: dict[str, tuple[Any, int]] = field(default_factory=dict)
    """By call, with the lines its action had when it was asked: an answer is used once."""
    outcomes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {"require_durable": self.life.require_durable, "tell": self.life.durability_said.append}
        journal = checkpoint_journal(self.runtime, self.config, **given)
        assert journal is not None
        self.journal: CheckpointJournal = journal
        self.runner = CodeRunner(tools_of(self.life), sandbox=SANDBOX, interrupt_on={"pay": True}, journal=journal)
        self.task = self.runtime.execution_info.task_id
        self.key = "/".join(["pauses", *(one["id"] for one in self.calls)])

    def steps(self) -> Any:
        lines = yield partial(self.journal.read, self.key), partial(self.journal.aread, self.key)
        self.records = [json.loads(one) for one in lines]
        yield from self.hear()
        yield self.act_all, self.aact_all
        while asked := self.payload():
            calls = [one["id"] for one in asked]
            seen = self.last_seen()
            if self.life.clear:
                clear = {"heard": False}
                if seen != calls:  # else the answer that came is for this question
                    yield self.call(clear_stale_resume, **clear), self.call(aclear_stale_resume, **clear)
            number = len(self.records)
            record = {"task": self.task, "calls": calls, "asked": asked, "lengths": self.lengths()}
            yield from self.record(record)
            yield from self.take(number, record, interrupt(asked), known=seen == calls)
            yield self.act_all, self.aact_all
        return {"answers": {one: value_of(outcome) for one, outcome in self.outcomes.items()}}

    def hear(self) -> Any:
        """Take the answers to what this task asked before."""
        void = {one["void"] for one in self.records if "void" in one}
        own = [(at, one) for at, one in enumerate(self.records) if one.get("task") == self.task]
        shown = yield self.call(interrupts_shown), self.call(ainterrupts_shown)
        last = [one["id"] for one in shown[-1].value] if shown else None
        for at, one in own:
            answer = interrupt((yield from self.question(one)))
            if at not in void:
                known = one is not own[-1][1] or last == one["calls"] or self.last_seen() == one["calls"]
                yield from self.take(at, one, answer, known=known)

    def question(self, record: dict[str, Any]) -> Any:
        """Return what was asked; only its ids where the answer was heard before and then lost: it has no effect."""
        for call, length in record["lengths"].items():
            key = f"action/{call}"
            if len((yield partial(self.journal.read, key), partial(self.journal.aread, key))) != length:
                return [{"id": call} for call in record["calls"]]
        return record["asked"]

    def last_seen(self) -> list[str] | None:
        """Return what was asked last before the state was updated."""
        asked = [one for one in self.records if "calls" in one]
        return asked[-1]["calls"] if asked and asked[-1]["task"] != self.task else None

    def take(self, number: int, record: dict[str, Any], answer: Any, *, known: bool) -> Any:
        if known:
            for call, one in zip(record["calls"], answer, strict=True):
                self.answers[call] = one, record["lengths"][call.partition("/")[0]]
        else:
            yield from self.record({"void": number})
        if self.life.clear:
            yield self.call(clear_stale_resume), self.call(aclear_stale_resume)

    def record(self, record: dict[str, Any]) -> Any:
        given = (self.key, len(self.records), [json.dumps(record)])
        yield partial(self.journal.append, *given), partial(self.journal.aappend, *given)
        self.records.append(record)

    def call(self, function: Callable[..., Any], **given: Any) -> Callable[[], Any]:
        return partial(function, self.runtime, self.config, **given)

    def paused(self) -> list[Outcome]:
        return [one for one in self.outcomes.values() if isinstance(one, Outcome) and one.status == "paused"]

    def lengths(self) -> dict[str, int]:
        return {one.id: len(one.journal) for one in self.paused()}

    def payload(self) -> list[dict[str, Any]]:
        waiting = [one for outcome in self.paused() for one in outcome.waiting]
        return [{"id": one.id, "tool": one.tool, "args": one.arguments, "unknown": one.unknown} for one in waiting]

    def decisions(self, lines: list[str]) -> dict[str, Any]:
        """Return the answers to what still waits in an action."""
        waiting = {record.call for record in read_recording(Journal(lines), lambda _: "null").waiting()}
        return {call: one for call, (one, at) in self.answers.items() if call in waiting and at == len(lines)}

    def todo(self) -> list[dict[str, str]]:
        return [call for call in self.calls if is_open(self.outcomes.get(call["id"]))]

    def act(self, call: dict[str, str]) -> None:
        key = f"action/{call['id']}"
        lines = self.journal.read(key)
        if not lines:
            self.outcomes[call["id"]] = self.runner.run(call["program"], id=call["id"], key=key)
        elif ended(lines) is None:
            self.outcomes[call["id"]] = self.runner.resume(key, self.decisions(lines))
        else:
            self.outcomes[call["id"]] = ended(lines)

    async def aact(self, call: dict[str, str]) -> None:
        key = f"action/{call['id']}"
        lines = await self.journal.aread(key)
        if not lines:
            self.outcomes[call["id"]] = await self.runner.arun(call["program"], id=call["id"], key=key)
        elif ended(lines) is None:
            self.outcomes[call["id"]] = await self.runner.aresume(key, self.decisions(lines))
        else:
            self.outcomes[call["id"]] = ended(lines)

    def act_all(self) -> None:
        with ThreadPoolExecutor() as executor:
            list(executor.map(self.act, self.todo()))

    async def aact_all(self) -> None:
        await asyncio.gather(*map(self.aact, self.todo()))


def run_node(run: NodeRun) -> Any:
    steps, answer = run.steps(), None
    while True:
        try:
            sync, _ = steps.send(answer)
        except StopIteration as end:
            return end.value
        answer = sync()


async def arun_node(run: NodeRun) -> Any:
    steps, answer = run.steps(), None
    while True:
        try:
            _, awaitable = steps.send(answer)
        except StopIteration as end:
            return end.value
        answer = await awaitable()


def ended(lines: list[str]) -> Any:
    """Return the value of an action that is over."""
    last = json.loads(lines[-1])
    return last["value"] if last["e"] == "ended" else None


def is_open(outcome: Any) -> bool:
    return outcome is None or (isinstance(outcome, Outcome) and outcome.status == "paused")


def value_of(outcome: Any) -> Any:
    if isinstance(outcome, Outcome):
        return outcome.value if outcome.status == "completed" else f"{outcome.status}: {outcome.text}"
    return outcome


# ---- the graph


def calls_of(life: Life) -> list[dict[str, str]]:
    """Return what a model asks for: ids are never the same twice."""
    return [{"id": f"{at}-{uuid.uuid4().hex[:8]}", "program": program(10 * at)} for at in range(life.actions)]


def graph_of(life: Life, saver: Any) -> Any:
    """Build the graph of a life's shape."""

    def model(_: Any) -> dict[str, Any]:
        life.note("model")
        return {"calls": calls_of(life)}

    def node(state: Any, runtime: Runtime, config: RunnableConfig) -> Any:
        return run_node(NodeRun(life=life, calls=state["calls"], runtime=runtime, config=config))

    async def anode(state: Any, runtime: Runtime, config: RunnableConfig) -> Any:
        return await arun_node(NodeRun(life=life, calls=state["calls"], runtime=runtime, config=config))

    tools = anode if life.is_async and not life.sync_node else node

    def tools_graph(checkpointer: Any) -> Any:
        builder = StateGraph(State)
        builder.add_node("tools", tools)
        builder.add_edge(START, "tools")
        return builder.compile(checkpointer=checkpointer)

    if life.shape in ("entrypoint", "task"):
        return function_graph(life, saver, tools)
    builder = StateGraph(State)
    builder.add_node("model", model)
    builder.add_edge(START, "model")
    if life.shape == "send":
        builder.add_node("tools", tools)
        builder.add_conditional_edges("model", lambda state: [Send("tools", {"calls": [c]}) for c in state["calls"]])
        return builder.compile(checkpointer=saver)
    if life.shape == "same sub twice":
        builder.add_node("tools", tools_graph(None))
        builder.add_conditional_edges("model", lambda state: [Send("tools", {"calls": state["calls"]})] * 2)
        return builder.compile(checkpointer=saver)
    if life.shape.startswith("sub"):
        own = {"sub": None, "sub True": True, "sub own": InMemorySaver(), "sub False": False}[life.shape]
        builder.add_node("tools", tools_graph(own))
    elif life.shape == "function":
        inner = tools_graph(None)

        def caller(state: Any) -> Any:
            first = inner.invoke({"calls": state["calls"][:1]})["answers"]
            return {"answers": {**first, **inner.invoke({"calls": state["calls"][1:]})["answers"]}}

        async def acaller(state: Any) -> Any:
            first = (await inner.ainvoke({"calls": state["calls"][:1]}))["answers"]
            return {"answers": {**first, **(await inner.ainvoke({"calls": state["calls"][1:]}))["answers"]}}

        builder.add_node("tools", acaller if life.is_async else caller)
    else:
        builder.add_node("tools", tools)
    builder.add_edge("model", "tools")
    return builder.compile(checkpointer=saver)


def function_graph(life: Life, saver: Any, tools: Callable[..., Any]) -> Any:
    """Build the same as functions: the node inside an entrypoint, or inside a task of it."""

    @task
    def model() -> list[dict[str, str]]:
        life.note("model")
        return calls_of(life)

    if life.is_async and not life.sync_node:

        @task
        async def atools(calls: list[dict[str, str]]) -> Any:
            return await tools({"calls": calls}, get_runtime(), get_config())

        @entrypoint(checkpointer=saver)
        async def awaited(_: Any) -> Any:
            calls = await model()
            if life.shape == "task":
                return await atools(calls)
            return await tools({"calls": calls}, get_runtime(), get_config())

        return awaited

    @task
    def tools_task(calls: list[dict[str, str]]) -> Any:
        return tools({"calls": calls}, get_runtime(), get_config())

    @entrypoint(checkpointer=saver)
    def called(_: Any) -> Any:
        calls = model().result()
        if life.shape == "task":
            return tools_task(calls).result()
        return tools({"calls": calls}, get_runtime(), get_config())

    return called


# ---- what a life is made of


def config_of(life: Life) -> RunnableConfig:
    given = {"thread_id": life.thread, **({"checkpoint_id": life.at} if life.at else {})}
    return {"configurable": given}


def input_of(life: Life) -> Any:
    return {"start": {"note": "go"}, "none": None, "resume": Command(resume=life.value)}[life.step]


def answers_in(result: dict[str, Any]) -> list[Any]:
    """Return the values of the programs, in the order of their calls."""
    return [value for _, value in sorted(result.get("answers", {}).items())]


def said(result: Any, life: Life) -> dict[str, Any]:
    """Return what a test wants to know of a result."""
    asked = [{"id": one.id, "value": one.value} for one in (result or {}).get("__interrupt__", ())]
    return {
        "asked": asked,
        "answers": answers_in(result or {}),
        "moments": life.moments,
        "durable": [[one.holds, one.reason] for one in life.durability_said],
    }


def happened(life: Life) -> list[str]:
    """Return what the tools have done, sorted."""
    return sorted(one for one in effects(life.ledger) if one != "model")


def effects(ledger: str) -> list[str]:
    """Return what the ledger says, oldest first."""
    return Path(ledger).read_text().splitlines() if Path(ledger).exists() else []
