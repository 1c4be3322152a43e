"""Copies of a checkpoint: what `update_state`, forks and time travel make of a journal."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.types import Command
from langgraph_durable import ANSWER, WRITES, Life, answers_in, effects, graph_of, happened
from langgraph_savers import aopen_saver, open_saver

from callgate.errors import JournalError
from callgate_langgraph.checkpoint_journal import CheckpointJournal
from callgate_langgraph.placement import Place

HALF = ["book 1", "book 3", "pay 2"]
"""What happens until the second question."""


class Thread:
    """One thread of the graph that pauses twice, in this process."""

    def __init__(self, saver: Any, folder: Path, loop: asyncio.AbstractEventLoop | None = None, **given: Any) -> None:
        ledger = str(folder / uuid.uuid4().hex)
        self.life = Life(
            kind="", address="", thread=uuid.uuid4().hex, ledger=ledger, is_async=loop is not None, **given
        )
        self.graph, self._loop = graph_of(self.life, saver), loop

    def config(self, at: str | None = None) -> Any:
        return {"configurable": {"thread_id": self.life.thread, "checkpoint_ns": "", "checkpoint_id": at}}

    def go(self, input: Any, at: str | None = None, **given: Any) -> Any:
        if self._loop is None:
            result = self.graph.invoke(input, self.config(at), **given)
        else:
            result = self._loop.run_until_complete(self.graph.ainvoke(input, self.config(at), **given))
        asked = [call["id"].rpartition("/")[2] for one in result.get("__interrupt__", ()) for call in one.value]
        return asked or answers_in(result)

    def update(self, at: str | None = None, **given: Any) -> None:
        values = {"note": "changed"}
        if self._loop is None:
            self.graph.update_state(self.config(at), values, **given)
        else:
            self._loop.run_until_complete(self.graph.aupdate_state(self.config(at), values, **given))

    def history(self) -> list[Any]:
        """Return the states, newest first."""
        if self._loop is None:
            return list(self.graph.get_state_history(self.config()))

        async def listed() -> list[Any]:
            return [one async for one in self.graph.aget_state_history(self.config())]

        return self._loop.run_until_complete(listed())

    @property
    def head_id(self) -> str:
        return self.history()[0].config["configurable"]["checkpoint_id"]

    def happened(self) -> list[str]:
        return happened(self.life)

    def models(self) -> int:
        return effects(self.life.ledger).count("model")


@pytest.fixture(params=["memory", "sqlite", "postgres", "asqlite", "apostgres"])
def thread(request: pytest.FixtureRequest, address_of: Callable[[str], str], tmp_path: Path) -> Iterator[Thread]:
    """A thread that waits at its second question, over each saver in turn."""
    kind = request.param
    if not kind.startswith("a"):
        with open_saver(kind, address_of(kind)) as saver:
            yield at_the_second_question(Thread(saver, tmp_path))
        return
    with asyncio.Runner() as runner:
        opened = aopen_saver(kind, address_of(kind))
        saver = runner.run(opened.__aenter__())
        yield at_the_second_question(Thread(saver, tmp_path, runner.get_loop()))
        runner.run(opened.__aexit__(None, None, None))


def at_the_second_question(thread: Thread) -> Thread:
    assert thread.go({"note": "go"}) == ["4"]
    assert thread.go(Command(resume=["approve"])) == ["7"]
    assert thread.happened() == HALF
    return thread


def finished(thread: Thread, *, times: int = 1) -> bool:
    return thread.happened() == sorted(WRITES * times)


# ---- the same checkpoint


def test_a_resume_goes_on(thread: Thread) -> None:
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(thread)


def test_no_answer_asks_the_same_again(thread: Thread) -> None:
    assert [thread.go(None), thread.go(None)] == [["7"], ["7"]]
    assert thread.happened() == HALF
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(thread)


def test_a_resume_with_an_update_goes_on(thread: Thread) -> None:
    assert thread.go(Command(resume=["approve"], update={"note": "changed"})) == [ANSWER]
    assert finished(thread)


def test_a_resume_with_the_id_of_the_head_goes_on(thread: Thread) -> None:
    assert thread.go(Command(resume=["approve"]), at=thread.head_id) == [ANSWER]
    assert finished(thread)


def test_a_resume_at_a_superseded_checkpoint_gives_the_old_answer_again(thread: Thread) -> None:
    paused = thread.head_id
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert thread.go(Command(resume=["reject"]), at=paused) == [ANSWER]
    assert finished(thread)


# ---- adopted


@pytest.mark.parametrize("updates", [1, 3])
@pytest.mark.parametrize("then", ["resume", "none"])
def test_an_update_while_paused_repeats_nothing(thread: Thread, then: str, updates: int) -> None:
    for _ in range(updates):
        thread.update(as_node="model")
    if then == "none":
        assert thread.go(None) == ["7"]
        assert thread.happened() == HALF
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(thread)
    assert thread.models() == 1


def test_updates_between_all_pauses_repeat_nothing(thread: Thread) -> None:
    for _ in range(3):
        thread.update(as_node="model")
        assert thread.go(None) == ["7"]
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(thread)


def test_the_head_entered_by_its_id_while_paused_repeats_nothing(thread: Thread) -> None:
    assert thread.go(None, at=thread.head_id) == ["7"]
    assert thread.happened() == HALF
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(thread)


def test_what_was_adopted_is_left_alone_where_it_was(thread: Thread) -> None:
    paused = thread.head_id
    thread.update(as_node="model")
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert thread.go(Command(resume=["approve"]), at=paused) == [ANSWER]
    assert thread.happened() == sorted([*WRITES, "pay 5"])  # each of the two branches was told to pay


# ---- another way


def test_going_back_to_a_finished_node_runs_it_as_new(thread: Thread) -> None:
    paused = thread.head_id
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert thread.go(None, at=paused) == ["4"]
    assert thread.happened() == sorted([*WRITES, "book 1"])
    assert thread.go(Command(resume=["approve"])) == ["7"]
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(thread, times=2)


def test_an_update_of_a_finished_node_runs_it_as_new(thread: Thread) -> None:
    paused = thread.head_id
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    thread.update(at=paused, as_node="model")
    assert thread.go(None) == ["4"]
    assert thread.happened() == sorted([*WRITES, "book 1"])


def test_a_pause_on_another_way_is_adopted_there(thread: Thread) -> None:
    paused = thread.head_id
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert thread.go(None, at=paused) == ["4"]
    thread.update(as_node="model")
    assert thread.go(Command(resume=["approve"])) == ["7"]
    assert thread.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(thread, times=2)


def test_going_back_before_the_model_asks_the_model_again(thread: Thread) -> None:
    first = next(one for one in thread.history() if one.next == ("model",))
    assert thread.go(None, at=first.config["configurable"]["checkpoint_id"]) == ["4"]
    assert thread.models() == 2
    assert thread.happened() == sorted([*HALF, "book 1"])


def test_a_new_input_while_paused_begins_anew(thread: Thread) -> None:
    assert thread.go({"note": "something else"}) == ["4"]
    assert thread.models() == 2
    assert thread.happened() == sorted([*HALF, "book 1"])


# ---- graphs inside


@pytest.fixture(params=["sub", "sub True", "sub own", "sub False"])
def inner(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Thread]:
    """A thread whose node is in a graph inside, and waits at its second question."""
    monkeypatch.setattr("callgate_langgraph.checkpoint_journal.LATE_SECONDS", 0.1)
    with open_saver("sqlite", str(tmp_path / "checkpoints.db")) as saver:
        yield at_the_second_question(Thread(saver, tmp_path, shape=request.param))


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("then", ["resume", "none"])
def test_an_update_outside_repeats_nothing_inside(inner: Thread, then: str, updates: int) -> None:
    for _ in range(updates):
        inner.update(as_node="model")
        if then == "none":
            assert inner.go(None) == ["7"]
    assert inner.happened() == HALF
    assert inner.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(inner)
    assert inner.models() == 1


def test_an_update_inside_repeats_nothing(inner: Thread) -> None:
    state = inner.graph.get_state(inner.config(), subgraphs=True).tasks[0].state
    if state is None:
        pytest.skip("this graph stores nothing that could be updated")
    inner.graph.update_state(state.config, {"note": "changed"}, as_node="__start__")
    assert inner.go(None) == ["7"]
    assert inner.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(inner)


def test_the_outer_head_entered_by_its_id_repeats_nothing_inside(inner: Thread) -> None:
    assert inner.go(None, at=inner.head_id) == ["7"]
    assert inner.go(Command(resume=["approve"])) == [ANSWER]
    assert finished(inner)


def test_going_back_outside_runs_a_finished_node_inside_as_new(inner: Thread) -> None:
    paused = inner.head_id
    assert inner.go(Command(resume=["approve"])) == [ANSWER]
    assert inner.go(None, at=paused) == ["4"]
    assert inner.happened() == sorted([*WRITES, "book 1"])


def test_an_inner_graph_without_checkpoints_goes_on_after_a_crash(tmp_path: Path, monkeypatch: Any) -> None:
    """Its checkpoint ids are new on each run: only the key says that it is the same action."""
    monkeypatch.setattr("callgate_langgraph.checkpoint_journal.LATE_SECONDS", 0.1)
    with open_saver("sqlite", str(tmp_path / "checkpoints.db")) as saver:
        thread = Thread(saver, tmp_path, shape="sub False")
        asked = [thread.go({"note": "go"}), thread.go(None), thread.go(None)]
        assert asked == [["4"]] * 3
        assert thread.happened() == ["book 1"]
        assert thread.go(Command(resume=["approve"])) == ["7"]
        assert [thread.go(None), thread.go(Command(resume=["approve"]))] == [["7"], [ANSWER]]
        assert finished(thread)


def test_two_inner_graphs_at_once_do_not_adopt_one_another(tmp_path: Path) -> None:
    """Two tasks that were given the very same calls: after an update nothing says which was which."""
    with open_saver("sqlite", str(tmp_path / "checkpoints.db")) as saver:
        thread = Thread(saver, tmp_path, shape="same sub twice")
        assert thread.go({"note": "go"}) == ["4", "4"]
        thread.update(as_node="model")
        with pytest.raises(JournalError, match="the same tool calls 2 times at once"):
            thread.go(None)
        assert thread.happened() == ["book 1"] * 2


# ---- below the node


def copied(saver: Any, source: str) -> tuple[Place, Place]:
    """Store a checkpoint and a copy of it, and return the places of a node at both."""
    fields: dict[str, Any] = {"thread": uuid.uuid4().hex, "namespace": "", "task": "t1", "node": "tools"}
    fields |= {"ancestors": (), "only_at_exit": False, "may_fork": False, "by_interrupt_id": False}
    first = Place(saver=saver, checkpoint="k1", **fields)
    for checkpoint, given, parent in (("k1", "loop", None), ("k2", source, "k1")):
        put = {**empty_checkpoint(), "id": checkpoint}
        saver.put(first.config("", parent), put, {"source": given, "step": 1, "parents": {}}, {})
    return first, replace(first, checkpoint="k2", task="t2")


@pytest.mark.parametrize("source", ["update", "fork"])
def test_a_run_that_is_still_at_work_at_the_original_starts_nothing_more(saver: Any, source: str) -> None:
    first, second = copied(saver, source)
    old = CheckpointJournal(first)
    old.append("a", 0, ["one", "two"])
    new = CheckpointJournal(second)
    assert new.read("a") == ["one", "two"]
    with pytest.raises(JournalError, match="another run appended"):
        old.append("a", 2, ["three"])
    new.append("a", 2, ["three"])
    assert CheckpointJournal(second).read("a") == ["one", "two", "three"]
    assert CheckpointJournal(first).read("a") == ["one", "two"]


def test_the_next_step_of_a_graph_adopts_nothing(saver: Any) -> None:
    first, second = copied(saver, "loop")
    CheckpointJournal(first).append("a", 0, ["one"])
    assert CheckpointJournal(second).read("a") == []


@pytest.mark.parametrize("channel", ["messages", "__no_writes__", "__error__", "__interrupt__", "__resume__"])
def test_only_what_has_not_finished_is_adopted(saver: Any, channel: str) -> None:
    first, second = copied(saver, "update")
    CheckpointJournal(first).append("a", 0, ["one"])
    saver.put_writes(first.own(), [(channel, "value")], first.task)
    saver.put_writes(first.own(), [("messages", "of another task")], "t9")
    adopted = channel not in ("messages", "__no_writes__")
    assert CheckpointJournal(second).read("a") == (["one"] if adopted else [])


def test_of_two_runs_that_adopt_at_once_one_goes_on(saver: Any) -> None:
    first, second = copied(saver, "update")
    CheckpointJournal(first).append("a", 0, ["one"])
    barrier, results = threading.Barrier(2), list[Any]()

    def adopt() -> None:
        journal = CheckpointJournal(second)
        barrier.wait(30)
        try:
            journal.read("a")
            journal.append("a", 1, ["two"])
            results.append("went on")
        except JournalError:
            results.append("heard of it")

    threads = [threading.Thread(target=adopt) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert results.count("went on") <= 1
    journal = CheckpointJournal(second)
    assert journal.read("a")[:1] == ["one"]
    assert len(journal.read("a")) == 1 + results.count("went on")
