"""One conversation as it went, and as it would have gone with plain calls: every request of it, priced side by side."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from callgate.costs import PER_MESSAGE, Meter, Tokens
from callgate.history import SurfaceKind

__all__ = ["Account", "Baseline", "Opened", "Saving", "Shown", "Ways"]

Baseline: TypeAlias = Literal["sequential", "parallel"]
Way: TypeAlias = Literal["code", "sequential", "parallel", "sequential_defined", "parallel_defined", "at_once"]
"""A field of `Account`."""

_SEQUENTIAL: tuple[Way, ...] = ("sequential", "sequential_defined")
_PARALLEL: tuple[Way, ...] = ("parallel", "parallel_defined")
_WAYS: tuple[Way, ...] = ("code", "at_once", *_SEQUENTIAL, *_PARALLEL)
_AS_JSON: tuple[Way, ...] = ("sequential", "parallel")
"""The ways in which the model is shown all tools as JSON."""
_REQUESTS: dict[Way, str] = {
    "code": "requests",
    "sequential": "requests_sequential",
    "parallel": "requests_parallel",
}
_NOTHING = Tokens()


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What code mode saved against plain calls; what it lost is negative. The parts add up to the whole exactly."""

    definitions: Tokens
    """What the JSON loop would save if it were shown the surface's definitions in place of its own."""
    turns: Tokens
    """What it would save beyond that by making all calls of a program in one request, everything written and read."""
    payload: Tokens
    """What is saved beyond that by the program and its answer standing for those calls and their results."""

    @property
    def total(self) -> Tokens:
        """The whole."""
        return self.definitions + self.turns + self.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What code actions cost, and what their calls would have cost otherwise. Accounts can be added up."""

    actions: int = 0
    calls: int = 0
    """Inner calls whose tools ran: they are the ones replayed as JSON."""
    unknown: int = 0
    """Calls among them whose result nothing holds; it counts as empty."""

    requests: int = 0
    """What the model was asked; the one that will read the last answer is not among them, its input is in `code`."""
    requests_sequential: int = 0
    requests_parallel: int = 0

    code: Tokens = _NOTHING
    """As it went."""
    sequential: Tokens = _NOTHING
    """As JSON, a request for each call."""
    parallel: Tokens = _NOTHING
    """As JSON, a request for each level of calls that need nothing of each other."""
    sequential_defined: Tokens = _NOTHING
    """As `sequential`, with the definitions that were shown."""
    parallel_defined: Tokens = _NOTHING
    """As `parallel`, with the definitions that were shown."""
    at_once: Tokens = _NOTHING
    """As it went, but that each program is its calls as JSON, and its answer all their results."""

    billed: Tokens = _NOTHING
    """What the vendor counted for those of `requests` whose messages say so."""
    billed_requests: int = 0
    billed_counted: Tokens = _NOTHING
    """What is counted here for the same requests."""

    def __add__(self, other: Account) -> Account:
        return Account(**{one: getattr(self, one) + getattr(other, one) for one in _FIELDS})

    def __sub__(self, other: Account) -> Account:
        return Account(**{one: getattr(self, one) - getattr(other, one) for one in _FIELDS})

    def plain(self, baseline: Baseline) -> Tokens:
        """Return what plain calls would have cost."""
        return self.sequential if baseline == "sequential" else self.parallel

    def saving(self, baseline: Baseline = "parallel") -> Saving:
        """Return what code mode saved against plain calls, and by what."""
        defined = self.sequential_defined if baseline == "sequential" else self.parallel_defined
        return Saving(
            definitions=self.plain(baseline) - defined, turns=defined - self.at_once, payload=self.at_once - self.code
        )

    def share(self, baseline: Baseline = "parallel") -> float:
        """Return what part of the weighted cost of plain calls code mode saved; negative where it cost more."""
        plain = self.plain(baseline).weighted
        return (plain - self.code.weighted) / plain if plain else 0.0


_FIELDS = tuple(one.name for one in fields(Account))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One inner call in a JSON loop."""

    written: int
    """Tokens of the call."""
    read: int
    """Tokens of the message with its result."""
    level: int
    """Requests that have to come before the one that asks for it."""


