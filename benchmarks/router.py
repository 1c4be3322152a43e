"""What `auto` costs beside always showing one surface: conversations of benchmarks, replayed without a model.

    CALLGATE_WORKLOADS=... python benchmarks/router.py [--json]

Three sets: BFCL's multi-turn traces, tau-bench's retail tasks, and small catalogues of one to three tools. Each request
reads the definitions and everything said so far; the token model is that of callgate.costs, counted by o200k. Calls and
results are the recorded ones, programs are scripted: there is no model, so retries and mistakes cost nothing on any
surface. Every set is replayed under both ends of what a model may do. At one end JSON calls go out in parallel as far
as their dependencies let them, and programs do the same, one per level, and print all that the calls return. At the
other end there is one JSON call per request, and one program per turn, that shows only the last result.

The router counts by characters / 4, as it does unless it is told otherwise. Its regret is what `auto` cost over the
cheapest surface of a set, minus 1. A set's cheapest surface for each conversation, known in hindsight, is shown too.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

from conversations import SETS, Called, Conversation, Turn
from figures import counter_of_tokens, expect, keep, skip, workloads

from callgate import Catalogue, Tool
from callgate.costs import PER_CALL, PER_MESSAGE, Meter, Tokens
from callgate.history import Message, ModelCall, SurfaceKind
from callgate.router import AutoRouter, Facts, Router
from callgate.surface import EXECUTE_CODE, definition, mixed_definition
from callgate.tokens import ApproximateTokens, TokenCounter

ANSWER = "word " * 30
"""What a turn ends with: 30 tokens, as workloads/README.md has it."""

KINDS: tuple[SurfaceKind, ...] = get_args(SurfaceKind)
Choice: TypeAlias = Literal["json", "code", "mixed", "auto"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a model goes about several calls."""

    name: str
    parallel: bool
    """JSON calls of a level in one request, and one program per level; else one call, or one program per turn."""
    all_shown: bool
    """Whether a program prints every result; else its last one is its value."""


MANNERS = (
    Manner(name="parallel JSON, leveled programs that print all", parallel=True, all_shown=True),
    Manner(name="sequential JSON, one program that shows its last result", parallel=False, all_shown=False),
)


class Shown:
    """What each surface shows of some tools, in tokens, and what programs call the tools.

    Args:
        counter: of the tokens.
    """

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._known: dict[tuple[int, ...], tuple[Sequence[Tool], dict[SurfaceKind, int], dict[str, str]]] = {}

    def of(self, tools: Sequence[Tool]) -> tuple[dict[SurfaceKind, int], dict[str, str]]:
        """Return the tokens of each surface, and tool name to function name."""
        key = tuple(map(id, tools))
        if key not in self._known:
            catalogue = Catalogue(tools)
            plain = sum(
                self._size({"name": one.name, "description": one.description, "parameters": one.input_schema})
                for one in tools
            )
            sizes: dict[SurfaceKind, int] = {
                "json": plain,
                "code": self._size(definition(catalogue)),
                "mixed": plain + self._size(mixed_definition(catalogue)),
            }
            functions = {one.name: name for name, one in catalogue.functions.items()}
            self._known[key] = tools, sizes, functions  # the tools too: their ids are not used again
        return self._known[key][1:]

    def _size(self, function: Mapping[str, Any]) -> int:
        return self._counter.count(json.dumps({"type": "function", "function": function}, ensure_ascii=False))


Round = tuple[list[ModelCall], list[str]]
"""The calls of one request, and what each is answered."""


def rounds(turn: Turn, kind: SurfaceKind, manner: Manner, functions: Mapping[str, str]) -> Iterator[Round]:
    """Yield the requests of a turn that make calls.

    Args:
        turn: as recorded.
        kind: the surface.
        manner: of the model.
        functions: tool name to the name that programs call it by.
    """
    if kind == "code" or (kind == "mixed" and len(turn.calls) > 1):
        whole = [list(turn.calls)] if turn.calls else []
        for calls in _levels(turn) if manner.parallel else whole:
            if kind == "mixed" and len(calls) == 1:
                yield [_plain(calls[0])], [calls[0].result]
            else:
                yield _program(calls, manner, functions)
        return
    for calls in _levels(turn) if manner.parallel else [[one] for one in turn.calls]:
        yield [_plain(one) for one in calls], [one.result for one in calls]


def _levels(turn: Turn) -> list[list[Called]]:
    levels: dict[int, list[Called]] = defaultdict(list)
    for one in turn.calls:
        levels[one.level].append(one)
    return [levels[level] for level in sorted(levels)]


def _plain(call: Called) -> ModelCall:
    return ModelCall(id="", name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False))


