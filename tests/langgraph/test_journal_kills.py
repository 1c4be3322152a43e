"""Crashes and double resumes, in processes of their own: no write happens twice, nothing is asked without need."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph_durable import ANSWER, SHAPES, Life, answers, effects, happened, writes
from langgraph_killed import Lives, Process
from langgraph_savers import DURABLE

TWO = ("send", "two", "function")
"""Shapes with two actions."""


def each_kind_once(shapes: Sequence[str]) -> pytest.MarkDecorator:
    """Parametrize over all kinds and shapes; `make test` sees each of them once."""
    cases = [
        pytest.param(
            kind, shape, marks=() if (row - column) % min(len(DURABLE), len(shapes)) == 0 else pytest.mark.soak
        )
        for row, kind in enumerate(DURABLE)
        for column, shape in enumerate(shapes)
    ]
    return pytest.mark.parametrize(("kind", "shape"), cases)


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    opened = Lives()
    yield opened
    opened.close()


@pytest.fixture
def life_of(address_of: Callable[[str], str], tmp_path: Path) -> Callable[..., Life]:
    """Make a life of a thread of its own."""

    def made(kind: str, **given: Any) -> Life:
        thread = uuid.uuid4().hex
        given.setdefault("is_async", kind.startswith("a"))
        given.setdefault("actions", 2 if given.get("shape") in TWO else 1)
        ledger = str(tmp_path / thread)
        return Life(kind=kind, address=address_of(kind), thread=thread, ledger=ledger, **given)

    return made


class Told:
    """Plays the humans of one thread: approves, and looks into the ledger where an outcome is unknown."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.unknown: list[str] = []
        """Calls that were asked about because nobody knew how they ended."""
        self.asked: list[str] = []
        """Calls that were asked about."""

    def next_life(self, said: dict[str, Any]) -> Life:
        """Return the life that follows what the last one said."""
        if "error" in said:
            assert said["error"].startswith("EmptyInputError"), said["error"]
            assert happened(self.life) == []
            return replace(self.life, step="start")
        told = {one["id"]: [self.decide(call) for call in one["value"]] for one in said["asked"]}
        return replace(self.life, step="resume", value=told if len(told) > 1 else next(iter(told.values())))

    def decide(self, call: dict[str, Any]) -> Any:
        if "tool" not in call:
            return "approve"  # asked again because the answer was lost, and journalled before: it has no effect
        name = f"{call['tool']} {call['args']['n']}"
        self.asked.append(name)
        if not call["unknown"]:
            return "approve"
        self.unknown.append(name)
        times = effects(self.life.ledger).count(name)
        assert times < 2
        return {"type": "done", "value": call["args"]["n"] * 10} if times else "run again"

    def finish(self, lives: Lives, said: dict[str, Any]) -> dict[str, Any]:
        """Live on until the graph is done."""
        for _ in range(12):
            if is_over(said):
                return said
            said = lives.live(self.next_life(said))
        raise AssertionError(f"it does not end: {said}")


def is_over(said: dict[str, Any]) -> bool:
    return "error" not in said and not said["asked"]


def check(life: Life, said: dict[str, Any]) -> None:
    """Check that every write happened once and the program has its answer."""
    assert happened(life) == writes(life.actions)
    assert said["answers"] == answers(life.actions)


# ---- every graph, each resume in a process of its own


EVERY = [
    # `make test` sees each saver, shape and durability; all together are 108 graphs.
    pytest.param(kind, shape, durability, marks=() if at % 13 == 0 else pytest.mark.soak)
    for at, (kind, shape, durability) in enumerate(itertools.product(DURABLE, SHAPES, ("async", "sync", "exit")))
]


