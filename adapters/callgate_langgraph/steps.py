"""Input and output of a node run, written once and carried out either way: in this thread, or awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from callgate.journal import JournalStore

__all__ = ["Step", "Steps", "acarry_out", "append_lines", "carry_out", "read_lines"]

T = TypeVar("T")


class Step(NamedTuple):
    """Something to do that may wait, in both forms."""

    run: Callable[[], Any]
    arun: Callable[[], Awaitable[Any]]


Steps: TypeAlias = Generator[Step, Any, T]
"""Yields what to do, is sent what came of it, or is thrown the exception; returns a T."""


def carry_out(steps: Steps[T]) -> T:
    """Carry out steps in this thread."""
    try:
        step = next(steps)
        while True:
            try:
                result = step.run()
            except BaseException as error:  # noqa: BLE001 - the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value


async def acarry_out(steps: Steps[T]) -> T:
    """The awaitable twin of `carry_out`."""
    try:
        step = next(steps)
        while True:
            try:
                result = await step.arun()
            except BaseException as error:  # noqa: BLE001 - the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value


def read_lines(store: JournalStore, key: str) -> Steps[list[str]]:
    """Return the lines under a key."""
    return (yield Step(lambda: store.read(key), lambda: store.aread(key)))


def append_lines(store: JournalStore, key: str, position: int, lines: Sequence[str]) -> Steps[None]:
    """Keep lines durably.

    Raises:
        JournalError: if the key does not hold exactly position lines.
    """
    yield Step(lambda: store.append(key, position, lines), lambda: store.aappend(key, position, lines))
