"""Tools that wait for somebody themselves: the action pauses, and calls them again when it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from callgate import CodeRunner, Journal, MemoryJournal, Outcome, ToolWaits, UsageError, tool
from callgate.finished import outcome_of
from callgate.testing import FakeSandbox


class World:
    """A tool that waits until there is an answer, among others; and what happened."""

    def __init__(self, sandbox: FakeSandbox, effect: Any = "write", **options: Any) -> None:
        self.answers: dict[str, str] = {}
        self.done: list[str] = []
        self.store = MemoryJournal()

        @tool(effect=effect)
        def ask(question: str) -> str:
            """Ask somebody."""
            self.done.append(f"ask {question}")
            if question not in self.answers:
                raise ToolWaits
            return self.answers[question]

        @tool
        def pay(amount: int) -> str:
            """Pay."""
            self.done.append(f"pay {amount}")
            return f"paid {amount}"

        @tool(effect="read")
        def look() -> str:
            """Look."""
            self.done.append("look")
            return "seen"

        self.runner = CodeRunner([ask, pay, look], sandbox=sandbox, journal=self.store, **options)


@pytest.fixture(scope="module")
def sandbox() -> FakeSandbox:
    return FakeSandbox()


@pytest.fixture(params=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """Run a program, or go on with it."""

    def run(world: World, program: str | None = None, decisions: Any = None) -> Outcome:
        runner = world.runner
        if request.param == "sync":
            return runner.run(program, id="a") if program else runner.resume("a", decisions)
        return asyncio.run(runner.arun(program, id="a") if program else runner.aresume("a", decisions))

    return run


@pytest.mark.parametrize("effect", ["read", "idempotent", "write"])
def test_the_action_pauses_and_calls_the_tool_again(
    effect: str, go: Callable[..., Outcome], sandbox: FakeSandbox
) -> None:
    world = World(sandbox, effect)
    program = "pay(amount=1)\ntry:\n    told = ask(question='sure?')\nexcept BaseException as error:\n    pay(amount=9)\ntold, pay(amount=2)"
    outcome = go(world, program)
    (waiting,) = outcome.waiting
    assert (outcome.status, waiting.id, waiting.interrupted, waiting.unknown, waiting.allowed) == (
        "paused",
        "a/2",
        True,
        False,
        (),
    )
    assert [call.status for call in outcome.calls] == ["done", "interrupted"]
    assert world.done == ["pay 1", "ask sure?"]
    assert go(world).status == "paused"
    world.answers["sure?"] = "yes"
    outcome = go(world)
    assert outcome.value == ["yes", "paid 2"]
    assert world.done == ["pay 1", "ask sure?", "ask sure?", "ask sure?", "pay 2"]
    assert outcome_of(Journal(world.store.read("a")), {}.__getitem__).text == outcome.text


def test_it_is_no_question_that_a_decision_answers(go: Callable[..., Outcome], sandbox: FakeSandbox) -> None:
    world = World(sandbox)
    go(world, "ask(question='sure?')\npay(amount=1)")
    with pytest.raises(UsageError, match="no call 'a/1' waits for a decision"):
        go(world, decisions={"a/1": "approve"})


def test_approvals_and_waiting_tools_are_one_pause(go: Callable[..., Outcome], sandbox: FakeSandbox) -> None:
    world = World(sandbox, interrupt_on={"pay": True, "ask": True})
    program = "call_tools([('ask', {'question': 'a'}), ('pay', {'amount': 1}), ('look', {})])"
    outcome = go(world, program)
    assert [(one.tool, one.interrupted) for one in outcome.waiting] == [("ask", False), ("pay", False)]
    ask, pay = (one.id for one in outcome.waiting)
    edit = {"type": "edit", "edited_action": {"name": "ask", "args": {"question": "b"}}}
    outcome = go(world, decisions={ask: edit})
    assert sorted((one.tool, one.interrupted) for one in outcome.waiting) == [("ask", True), ("pay", False)]
    world.answers["b"] = "yes"
    outcome = go(world, decisions={pay: "reject"})
    assert (outcome.status, outcome.error.type if outcome.error else None) == ("failed", "ApprovalRejected")
    assert world.done == ["look", "ask b", "ask b"]


def test_a_call_the_program_gave_up_on_is_finished_all_the_same(
    go: Callable[..., Outcome], sandbox: FakeSandbox
) -> None:
    world = World(sandbox)
    program = """
import asyncio
async def main():
    waiting = asyncio.create_task(acall_tool('ask', question='a'))
    await acall_tool('look')
    waiting.cancel()
await main()
"""
    assert go(world, program).status == "paused"
    world.answers["a"] = "yes"
    assert go(world).status == "completed"
    assert world.done.count("ask a") == 2


def test_a_crash_while_it_is_called_again_is_an_unknown_outcome(sandbox: FakeSandbox) -> None:
    world = World(sandbox)
    world.runner.run("ask(question='a')\npay(amount=1)", id="a")
    lines = world.store.read("a")
    started = next(line for line in lines if '"e":"started"' in line)
    assert [line[5:].partition('"')[2].partition('"')[0] for line in lines][1:3] == ["started", "interrupted"]
    cut = Journal(lines)
    cut.add_text(started[: started.rindex(',"prev"')])
    world.store.append("a", len(lines), cut.lines[len(lines) :])
    outcome = world.runner.resume("a")
    assert [(one.tool, one.unknown) for one in outcome.waiting] == [("ask", True)]
    outcome = world.runner.resume("a", {outcome.waiting[0].id: {"type": "done", "value": "yes"}})
    assert outcome.status == "completed"
    assert world.done == ["ask a", "pay 1"]


def test_a_tool_that_never_ran_before_may_wait_while_replaying(sandbox: FakeSandbox) -> None:
    """A new read that a program cannot go on without runs during a replay; it may wait, too."""
    world = World(sandbox, "read", interrupt_on={"pay": True})
    program = "import os\nfirst = ask(question='a')\npay(amount=1)\nfirst"
    world.answers["a"] = "yes"
    paused = world.runner.run(program, id="a")
    header, *entries = world.store.read("a")
    other = MemoryJournal()
    changed = Journal()
    changed.add_text(header[: header.rindex(',"prev"')].replace("question='a'", "question='b'"))
    for line in entries:
        changed.add_text(line[: line.rindex(',"prev"')])
    other.append("a", 0, list(changed.lines))
    outcome = world.runner.on(other).resume("a")
    assert [one.tool for one in outcome.waiting] == ["ask"]
    world.answers["b"] = "no"
    outcome = world.runner.on(other).resume("a", {paused.waiting[0].id: "approve"})
    assert (outcome.status, outcome.value) == ("completed", "no")