@pytest.mark.parametrize(("kind", "shape", "durability"), EVERY)
def test_pauses_are_answered_in_other_processes(
    kind: str, shape: str, durability: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    if (shape, durability) == ("function", "exit"):
        pytest.skip("LangGraph forgets the answer to a subgraph that is called twice in one node with this durability")
    life = life_of(kind, shape=shape, durability=durability)
    told = Told(life)
    said = told.finish(lives, lives.live(life))
    check(life, said)
    assert sorted(told.asked) == [one for one in writes(life.actions) if one.startswith("pay")]
    assert effects(life.ledger).count("model") == 1
    assert all(holds == (durability != "exit") for holds, _ in said["durable"])


@pytest.mark.parametrize("kind", ["asqlite", "apostgres"])
def test_a_sync_node_of_an_awaited_graph_keeps_its_journal_too(
    kind: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    life = life_of(kind, sync_node=True)
    check(life, Told(life).finish(lives, lives.live(life)))


# ---- crashes


def kill_and_recover(lives: Lives, life: Life, moment: int) -> tuple[bool, Told]:
    """Kill a thread's processes at one moment of its whole life, and finish it. Returns whether it was killed."""
    told, now = Told(life), life
    for _ in range(4):
        process = lives.start(replace(now, kill_at=moment))
        if process.killed():
            check(life, told.finish(lives, lives.live(replace(life, step="none"))))
            return True, told
        said = process.result()
        moment -= said["moments"]
        if is_over(said):
            check(life, said)
            return False, told
        now = told.next_life(said)
    raise AssertionError("it does not end")


def moments_of(lives: Lives, life: Life) -> int:
    """Return how many moments a thread has."""
    told, now, count = Told(life), life, 0
    while True:
        said = lives.live(now)
        count += said["moments"]
        if is_over(said):
            return count
        now = told.next_life(said)


def kill_everywhere(
    lives: Lives, life_of: Callable[..., Life], kind: str, *, every: int, **given: Any
) -> tuple[int, list[str]]:
    """Kill at every so-manieth moment. Returns the kills, and what was asked because it was unknown."""
    last, kills, unknown = moments_of(lives, life_of(kind, **given)), 0, []
    for moment in range(len(kind) % every, last, every):
        killed, told = kill_and_recover(lives, life_of(kind, **given), moment)
        kills += killed
        unknown += told.unknown
        assert len(told.unknown) <= life_of(kind, **given).actions
    return kills, unknown


@pytest.mark.parametrize("kind", ["sqlite", "apostgres"])
def test_no_kill_repeats_a_write(kind: str, lives: Lives, life_of: Callable[..., Life]) -> None:
    kills, _ = kill_everywhere(lives, life_of, kind, every=13)
    assert kills >= 4


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("durability", ["async", "sync"])
@pytest.mark.parametrize("shape", ["plain", "sub", "send"])
@pytest.mark.parametrize("kind", DURABLE)
def test_no_kill_at_any_moment_repeats_a_write(
    kind: str, shape: str, durability: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    every = 1 if shape == "plain" else 4
    kills, unknown = kill_everywhere(lives, life_of, kind, every=every, shape=shape, durability=durability)
    assert kills >= 10
    assert unknown


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["sqlite", "asqlite"])
def test_a_write_cut_off_is_asked_about(kind: str, when: str, lives: Lives, life_of: Callable[..., Life]) -> None:
    life = life_of(kind)
    assert lives.start(replace(life, kill_at_effect=(when, "book 1"))).killed()
    said = lives.live(replace(life, step="none"))
    assert [(call["args"], call["unknown"]) for call in said["asked"][0]["value"]] == [({"n": 1}, True)]
    told = Told(life)
    check(life, told.finish(lives, said))
    assert told.unknown == ["book 1"]


@each_kind_once(["plain", "sub", "sub True", "send"])
def test_a_write_waits_until_the_checkpoints_it_is_resumed_from_are_stored(
    kind: str, shape: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    """Without the wait, a slow database forgets that the model was called, and its calls are made again."""
    life = life_of(kind, shape=shape, slow=1.0, actions=1)
    assert lives.start(replace(life, kill_at_effect=("after", "book 1"))).killed()
    life = replace(life, slow=0.0)
    check(life, Told(life).finish(lives, lives.live(replace(life, step="none"))))
    assert effects(life.ledger).count("model") == 1


# ---- two at once


@each_kind_once(["plain", "sub"])
def test_two_processes_that_resume_one_thread_do_every_write_once(
    kind: str, shape: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    race(lives, life_of(kind, shape=shape))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", DURABLE)
def test_two_processes_never_do_a_write_twice(kind: str, lives: Lives, life_of: Callable[..., Life]) -> None:
    for _ in range(30):
        race(lives, life_of(kind))


@pytest.mark.parametrize("kind", DURABLE)
def test_two_processes_that_go_on_after_a_crash_ask_once(kind: str, lives: Lives, life_of: Callable[..., Life]) -> None:
    life = life_of(kind)
    assert lives.start(replace(life, kill_at_effect=("after", "book 1"))).killed()
    both = [lives.start(replace(life, step="none")), lives.start(replace(life, step="none"))]
    assert all("another run appended" in one.get("error", "another run appended") for one in map(Process.result, both))
    told = Told(life)
    check(life, told.finish(lives, lives.live(replace(life, step="none"))))
    assert told.unknown == ["book 1"]


def race(lives: Lives, life: Life) -> None:
    """Let two processes go on with the same pause at once, at both of its pauses."""
    told = Told(life)
    said = lives.live(life)
    for _ in range(2):
        both = told.next_life(said)
        results = [process.result() for process in [lives.start(both), lives.start(both)]]
        errors = [one["error"] for one in results if "error" in one]
        assert all("another run appended" in one for one in errors), errors
        said = lives.live(replace(life, step="none"))
        assert said["asked"] == [] or not said["asked"][0]["value"][0].get("unknown"), said
        if is_over(said):
            break
    check(life, told.finish(lives, said))


# ---- the stale answer


@each_kind_once(["plain", "sub", "entrypoint", "task"])
def test_an_answer_is_not_taken_for_the_next_question(
    kind: str, shape: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    def at_the_second_question(life: Life) -> dict[str, Any]:
        lives.live(life)
        said = lives.live(replace(life, step="resume", value=["approve"]))
        assert [call["args"] for call in said["asked"][0]["value"]] == [{"n": 5}]
        return lives.live(replace(life, step="none"))

    life = life_of(kind, shape=shape)
    said = at_the_second_question(life)
    assert said["answers"] == []
    assert "pay 5" not in effects(life.ledger)
    check(life, Told(life).finish(lives, said))
    uncleared = life_of(kind, shape=shape, clear=False)
    assert at_the_second_question(uncleared)["answers"] == [ANSWER], "LangGraph has mended it: stop clearing"


@pytest.mark.parametrize("kind", ["sqlite", "apostgres"])
def test_an_answer_given_again_after_a_crash_is_not_taken_for_the_next_question(
    kind: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    answer_again(lives, life_of, kind, every=8)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", DURABLE)
def test_an_answer_given_again_is_never_taken_for_the_next_question(
    kind: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    answer_again(lives, life_of, kind, every=1)


def answer_again(lives: Lives, life_of: Callable[..., Life], kind: str, *, every: int) -> None:
    """Kill a process that was given an answer: whoever gave it sees the same question, and answers once more."""
    for moment in range(1, 200, every):
        life = life_of(kind)
        resumed = replace(life, step="resume", value=["approve"])
        lives.live(life)
        if not lives.start(replace(resumed, kill_at=moment)).killed():
            break
        said = lives.live(resumed)
        assert said["asked"]
        assert "pay 5" not in effects(life.ledger)
        check(life, Told(life).finish(lives, said))
    assert moment > 20


# ---- what cannot be resumed


@pytest.mark.parametrize("kind", ["sqlite", "asqlite"])
def test_require_durable_refuses_where_a_crash_would_not_be_resumed(
    kind: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    life = life_of(kind, durability="exit", require_durable=True)
    said = lives.live(life)
    assert said["error"].startswith('JournalError: a write was about to start, and durability="exit"')
    assert effects(life.ledger) == ["model"]
    check(fine := life_of(kind, require_durable=True), Told(fine).finish(lives, lives.live(fine)))


def test_a_subgraph_that_stores_nothing_is_said_not_to_be_durable(lives: Lives, life_of: Callable[..., Life]) -> None:
    said = lives.live(life_of("sqlite", shape="sub False"))
    ((holds, reason),) = said["durable"]
    assert not holds
    assert "checkpointer=False" in reason
