"""How a step of a workflow waits, for a human or for what a tool waits for, and is entered anew with what came.

A step has one waiter. What tools were given is kept in the Context's store: a tool that waits twice is given both.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from workflows import Context
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent

from callgate import UsageError
from callgate_llama_index.approvals import Approvals, Question, question_event
from callgate_llama_index.context_journal import PARKED, WAITS
from callgate_llama_index.upstream import WaitingForEvent, answered, current_call, let_go, same_context, waiting

__all__ = ["Waiter"]

_NEW: Mapping[str, Any] = {"by": None, "for": "", "given": {}}
"""What is kept of a step: whose work it is, which of its tools waits for what, and what they were given."""

_told = weakref.WeakKeyDictionary[Any, set[str]]()
"""What was put into the stream of a run, by its store: a restored Context is told of all anew."""

_answered = weakref.WeakKeyDictionary[Any, set[str]]()
"""The steps of a run whose calls are answered, by its store: what enters one once more would answer it twice."""


class Waiter:
    """What one entry of a step waits for.

    Args:
        context: of the step.
        name: of the step, the same in each entry.
        tool: that is called; in the step of another one, which calls it, that one goes on.
        gates: say what humans may decide.
    """

    def __init__(self, context: Context[Any], name: str, tool: str, gates: Approvals) -> None:
        self.context = context
        self._name, self._gates = name, gates
        self._told = _told.setdefault(context.store, set[str]())
        self._answered = _answered.setdefault(context.store, set[str]())
        self._at = f"{WAITS}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        call = current_call()
        self._work = call.work if call is not None else name
        self._alone = call is not None and call.tool == tool
        self._waited, self._given = answered(name)
        self._waits = dict[int, tuple[str, type[Event], dict[str, Any], Event | None]]()

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
        event: InputRequiredEvent | None = None
        if error is not None or id not in self._told:
            self._told.add(id)
            event = question_event(questions, self._gates, id=id, program=program, error=error)
        await self._waits_for("")
        raise self._waiting(HumanResponseEvent, {"id": id}, event)

    def _waiting(
        self, event_type: type[Event], requirements: dict[str, Any], event: Event | None
    ) -> WaitingForEvent[Any]:
        """Return the exception that lets the step wait; the event is put into the stream."""
        if event is not None and self._waited:
            self.context.write_event_to_stream(event)
        return waiting(self._name, event_type, requirements, event)

    def scoped(self, call: str) -> ScopedContext:
        """Return the context for one inner call, by its id."""
        return ScopedContext.of(self, call)

    async def leave(self) -> WaitingForEvent[Any]:
        """Return the exception that lets the step wait for what the first of the calls waits for."""
        name, event_type, requirements, event = self._waits[min(self._waits)]
        await self._waits_for(name)
        new = event is not None and name not in self._told
        self._told.add(name)
        return self._waiting(event_type, requirements, event if new else None)

    def knows(self, call: str) -> bool:
        """Say whether a call waits by the context that it was given."""
        return number_of(call) in self._waits

    def again(self) -> None:
        """Forget what calls waited for: they are made again."""
        self._waits.clear()

    async def claimed(self) -> bool:
        """Say whether this entry is to go on: its call is not answered, nor another step's, nor was before."""
        parked: list[str] = await self.context.store.get(PARKED, default=[])
        record = await self._record()
        if self._work in parked or self._name in self._answered or record["by"] not in (None, self._work):
            return False
        if record["by"] is None:
            await self.context.store.set(self._at, {**record, "by": self._work})
        return True

    async def park(self) -> WaitingForEvent[Any]:
        """Return the exception that lets this entry of the step wait for ever, in a restored Context, too."""
        parked: list[str] = await self.context.store.get(PARKED, default=[])
        if self._work not in parked:
            await self.context.store.set(PARKED, [*parked, self._work])
        return waiting(f"{self._name} {self._work}", HumanResponseEvent, {"id": f"{self._name} is another's"})

    async def over(self) -> None:
        """Let go of everything: the step is about to be over."""
        await self.context.store.set(self._at, {"by": self._work, "for": "", "given": {}})
        await let_go(self.context, self._name)
        if self._alone:
            self._answered.add(self._name)

    async def _waits_for(self, name: str) -> None:
        record = await self._record()
        if record["for"] != name:
            await self.context.store.set(self._at, {**record, "for": name})

    async def _record(self) -> dict[str, Any]:
        return await self.context.store.get(self._at, default=_NEW)

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
            await self.context.store.set(self._at, {**record, "for": "", "given": {**record["given"], name: came}})
            return came
        self._waits[number_of(call)] = name, event_type, requirements, event
        raise waiting(self._name, event_type, requirements)


def number_of(call: str) -> int:
    """Return the number of an inner call, by its id."""
    return int(call.rpartition("/")[2])


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
