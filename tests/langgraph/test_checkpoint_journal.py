"""CheckpointJournal as a JournalStore, over every saver: what it keeps, who wins, what it costs in rows."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph_savers import ASYNC, aopen_saver, open_saver

from callgate.errors import JournalError
from callgate_langgraph import rows
from callgate_langgraph.checkpoint_journal import CheckpointJournal, Durability
from callgate_langgraph.placement import Place

DONE = '{"e":"done","call":"c1/1"}'
STARTED = '{"e":"started","call":"c1/1"}'


def place_in(saver: Any, **given: Any) -> Place:
    """Return a node of a thread of its own, whose checkpoint is not stored."""
    fields: dict[str, Any] = {"thread": uuid.uuid4().hex, "namespace": "", "checkpoint": "k1", "task": "t1"}
    fields |= {"node": "tools", "ancestors": (), "only_at_exit": False, "may_fork": False, "by_interrupt_id": False}
    return Place(saver=saver, **fields | given)


def store(place: Place) -> None:
    """Store the node's checkpoint and those around it."""
    for namespace, checkpoint in (*place.ancestors, (place.namespace, place.checkpoint)):
        put = {**empty_checkpoint(), "id": checkpoint}
        place.saver.put(place.config(namespace, None), put, {"source": "loop", "step": 1, "parents": {}}, {})


def journal_at(place: Place, **given: Any) -> CheckpointJournal:
    return CheckpointJournal(place, **given)


@pytest.fixture
def place(saver: Any) -> Place:
    made = place_in(saver)
    store(made)
    return made


# ---- what is kept


def test_lines_are_read_back_in_order_by_another_run(place: Place) -> None:
    journal = journal_at(place)
    journal.append("a", 0, ["one", "two"])
    journal.append("b", 0, ["other"])
    journal.append("a", 2, ["three"])
    assert journal.read("a") == journal_at(place).read("a") == ["one", "two", "three"]
    assert journal_at(place).read("b") == ["other"]
    assert journal_at(place).read("c") == []


def test_a_journal_longer_than_many_chunks_is_read_back(place: Place) -> None:
    journal, expected = journal_at(place), []
    for number in range(5 * rows.CHUNK_ROWS + 3):
        lines = [f'{{"e":"done","call":"{number}.{part}"}}' for part in range(1 + number % 3)]
        journal.append("a", len(expected), lines)
        expected += lines
    assert journal_at(place).read("a") == expected
    other = journal_at(place)
    other.append("a", len(expected), ["last"])
    assert journal_at(place).read("a") == [*expected, "last"]


def test_large_lines_start_a_new_chunk_early(place: Place) -> None:
    journal, large = journal_at(place), "x" * 100_000
    for number in range(4):
        journal.append("a", number, [large])
    assert journal_at(place).read("a") == [large] * 4


