"""Interrupts: those of a node run, as LangGraph counts them, and those of each call, counted by themselves.

LangGraph hands the answers of humans to the `interrupt()` calls of a node by their position. Calls that are answered
from a journal would shift it, and calls that run side by side would take one another's answers. So questions are
asked by the node, one after the other, and each tool call has positions of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import set_config_context, var_child_runnable_config
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt, interrupt

from callgate import UsageError
from callgate.codec import digest, encode
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.upstream import (
    CALL,
    CHECKPOINTER,
    RESUME,
    RESUME_MAP,
    SCRATCHPAD,
    SEND,
    answers_given,
    has_untaken_answer,
    scratchpad_of,
)

__all__ = ["Interrupted", "NodeInterrupts", "Scope", "can_ask", "scoped"]

_NAMESPACE = "checkpoint_ns"


def can_ask(config: RunnableConfig) -> bool:
    """Say whether a node run can wait for a human: its graph has a checkpointer."""
    return config.get("configurable", {}).get(CHECKPOINTER) is not None


class Interrupted(NamedTuple):
    """What the tool of a call asked when it interrupted itself, as a journal holds it."""

    number: int
    """Of the questions of this call, counted from 1."""
    answers: str
    """Packed: what its own earlier interrupts were answered."""
    question: str
    """Packed: the `Interrupt`."""
    nested: bool
    """Whether a graph inside the tool asks, not the tool itself."""


class NodeInterrupts:
    """The questions that a node run asks.

    Args:
        config: of the node.
    """

    def __init__(self, config: RunnableConfig) -> None:
        self._config = config
        self._passed = 0

    @property
    def given(self) -> int:
        """How many answers this task was given so far."""
        return len(answers_given(self._config))

    @property
    def resumed(self) -> bool:
        """Whether anybody has answered a question of this task, or the run came with an answer."""
        return bool(self.given) or has_untaken_answer(self._config)

    def fill(self, count: int) -> None:
        """Put something in place of answers that were heard and then lost in a crash.

        So each question has a position, and an id, that no other question of this task had.
        """
        given = answers_given(self._config)
        given.extend([None] * (count - len(given)))

    def pass_by(self, count: int) -> None:
        """Leave behind the positions below count: they are of questions asked before.

        So a function around this node that asks somebody itself, before or after it, meets its own answers.
        """
        counter = getattr(scratchpad_of(self._config), "interrupt_counter", None)
        while counter is not None and self._passed < count:
            self._passed = counter() + 1

    def id_at(self, index: int) -> str:
        """Return the id of the question at a position."""
        config = _changed(
            self._config, resume=[None] * index, get_null_resume=_no_answer, interrupt_counter=lambda: index
        )
        with set_config_context(config) as context:
            try:
                context.run(interrupt, None)
            except GraphInterrupt as raised:
                return cast(str, raised.args[0][0].id)
        raise AssertionError("an interrupt without an answer came back")

    def check(self) -> None:
        """Make sure that somebody can answer.

        Raises:
            UsageError: without a checkpointer.
        """
        if not can_ask(self._config):
            raise UsageError(
                "a tool call waits for a human, and there is no checkpointer to wait in: "
                "run the node in a graph that is compiled with one, as in compile(checkpointer=InMemorySaver())"
            )

    def again(self, index: int, question: Any, schema: Any = None) -> Any:
        """Ask a question that an earlier entry asked at a position, and return its answer.

        Raises:
            GraphInterrupt: if there is no answer yet.
        """
        self.pass_by(index + 1)
        positions = iter((index - 1, index) if index else (index,))
        config = _changed(self._config, interrupt_counter=lambda: next(positions))
        with set_config_context(config) as context:
            if index:
                context.run(interrupt, None)  # stores what was answered before with the task
            return context.run(_interrupt, question, schema)

    def first(self, question: Any, schema: Any = None) -> NoReturn:
        """Ask a question for the first time. An answer that is there already was given to another one.

        Raises:
            GraphInterrupt: always.
        """
        given = self.given
        config = _changed(self._config, get_null_resume=_no_answer, interrupt_counter=lambda: given)
        with set_config_context(config) as context:
            context.run(_interrupt, question, schema)
        raise AssertionError("an interrupt without an answer came back")


@dataclass(slots=True, kw_only=True)
class Scope:
    """One run of one tool call: its interrupts, nested graphs and tasks are counted by themselves.

    So it meets its own answers, checkpoints and results when it is entered again, whichever calls around it are not.
    """

    config: RunnableConfig
    """What the call is run with."""
    answers: list[Any]
    """What its own interrupts were answered before, in their order."""
    asked: int = 0
    """How many interrupts it came to in this run."""

    number: int = 0
    """How many questions it has asked in all its runs."""

    @contextmanager
    def entered(self) -> Generator[RunnableConfig]:
        """Let everything that runs meanwhile, wrappers too, find this config as the running one."""
        token = var_child_runnable_config.set(self.config)
        try:
            yield self.config
        finally:
            var_child_runnable_config.reset(token)

    def question(self, raised: GraphInterrupt, keeping: Keeping) -> Interrupted:
        """Return what the call asks that was interrupted."""
        asked: Interrupt = raised.args[0][0]
        return Interrupted(
            number=self.number + 1,
            answers=keeping.pack(self.answers),
            question=keeping.pack(asked),
            nested=self.asked <= len(self.answers),
        )


def scoped(
    config: RunnableConfig, name: str, keeping: Keeping, waits: Interrupted | None = None, answer: str | None = None
) -> Scope:
    """Return a scope of its own for one run of a tool call.

    Args:
        config: of the node.
        name: of the call, the same whenever it is entered again and different from those of all other calls.
        keeping: of the node run.
        waits: what its last run asked, if that was interrupted.
        answer: packed: what that was answered.
    """
    scope, nested = Scope(config=config, answers=[]), dict[str, Any]()
    if waits is not None:
        scope.answers, scope.number = keeping.unpack(waits.answers), waits.number
        if answer is not None and waits.nested:
            nested = {keeping.unpack(waits.question).id: keeping.unpack(answer)}
        elif answer is not None:
            scope.answers = [*scope.answers, keeping.unpack(answer)]
    marker = digest(encode([name]))

    def count() -> int:
        scope.asked += 1
        return scope.asked - 1

    changed = _changed(
        config,
        resume=scope.answers,
        get_null_resume=_no_answer,
        interrupt_counter=count,
        subgraph_counter=itertools.count().__next__,
    )
    configurable = dict(changed.get("configurable", {}))
    if namespace := configurable.get(_NAMESPACE):
        configurable[_NAMESPACE] = f"{namespace}|callgate:{marker[:32]}"
    if nested or RESUME_MAP in configurable:
        configurable[RESUME_MAP] = nested
    if (send := configurable.get(SEND)) is not None:
        configurable[SEND] = functools.partial(_send_others, send)
    if (call := configurable.get(CALL)) is not None:
        configurable[CALL] = _own_tasks(call, int(marker[:12], 16), nested)
    scope.config = {**changed, "configurable": configurable}
    return scope


def _send_others(send: Callable[[list[tuple[str, Any]]], None], writes: Sequence[tuple[str, Any]]) -> None:
    """Write what a tool writes to the graph, but for the answers to its interrupts: those are kept elsewhere."""
    if others := [one for one in writes if one[0] != RESUME]:
        send(others)


def _own_tasks(call: Any, first: int, nested: Mapping[str, Any]) -> Any:
    """Return what runs a `task`, so that the tasks of a call are counted from a number of their own.

    LangGraph finds the result of a task by its number among those of the node.
    """
    if not isinstance(call, functools.partial):
        return call
    whole = cast("functools.partial[Any]", call)
    if not whole.args:
        return whole
    counter = itertools.count(first).__next__

    def task() -> Any:
        found: Any = whole.args[0]()
        if not dataclasses.is_dataclass(found) or isinstance(found, type):
            return cast(Any, found)
        config = _changed(cast(Any, found).config, call_counter=counter, get_null_resume=_no_answer)
        configurable = {**config.get("configurable", {}), RESUME_MAP: nested}
        return dataclasses.replace(found, config={**config, "configurable": configurable})

    return functools.partial(whole.func, task, *whole.args[1:], **whole.keywords)


def _interrupt(question: Any, schema: Any) -> Any:
    return interrupt(question) if schema is None else interrupt(question, response_schema=schema)


def _no_answer(consume: bool = False) -> None:
    return None


def _changed(config: RunnableConfig, **fields: Any) -> RunnableConfig:
    """Return a config with another scratchpad."""
    scratchpad = scratchpad_of(config)
    if not dataclasses.is_dataclass(scratchpad) or isinstance(scratchpad, type):
        return config
    names = {field.name for field in dataclasses.fields(scratchpad)}
    changed = dataclasses.replace(scratchpad, **{key: value for key, value in fields.items() if key in names})
    return {**config, "configurable": {**config.get("configurable", {}), SCRATCHPAD: changed}}
