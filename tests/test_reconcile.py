"""Hooks that find out how a write ended that a crash cut off."""

from __future__ import annotations

import asyncio
import threading

import pytest

from callgate import CodeRunner, JournalError, Limits, MemoryJournal, Tool, UsageError, tool

PROGRAM = "a = pay(amount=5)\nb = put(x=a)\nb"


class Dying(MemoryJournal):
    """A store whose process dies when it is to keep a line with `at` in it."""

    def __init__(self):
        super().__init__()
        self.at = None

    def append(self, key, position, lines):
        if self.at is not None and any(self.at in line for line in lines):
            self.at = None
            raise JournalError("the process died")
        super().append(key, position, lines)


class Bank:
    """A write with a ledger of its own and a hook that looks into it."""

    def __init__(self, kind, sandbox):
        self.awaited, self.sandbox, self.store = kind != "sync", sandbox, Dying()
        self.ledger, self.asked, self.puts = [], [], []
        self.answer, self.limits = self.look_up, Limits()
        self.hangs, self.released, self.paid = False, threading.Event(), threading.Event()

        def hook(call):
            self.asked.append((call.id, call.tool, call.arguments))
            return self.answer(call)

        async def ahook(call):
            await asyncio.sleep(60 if self.hangs else 0)
            return hook(call)

        def waiting_hook(call):
            if self.hangs:
                self.released.wait(60)
            return hook(call)

        @tool(reconcile=ahook if kind == "async hook" else waiting_hook)
        def pay(amount: int) -> int:
            self.ledger.append(amount)
            if len(self.ledger) == 2:
                self.paid.set()
            return amount * 10

        @tool
        def put(x: int) -> int:
            self.puts.append(x)
            return x

        self.tools = [pay, put]

    def look_up(self, call):
        amount = call.arguments["amount"]
        return {"type": "done", "value": amount * 10} if amount in self.ledger else "run again"

    def runner(self, **gates):
        return CodeRunner(self.tools, sandbox=self.sandbox, interrupt_on=gates, journal=self.store, limits=self.limits)

    def run(self, program=PROGRAM, **gates):
        one = self.runner(**gates)
        return asyncio.run(one.arun(program, id="a")) if self.awaited else one.run(program, id="a")

    def crash(self, at='"e":"done"', **gates):
        """Run until a line is to be kept; by default the one that says how `pay` ended."""
        self.store.at = at
        with pytest.raises(JournalError, match="the process died"):
            self.run(**gates)

    def resume(self, decisions=None, **gates):
        one = self.runner(**gates)
        return asyncio.run(one.aresume("a", decisions)) if self.awaited else one.resume("a", decisions)

    def decisions(self, outcome):
        return [entry for entry in outcome.journal.entries() if entry["e"] == "decision"]


@pytest.fixture(params=["sync", "async", "async hook"])
def bank(request, sandbox):
    return Bank(request.param, sandbox)


def test_a_write_that_happened_is_not_repeated_and_nobody_is_asked(bank):
    bank.crash()
    assert bank.ledger == [5]
    outcome = bank.resume()
    assert (outcome.status, outcome.value) == ("completed", 50)
    assert (bank.ledger, bank.puts) == ([5], [50])
    assert bank.asked == [("a/1", "pay", {"amount": 5})]
    (decision,) = bank.decisions(outcome)
    assert (decision["by"], decision["decision"]["type"], decision["value"]) == ("reconcile", "done", 50)


def test_a_write_that_did_not_happen_runs(bank):
    bank.crash()
    bank.ledger.clear()
    outcome = bank.resume()
    assert (outcome.value, bank.ledger) == (50, [5])


def test_a_write_that_failed_fails_in_the_program(bank):
    bank.crash()
    bank.answer = lambda call: {"type": "failed", "message": "card declined"}
    outcome = bank.resume()
    assert (outcome.status, outcome.error.type) == ("failed", "ToolFailed")
    assert "card declined" in outcome.error.text
    assert bank.ledger == [5]


def raises(call):
    raise RuntimeError("the bank is closed")


