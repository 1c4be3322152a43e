"""What not every adapter can offer, by name, and which checks need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["BOTH", "CAPABILITIES", "JAILED", "LOOPS", "both_ways", "jailed", "needed_by", "needs", "on_loops"]

CAPABILITIES = {
    "threads": "agents run on threads, without an event loop",
    "modes": "the mode, a toggle for each invocation, or the router chooses what one agent shows its model",
    "argument_types": "a call whose arguments are of another type than the tool takes is refused, with the path to it",
    "state": "tools are given what the run's state holds, and what they change later calls of the program see",
    "call_id": "a tool is told the id of its call, be it a program's",
    "wrappers": "what the user wraps around tool calls sees each call of a program",
    "approval": "calls of programs wait for a human where the user says so",
    "plain_approval": "plain calls wait for a human by the same rules",
    "one_question": "everything of one message that waits is one question",
    "resume": "a program that a crash cut off goes on, and what was done is not done again",
    "ledger": "code actions are counted, beside what their calls would have cost as plain ones",
    "record": "what the model was shown is recorded, with the reason",
}
"""Name to what it means. An adapter has each, or its class says in `lacks` why it does not."""

_needed: dict[str, str] = {}
BOTH: set[str] = set()
"""Names of checks that are made on threads and on event loops."""
LOOPS: set[str] = set()
"""Names of checks that are made on event loops only."""
JAILED: set[str] = set()
"""Names of checks whose programs run in the jail, where there is one."""

F = TypeVar("F", bound=Callable[..., None])


def needs(capability: str) -> Callable[[F], F]:
    """Mark a check that only an adapter with that capability passes."""

    def mark(check: F) -> F:
        assert capability in CAPABILITIES, capability
        _needed[check.__name__] = capability
        return check

    return mark


def both_ways(check: F) -> F:
    """Mark a check to be made on threads and on event loops: what it asks goes other ways there."""
    BOTH.add(check.__name__)
    return check


def on_loops(check: F) -> F:
    """Mark a check to be made on event loops only: it asks for what frameworks cannot on threads."""
    LOOPS.add(check.__name__)
    return check


def jailed(check: F) -> F:
    """Mark a check to be made in the jail: there the answer comes out of another world."""
    JAILED.add(check.__name__)
    return check


def needed_by(check: str) -> str | None:
    """Return the capability that a check needs, None for one that every adapter passes."""
    return _needed.get(check)
