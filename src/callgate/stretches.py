"""The calls of a conversation, put together where nothing comes between them, and programs that would make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from callgate.codec import JSON, NotJSON, decode, is_array, is_object, recode
from callgate.dependencies import levels_of, scalars_of, words_of
from callgate.history import Message, ModelCall

__all__ = ["Stretch", "loops_of", "parts_of", "printing"]

_VARIABLE = "x['id']"
"""Stands for what a program takes from an earlier result."""


@dataclass(slots=True)
class Stretch:
    """Messages with calls, and the results of those, with nothing in between."""

    asked: list[Message] = field(default_factory=list[Message])
    results: list[list[str | None]] = field(default_factory=list[list[str | None]])
    """Of each message's calls; None where there is none."""
    levels: list[int] = field(default_factory=list[int])
    """Of each call."""
    unknown: set[str] = field(default_factory=set[str])
    """Words of arguments that nothing before the stretch says."""
    answer: str | None = None
    """What the model said after it."""

    def take(self, message: Message) -> bool:
        """Take in a message, if it is of the stretch."""
        if message.calls:
            self.asked.append(message)
            self.results.append([None] * len(message.calls))
            return True
        for at, call in enumerate(self.asked[-1].calls):
            if message.role == "tool" and call.id == message.answers and self.results[-1][at] is None:
                self.results[-1][at] = message.text
                return True
        return False

    def close(self, after: Message | None, known: set[str]) -> None:
        """Say what comes after the stretch, and which words were there before it; these become those after it."""
        calls, results = self.calls, [one or "" for one in self.read]
        arguments = [_loaded(call.arguments) for call in calls]
        self.levels = levels_of(arguments, results, known)
        self.unknown = {word for one in arguments for text in scalars_of(one) for word in words_of(text)} - known
        self.answer = after.text if after is not None and after.role == "assistant" else None
        for text in (*results, *(call.arguments for call in calls), *(one.text for one in self.asked)):
            known.update(words_of(text))

    @property
    def calls(self) -> list[ModelCall]:
        """All calls, in their order."""
        return [call for one in self.asked for call in one.calls]

    @property
    def read(self) -> list[str | None]:
        """The result of each."""
        return [result for each in self.results for result in each]


def parts_of(messages: Sequence[Message]) -> Iterator[Message | Stretch]:
    """Yield the messages, those of calls and results put together."""
    known, stretch = set[str](), None
    for message in messages:
        if stretch is not None:
            if stretch.take(message):
                continue
            stretch.close(message, known)
            yield stretch
            stretch = None
        if message.calls:
            stretch = Stretch()
            stretch.take(message)
        else:
            known.update(words_of(message.text))
            yield message
    if stretch is not None:
        stretch.close(None, known)
        yield stretch


# ---- programs


def printing(calls: Sequence[ModelCall]) -> str:
    """Return a program that makes calls and prints their results."""
    return "\n".join(f"print({_line(one.name, _loaded(one.arguments))})" for one in calls)


def _line(name: str, arguments: JSON) -> str:
    """Return a call in Python."""
    if is_object(arguments) and name.isidentifier() and all(key.isidentifier() for key in arguments):
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    return f"call_tool({name!r}, **{arguments!r})"


def loops_of(stretch: Stretch) -> Iterator[str]:
    """Yield the lines of a program with a loop for the calls of each tool and level."""
    order = sorted(zip(stretch.levels, stretch.calls, strict=True), key=lambda one: (one[0], one[1].name))
    for (level, name), group in groupby(order, key=lambda one: (one[0], one[1].name)):
        given = [_loaded(call.arguments) for _, call in group]
        given = [_with_variables(one, stretch.unknown) for one in given] if level else given
        if len(given) == 1:
            yield f"r = {_line(name, given[0])}"
            continue
        same = set(map(repr, _values(given[0])))
        more = [text for one in given[1:] for text in map(repr, _values(one)) if text not in same]
        written = ", ".join(text for text in more if text != repr(_VARIABLE))
        yield f"r = [{_line(name, given[0])} for x in {f'[{written}]' if written else 'r'}]"


def _with_variables(value: JSON, unknown: set[str]) -> JSON:
    """Return arguments with a variable in place of what only an earlier result can have said."""
    if is_object(value):
        return {key: _with_variables(item, unknown) for key, item in value.items()}
    if is_array(value):
        return [_with_variables(item, unknown) for item in value]
    new = any(not unknown.isdisjoint(words_of(text)) for text in scalars_of(value))
    return _VARIABLE if new else value


def _values(arguments: JSON) -> list[JSON]:
    return list(arguments.values()) if is_object(arguments) else [arguments]


def _loaded(arguments: str) -> JSON:
    """Return arguments as a value; text that no program could hold stays text."""
    try:
        value = decode(arguments)
        recode(value)
    except NotJSON:
        return arguments
    return value
