"""Reads of whose results the journal holds the digest."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from callgate import (
    CodeRunner,
    Journal,
    LimitExceeded,
    Limits,
    MemoryJournal,
    Tool,
    ToolFailed,
    UsageError,
    replay,
    tool,
)
from callgate.codec import digest, encode

SECRET = "the diagnosis is known to two people"
PROGRAM = "note = chart(id=1)\nput(x=len(note))\nrun = order(x=len(note))\nrun"


class Clinic:
    """Tools, what they were called with, and the runner over one store, from threads or from an event loop."""

    def __init__(self, kind, sandbox):
        self.awaited, self.sandbox, self.store = kind == "async", sandbox, MemoryJournal()
        self.ran, self.secret, self.limits = [], SECRET, Limits()

        def chart(id: int) -> str:
            self.ran.append(f"chart {id}")
            if isinstance(self.secret, Exception):
                raise self.secret
            return self.secret

        async def achart(id: int) -> str:
            return chart(id)

        @tool
        def put(x: int) -> int:
            self.ran.append("put")
            return x

        @tool
        def order(x: int) -> int:
            self.ran.append("order")
            return x

        read = tool(effect="read", record="digest", name="chart")
        self.tools = [read(achart if self.awaited else chart), put, order]

    def runner(self, **gates):
        return CodeRunner(
            self.tools,
            sandbox=self.sandbox,
            interrupt_on=gates or {"order": True},
            journal=self.store,
            limits=self.limits,
        )

    def run(self, program=PROGRAM, **gates):
        one = self.runner(**gates)
        return asyncio.run(one.arun(program)) if self.awaited else one.run(program)

    def resume(self, outcome, decision="approve", **gates):
        one, given = self.runner(**gates), {each.id: decision for each in outcome.waiting}
        return asyncio.run(one.aresume(outcome.id, given)) if self.awaited else one.resume(outcome.id, given)

    def stored(self):
        return "".join(line for lines in self.store._lines.values() for line in lines)


@pytest.fixture(params=["sync", "async"])
def clinic(request, sandbox):
    return Clinic(request.param, sandbox)


def test_the_journal_holds_the_digest_and_the_read_is_called_again(clinic):
    outcome = clinic.run()
    assert outcome.status == "paused"
    done = next(entry for entry in outcome.journal.entries() if entry["e"] == "done")
    assert done["digest"] == digest(encode(SECRET))
    assert clinic.ran == ["chart 1", "put"]
    outcome = clinic.resume(outcome)
    assert (outcome.status, outcome.value, outcome.warnings) == ("completed", len(SECRET), ())
    assert clinic.ran == ["chart 1", "put", "chart 1", "order"]
    assert "diagnosis" not in clinic.stored()


def test_a_large_result_is_not_kept_beside_the_journal_either(clinic):
    clinic.secret = SECRET * 20_000
    outcome = clinic.resume(clinic.run())
    assert outcome.value == len(clinic.secret)
    assert "diagnosis" not in clinic.stored()


def test_the_text_about_an_action_that_failed_does_not_hold_the_result(clinic):
    program = "note = chart(id=1)\norder(x=2)\n{}['no']"
    outcome = clinic.resume(clinic.run(program))
    assert "chart(id=1) -> what no journal holds" in outcome.text
    assert "diagnosis" not in outcome.text
    assert [(one.tool, one.held, one.value) for one in outcome.calls] == [("chart", False, SECRET), ("order", True, 2)]


def test_a_result_that_is_another_one_by_now_is_handed_over_with_a_warning(clinic):
    program = "note = chart(id=1)\nput(x=1)\norder(x=2)\nnote"
    outcome = clinic.run(program)
    clinic.secret = "changed"
    outcome = clinic.resume(outcome)
    assert (outcome.status, outcome.value) == ("completed", "changed")
    assert [one for one in outcome.warnings if "something else than when the journal was written" in one]


def test_another_result_that_changes_a_write_is_a_divergence(clinic):
    from callgate import ReplayDivergence

    outcome = clinic.run()
    clinic.secret = "short"
    with pytest.raises(ReplayDivergence):
        clinic.resume(outcome)
    assert clinic.ran == ["chart 1", "put", "chart 1"]


def test_a_read_that_fails_by_now_fails_in_the_program(clinic):
    program = "try: note = chart(id=1)\nexcept ToolFailed as e: note = str(e)\nput(x=1)\norder(x=2)\nnote"
    outcome = clinic.run(program)
    clinic.secret = ToolFailed("gone")
    outcome = clinic.resume(outcome)
    assert outcome.value == "gone"
    assert len(outcome.warnings) == 1


def test_a_failure_is_held_as_any_other(clinic):
    clinic.secret = ToolFailed("no such patient")
    outcome = clinic.run("try: chart(id=1)\nexcept ToolFailed as e: note = str(e)\norder(x=2)\nnote")
    clinic.secret = SECRET
    outcome = clinic.resume(outcome)
    assert (outcome.value, outcome.warnings) == ("no such patient", ())
    assert all(one.held for one in outcome.calls)
    assert clinic.ran == ["chart 1", "order"]


def test_an_approved_read_is_called_again_with_the_arguments_the_human_put(clinic):
    gates = {"chart": True, "order": True}
    outcome = clinic.run("note = chart(id=1)\norder(x=2)\nlen(note)", **gates)
    outcome = clinic.resume(outcome, {"type": "edit", "edited_action": {"name": "chart", "args": {"id": 7}}}, **gates)
    outcome = clinic.resume(outcome, **gates)
    assert (outcome.value, outcome.warnings) == (len(SECRET), ())
    assert clinic.ran == ["chart 7", "chart 7", "order"]


def test_what_a_human_answers_in_place_of_the_tool_is_held(clinic):
    gates = {"chart": True, "order": True}
    outcome = clinic.run("note = chart(id=1)\norder(x=2)\nnote", **gates)
    outcome = clinic.resume(outcome, {"type": "respond", "message": "ask the doctor"}, **gates)
    outcome = clinic.resume(outcome, **gates)
    assert (outcome.value, outcome.warnings) == ("ask the doctor", ())
    assert clinic.ran == ["order"]


def test_many_are_called_again_side_by_side_and_in_the_context_of_the_caller(clinic):
    program = "notes = call_tools([('chart', {'id': i}) for i in range(50)])\norder(x=1)\nlen(notes)"
    outcome = clinic.resume(clinic.run(program))
    assert (outcome.value, outcome.warnings) == (50, ())
    assert sorted(clinic.ran) == sorted([f"chart {i}" for i in range(50)] * 2 + ["order"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: None, "no such tool"),
        (lambda one: dataclasses.replace(one, effect="write", record="value"), "its effect is write now"),
    ],
)
def test_a_tool_that_is_gone_or_no_read_any_more_stops_the_resume_and_nothing_is_recorded(clinic, change, said):
    outcome = clinic.run()
    before, read = clinic.stored(), clinic.tools[0]
    clinic.tools[:1] = [one for one in [change(read)] if one is not None]
    with pytest.raises(UsageError, match=said):
        clinic.resume(outcome)
    assert clinic.stored() == before
    clinic.tools[:] = [read, *[one for one in clinic.tools if one.name != "chart"]]
    assert clinic.resume(outcome).status == "completed"


def test_reads_that_do_not_return_again_do_not_hang_the_resume(clinic):
    clinic.limits = Limits(seconds=1.5)
    outcome = clinic.run("note = chart(id=1)\norder(x=2)\nlen(note)")
    before, read = clinic.stored(), clinic.tools[0]
    forever = asyncio.Event()

    async def never(call):
        await forever.wait()

    clinic.tools[0] = dataclasses.replace(read, invoke=None, ainvoke=never)
    with pytest.raises(LimitExceeded, match=r"1\.5 seconds"):
        clinic.resume(outcome)
    assert clinic.stored() == before


@pytest.mark.parametrize("effect", ["write", "idempotent"])
def test_only_a_read_may_be_held_by_its_digest(effect):
    with pytest.raises(UsageError, match="only of a read"):
        Tool(name="put", effect=effect, record="digest")
    with pytest.raises(UsageError, match="record is one of"):
        Tool(name="get", effect="read", record="nothing")


def test_a_replay_needs_the_tools_that_read_again(sandbox):
    clinic = Clinic("sync", sandbox)
    outcome = clinic.resume(clinic.run())
    ran = list(clinic.ran)
    with pytest.raises(UsageError, match="only digests of what these returned: chart"):
        replay(outcome.journal, sandbox=sandbox)
    again = replay(outcome.journal, sandbox=sandbox, tools=clinic.tools)
    assert again.same
    assert clinic.ran == [*ran, "chart 1"]
    clinic.secret = SECRET[::-1]
    again = replay(outcome.journal, sandbox=sandbox, tools=clinic.tools)
    assert not again.same
    assert not again.diverged
    assert "something else" in again.differences[0]
    cut = Journal(outcome.journal.lines[:1])  # nothing in it has to be called again
    assert replay(cut, sandbox=sandbox).same