TEXTS = ["", "\x00", "é\u2028\U0001f600", '"\\\n', "\ud800", '{"value":9007199254740993}', "x" * 400_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_every_text_comes_back_unchanged(place: Place, text: str) -> None:
    journal_at(place).append("a", 0, [text])
    assert journal_at(place).read("a") == [text]


def test_places_do_not_see_each_other(place: Place) -> None:
    journal_at(place).append("a", 0, ["mine"])
    others = [place.at("k2"), place_in(place.saver), place_in(place.saver, thread=place.thread, node="other")]
    others.append(place_in(place.saver, thread=place.thread, namespace="sub:1", ancestors=(("", "k1"),)))
    assert [journal_at(one).read("a") for one in others] == [[]] * 4


def test_kept_values_belong_to_the_thread(place: Place) -> None:
    journal_at(place).append("kept/1/t/abc", 0, ['"large"'])
    later = place_in(place.saver, thread=place.thread, namespace="sub:1", checkpoint="k9", node="other")
    assert journal_at(later).read("kept/1/t/abc") == ['"large"']
    assert journal_at(place_in(place.saver)).read("kept/1/t/abc") == []


def test_deleting_the_thread_deletes_everything(place: Place) -> None:
    journal = journal_at(place)
    journal.append("a", 0, ["one"])
    journal.append("kept/1/t/abc", 0, ["large"])
    assert stored_anywhere(place)
    place.saver.delete_thread(place.thread)
    assert not stored_anywhere(place)
    again = journal_at(place)
    assert [again.read(key) for key in ("a", "kept/1/t/abc")] == [[], []]


def stored_anywhere(place: Place) -> bool:
    """Say whether the saver's own tables hold rows of ours for a thread."""
    if isinstance(place.saver, InMemorySaver):
        return any(key[0] == place.thread and held for key, held in place.saver.writes.items())
    table, mark = ("writes", "?") if "sqlite" in type(place.saver).__module__ else ("checkpoint_writes", "%s")
    query = f"SELECT 1 FROM {table} WHERE thread_id = {mark} AND channel = '{rows.CHANNEL}'"
    return place.saver.conn.execute(query, (place.thread,)).fetchone() is not None


@pytest.mark.parametrize("strict", [False, True], ids=["lax", "strict"])
def test_rows_survive_encryption_and_strict_deserialisation(
    strict: bool, address_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("Crypto", reason="the encrypted serializer needs pycryptodome")
    if strict:
        monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", "true")
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")
    with open_saver("sqlite", address_of("sqlite"), serde) as saver:
        place = place_in(saver)
        journal_at(place).append("a", 0, ["secret"])
        assert journal_at(place).read("a") == ["secret"]
        (kind, blob) = saver.conn.execute("SELECT type, value FROM writes").fetchone()
    assert kind.endswith("+aes")
    assert b"secret" not in blob
    assert caplog.records == []


# ---- who wins


def test_an_append_at_another_position_is_refused(place: Place) -> None:
    journal_at(place).append("a", 0, ["one"])
    for position in (0, 2):
        with pytest.raises(JournalError, match="another run appended"):
            journal_at(place).append("a", position, ["two"])
    assert journal_at(place).read("a") == ["one"]


@pytest.mark.parametrize("line", ["anything", STARTED, '{"e":"decision"}', '{"e":"ended"}', '{"e":"asked"}'])
def test_of_two_runs_one_wins_and_the_other_hears_it(place: Place, line: str) -> None:
    first, second = journal_at(place), journal_at(place)
    first.append("a", 0, ["header"])
    assert second.read("a") == ["header"]
    first.append("a", 1, [line])
    with pytest.raises(JournalError, match="another run appended"):
        second.append("a", 1, [line])
    assert journal_at(place).read("a") == ["header", line]


def test_what_was_lost_unnoticed_is_noticed_before_the_next_write_starts(place: Place) -> None:
    first, second = journal_at(place), journal_at(place)
    first.append("a", 0, ["header"])
    second.read("a")
    first.append("a", 1, [DONE])
    second.append("a", 1, [DONE])  # the result of a read: not read back
    second.append("a", 2, [DONE])
    with pytest.raises(JournalError, match="another run appended"):
        second.append("a", 3, [STARTED])
    first.append("a", 2, [STARTED])  # the loser's rows are in nobody's way
    assert journal_at(place).read("a") == ["header", DONE, STARTED]


def test_a_longer_append_of_the_loser_adds_nothing(place: Place) -> None:
    first, second = journal_at(place), journal_at(place)
    first.append("a", 0, ["header"])
    second.read("a")
    first.append("a", 1, ["one"])
    with pytest.raises(JournalError):
        second.append("a", 1, ["two", "three", "four"])
    assert journal_at(place).read("a") == ["header", "one"]


def test_a_chunk_is_read_back_when_it_is_full(place: Place) -> None:
    first, second = journal_at(place), journal_at(place)
    first.append("a", 0, [DONE])
    second.read("a")
    first.append("a", 1, [DONE])
    for position in range(1, rows.CHUNK_ROWS - 1):
        second.append("a", position, [DONE])
    with pytest.raises(JournalError, match="another run appended"):
        second.append("a", rows.CHUNK_ROWS - 1, [DONE])


@pytest.fixture
def hasty() -> Iterator[None]:
    """Switch threads all the time."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize("kind", ["postgres pool", "postgres pipeline"])
def test_other_ways_to_connect_to_postgres_do_the_same(kind: str, address_of: Callable[[str], str]) -> None:
    with open_saver(kind, address_of(kind)) as saver, open_saver("postgres", address_of(kind)) as other:
        place = place_in(saver)
        store(place)
        first, second = journal_at(place), journal_at(replace(place, saver=other))
        first.append("a", 0, ["header"])
        first.append("a", 1, [STARTED])
        first.append("a", 2, [DONE])
        assert second.read("a") == ["header", STARTED, DONE]
        first.append("a", 3, [STARTED])
        with pytest.raises(JournalError, match="another run appended"):
            second.append("a", 3, [STARTED])


@pytest.mark.usefixtures("hasty")
def test_of_many_threads_one_wins_each_position(place: Place) -> None:
    count, barrier = 6, threading.Barrier(6)
    won: list[tuple[int, int]] = []

    def race(who: int) -> None:
        journal = journal_at(place)
        for position in range(40):
            barrier.wait(30)
            journal.read("a")
            barrier.wait(30)
            try:
                journal.append("a", position, [f"{who}"])
                won.append((position, who))
            except JournalError:
                pass

    threads = [threading.Thread(target=race, args=(who,)) for who in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(position for position, _ in won) == list(range(40))
    assert journal_at(place).read("a") == [str(who) for _, who in sorted(won)]


# ---- what is wrong


def tampered(place: Place, change: Callable[[dict[str, Any]], object]) -> None:
    """Store a first row that was changed before it was written."""
    chain = rows.Chain(place, "a", of_thread=False)
    fields = json.loads(chain.row(["one"]).text)
    changed = change(fields)
    text = json.dumps(fields) if changed is None else changed
    place.saver.put(*chain.checkpoint())
    place.saver.put_writes(chain.config, [(rows.CHANNEL, text)], chain.next_id())


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(key="b"),
        lambda fields: fields.update(position=1),
        lambda fields: fields.pop("nonce") and None,
        lambda fields: "not json",
        lambda fields: 17,
        lambda fields: "[]",
    ],
    ids=["another key", "another position", "no nonce", "no JSON", "no text", "no object"],
)
def test_a_changed_row_is_refused(place: Place, change: Callable[[dict[str, Any]], object]) -> None:
    tampered(place, change)
    with pytest.raises(JournalError, match="was changed"):
        journal_at(place).read("a")


def test_a_failing_saver_is_a_journal_error_that_names_it(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_in(saver)

    def broken(*_: Any) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(saver, "put_writes", broken)
    with pytest.raises(JournalError, match=rf"{type(saver).__name__}\.put_writes failed: OSError: disk on fire"):
        journal_at(place).append("a", 0, ["one"])


def test_after_a_failure_the_journal_looks_again(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_in(saver)
    journal = journal_at(place)
    journal.append("a", 0, ["one"])
    put_writes = saver.put_writes

    def stored_and_lost(*arguments: Any) -> None:
        put_writes(*arguments)
        raise OSError("connection reset")

    monkeypatch.setattr(saver, "put_writes", stored_and_lost)
    with pytest.raises(JournalError):
        journal.append("a", 1, ["two"])
    monkeypatch.undo()
    with pytest.raises(JournalError, match="another run appended"):
        journal.append("a", 1, ["two"])
    journal.append("a", 2, ["three"])
    assert journal.read("a") == ["one", "two", "three"]


# ---- waiting for the checkpoint


def told_by(place: Place, **given: Any) -> tuple[CheckpointJournal, list[Durability]]:
    told: list[Durability] = []
    return journal_at(place, tell=told.append, **given), told


def test_nothing_but_the_start_of_a_write_waits(saver: Any) -> None:
    journal, told = told_by(place_in(saver))
    journal.append("a", 0, ["header"])
    journal.append("a", 1, [DONE])
    assert (told, journal.durability) == ([], None)


def test_a_write_waits_for_the_row_of_its_checkpoint(saver: Any) -> None:
    place = place_in(saver)
    journal, told = told_by(place)
    timer = threading.Timer(0.3, store, [place])
    timer.start()
    journal.append("a", 0, [STARTED])
    assert place.saver.get_tuple(place.own()) is not None
    memory = isinstance(saver, InMemorySaver)
    reason = "InMemorySaver keeps checkpoints in this process only" if memory else ""
    assert told == [Durability(holds=not memory, reason=reason)]
    journal.append("a", 1, [STARTED])
    assert len(told) == 1
    timer.join()


def test_a_write_waits_for_the_rows_around_it(saver: Any) -> None:
    place = place_in(saver, namespace="sub:1|deep:2", ancestors=(("", "r1"), ("sub:1", "s1")))
    store(place_in(saver, thread=place.thread, namespace=place.namespace))
    journal, told = told_by(place)
    timer = threading.Timer(0.3, store, [place])
    timer.start()
    journal.append("a", 0, [STARTED])
    assert all(saver.get_tuple(place.config(*one)) is not None for one in place.ancestors)
    assert len(told) == 1
    timer.join()


def test_a_row_that_never_comes_is_said_after_a_bound(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate_langgraph.checkpoint_journal.WAIT_SECONDS", 0.05)
    journal, told = told_by(place_in(saver))
    journal.append("a", 0, [STARTED])
    (said,) = told
    assert not said.holds
    assert "has not stored the checkpoint" in said.reason


def test_a_graph_that_never_stores_its_own_row_is_known_sooner(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate_langgraph.checkpoint_journal.LATE_SECONDS", 0.05)
    place = place_in(saver, namespace="sub:1", ancestors=(("", "r1"),))
    store(place_in(saver, thread=place.thread, checkpoint="r1"))
    journal, told = told_by(place)
    journal.append("a", 0, [STARTED])
    assert [(one.holds, "checkpointer=False" in one.reason) for one in told] == [(False, True)]


def test_at_exit_nothing_is_waited_for(saver: Any) -> None:
    journal, told = told_by(place_in(saver, only_at_exit=True))
    journal.append("a", 0, [STARTED])
    assert [(one.holds, 'durability="exit"' in one.reason) for one in told] == [(False, True)]


def test_require_durable_refuses_before_the_write_starts(saver: Any) -> None:
    journal, told = told_by(place_in(saver, only_at_exit=True), require_durable=True)
    journal.append("a", 0, ["header"])
    for _ in range(2):
        with pytest.raises(JournalError, match=r"Nothing was started\. Run the graph with durability"):
            journal.append("a", 1, [STARTED])
    assert len(told) == 1
    assert journal.read("a") == ["header"]


# ---- awaited


@pytest.mark.parametrize("kind", ["memory", *ASYNC])
async def test_the_awaitable_twins_do_the_same(kind: str, address_of: Callable[[str], str]) -> None:
    async with aopen_saver(kind, address_of(kind)) as saver:
        place = place_in(saver)
        first, second = journal_at(place), journal_at(place)
        await first.aappend("a", 0, ["header"])
        assert await second.aread("a") == ["header"]
        for position in range(1, 2 * rows.CHUNK_ROWS):
            await first.aappend("a", position, [DONE])
        with pytest.raises(JournalError, match="another run appended"):
            await second.aappend("a", 1, ["else"])
        assert await second.aread("a") == ["header", *[DONE] * (2 * rows.CHUNK_ROWS - 1)]


@pytest.mark.parametrize("kind", ASYNC)
async def test_a_sync_call_on_the_loop_of_an_async_saver_is_refused(
    kind: str, address_of: Callable[[str], str]
) -> None:
    async with aopen_saver(kind, address_of(kind)) as saver:
        journal = journal_at(place_in(saver))
        with pytest.raises(JournalError, match="await the node"):
            journal.append("a", 0, ["one"])
        with pytest.raises(JournalError, match="await the node"):
            journal.read("a")
        await asyncio.to_thread(journal.append, "a", 0, ["one"])
        assert await asyncio.to_thread(journal.read, "a") == await journal.aread("a") == ["one"]


# ---- what it costs


class Counting(InMemorySaver):
    """Counts the rows that are read back."""

    read = 0

    def get_tuple(self, config: Any) -> Any:
        found = super().get_tuple(config)
        self.read += len(found.pending_writes) if found is not None else 0
        return found


def test_reading_back_costs_the_same_however_long_the_journal_is() -> None:
    saver = Counting()
    place = place_in(saver)
    store(place)
    journal = journal_at(place)

    def read_for(calls: range) -> int:
        before = saver.read
        for number in calls:
            journal.append("a", 2 * number, [STARTED])
            journal.append("a", 2 * number + 1, [DONE])
        return saver.read - before

    few = 10 * rows.CHUNK_ROWS
    assert read_for(range(few)) == read_for(range(few, 2 * few))
