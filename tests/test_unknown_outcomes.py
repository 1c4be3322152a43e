"""Tools that do not know themselves whether a call happened: a write is asked about, and never repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from callgate import CodeRunner, Journal, MemoryJournal, Outcome, OutcomeUnknown, tool
from callgate.testing import FakeSandbox

RETRIES = """\
said = None
for _ in range(3):
    try:
        said = send(to="ana")
        break
    except BaseException as error:
        said = str(error)
said, look()
"""


class World:
    """A tool far away, to which the way is cut off at its first call; and what happened."""

    def __init__(self, effect: Any = "write", **options: Any) -> None:
        self.done: list[str] = []
        self.store = MemoryJournal()

        @tool(effect=effect, **options)
        def send(to: str) -> str:
            """Send something."""
            self.done.append(f"send {to}")
            if self.done.count(f"send {to}") == 1:
                raise OutcomeUnknown("the connection was lost")
            return f"sent to {to}"

        @tool(effect="read")
        def look() -> str:
            """Look."""
            self.done.append("look")
            return "seen"

        self.runner = CodeRunner([send, look], sandbox=FakeSandbox(), journal=self.store)


@pytest.fixture(params=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """Run a program, or go on with it."""

    def run(world: World, program: str | None = None, decisions: Any = None) -> Outcome:
        runner = world.runner
        if request.param == "sync":
            return runner.run(program, id="a") if program else runner.resume("a", decisions)
        return asyncio.run(runner.arun(program, id="a") if program else runner.aresume("a", decisions))

    return run


@pytest.mark.parametrize(
    ("decision", "said", "done"),
    [
        ({"type": "done", "value": "it went out"}, "it went out", ["send ana", "look"]),
        ("run again", "sent to ana", ["send ana", "send ana", "look"]),
    ],
    ids=["done", "again"],
)
def test_a_write_is_asked_about_and_no_program_repeats_it(
    decision: Any, said: str, done: list[str], go: Callable[..., Outcome]
) -> None:
    world = World()
    paused = go(world, RETRIES)
    (waiting,) = paused.waiting
    assert (paused.status, waiting.id, waiting.unknown, world.done) == ("paused", "a/1", True, ["send ana"])
    assert [line["why"] for line in entries(world) if line["e"] == "asked"] == ["unknown"]
    outcome = go(world, decisions={"a/1": decision})
    assert (outcome.value, world.done) == ([said, "seen"], done)


def test_a_program_of_one_call_is_no_exception(go: Callable[..., Outcome]) -> None:
    world = World()
    paused = go(world, "send(to='ana')")
    assert [(one.id, one.unknown) for one in paused.waiting] == [("a/1", True)]
    assert go(world, decisions={"a/1": {"type": "done", "value": "it went out"}}).value == "it went out"
    assert world.done == ["send ana"]


def test_a_program_that_has_ended_still_has_its_write_asked_about(go: Callable[..., Outcome]) -> None:
    world = World()
    program = "import threading\nthreading.Thread(target=send, kwargs={'to': 'ana'}, daemon=True).start()\nlook()"
    paused = go(world, program)
    assert [one.unknown for one in paused.waiting] == [True]
    assert go(world, decisions={paused.waiting[0].id: "failed"}).value == "seen"
    assert world.done.count("send ana") == 1


def test_the_tools_own_hook_knows_what_became_of_it(go: Callable[..., Outcome]) -> None:
    world = World(reconcile=lambda call: {"type": "done", "value": "the ledger has it"})
    go(world, RETRIES)
    assert go(world).value == ["the ledger has it", "seen"]
    assert world.done == ["send ana", "look"]


@pytest.mark.parametrize("effect", ["read", "idempotent"])
def test_what_may_be_repeated_has_failed_and_says_why(effect: str, go: Callable[..., Outcome]) -> None:
    world = World(effect)
    outcome = go(
        world, "try:\n    send(to='ana')\nexcept ToolFailed as error:\n    said = str(error)\nsaid, send(to='ana')"
    )
    assert outcome.value == ["the connection was lost", "sent to ana"]


def entries(world: World) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in Journal(world.store.read("a")).lines]
