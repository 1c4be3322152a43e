"""Which surface a model is shown, and why.

The definitions of the tools stand in front of everything a model reads: shown anew they make it read the whole thread
anew. So a surface is chosen once, by what is known before the first answer, and kept. Only the thread itself can show
that this was wrong: if its turns, were they to come again, cost so much less on another surface that this pays for the
lost cache, the surface is switched, once, as far as the messages go back. That is the rule of who rents skis and cannot
know how long the winter is: they are bought when the rent paid so far would have bought them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from callgate.costs import PER_CALL, PER_MESSAGE, Meter
from callgate.errors import UsageError
from callgate.history import Message, SurfaceKind
from callgate.surface import EXECUTE_CODE
from callgate.tokens import ApproximateTokens, TokenCounter

__all__ = ["AutoRouter", "Facts", "Router", "Surface"]

WRAPPED = 6
"""Tokens that a call has more as a program of one line: `execute_code` and {"code": "()"} in place of {}, by o200k."""

_CALLED = {"json": "as JSON", "code": "as code", "mixed": "as both"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What a model is shown on a turn."""

    kind: SurfaceKind
    reason: str
    """Why, in one sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a router may go by: the same facts are always answered by the same surface."""

    messages: tuple[Message, ...]
    """The thread so far."""
    definitions: Mapping[SurfaceKind, int]
    """The tokens of what each surface shows, of those that can be shown."""
    excluded: Mapping[SurfaceKind, str] = field(default_factory=dict[SurfaceKind, str])
    """Why the others cannot, each in a few words."""
    route: str | None = None
    """The route of this run, where the graph names one."""


class Router(Protocol):
    """Chooses surfaces for mode "auto"."""

    def choose(self, facts: Facts) -> Surface:
        """Return what the model is shown: one of `facts.definitions`."""
        ...


class AutoRouter:
    """Chooses what costs least in tokens, as `Tokens.weighted` has it.

    The first turn goes by the definitions, and by a thread as they usually are: how many calls its turns will need, and
    how much they will return, is not known yet. A later turn goes by those before it.

    The calls of a turn may become one program that shows no more than the answer says, or as many programs as there
    were requests, which show all that the calls return: the middle of what both cost is taken. A turn of one call is
    the same on every surface, but for the few tokens that a program has more. From code nothing is switched: what its
    programs called is not in the messages.

    Args:
        counter: of tokens; None takes four characters for one.
    """

    def __init__(self, counter: TokenCounter | None = None) -> None:
        self.counter: TokenCounter = counter or ApproximateTokens()
        """What the definitions are to be counted by, too."""

    def choose(self, facts: Facts) -> Surface:
        """Return what the model is shown.

        Raises:
            UsageError: if there is nothing to choose from.
        """
        if not facts.definitions:
            raise UsageError("there is no surface to choose: " + "; ".join(facts.excluded.values()))
        shown: list[SurfaceKind] = [one.surface for one in facts.messages if one.surface is not None]
        if not shown or shown[-1] not in facts.definitions:
            return _first(facts)
        now = shown[-1]
        others = [one for one in facts.definitions if one != now]
        if not others:
            return Surface(kind=now, reason=f"{now}: {_only(facts)}")
        if _in_turn(facts.messages):
            return Surface(kind=now, reason=f"{now}: kept until the turn is over")
        if any(before != after for before, after in pairwise(shown)):
            return Surface(kind=now, reason=f"{now}: kept, for the thread was shown another surface before")
        return self._weighed(facts, now)

    def _weighed(self, facts: Facts, now: SurfaceKind) -> Surface:
        """Compare what the turns so far would cost, were they to come again, on each surface."""
        turns = _turns(facts.messages, self.counter)
        made = [call for turn in turns for one in turn.rounds for call in one.calls]
        unseen = EXECUTE_CODE in made  # what its programs called is not in the messages
        if now == "code" or not made or (now == "json" and unseen):
            return Surface(kind=now, reason=f"{now}: kept from the turn before")
        kinds: list[SurfaceKind] = [one for one in facts.definitions if one != "json" or not unseen]
        said = sum(turn.tokens for turn in turns)
        costs = {one: _cost(one, facts.definitions[one], turns, said=said, cached=one == now) for one in kinds}
        best = min(kinds, key=lambda one: (costs[one], one != now))
        if best == now:
            return Surface(kind=now, reason=f"{now}: kept, switching would cost more than it saves")
        what = f"as many turns again would cost {costs[best]:,.0f} tokens {_CALLED[best]}, the lost cache included"
        return Surface(kind=best, reason=f"{best}: {what}, {costs[now]:,.0f} {_CALLED[now]}")


@dataclass(slots=True)
class _Round:
    """One request that made calls, and what came back."""

    calls: list[str]
    written: int
    returned: int = 0


