"""Recorded actions run again against their record; no tool is called."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from callgate import CodeRunner, Journal, JournalError, Limits, MemoryJournal, UsageError, replay, tool
from callgate.codec import digest

SHAPES = {
    "calls in sequence": "a = get(x=1)['x']\nb = put(x=a + 1)\nb",
    "one call, run directly": "get(x=7)",
    "parallel calls": "call_tools([('get', {'x': x}) for x in range(5)])",
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(3) as pool:\n"
        "    found = list(pool.map(lambda x: get(x=x)['x'], range(6)))\nput(x=sum(found))"
    ),
    "asyncio": (
        "import asyncio\nasync def one(x):\n    await asyncio.sleep(0.01 * x)\n    return (await get(x=x))['x']\n"
        "await asyncio.gather(*[one(x) for x in range(4)])"
    ),
    "time and chance": (
        "import random, time, uuid\nkey = [random.random(), str(uuid.uuid4()), time.time()]\nput(x=0, key=key)\nkey"
    ),
    "a sleep between calls": "import time\nget(x=1)\ntime.sleep(0.3)\nget(x=2)['x']",
    "a failing tool": "try:\n    broken()\nexcept ToolFailed as e:\n    text = str(e)\nprint(text)",
    "a failing program": "get(x=1)\nprint('so far')\n1 / 0",
    "an unknown tool": "try:\n    call_tool('nothing')\nexcept UnknownTool as e:\n    print(e)",
    "a large output": "for n in range(2000): print('row', n)\nlist(range(5000))",
    "the calls limit": "while True:\n    get(x=1)",
    "a search": "search_tools('put')[0]['name']",
    "not run": "nothing_of_that_name()",
}


@tool(effect="read")
def get(x: int) -> dict[str, int]:
    return {"x": x}


@tool
def put(x: int, key: Any = None) -> int:
    return x


@tool(effect="read")
def broken() -> None:
    raise RuntimeError


@tool(effect="read")
def large() -> str:
    return "x" * 300_000


def record(sandbox, program, **options):
    runner = CodeRunner([get, put, broken, large], sandbox=sandbox, limits=Limits(calls=20), **options)
    return runner, runner.run(program)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_recorded_comes_again(sandbox, shape):
    _, outcome = record(sandbox, SHAPES[shape])
    again = replay(outcome.journal.text(), sandbox=sandbox)
    assert again.same, again.differences
    assert again.outcome is not None
    assert (again.outcome.text, again.outcome.calls) == (outcome.text, outcome.calls)


def test_a_pause_is_followed_up_to_its_question(sandbox):
    runner, outcome = record(sandbox, "get(x=1)\nput(x=2)\nput(x=3)", interrupt_on={"put": True})
    assert outcome.status == "paused"
    again = replay(outcome.journal, sandbox=sandbox)
    assert again.same
    assert again.outcome.status == "paused"
    assert [one.arguments for one in again.outcome.waiting] == [{"x": 2}]
    outcome = runner.resume(outcome.id, {outcome.waiting[0].id: "approve"})
    outcome = runner.resume(outcome.id, {outcome.waiting[0].id: {"type": "reject", "message": "no"}})
    again = replay(outcome.journal, sandbox=sandbox)
    assert again.same, again.differences
    assert again.outcome.text == outcome.text


def test_a_journal_cut_off_is_followed_as_far_as_it_goes(sandbox):
    _, outcome = record(sandbox, "a = get(x=1)['x']\nput(x=a)\nput(x=a + 1)")
    lines = outcome.journal.lines
    found = [replay(lines[:most], sandbox=sandbox) for most in range(1, len(lines))]
    assert not any(one.diverged for one in found)


def test_kept_results_are_asked_for(sandbox):
    store = MemoryJournal()
    _, outcome = record(sandbox, "len(large())", journal=store)
    with pytest.raises(UsageError, match="kept="):
        replay(outcome.journal, sandbox=sandbox)
    handle = outcome.journal.entries()[0]["kept"]["handle"]
    text = json.dumps("x" * 300_000)
    assert replay(outcome.journal, sandbox=sandbox, kept={handle: text}).same
    assert replay(outcome.journal, sandbox=sandbox, kept=lambda _: text).same
    with pytest.raises(JournalError, match="changed"):
        replay(outcome.journal, sandbox=sandbox, kept={handle: text.replace("xx", "xy", 1)})


def rewritten(journal, old, new):
    """Return a journal that says something else and holds together."""
    chained = Journal()
    for line in journal.lines:
        body = re.sub(r',"prev":"[0-9a-f]{64}"\}$', "", line)
        chained.add_text(body.replace(old, new))
    return chained


def test_a_program_that_goes_another_way_is_told_so(sandbox):
    _, outcome = record(sandbox, "a = get(x=1)['x']\nput(x=a)\nprint(a)")
    changed = rewritten(outcome.journal, r"put(x=a)", r"put(x=2)")
    again = replay(changed, sandbox=sandbox)
    assert again.diverged
    assert again.outcome is None
    assert "did not ask again for put" in again.differences[-1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"print(a)", r"print(9)", "output: "),
        (r"print(a)", r"print(a); get(x=5)", "called"),
        (r"print(a)", r"print(a); 1 / 0", "status: "),
        (r"get(x=2)", r"0; pass", "was not called again"),
    ],
)
def test_differences_are_named(sandbox, old, new, said):
    _, outcome = record(sandbox, "a = get(x=1)['x']\nput(x=a)\nget(x=2)\nprint(a)")
    again = replay(rewritten(outcome.journal, old, new), sandbox=sandbox)
    assert not again.diverged
    assert any(said in one for one in again.differences), again.differences


def test_the_files_of_a_program_are_compared(sandbox):
    _, outcome = record(sandbox, "for n in 'ab': open(f'/out/{n}.txt', 'w').write(n)\nget(x=1)['x']")
    assert [one.name for one in outcome.artifacts] == ["a.txt", "b.txt"]
    assert replay(outcome.journal, sandbox=sandbox).same
    again = replay(rewritten(outcome.journal, r"write(n)", r"write('a')"), sandbox=sandbox)
    (said,) = again.differences
    assert said.startswith("file b.txt: recorded [1,")
    again = replay(rewritten(outcome.journal, r"'ab'", r"'a'"), sandbox=sandbox)
    assert [one.endswith("now null") for one in again.differences] == [True]


def test_a_record_that_just_stops_is_followed_to_there(sandbox):
    _, outcome = record(sandbox, "a = get(x=1)['x']\nput(x=a)\nput(x=a + 1)")
    assert all(replay(outcome.journal.lines[:most], sandbox=sandbox).same for most in range(1, len(outcome.journal)))


def test_no_tool_is_called(sandbox):
    called = []

    @tool
    def write(x: int) -> int:
        called.append(x)
        return x

    outcome = CodeRunner([write], sandbox=sandbox).run("for x in range(3): write(x=x)")
    replay(outcome.journal, sandbox=sandbox)
    replay(outcome.journal.lines[:2], sandbox=sandbox)
    assert called == [0, 1, 2]


def test_what_is_no_journal_is_refused(sandbox):
    with pytest.raises(UsageError, match="empty"):
        replay("", sandbox=sandbox)
    with pytest.raises(JournalError):
        replay('{"e":"header"}', sandbox=sandbox)
    other = Journal()
    other.add({"e": "header", "format": 99}, {})
    with pytest.raises(JournalError, match="format 99"):
        replay(other, sandbox=sandbox)


def test_the_given_journal_is_not_written_to(sandbox):
    _, outcome = record(sandbox, "get(x=1)\nput(x=2)")
    before = digest(outcome.journal.text())
    replay(outcome.journal, sandbox=sandbox)
    assert digest(outcome.journal.text()) == before
