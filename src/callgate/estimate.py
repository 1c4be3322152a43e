"""What a conversation of plain tool calls would have cost in code mode: between which bounds, and why.

Its programs were never written, so two are made up for each stretch of calls between two other messages. The dear one
is as if the model had looked at every result before it went on: a program for each level of calls that need nothing of
each other (see `dependencies`), a line per call, everything printed. The cheap one is a single program that shows no
more than the model then said, in which calls of a tool are a loop and what earlier results gave is a variable. What a
model would really have written lies somewhere between, or above, if its programs fail. All requests are priced as the
ledger prices them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from callgate.codec import JSON, is_object
from callgate.costs import PER_MESSAGE, Meter, Tokens, call_tokens, message_tokens
from callgate.counterfactual import Saving
from callgate.errors import UsageError
from callgate.history import Message, ModelCall
from callgate.stretches import Stretch, loops_of, parts_of, printing
from callgate.surface import EXECUTE_CODE, definition
from callgate.tokens import TokenCounter
from callgate.tools import Catalogue, Tool

__all__ = ["Bound", "Estimate", "Priced", "estimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A conversation in one way."""

    requests: int
    tokens: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound(Priced):
    """A conversation in code mode."""

    saving: Saving
    """Against the conversation as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a conversation cost, and what it would have cost otherwise."""

    calls: int
    counter: str
    definitions: tuple[int, int] | None
    """Tokens of the tools' definitions as they are, and as code; None where the file has none."""
    was: Priced
    parallel: Priced
    """The same calls, those that need nothing of each other in one request."""
    shown: Bound
    """Code mode, every result shown."""
    answer: Bound
    """Code mode, only the answer shown."""
    billed: Tokens | None
    """What the vendor counted, for the requests whose messages say so."""
    billed_requests: int
    billed_counted: Tokens
    """What is counted here for the same requests."""
    not_counted: tuple[str, ...]


_SCHEMAS = {"parameters", "input_schema", "inputSchema"}
"""Where definitions of the vendors hold the schema of arguments."""

Requests = list[tuple[int, int]]
"""Tokens that each request writes, and tokens of the messages that come next."""


def estimate(messages: Sequence[Message], definitions: Sequence[dict[str, JSON]], counter: TokenCounter) -> Estimate:
    """Estimate what code mode would have cost.

    Args:
        messages: of a conversation of plain calls.
        definitions: of its tools; none are not counted.
        counter: of tokens.

    Raises:
        UsageError: for a conversation that ran programs, and for definitions that are none.
    """
    for at, message in enumerate(messages):
        if any(call.name == EXECUTE_CODE for call in message.calls):
            text = f"messages[{at}] calls {EXECUTE_CODE}: this conversation was in code mode"
            raise UsageError(f"{text}; the ledger of its CodeActNode says what that saved")
    price = _Pricing(messages, counter)
    catalogue, kept = _catalogue(definitions)
    execute_code = definition(catalogue)
    shown: list[dict[str, JSON]] = [{"type": "function", "function": execute_code}, *kept]
    plain, code = price.definitions(definitions), price.definitions(shown) if definitions else 0
    was, leveled, at_once = price.as_it_was(), price.leveled(), price.at_once()
    before, defined = price.priced(was, plain), price.priced(was, code)

    def bound(everything_shown: list[Requests], programs: list[Requests]) -> Bound:
        once, code_mode = price.priced(everything_shown, code), price.priced(programs, code)
        saving = Saving(
            definitions=before.tokens - defined.tokens,
            turns=defined.tokens - once.tokens,
            payload=once.tokens - code_mode.tokens,
        )
        return Bound(requests=code_mode.requests, tokens=code_mode.tokens, saving=saving)

    billed, counted, requests = price.billed(plain)
    return Estimate(
        calls=sum(len(one.calls) for one in messages),
        counter=counter.name,
        definitions=(plain, code) if definitions else None,
        was=before,
        parallel=price.priced(leveled, plain),
        shown=bound(leveled, price.leveled_programs()),
        answer=bound(at_once, price.single_programs()),
        billed=billed if requests else None,
        billed_requests=requests,
        billed_counted=counted,
        not_counted=tuple(_not_counted(definitions, kept, execute_code["description"])),
    )