def _program(calls: list[Called], manner: Manner, functions: Mapping[str, str]) -> Round:
    lines = [_line(one, functions) for one in calls]
    values = [_value(one.result) for one in calls]
    if len(calls) == 1 or not manner.all_shown:  # the value of the last expression
        shown = json.dumps(values[-1], ensure_ascii=False, separators=(",", ":"))
    else:
        lines, shown = [f"print({one})" for one in lines], "\n".join(str(one) for one in values)
    arguments = json.dumps({"code": "\n".join(lines)}, ensure_ascii=False)
    return [ModelCall(id="", name=EXECUTE_CODE, arguments=arguments)], [shown]


def _line(call: Called, functions: Mapping[str, str]) -> str:
    if all(key.isidentifier() for key in call.arguments):
        return f"{functions[call.name]}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"
    return f"call_tool({call.name!r}, **{dict(call.arguments)!r})"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Replay:
    """Replays conversations.

    Args:
        counter: of what they cost.
        told: of the definitions' tokens that a router is told.
    """

    def __init__(self, counter: TokenCounter, told: TokenCounter) -> None:
        self._count = functools.cache(counter.count)  # the same texts come again for every choice
        self._shown, self._told = Shown(counter), Shown(told)

    def run(self, conversation: Conversation, choose: SurfaceKind | Router, manner: Manner) -> list[Cost]:
        """Return what each turn costs.

        Args:
            conversation: to replay.
            choose: the surface that is always shown, or a router, which is asked before every request.
            manner: of the model.
        """
        sizes, functions = self._shown.of(conversation.tools)
        told, _ = self._told.of(conversation.tools)
        thread = Thread(self._count, sizes, told, choose)
        costs = list[Cost]()
        for turn in conversation.turns:
            thread.say(Message(role="user", text=turn.user))
            kind, cost = thread.choose(), Tokens()
            for calls, results in rounds(turn, kind, manner, functions):
                cost += thread.ask(Message(role="assistant", calls=tuple(calls), surface=kind))
                for call, text in zip(calls, results, strict=True):
                    thread.say(Message(role="tool", text=text, answers=call.id))
                expect(thread.choose(), kind, "a surface that changes within a turn")
            cost += thread.ask(Message(role="assistant", text=ANSWER, surface=kind))
            costs.append(Cost(surface=kind, tokens=cost))
        return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a turn cost, and what was shown on it."""

    surface: SurfaceKind
    tokens: Tokens


class Thread:
    """One conversation as it grows."""

    def __init__(
        self,
        count: Callable[[str], int],
        sizes: Mapping[SurfaceKind, int],
        told: Mapping[SurfaceKind, int],
        choice: SurfaceKind | Router,
    ) -> None:
        self._count, self._sizes, self._told, self._choice = count, sizes, told, choice
        self._messages, self._meter = list[Message](), Meter()
        self._kind: SurfaceKind | None = None

    def choose(self) -> SurfaceKind:
        """Show what is chosen now."""
        kind = self._choice
        if not isinstance(kind, str):
            kind = kind.choose(Facts(messages=tuple(self._messages), definitions=self._told)).kind
        if kind != self._kind:
            self._meter.redefine(self._sizes[kind])
        self._kind = kind
        return kind

    def say(self, message: Message) -> None:
        """Add what a user or a tool says."""
        self._messages.append(message)
        self._meter.say(self._count(message.text) + PER_MESSAGE)

    def ask(self, message: Message) -> Tokens:
        """Add what the model says, and return what the request cost."""
        calls = sum(self._count(one.name) + self._count(one.arguments) + PER_CALL for one in message.calls)
        cost = self._meter.request((self._count(message.text) if message.text else 0) + calls)
        self._meter.say(PER_MESSAGE)
        self._messages.append(message)
        return cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a set cost under each choice, cache-weighted."""

    name: str
    manner: str
    conversations: int
    costs: Mapping[Choice, float]
    """Of the whole set."""
    turns: Sequence[Mapping[Choice, float]]
    """Of all first turns, all second ones, and so on."""
    at_best: float
    """Where for each conversation the cheapest surface had been known."""
    first: Mapping[SurfaceKind, int]
    """What `auto` began with, in how many conversations."""
    switched: int
    """Conversations in which it switched."""

    @property
    def regret(self) -> float:
        """What `auto` cost over the cheapest surface of the set, minus 1."""
        return _regret(self.costs)

    @property
    def regret_by_turn(self) -> list[float]:
        """The same for the first turns, the second ones, and so on."""
        return [_regret(costs) for costs in self.turns]

    @property
    def regret_in_hindsight(self) -> float:
        """What it cost over the cheapest surface of each conversation, minus 1."""
        return self.costs["auto"] / self.at_best - 1

    @property
    def lead_of_json(self) -> float:
        """By how much JSON is cheaper than code."""
        return 1 - self.costs["json"] / self.costs["code"]