def cancels(call):
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda call: None, id="cannot tell"),
        pytest.param(raises, id="raises"),
        pytest.param(cancels, id="cancels"),
        pytest.param(lambda call: "approve", id="another decision"),
        pytest.param(lambda call: {"type": "done", "value": float("nan")}, id="no JSON"),
        pytest.param(lambda call: 7, id="no decision"),
    ],
)
def test_a_human_is_asked_where_the_hook_cannot_tell(bank, answer):
    bank.crash()
    bank.answer = answer
    outcome = bank.resume()
    assert (outcome.status, [one.unknown for one in outcome.waiting]) == ("paused", [True])
    assert bank.decisions(outcome) == []
    outcome = bank.resume()  # it may be able to tell by then
    assert len(bank.asked) == 2
    bank.answer = bank.look_up
    assert bank.resume().value == 50
    assert bank.ledger == [5]


def test_what_a_human_says_comes_first(bank):
    bank.crash()
    outcome = bank.resume({"a/1": {"type": "done", "value": 70}})
    assert (outcome.value, bank.asked) == (70, [])
    assert "by" not in bank.decisions(outcome)[0]


def test_its_answer_holds_for_one_attempt(bank):
    bank.crash()
    bank.ledger.clear()
    bank.store.at = '"e":"done"'
    with pytest.raises(JournalError):
        bank.resume()
    assert bank.ledger == [5]
    outcome = bank.resume()
    assert (outcome.value, bank.ledger) == (50, [5])
    assert [entry["decision"]["type"] for entry in bank.decisions(outcome)] == ["run again", "done"]


def test_a_crash_before_its_answer_is_recorded_repeats_the_question_alone(bank):
    bank.crash()
    bank.store.at = '"by":"reconcile"'
    with pytest.raises(JournalError):
        bank.resume()
    assert bank.puts == []
    assert bank.resume().value == 50
    assert (len(bank.asked), bank.ledger) == (2, [5])


def test_a_recorded_answer_is_not_asked_for_again(bank):
    bank.crash()
    bank.store.at = '"e":"resumed"'
    with pytest.raises(JournalError):
        bank.resume()
    assert bank.resume().value == 50
    assert (len(bank.asked), bank.ledger) == (1, [5])


def test_an_edited_call_is_told_as_it_ran(bank):
    edit = {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 9}}}
    assert bank.run(pay=True).status == "paused"
    bank.store.at = '"e":"done"'
    with pytest.raises(JournalError):
        bank.resume({"a/1": edit}, pay=True)
    outcome = bank.resume(pay=True)
    assert (outcome.value, bank.ledger) == (90, [9])
    assert bank.asked == [("a/1", "pay", {"amount": 9})]


def test_a_tool_without_a_hook_waits_for_a_human(bank):
    bank.crash('"e":"done","call":"a/2"')
    outcome = bank.resume()
    assert (outcome.status, [one.tool for one in outcome.waiting], bank.asked) == ("paused", ["put"], [])
    assert (bank.ledger, bank.puts) == ([5], [50])


def test_two_are_asked_about_in_one_go(bank):
    program = "r = call_tools([('pay', {'amount': 1}), ('pay', {'amount': 2})])\nr"
    bank.store.at = '"e":"done"'
    with pytest.raises(JournalError):
        bank.run(program)
    assert bank.paid.wait(60)  # a process that died would have taken the second payment with it, or made it
    outcome = bank.resume()
    assert (outcome.status, outcome.value) == ("completed", [10, 20])
    assert sorted(bank.ledger) == [1, 2]


def test_a_hook_that_hangs_leaves_its_question_to_a_human(bank):
    bank.limits = Limits(seconds=1.5)
    bank.crash()
    bank.hangs = True
    outcome = bank.resume()
    bank.released.set()
    assert [one.unknown for one in outcome.waiting] == [True]
    bank.hangs = False
    assert bank.resume().value == 50


@pytest.mark.parametrize("effect", ["read", "idempotent"])
def test_only_a_write_is_reconciled(effect):
    with pytest.raises(UsageError, match="only a write is reconciled"):
        Tool(name="get", effect=effect, reconcile=lambda call: None)
