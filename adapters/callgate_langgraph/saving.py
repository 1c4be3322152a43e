"""What a journal asks of a checkpointer, written once and carried out either way: in this thread or awaited."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from callgate.errors import JournalError
from callgate_langgraph.steps import Step, Steps, acarry_out, carry_out

__all__ = ["Ask", "Asks", "aask", "ask", "get_tuple", "pause"]

T = TypeVar("T")


class Ask(NamedTuple):
    """One call of a checkpointer's public method; "sleep" is ours, and "list" is answered with a whole list."""

    method: str
    arguments: tuple[Any, ...]


Asks: TypeAlias = Generator[Ask, Any, T]
"""Yields what to ask, is sent the answer, returns a T."""


def get_tuple(config: RunnableConfig) -> Asks[CheckpointTuple | None]:
    """Read a checkpoint and its writes; None if it is not stored."""
    return (yield Ask("get_tuple", (config,)))


def pause(seconds: float) -> Asks[None]:
    """Wait."""
    yield Ask("sleep", (seconds,))


def ask(saver: BaseCheckpointSaver[Any], asks: Asks[T]) -> T:
    """Ask in this thread, by the sync methods of a saver.

    Raises:
        JournalError: if the saver fails, or this is the thread of an async saver's event loop.
    """
    _not_on_its_loop(saver)
    return carry_out(_steps(saver, asks))


async def aask(saver: BaseCheckpointSaver[Any], asks: Asks[T]) -> T:
    """The awaitable twin of `ask`."""
    return await acarry_out(_steps(saver, asks))


def _steps(saver: BaseCheckpointSaver[Any], asks: Asks[T]) -> Steps[T]:
    answer: Any = None
    while True:
        try:
            one = asks.send(answer)
        except StopIteration as end:
            return end.value
        try:
            answer = yield Step(functools.partial(_answer, saver, one), functools.partial(_aanswer, saver, one))
        except Exception as error:
            raise JournalError(
                f"{type(saver).__name__}.{one.method} failed: {type(error).__name__}: {error}"
            ) from error


def _answer(saver: BaseCheckpointSaver[Any], one: Ask) -> Any:
    if one.method == "sleep":
        return time.sleep(*one.arguments)
    if one.method == "list":
        return _listed(saver, *one.arguments)
    with _atomic(saver, one):
        return getattr(saver, one.method)(*one.arguments)


async def _aanswer(saver: BaseCheckpointSaver[Any], one: Ask) -> Any:
    if one.method == "sleep":
        return await asyncio.sleep(*one.arguments)
    if one.method == "list" and isinstance(saver, InMemorySaver):
        return _listed(saver, *one.arguments)
    if one.method == "list":
        config, wanted = one.arguments
        return [found async for found in saver.alist(config, filter=wanted)]
    with _atomic(saver, one):  # held by InMemorySaver only, which never waits
        return await getattr(saver, f"a{one.method}")(*one.arguments)


_ATTEMPTS = 10

_memory = threading.Lock()
"""InMemorySaver looks whether a write is there and stores it in two steps."""


def _atomic(saver: BaseCheckpointSaver[Any], one: Ask) -> AbstractContextManager[Any]:
    return _memory if type(saver) is InMemorySaver and one.method == "put_writes" else nullcontext()


def _listed(saver: BaseCheckpointSaver[Any], config: RunnableConfig, wanted: dict[str, Any]) -> list[CheckpointTuple]:
    """Return the checkpoints with some metadata."""
    for _ in range(_ATTEMPTS if isinstance(saver, InMemorySaver) else 0):
        with suppress(RuntimeError):  # it goes through a dict that another thread may be adding to
            return list(saver.list(config, filter=wanted))
    return list(saver.list(config, filter=wanted))


def _not_on_its_loop(saver: BaseCheckpointSaver[Any]) -> None:
    """Refuse what would wait for ever: an async saver hands a sync call to its own event loop and blocks."""
    loop = getattr(saver, "loop", None)
    if loop is not None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is loop:
            raise JournalError(
                f"{type(saver).__name__} cannot be called synchronously from its own event loop: "
                "await the node (ainvoke, astream), or let a sync node run in a thread as LangGraph does"
            )
