"""The journal's chain and its stores."""

from __future__ import annotations

import json
import multiprocessing
import os

import pytest

from callgate import Journal, JournalError, MemoryJournal, SqliteJournal


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryJournal()
    else:
        journal = SqliteJournal(tmp_path / "journal.db")
        yield journal
        journal.close()


def chained(count):
    journal = Journal()
    return [journal.add({"e": "x", "i": index}, {"value": '"v"'}) for index in range(count)]


def test_lines_are_json_and_each_names_the_digest_of_the_one_before():
    lines = chained(3)
    parsed = [json.loads(line) for line in lines]
    assert [entry["i"] for entry in parsed] == [0, 1, 2]
    assert parsed[0]["prev"] == "0" * 64
    assert len({entry["prev"] for entry in parsed}) == 3
    assert Journal(lines).head == Journal(Journal(lines).lines).head


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda lines: [lines[0], lines[1].replace('"v"', '"w"'), lines[2]], id="an edit"),
        pytest.param(lambda lines: [lines[0], lines[2]], id="a missing line"),
        pytest.param(lambda lines: lines[1:], id="a missing header"),
        pytest.param(lambda lines: [lines[1], lines[0], lines[2]], id="another order"),
        pytest.param(lambda lines: [*lines, lines[2]], id="a line twice"),
    ],
)
def test_a_changed_journal_is_refused(spoil):
    with pytest.raises(JournalError):
        Journal(spoil(chained(3)))


KEY = b"k" * 32


def sealed(count):
    journal = Journal(key=KEY)
    return [journal.add({"e": "x", "i": index}, {}) for index in range(count)]


def test_a_sealed_journal_is_read_with_its_key_alone():
    lines = sealed(3)
    assert Journal(lines, key=KEY).lines == tuple(lines)
    with pytest.raises(JournalError, match="give the key"):
        Journal(lines)
    with pytest.raises(JournalError, match="changed"):
        Journal(lines, key=b"another key" * 2)
    with pytest.raises(JournalError, match="not sealed"):
        Journal(chained(1), key=KEY)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_no_line_of_a_sealed_journal_can_be_changed_not_even_the_last(at):
    lines = sealed(3)
    lines[at] = lines[at].replace('"i":', '"i":1')
    with pytest.raises(JournalError):
        Journal(lines, key=KEY)


def test_a_line_of_anything_is_refused_and_not_choked_on():
    for junk in ("", "}", "\ud800", '{"prev":"é"}', f'{{"prev":"{"0" * 64}","mac":"é"}}'):
        for key in (None, KEY):
            with pytest.raises(JournalError):
                Journal([junk], key=key)


def test_what_is_appended_is_read(store):
    store.append("a", 0, ["1", "2"])
    store.append("a", 2, ["3"])
    store.append("b", 0, ["x"])
    assert (store.read("a"), store.read("b"), store.read("c")) == (["1", "2", "3"], ["x"], [])


async def test_the_awaitable_twins_do_the_same(store):
    await store.aappend("a", 0, ["1"])
    assert await store.aread("a") == ["1"]


@pytest.mark.parametrize("position", [0, 2])
def test_an_append_at_another_position_is_refused_and_nothing_is_kept(store, position):
    store.append("a", 0, ["1"])
    with pytest.raises(JournalError):
        store.append("a", position, ["2", "3"])
    assert store.read("a") == ["1"]


def test_sqlite_keeps_lines_over_reopening(tmp_path):
    one = SqliteJournal(tmp_path / "journal.db")
    one.append("a", 0, ["1"])
    one.close()
    assert SqliteJournal(tmp_path / "journal.db").read("a") == ["1"]


def test_sqlite_refuses_a_file_that_is_no_journal(tmp_path):
    path = tmp_path / "journal.db"
    path.write_text("this is a letter to my aunt, and it is long enough to be no database" * 20)
    with pytest.raises(JournalError, match="no journal"):
        SqliteJournal(path)


def _append_in_child(journal, queue):
    try:
        journal.append("a", 1, [f"child {os.getpid()}"])
        queue.put("appended")
    except JournalError:
        queue.put("refused")


def test_sqlite_works_after_a_fork_and_one_of_two_appends_wins(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.append("a", 0, ["1"])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_append_in_child, args=(journal, queue)) for _ in range(2)]
    for child in children:
        child.start()
    results = sorted(queue.get(timeout=30) for _ in children)
    for child in children:
        child.join(30)
    assert results == ["appended", "refused"]
    assert len(journal.read("a")) == 2
