"""How a step of a workflow waits, for a human or for what a tool waits for, and is entered anew with what came.

A step has one waiter. What tools were given is kept in the Context's store: a tool that waits twice is given both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from workflows import Context
from workflows.events import Event, HumanResponseEvent

from callgate import UsageError
from callgate_llama_index.approvals import Approvals, Question, question_event
from callgate_llama_index.upstream import WaitingForEvent, answered, let_go, same_context, waiting

__all__ = ["Waiter"]

_WAITS = "callgate_waits"
"""The key of the store that says what steps wait for."""


class Waiter:
    """What one entry of a step waits for.

    Args:
        context: of the step.
        name: of the step, the same in each entry.
        gates: say what humans may decide.
        told: what was put into the stream of this process.
    """

    def __init__(self, context: Context[Any], name: str, gates: Approvals, told: set[str]) -> None:
        self.context = context
        self._name, self._gates, self._told = name, gates, told
        self._at = f"{_WAITS}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        self._given: Event | None = answered(name)
        self._waits = dict[int, tuple[str, WaitingForEvent[Any], Event | None]]()

    async def decisions(self, questions: Sequence[Question], *, id: str, program: str | None) -> Mapping[str, object]:
        """Return what a human decided about calls, by their ids.

        Raises:
            WaitingForEvent: while that is missing; the step is left with it.
        """
        error: str | None = None
        given, self._given = self._given, None
        # One of another id answered what was asked before, or, in a restored Context, was for another step.
        if isinstance(given, HumanResponseEvent) and given.get("id", default=None) == id:
            try:
                return self._gates.read(given, questions)
            except UsageError as unfit:
                error = str(unfit)
        if error is not None or id not in self._told:
            self._told.add(id)
            event = question_event(questions, self._gates, id=id, program=program, error=error)
            self.context.write_event_to_stream(event)
        await self._waits_for("")
        raise waiting(self._name, HumanResponseEvent, {"id": id})

    def scoped(self, call: str) -> ScopedContext:
        """Return the context for one inner call, by its id."""
        return ScopedContext.of(self, call)

    def leave(self) -> WaitingForEvent[Any]:
        """Return the exception that lets the step wait for what the first of the calls waits for."""
        return self._waits[min(self._waits)][1]

    async def left(self) -> None:
        """Keep what the step is left for."""
        name, _, event = self._waits[min(self._waits)]
        await self._waits_for(name)
        if event is not None and name not in self._told:
            self._told.add(name)
            self.context.write_event_to_stream(event)

    def again(self) -> None:
        """Forget what calls waited for: they are made again."""
        self._waits.clear()

    async def parked(self) -> bool:
        """Say whether an entry of this step was let wait for ever."""
        return (await self._record())["for"] is None

    async def park(self) -> WaitingForEvent[Any]:
        """Return the exception that lets this entry of the step wait for ever, in a restored Context, too."""
        await self.context.store.set(self._at, {"for": None, "given": {}})
        return waiting(self._name, HumanResponseEvent, {"id": f"{self._name} is over"})

    async def over(self) -> None:
        """Let go of everything: the step is about to be over."""
        kept: dict[str, Any] = dict(await self.context.store.get(_WAITS, default={}))
        if kept.pop(self._at.partition(".")[2], None) is not None:
            await self.context.store.set(_WAITS, kept)
        await let_go(self.context, self._name)

    async def _waits_for(self, name: str) -> None:
        record = await self._record()
        if record["for"] != name:
            await self.context.store.set(self._at, {**record, "for": name})

    async def _record(self) -> dict[str, Any]:
        return await self.context.store.get(self._at, default={"for": "", "given": {}})

    async def given(
        self,
        call: str,
        name: str,
        event_type: type[Event],
        requirements: dict[str, Any],
        event: Event | None,
    ) -> Event:
        """Return what a tool waits for.

        Args:
            call: id of the call.
            name: of what is waited for.
            event_type: that is waited for.
            requirements: that it has to meet.
            event: to be put into the stream, once.

        Raises:
            WaitingForEvent: while it is missing.
        """
        record = await self._record()
        if (known := record["given"].get(name)) is not None:
            return known
        came = self._given
        if came is not None and record["for"] == name and _meets(came, event_type, requirements):
            self._given = None
            await self.context.store.set(self._at, {"for": "", "given": {**record["given"], name: came}})
            return came
        waits = waiting(self._name, event_type, requirements)
        self._waits[int(call.rpartition("/")[2])] = name, waits, event
        raise waits


def _meets(event: Event, event_type: type[Event], requirements: Mapping[str, Any]) -> bool:
    """Say whether an event is what was waited for: a restored Context has forgotten the requirements."""
    return isinstance(event, event_type) and all(
        getattr(event, key, None) == value for key, value in requirements.items()
    )


class ScopedContext(Context[Any]):
    """A step's Context for one inner call: two calls that wait for the same are each given theirs."""

    _waiter: Waiter
    _call: str

    @classmethod
    def of(cls, waiter: Waiter, call: str) -> ScopedContext:
        """Return the context of a step for one call."""
        made = object.__new__(cls)
        same_context(made, waiter.context)
        made._waiter, made._call = waiter, call
        return made

    async def wait_for_event(
        self,
        event_type: type[Any],
        waiter_event: Event | None = None,
        waiter_id: str | None = None,
        requirements: dict[str, Any] | None = None,
        timeout: float | None = 2000,
    ) -> Any:
        """Wait for an event; see `Context.wait_for_event`. There is no timeout: who waits is outside every limit."""
        wanted = requirements or {}
        name = f"{self._call} {waiter_id or f'{event_type.__module__}.{event_type.__name__} {wanted}'}"
        return await self._waiter.given(self._call, name, event_type, wanted, waiter_event)
