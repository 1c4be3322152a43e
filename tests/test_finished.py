"""The outcome of an action that is over comes back from its journal, equal in all the model and the host are told."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from callgate import CodeRunner, Journal, JournalError, Limits, MemoryJournal, Outcome, ToolFailed, tool
from callgate.action import kept_key
from callgate.finished import is_over, outcome_of
from callgate.testing import FakeSandbox


@tool(effect="read")
def rows(count: int = 3) -> list[dict[str, Any]]:
    """Return rows."""
    return [{"id": number, "name": f"row {number}"} for number in range(count)]


@tool(effect="read")
def text(size: int) -> str:
    """Return a long text."""
    return "x" * size


@tool
def refund(order: int, amount: float = 1.0) -> str:
    """Pay money back."""
    return f"refunded {amount} for {order}"


@tool
def failing(reason: str) -> str:
    """Fail."""
    raise ToolFailed(reason)


@tool
async def never() -> None:
    """Return long after the program gave up."""
    import asyncio

    await asyncio.sleep(1)


@pytest.fixture(scope="module")
def sandbox() -> FakeSandbox:
    return FakeSandbox()


def runner_of(sandbox: FakeSandbox, store: MemoryJournal, **options: Any) -> CodeRunner:
    return CodeRunner([rows, text, refund, failing, never], sandbox=sandbox, journal=store, **options)


def again(store: MemoryJournal, key: str) -> Outcome:
    journal = Journal(store.read(key))
    return outcome_of(journal, lambda handle: "".join(store.read(kept_key(journal, handle))))


def parts(outcome: Outcome) -> dict[str, Any]:
    fields = {name: getattr(outcome, name) for name in Outcome.__slots__ if name not in ("journal", "reachable")}
    return {**fields, "head": outcome.journal.head}


PROGRAMS = {
    "value": "[row['id'] for row in rows(count=4)]",
    "direct": "rows(count=2)",
    "output and value": "print('a\\nb\\u202e')\nrefund(order=1)",
    "nothing": "x = None",
    "failed with calls": "refund(order=1)\nrows()\n1 / 0",
    "failed without calls": "{}['k']",
    "tool failed": "failing(reason='no money')",
    "caught": "try:\n    failing(reason='no')\nexcept ToolFailed as error:\n    print(error)",
    "refused": "for n in range(3):\n    try:\n        call_tool('refund', nope=n)\n    except Refused as error:\n        print(error)",
    "long output": "print('line\\n' * 900)",
    "long value": "rows(count=400)",
    "kept result": "len(text(size=300_000))",
    "rejected": "1 +",
    "unknown tool": "nope()",
    "parallel": "call_tools([('rows', {'count': n}) for n in range(5)])",
    "given up": "import asyncio\ntry:\n    await asyncio.wait_for(acall_tool('never'), 0.01)\nexcept TimeoutError:\n    pass\n'late'",
    "limited": "for n in range(200):\n    try:\n        rows(count=n)\n    except Refused:\n        pass",
    "not JSON": "float('nan'), {1: 2}",
    "surrogate": "raise ValueError('\\ud800')",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_ended_action_has_the_same_outcome_from_its_journal(name: str, sandbox: FakeSandbox) -> None:
    store = MemoryJournal()
    limits = Limits(calls=20, shown_chars=2_000, output_kb=4)
    outcome = runner_of(sandbox, store, limits=limits).run(PROGRAMS[name], id="a")
    assert is_over(Journal(store.read("a")))
    assert parts(again(store, "a")) == parts(outcome)


def test_a_call_still_running_at_the_end_is_told_as_running(sandbox: FakeSandbox) -> None:
    go = threading.Event()

    @tool(effect="read")
    def slow() -> str:
        """Return when it may."""
        go.wait(20)
        return "late"

    store = MemoryJournal()
    runner = CodeRunner([slow, refund], sandbox=sandbox, journal=store, limits=Limits(seconds=0.5))
    outcome = runner.run("refund(order=1)\nslow()", id="a")
    assert [call.status for call in outcome.calls] == ["done", "started"]
    told = again(store, "a")
    go.set()
    assert parts(told) == parts(outcome)
    assert "no answer came; it may still happen" in outcome.text


def test_resumed_actions_too(sandbox: FakeSandbox) -> None:
    store = MemoryJournal()
    runner = runner_of(sandbox, store, interrupt_on={"refund": True, "rows": True})
    paused = runner.run("found = rows(count=1)\nprint(found)\nrefund(order=found[0]['id'], amount=5.0)", id="a")
    edit = {"type": "edit", "edited_action": {"name": "rows", "args": {"count": 2}}}
    paused = runner.resume("a", {paused.waiting[0].id: edit})
    assert not is_over(paused.journal)
    ended = runner.resume("a", {paused.waiting[0].id: {"type": "reject", "message": "no"}})
    assert ended.calls[0].arguments == {"count": 2}
    assert ended.status == "failed"
    assert parts(again(store, "a")) == parts(ended)


def test_an_action_that_waits_has_no_outcome_yet(sandbox: FakeSandbox) -> None:
    store = MemoryJournal()
    runner_of(sandbox, store, interrupt_on={"refund": True}).run("refund(order=1)", id="a")
    with pytest.raises(JournalError, match="not over"):
        again(store, "a")


def test_a_kept_value_that_was_changed_is_refused(sandbox: FakeSandbox) -> None:
    store = MemoryJournal()
    outcome = runner_of(sandbox, store, limits=Limits(shown_chars=100)).run("rows(count=300)", id="a")
    with pytest.raises(JournalError, match="was changed"):
        outcome_of(outcome.journal, lambda handle: '"another"')