@dataclass(slots=True)
class _Turn:
    """What a user said, and all that came of it."""

    asked: int = 0
    rounds: list[_Round] = field(default_factory=list[_Round])
    answers: list[int] = field(default_factory=list[int])
    """Tokens of each answer."""

    @property
    def tokens(self) -> int:
        rounds = sum(one.written + one.returned for one in self.rounds)
        return self.asked + rounds + sum(self.answers)


def _turns(messages: Sequence[Message], counter: TokenCounter) -> list[_Turn]:
    """Return the turns of a thread; what was said before the first counts as its beginning."""
    turns = [_Turn()]
    for one in messages:
        tokens = counter.count(one.text) + PER_MESSAGE
        if one.role == "user" and (turns[-1].rounds or turns[-1].answers):
            turns.append(_Turn())
        turn = turns[-1]
        if one.role == "assistant" and one.calls:
            made = sum(counter.count(call.name) + counter.count(call.arguments) + PER_CALL for call in one.calls)
            turn.rounds.append(_Round([call.name for call in one.calls], tokens + made))
        elif one.role == "assistant":
            turn.answers.append(tokens)
        elif one.role == "tool" and turn.rounds:
            turn.rounds[-1].returned += tokens
        else:
            turn.asked += tokens
    return turns


def _in_turn(messages: Sequence[Message]) -> bool:
    """Say whether the model goes on with what it began, rather than answer a user."""
    last = next((one.role for one in reversed(messages) if one.role != "system"), "user")
    return last != "user"


def _first(facts: Facts) -> Surface:
    """Choose by the definitions."""
    if len(facts.definitions) == 1:
        (kind,) = facts.definitions
        return Surface(kind=kind, reason=f"{kind}: {_only(facts)}")
    costs: dict[SurfaceKind, float] = {one: _cost(one, size, _USUAL) for one, size in facts.definitions.items()}
    kind = min(costs, key=lambda one: (costs[one], list(_CALLED).index(one)))
    sizes = sorted(facts.definitions.items(), key=lambda one: one[0] != kind)
    told = ", ".join(f"{size:,} {_CALLED[one]}" for one, size in sizes)
    return Surface(kind=kind, reason=f"{kind}: the tools take {told} (tokens); what turns will need is not known yet")


def _only(facts: Facts) -> str:
    return "; ".join(dict.fromkeys(facts.excluded.values())) or "nothing else can be shown"


def _cost(kind: SurfaceKind, definitions: int, turns: Sequence[_Turn], *, said: int = 0, cached: bool = False) -> float:
    """Return what turns cost on a surface: the middle of the least and the most.

    Args:
        kind: of the surface.
        definitions: its tokens.
        turns: as they went where each call was plain, or a program.
        said: tokens of the thread before them.
        cached: whether the definitions and the thread were read before.
    """
    ends = list[float]()
    for shape in (_one_program, _as_many_programs):
        meter, cost = Meter(definitions), 0.0
        meter.say(said)
        if cached:
            meter.request(0)
        for turn in turns:
            meter.say(turn.asked)
            for one in turn.rounds if kind == "json" else shape(turn, kind):
                cost += meter.request(one.written).weighted
                meter.say(one.returned)
            for answer in turn.answers:
                cost += meter.request(answer).weighted
        ends.append(cost)
    return sum(ends) / 2


def _one_program(turn: _Turn, kind: SurfaceKind) -> list[_Round]:
    """Return the requests of a turn whose calls are one program, which shows no more than the answer says."""
    calls = [call for one in turn.rounds for call in one.calls]
    if len(calls) < 2 or EXECUTE_CODE in calls:
        return _as_many_programs(turn, kind)
    shown = min(sum(one.returned for one in turn.rounds), sum(turn.answers))
    return [_Round([EXECUTE_CODE], sum(one.written for one in turn.rounds) + WRAPPED, shown)]


def _as_many_programs(turn: _Turn, kind: SurfaceKind) -> list[_Round]:
    """Return the requests of a turn that are programs where they made plain calls, and show all that these returned."""

    def more(one: _Round) -> int:
        return 0 if EXECUTE_CODE in one.calls or (kind == "mixed" and len(one.calls) == 1) else WRAPPED

    return [_Round(one.calls, one.written + more(one), one.returned) for one in turn.rounds]


_ONE_CALL = _Turn(20, [_Round([""], 25, 137)], [30])
_TWO_CALLS = _Turn(20, [_Round([""], 25, 137), _Round([""], 25, 137)], [30])

_USUAL = (_ONE_CALL, _TWO_CALLS, _ONE_CALL)
"""A thread before it has begun. WildChat's million logged chats have 2.5 turns on average; of the turns with calls in
tau-bench's published runs of gpt-4o on its airline 39 % made several, one after the other; half of the results of
LiveMCPBench's published runs have up to 137 tokens. What else is said is short, and the same on every surface."""
