"""CodeActNode, cut off at every step, each entry in a process of its own: nothing happens twice, no answer is crossed."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph_durable import Life, effects, happened
from langgraph_killed import Lives
from langgraph_node import SHAPES, answers_of, effects_of
from langgraph_savers import DURABLE


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
        given = {"shape": "node", "is_async": kind.startswith("a"), **given}
        return Life(kind=kind, address=address_of(kind), thread=thread, ledger=str(tmp_path / thread), **given)

    return made


class Human:
    """Answers what a thread asks: each call in a way of its own, and by the ledger where an outcome is unknown."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.unknown: list[str] = []
        """Calls that were asked about because nobody knew how they ended."""

    def next_life(self, said: dict[str, Any]) -> Life:
        """Return the life that follows what the last one said."""
        if "error" in said:
            assert said["error"].startswith("EmptyInputError"), said["error"]
            assert happened(self.life) == []
            return replace(self.life, step="start")
        told = {one["id"]: self.answer(one["value"]) for one in said["asked"]}
        return replace(self.life, step="resume", value=told if len(told) > 1 else next(iter(told.values())))

    def answer(self, asked: dict[str, Any]) -> Any:
        if "ask" in asked:
            return f"told {asked['ask']}"
        found = zip(asked["action_requests"], asked["callgate"]["calls"], strict=True)
        return {"decisions": [self.decide(action, call) for action, call in found]}

    def decide(self, action: dict[str, Any], call: dict[str, Any]) -> Any:
        name, n = action["name"], action["args"]["n"]
        if not call["unknown"]:
            return {"type": "edit", "edited_action": {"name": name, "args": {"n": n, "to": f"for {n}"}}}
        wanted = f"{name} {n}{' fails' if name == 'flaky' and call['id'].endswith('/6') else ''}"
        self.unknown.append(wanted)
        if not any(one == wanted or (name in ("pay", "ask") and one.startswith(f"{wanted} ")) for one in self.done):
            return {"type": "run again"}
        return {"type": "failed", "message": "once"} if wanted.endswith("fails") else {"type": "done", "value": n}

    @property
    def done(self) -> list[str]:
        return effects(self.life.ledger)

    def finish(self, lives: Lives, said: dict[str, Any]) -> dict[str, Any]:
        """Live on until the graph is done."""
        for _ in range(20):
            if is_over(said):
                return said
            said = lives.live(self.next_life(said))
        raise AssertionError(f"it does not end: {said}")


def is_over(said: dict[str, Any]) -> bool:
    return "error" not in said and not said["asked"]


def check(life: Life, said: dict[str, Any]) -> None:
    """Check that every write happened once and the model is told the right answers."""
    assert happened(life) == effects_of(life.actions)
    assert said["answers"] == answers_of(life.actions)
    assert effects(life.ledger).count("model") == 1


def test_it_runs_through(lives: Lives, life_of: Callable[..., Life]) -> None:
    life = life_of("sqlite")
    human = Human(life)
    check(life, human.finish(lives, lives.live(life)))
    assert human.unknown == []


# ---- kills


def kill_and_recover(lives: Lives, life: Life, moment: int, *, again: bool) -> tuple[bool, Human]:
    """Kill a thread's processes at one moment of its whole life, and finish it. Returns whether it was killed.

    Whoever started the process that was killed starts another one: without an answer, or with the same one again.
    """
    human, now = Human(life), life
    for _ in range(8):
        process = lives.start(replace(now, kill_at=moment))
        if process.killed():
            after = now if again and now.step == "resume" else replace(life, step="none")
            check(life, human.finish(lives, lives.live(after)))
            return True, human
        said = process.result()
        moment -= said["moments"]
        if is_over(said):
            check(life, said)
            return False, human
        now = human.next_life(said)
    raise AssertionError("it does not end")


def moments_of(lives: Lives, life: Life) -> int:
    """Return how many moments a thread has."""
    human, now, count = Human(life), life, 0
    while True:
        said = lives.live(now)
        count += said["moments"]
        if is_over(said):
            return count
        now = human.next_life(said)


def kill_everywhere(
    lives: Lives, life_of: Callable[..., Life], kind: str, *, every: int, again: bool, **given: Any
) -> int:
    last, kills = moments_of(lives, life_of(kind, **given)), 0
    for moment in range(len(kind) % every, last, every):
        killed, human = kill_and_recover(lives, life_of(kind, **given), moment, again=again)
        kills += killed
        assert len(human.unknown) <= 4, human.unknown
    return kills


@pytest.mark.parametrize(("kind", "again"), [("asqlite", True), ("postgres", False)])
def test_no_kill_repeats_a_write(kind: str, again: bool, lives: Lives, life_of: Callable[..., Life]) -> None:
    assert kill_everywhere(lives, life_of, kind, every=36, again=again) >= 3


@pytest.mark.parametrize(("kind", "moment"), [("sqlite", 20), ("asqlite", 60)])
def test_no_kill_of_an_agent_repeats_a_write(
    kind: str, moment: int, lives: Lives, life_of: Callable[..., Life]
) -> None:
    killed, _ = kill_and_recover(lives, life_of(kind, shape="agent"), moment, again=True)
    assert killed


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("durability", ["async", "sync"])
@pytest.mark.parametrize("again", [False, True], ids=["no answer", "the same answer"])
@pytest.mark.parametrize("kind", DURABLE)
def test_no_kill_at_any_step_repeats_a_write(
    kind: str, again: bool, durability: str, shape: str, lives: Lives, life_of: Callable[..., Life]
) -> None:
    every, actions = (1, 1) if shape == "node" else (5, 2)
    given = {"shape": shape, "durability": durability, "actions": actions}
    kills = kill_everywhere(lives, life_of, kind, every=every, again=again, **given)
    sys.stderr.write(f"{kind}, {shape}, durability {durability}: {kills} kills\n")
    assert kills >= 20


@pytest.mark.parametrize("kind", DURABLE)
def test_two_processes_that_resume_one_thread_do_every_write_once(
    kind: str, lives: Lives, life_of: Callable[..., Life], tmp_path: Path
) -> None:
    life = life_of(kind)
    human = Human(life)
    said = lives.live(life)
    for number in range(8):
        (meeting := tmp_path / str(number)).mkdir()
        both = replace(human.next_life(said), meeting=str(meeting))
        results = [process.result() for process in [lives.start(both), lives.start(both)]]
        errors = [one["error"] for one in results if "error" in one]
        late = ("another run", "waits for a decision")  # meets the other as it goes on, or finds its answer used
        assert all(any(one in error for one in late) for error in errors), errors
        said = lives.live(replace(life, step="none"))
        if is_over(said):
            break
    check(life, human.finish(lives, said))