class _Pricing:
    """Prices a conversation in each way that its stretches of calls could have gone."""

    def __init__(self, messages: Sequence[Message], counter: TokenCounter) -> None:
        self._counter, self._count = counter, counter.count
        self._messages = messages
        self._parts = list(parts_of(messages))
        self._stretches = [one for one in self._parts if isinstance(one, Stretch)]

    def definitions(self, definitions: Sequence[dict[str, JSON]]) -> int:
        """Return the tokens of definitions."""
        return sum(self._count(_json(one)) for one in definitions)

    def priced(self, stretches: list[Requests], definitions: int) -> Priced:
        """Price the conversation with its stretches of calls made by these requests."""
        meter, tokens, requests, made = Meter(definitions), Tokens(), 0, iter(stretches)
        for part in self._parts:
            if isinstance(part, Message) and part.role != "assistant":
                meter.say(self._message(part.text))
                continue
            for written, said in next(made) if isinstance(part, Stretch) else [(self._count(part.text), 0)]:
                tokens += meter.request(written)
                meter.say(PER_MESSAGE + said)
                requests += 1
        return Priced(requests=requests, tokens=tokens)

    def billed(self, definitions: int) -> tuple[Tokens, Tokens, int]:
        """Return what the vendor counted, what is counted here for the same requests, and how many those are."""
        meter, billed, counted, requests = Meter(definitions), Tokens(), Tokens(), 0
        for one in self._messages:
            if one.role != "assistant":
                meter.say(self._message(one.text))
                continue
            cost = meter.request(self._count(one.text) + sum(map(self._call, one.calls)))
            meter.say(PER_MESSAGE)
            if one.usage is not None:
                billed, counted, requests = billed + one.usage, counted + cost, requests + 1
        return billed, counted, requests

    # ---- the ways: for each stretch its requests

    def as_it_was(self) -> list[Requests]:
        """Return the requests of the conversation itself."""
        return [
            [
                (
                    self._count(one.text) + sum(map(self._call, one.calls)),
                    sum(self._message(text) for text in results if text is not None),
                )
                for one, results in zip(each.asked, each.results, strict=True)
            ]
            for each in self._stretches
        ]

    def leveled(self) -> list[Requests]:
        """Return a request for each level of calls."""
        found = list[Requests]()
        for each in self._stretches:
            requests = self._said(each)
            for call, result, level in zip(each.calls, each.read, each.levels, strict=True):
                written, read = requests[level]
                more = self._message(result) if result is not None else 0
                requests[level] = (written + self._call(call), read + more)
            found.append(requests)
        return found

    def at_once(self) -> list[Requests]:
        """Return one request for all calls."""
        return [[(sum(one[0] for one in each), sum(one[1] for one in each))] for each in self.leveled()]

    def leveled_programs(self) -> list[Requests]:
        """Return a program for each level that prints everything."""
        found = list[Requests]()
        for each in self._stretches:
            requests = self._said(each)
            levels: list[tuple[list[ModelCall], list[str]]] = [([], []) for _ in requests]
            for call, result, level in zip(each.calls, each.read, each.levels, strict=True):
                levels[level][0].append(call)
                levels[level][1].append(result or "")
            found.append(
                [
                    (said + self._program(printing(calls)), self._message("\n".join(results)))
                    for (said, _), (calls, results) in zip(requests, levels, strict=True)
                ]
            )
        return found

    def single_programs(self) -> list[Requests]:
        """Return one program that shows what the model then said, or the last result where it said nothing."""
        found = list[Requests]()
        for each in self._stretches:
            shown = each.answer if each.answer is not None else each.read[-1] or ""
            most = sum(self._count(result or "") for result in each.read)
            said = sum(written for written, _ in self._said(each))
            program = self._program("\n".join([*loops_of(each), "print(r)"]))
            found.append([(said + program, min(self._count(shown), most) + PER_MESSAGE)])
        return found

    def _said(self, stretch: Stretch) -> Requests:
        """Return the requests of each level, with the texts of the messages in them and no calls yet."""
        requests: Requests = [(0, 0)] * (max(stretch.levels) + 1)
        at = 0
        for one in stretch.asked:
            level = stretch.levels[at]
            requests[level] = (requests[level][0] + self._count(one.text), 0)
            at += len(one.calls)
        return requests

    # ---- tokens

    def _message(self, text: str) -> int:
        return message_tokens(self._counter, text)

    def _call(self, call: ModelCall) -> int:
        return call_tokens(self._counter, call.name, call.arguments)

    def _program(self, program: str) -> int:
        return self._call(ModelCall(id="", name=EXECUTE_CODE, arguments=_json({"code": program})))


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False)


# ---- definitions


def _catalogue(definitions: Sequence[dict[str, JSON]]) -> tuple[Catalogue, list[dict[str, JSON]]]:
    """Return the tools that programs could call, and the definitions of the vendor's own tools, which stay.

    Raises:
        UsageError: for a definition that is none.
    """
    tools, kept = list[Tool](), list[dict[str, JSON]]()
    for at, one in enumerate(definitions):
        inside = one.get("function", one)
        if one.get("type", "function") not in ("function", "custom") and not _SCHEMAS & one.keys():
            kept.append(one)
            continue
        if not is_object(inside) or not isinstance(name := inside.get("name"), str):
            raise UsageError(f'tools[{at}] has no "name"')
        schema: JSON = next((inside[key] for key in inside if key in _SCHEMAS), None)
        if schema is not None and not is_object(schema):
            raise UsageError(f"tools[{at}], {name}: its parameters are no JSON Schema")
        described = str(inside.get("description") or "")
        tools.append(
            Tool(name=name, description=described, input_schema=schema or {"type": "object", "properties": {}})
        )
    return Catalogue(tools), kept


def _not_counted(
    definitions: Sequence[dict[str, JSON]], kept: Sequence[dict[str, JSON]], described: str
) -> Iterator[str]:
    """Yield what an estimate leaves out."""
    if not definitions:
        yield 'definitions: the file has no "tools", so neither what these take as JSON nor what they take as code'
    elif "search_tools(" in described:
        yield "search: the tools are too many to list as code, and what programs print to find them"
    if kept:
        yield f"saving on {len(kept)} of the vendor's own tools, which code mode shows as they are"
    yield "programs that fail and are written again, and what a model would have read or tried otherwise"
    yield "images and other content that is not text"
