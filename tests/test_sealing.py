"""Journals sealed with a key, and pinned by the digest of a line."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest

from callgate import CodeRunner, Journal, JournalError, MemoryJournal, UsageError, replay, tool
from callgate.codec import digest

KEY, OTHER = b"k" * 32, b"o" * 32
PROGRAM = "a = get(x=1)\nput(x=a + 1)\nput(x=a + 2)"


class Openly(MemoryJournal):
    """A store that somebody else can write to."""

    def swap(self, key, lines):
        self._lines[key] = list(lines)


class Ways:
    """A runner and its tools, used from threads or from an event loop."""

    def __init__(self, kind, sandbox):
        self.awaited, self.sandbox, self.store, self.ran = kind == "async", sandbox, Openly(), []

        @tool(effect="read")
        def get(x: int) -> int:
            self.ran.append("get")
            return x

        @tool
        def put(x: int) -> int:
            self.ran.append(x)
            return x

        self.tools = [get, put]

    def runner(self, key=KEY):
        gates = {"put": True}
        return CodeRunner(self.tools, sandbox=self.sandbox, interrupt_on=gates, journal=self.store, journal_key=key)

    def run(self, program=PROGRAM, *, by=KEY, **options):
        one = self.runner(by)
        return asyncio.run(one.arun(program, **options)) if self.awaited else one.run(program, **options)

    def resume(self, id, decisions, *, by=KEY, **options):
        one = self.runner(by)
        if self.awaited:
            return asyncio.run(one.aresume(id, decisions, **options))
        return one.resume(id, decisions, **options)

    def approve(self, outcome, **options):
        return self.resume(outcome.id, {one.id: "approve" for one in outcome.waiting}, **options)


@pytest.fixture(params=["sync", "async"])
def ways(request, sandbox):
    return Ways(request.param, sandbox)


def forged(lines, old, new):
    """Return the lines of a journal rewritten as a whole, by somebody who has no key."""
    chained = Journal()
    for line in lines:
        chained.add_text(line.rpartition(',"prev":"')[0].replace(old, new))
    return chained.lines


def test_every_line_is_sealed_and_the_action_goes_on(ways):
    outcome = ways.run(id="a")
    outcome = ways.approve(outcome)
    outcome = ways.approve(outcome)
    assert (outcome.status, outcome.value, ways.ran) == ("completed", 3, ["get", 2, 3])
    lines = ways.store.read("a")
    assert all(len(json.loads(line)["mac"]) == 64 for line in lines)
    assert Journal(lines, key=KEY).head == outcome.journal.head
    assert replay(lines, key=KEY, sandbox=ways.sandbox).same
    assert replay(outcome.journal, sandbox=ways.sandbox).same
    with pytest.raises(JournalError, match="give the key"):
        replay(lines, sandbox=ways.sandbox)


@pytest.mark.parametrize(("written", "read"), [(KEY, OTHER), (KEY, None), (None, KEY)])
def test_a_journal_of_another_key_is_refused(ways, written, read):
    outcome = ways.run(id="a", by=written)
    with pytest.raises(JournalError):
        ways.approve(outcome, by=read)
    assert ways.ran == ["get"]


def test_a_journal_rewritten_without_the_key_is_refused(ways):
    outcome = ways.run(id="a")
    ways.store.swap("a", forged(outcome.journal.lines, '"x":2', '"x":2000'))
    with pytest.raises(JournalError, match="changed"):
        ways.approve(outcome)
    assert ways.ran == ["get"]


def test_the_sealed_journal_of_another_action_is_refused(ways):
    outcome = ways.run(id="a", key="one")
    ways.run("put(x=5000)", id="a", key="two")
    ways.store.swap("one", ways.store.read("two"))
    with pytest.raises(JournalError, match="stands the journal of 'two'"):
        ways.resume("one", {outcome.waiting[0].id: "approve"})
    assert ways.ran == ["get"]


@pytest.mark.parametrize("key", [KEY, None])
def test_a_journal_that_was_cut_off_is_refused_where_its_head_is_pinned(ways, key):
    outcome = ways.run(id="a", by=key)
    outcome = ways.approve(outcome, by=key)
    lines, head = ways.store.read("a"), outcome.journal.head
    for most in range(len(lines)):
        ways.store.swap("a", lines[:most])
        with pytest.raises(JournalError, match="cut off"):
            ways.approve(outcome, by=key, head=head)
    ways.store.swap("a", forged(lines, '"x":3', '"x":4'))
    with pytest.raises(JournalError):
        ways.approve(outcome, by=key, head=head)
    assert ways.ran == ["get", 2]
    ways.store.swap("a", lines)
    assert ways.approve(outcome, by=key, head=head).value == 3


def test_a_pinned_journal_may_have_grown_since(ways):
    outcome = ways.run(id="a")
    ways.approve(outcome)
    head = outcome.journal.lines
    with pytest.raises(JournalError, match="cut off"):
        ways.resume("a", {}, head="0" * 64)
    assert ways.resume("a", {}, head=digest(head[0])).status == "paused"


def test_a_kept_value_that_was_changed_is_not_loaded(ways):
    outcome = ways.run("list(range(5000))", id="a")
    handle = outcome.truncated[0].handle
    assert ways.run(f"len(load_value({handle!r}))").value == 5000
    ways.store.swap(f"kept/0//{handle}", ["[1]"])
    outcome = ways.run(f"len(load_value({handle!r}))")
    assert outcome.status == "failed"
    assert "no value is kept" in outcome.error.text


@pytest.mark.parametrize("key", ["k" * 32, b"", b"k" * 15, bytearray(32), 5])
def test_a_key_that_seals_nothing_is_refused_at_once(key):
    with pytest.raises(UsageError, match="at least 16 bytes"):
        CodeRunner([], journal_key=key)
    with pytest.raises(UsageError, match="at least 16 bytes"):
        Journal(key=key)


def test_the_key_is_not_told(ways):
    outcome = ways.run(id="a")
    told = (repr(ways.runner()), repr(outcome), repr(outcome.journal), outcome.journal.text(), outcome.text)
    assert not any("k" * 16 in text for text in told)
    copy = pickle.loads(pickle.dumps(outcome))
    assert KEY not in pickle.dumps(outcome)
    assert copy.journal.head == outcome.journal.head
