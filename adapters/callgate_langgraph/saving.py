"""What a journal asks of a checkpointer, written once and carried out either way: in this thread or awaited."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from callgate.errors import JournalError

__all__ = ["Ask", "Steps", "acarry_out", "carry_out", "get_tuple", "pause"]

T = TypeVar("T")


class Ask(NamedTuple):
    """One call of a checkpointer's public method; "sleep" is ours, and "list" is answered with a whole list."""

    method: str
    arguments: tuple[Any, ...]


Steps: TypeAlias = Generator[Ask, Any, T]
"""Yields what to ask, is sent the answer, returns a T."""


def get_tuple(config: RunnableConfig) -> Steps[CheckpointTuple | None]:
    """Read a checkpoint and its writes; None if it is not stored."""
    return (yield Ask("get_tuple", (config,)))


def pause(seconds: float) -> Steps[None]:
    """Wait."""
    yield Ask("sleep", (seconds,))


_ATTEMPTS = 10

_memory = threading.Lock()
"""InMemorySaver looks whether a write is there and stores it in two steps."""


def _atomic(saver: BaseCheckpointSaver[Any], ask: Ask) -> AbstractContextManager[Any]:
    return _memory if type(saver) is InMemorySaver and ask.method == "put_writes" else nullcontext()


def carry_out(saver: BaseCheckpointSaver[Any], steps: Steps[T]) -> T:
    """Carry out steps in this thread, by the sync methods of a saver.

    Raises:
        JournalError: if the saver fails, or this is the thread of an async saver's event loop.
    """
    _not_on_its_loop(saver)
    answer: Any = None
    while True:
        try:
            ask = steps.send(answer)
        except StopIteration as end:
            return end.value
        if ask.method == "sleep":
            answer = time.sleep(*ask.arguments)
            continue
        try:
            if ask.method == "list":
                answer = _listed(saver, *ask.arguments)
                continue
            with _atomic(saver, ask):
                answer = getattr(saver, ask.method)(*ask.arguments)
        except Exception as error:
            raise _failed(saver, ask, error) from error


async def acarry_out(saver: BaseCheckpointSaver[Any], steps: Steps[T]) -> T:
    """The awaitable twin of `carry_out`."""
    answer: Any = None
    while True:
        try:
            ask = steps.send(answer)
        except StopIteration as end:
            return end.value
        if ask.method == "sleep":
            answer = await asyncio.sleep(*ask.arguments)
            continue
        try:
            if ask.method == "list" and isinstance(saver, InMemorySaver):
                answer = _listed(saver, *ask.arguments)
                continue
            if ask.method == "list":
                config, wanted = ask.arguments
                answer = [one async for one in saver.alist(config, filter=wanted)]
                continue
            with _atomic(saver, ask):  # held by InMemorySaver only, which never waits
                answer = await getattr(saver, f"a{ask.method}")(*ask.arguments)
        except Exception as error:
            raise _failed(saver, ask, error) from error


def _listed(saver: BaseCheckpointSaver[Any], config: RunnableConfig, wanted: dict[str, Any]) -> list[CheckpointTuple]:
    """Return the checkpoints with some metadata."""
    for _ in range(_ATTEMPTS if isinstance(saver, InMemorySaver) else 0):
        with suppress(RuntimeError):  # it goes through a dict that another thread may be adding to
            return list(saver.list(config, filter=wanted))
    return list(saver.list(config, filter=wanted))


def _failed(saver: BaseCheckpointSaver[Any], ask: Ask, error: Exception) -> JournalError:
    return JournalError(f"{type(saver).__name__}.{ask.method} failed: {type(error).__name__}: {error}")


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