class Ways:
    """A conversation in each of the ways that an `Account` has, up to some message.

    Args:
        definitions: tokens of what each surface shows; "json" is all tools as JSON.
    """

    def __init__(self, definitions: Mapping[SurfaceKind, int]) -> None:
        self._definitions = definitions
        self._surface: SurfaceKind = "code"
        self._meters = {way: Meter(definitions["json" if way in _AS_JSON else self._surface]) for way in _WAYS}
        self._seen = dict.fromkeys(_WAYS, self._surface)

    def copy(self) -> Ways:
        """Return a copy that goes on by itself."""
        copied = copy.copy(self)
        copied._meters = {way: meter.copy() for way, meter in self._meters.items()}
        copied._seen = self._seen.copy()
        return copied

    def take(self, other: Ways, ways: Iterable[Way]) -> None:
        """Go on in some ways where another one stands."""
        for way in ways:
            self._meters[way], self._seen[way] = other._meters[way].copy(), other._seen[way]

    def show(self, surface: SurfaceKind | None) -> None:
        """The next requests are shown this; None, or a surface nobody defined, changes nothing."""
        if surface is not None and surface in self._definitions:
            self._surface = surface

    def say(self, tokens: int, ways: Iterable[Way] = _WAYS) -> None:
        """Add a message that the model has not read yet."""
        for way in ways:
            self._meters[way].say(tokens)

    def request(self, written: int) -> Account:
        """Return what a request costs that is made in every way, and add the message that it writes."""
        return Account(**self.requests([(written, 0)], _WAYS))

    def requests(self, made: Sequence[tuple[int, int]], ways: Iterable[Way]) -> dict[str, Any]:
        """Return what requests cost in some ways, and add what they write and what is said after each.

        It is as fields of an `Account`; ways without a request are not among them.

        Args:
            made: tokens that each writes, and tokens of the messages that come next.
            ways: in which they are made.
        """
        costs: dict[str, Any] = {}
        for way in ways if made else ():
            meter = self._meters[way]
            if self._seen[way] != self._surface and way not in _AS_JSON:
                meter.redefine(self._definitions[self._surface])
            self._seen[way] = self._surface
            new = repeated = 0
            for written, said in made:
                cost = meter.request(written)
                new, repeated = new + cost.new, repeated + cost.repeated
                meter.say(PER_MESSAGE + said)
            costs[way] = Tokens(new=new, repeated=repeated, output=sum(written for written, _ in made))
            if way in _REQUESTS:
                costs[_REQUESTS[way]] = len(made)
        return costs

    def reading(self) -> Account:
        """Return what it costs to read what has not been read yet, by a request whose output is not counted."""
        read = self.copy().request(0)
        return replace(read, requests=0, requests_sequential=0, requests_parallel=0)


class Opened:
    """A message of the model that runs programs, and what they did so far.

    Its programs may be added one by one: in each way the message is one with all of them.

    Args:
        before: the conversation up to this message.
        written: tokens of the message without its programs: text, and plain calls.
        plain: whether it makes plain calls, too.
    """

    def __init__(self, before: Ways, written: int, *, plain: bool) -> None:
        self._before, self._written, self._plain = before, written, plain
        self._programs = self._answers = 0
        self._levels = list[tuple[int, int]]()
        self._chain, self._chained = before.copy(), Account()

    def add(self, program: int, answer: int, calls: Sequence[Shown]) -> None:
        """Add a program.

        Args:
            program: tokens of the call that runs it.
            answer: tokens of the message that answers it.
            calls: those it made.
        """
        self._programs += program
        self._answers += answer
        made = [(one.written, one.read) for one in calls]
        first = made if self._chained.calls else self._first(made)
        self._chained += Account(calls=len(calls), **self._chain.requests(first, _SEQUENTIAL))
        for one in calls:
            while len(self._levels) <= one.level:
                self._levels.append((0, 0))
            written, read = self._levels[one.level]
            self._levels[one.level] = (written + one.written, read + one.read)

    def settled(self) -> tuple[Account, Ways]:
        """Return what the message costs in each way, and the conversation after it.

        A program that called nothing has no counterpart: a JSON loop would not have made its request.
        """
        after, levels, chained = self._before.copy(), self._levels, self._chained
        after.take(self._chain, _SEQUENTIAL)
        if self._plain and not levels:
            chained += Account(**after.requests([(self._written, 0)], _SEQUENTIAL))
        written, read = (sum(one[part] for one in levels) for part in (0, 1))
        costs = after.requests(self._first(levels or [(0, 0)] * self._plain), _PARALLEL)
        costs |= after.requests([(self._written + written, read)], ("at_once",))
        costs |= after.requests([(self._written + self._programs, self._answers)], ("code",))
        return chained + Account(**costs), after

    def _first(self, made: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Let the first of some requests write what the message has besides programs."""
        return [(self._written + made[0][0], made[0][1]), *made[1:]] if made else []