def _regret(costs: Mapping[Choice, float]) -> float:
    return costs["auto"] / min(costs[kind] for kind in KINDS) - 1


def compare(
    name: str, conversations: Sequence[Conversation], manner: Manner, replay: Replay, router: Router
) -> Compared:
    """Replay a set under each choice."""
    found: dict[Choice, list[list[Cost]]] = {
        choice: [replay.run(one, router if choice == "auto" else choice, manner) for one in conversations]
        for choice in CHOICES
    }
    each = {choice: [_weighted(one) for one in costs] for choice, costs in found.items()}
    most = max(len(one.turns) for one in conversations)
    return Compared(
        name=name,
        manner=manner.name,
        conversations=len(conversations),
        costs={choice: sum(costs) for choice, costs in each.items()},
        turns=[
            {choice: sum(_weighted(one[at : at + 1]) for one in costs) for choice, costs in found.items()}
            for at in range(most)
        ],
        at_best=sum(map(min, *(each[kind] for kind in KINDS))),
        first=dict(Counter(one[0].surface for one in found["auto"])),
        switched=sum(len({turn.surface for turn in one}) > 1 for one in found["auto"]),
    )


def _weighted(costs: Sequence[Cost]) -> float:
    return sum(one.tokens.weighted for one in costs)


def main() -> int:
    """Replay all sets and print what they cost."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    options = arguments.parse_args()
    folder = workloads()
    if not (folder / "bfcl_mt_traces.jsonl").is_file():
        skip("there is no workload bfcl_mt_traces.jsonl; CALLGATE_WORKLOADS names its folder")
    counter = counter_of_tokens()
    replay, router = Replay(counter, ApproximateTokens()), AutoRouter()
    found = [
        compare(name, conversations, manner, replay, router)
        for name, one in SETS.items()
        for conversations in (one.load(folder),)
        for manner in MANNERS
    ]
    if options.json:
        print(json.dumps({"counter": counter.name, "sets": [_as_json(one) for one in found]}, indent=2))
    else:
        print(f"cache-weighted tokens per conversation, counted by {counter.name}; regret against the cheapest surface")
        for one in found:
            _show(one)
    keep("router", {"sets": [_kept(one) for one in found]}, tokens=counter.name)
    return 0


def _met(one: Compared) -> tuple[bool | None, bool | None]:
    """Say whether the regret, and the lead of JSON, are as they must be; None where nothing is said of them."""
    wanted = SETS[one.name]
    regret = None if wanted.most_regret is None else one.regret <= wanted.most_regret
    return regret, None if wanted.least_lead is None else one.lead_of_json >= wanted.least_lead


def _as_json(one: Compared) -> dict[str, Any]:
    regret_ok, lead_ok = _met(one)
    return {
        **asdict(one),
        "regret": one.regret,
        "regret_ok": regret_ok,
        "regret_by_turn": one.regret_by_turn,
        "regret_in_hindsight": one.regret_in_hindsight,
        "lead_of_json": one.lead_of_json,
        "lead_ok": lead_ok,
    }


def _kept(one: Compared) -> dict[str, Any]:
    """Return what the README's table is made of."""
    tokens = {choice: round(cost / one.conversations) for choice, cost in one.costs.items()}
    return {**{key: told for key, told in _as_json(one).items() if key not in ("costs", "turns")}, "tokens": tokens}


def _show(one: Compared) -> None:
    wanted, (regret_ok, lead_ok) = SETS[one.name], _met(one)
    print(f"\n{one.name}, {one.conversations} conversations: {one.manner}")
    print(f"  {''.join(f'  {choice} {cost / one.conversations:,.0f}' for choice, cost in one.costs.items())}")
    target = "" if regret_ok is None else f" (at most {wanted.most_regret:.0%}: {_OK[regret_ok]})"
    by_turn = ", ".join(f"{at}: {regret:+.2%}" for at, regret in enumerate(one.regret_by_turn, 1))
    print(f"    regret {one.regret:+.2%}{target}, in hindsight {one.regret_in_hindsight:+.2%}; by turn {by_turn}")
    if lead_ok is not None:
        print(f"    json below code by {one.lead_of_json:.1%} (at least {wanted.least_lead:.0%}: {_OK[lead_ok]})")
    began = ", ".join(f"{kind} {count}" for kind, count in one.first.items())
    print(f"    auto began with {began}; switched in {one.switched}")


_OK = {True: "ok", False: "MISSED"}


if __name__ == "__main__":
    sys.exit(main())
