"""The programs that stand in for a model: made of a recorded turn, so that they make no mistake.

A turn is known as its calls with their results. One call needs another if it has an argument that nobody said before
the turn and that stands in the other's result. What is recorded as an argument is written as a literal where a model
would have read it, and as a path into an earlier result (`r0['flights'][2]['cost']`) where the program goes on without
a look. Which path that is, the script knows from the recording: an upper bound.
"""

from __future__ import annotations

import builtins
import json
import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from callgate.names import GUEST_NAMES

__all__ = ["Asked", "depths", "in_order", "needs", "printing", "whole"]

SHORTEST = 3
"""Characters an argument has at least to be looked for in results: shorter ones are found everywhere."""

_TAKEN = frozenset((*dir(builtins), *keyword.kwlist, *GUEST_NAMES))
"""Names under which no tool is a function."""

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call as a recording has it."""

    name: str
    arguments: dict[str, Any]


def needs(calls: Sequence[Asked], results: Sequence[str], known: str) -> list[set[int]]:
    """Return for each call of a turn the earlier calls it needs.

    Args:
        calls: of the turn.
        results: their texts.
        known: everything said before the first of them.
    """
    found: list[set[int]] = []
    for at, call in enumerate(calls):
        wanted = [text for _, leaf in _leaves(call.arguments) if len(text := _text(leaf)) >= SHORTEST]
        asked = [text for text in wanted if text not in known]
        found.append({before for before in range(at) if any(text in results[before] for text in asked)})
    return found


def depths(needed: Sequence[set[int]]) -> list[int]:
    """Return for each call how many others have to be answered one after the other before it can be asked for."""
    found: list[int] = []
    for each in needed:
        found.append(max((found[one] + 1 for one in each), default=0))
    return found


def in_order(needed: Sequence[set[int]]) -> list[list[int]]:
    """Return the calls in groups that need nothing of their own group, and leave the order of the calls as it is."""
    groups: list[list[int]] = []
    for at, each in enumerate(needed):
        if not groups or each & set(groups[-1]):
            groups.append([])
        groups[-1].append(at)
    return groups


def printing(calls: Sequence[Asked]) -> str:
    """Return a program that shows the result of every call."""
    if len(calls) == 1:
        return _call(calls[0], {})
    return "\n".join(f"print({_call(call, {})})" for call in calls)


def whole(calls: Sequence[Asked], values: Sequence[Any], needed: Sequence[set[int]], known: str) -> tuple[str, int]:
    """Return a program that makes all calls of a turn and shows the last result, and how often it cannot chain.

    An argument that is a part of a result's text, and not one of its values, stays a literal and is counted.

    Args:
        calls: of the turn.
        values: their results.
        needed: as `needs` has it.
        known: everything said before the first of them.
    """
    found: list[dict[Path, str]] = []
    kept, read = set[int](), 0
    for call, before in zip(calls, needed, strict=True):
        paths: dict[Path, str] = {}
        for path, leaf in _leaves(call.arguments):
            if not before or len(_text(leaf)) < SHORTEST or _text(leaf) in known:
                continue
            for one in sorted(before, reverse=True):
                place = next((at for at, value in _leaves(values[one]) if _same(value, leaf)), None)
                if place is not None:
                    paths[path] = f"r{one}" + "".join(f"[{key!r}]" for key in place)
                    kept.add(one)
                    break
            else:
                read += any(_text(leaf) in json.dumps(values[one], ensure_ascii=False) for one in before)
        found.append(paths)
    texts = [_call(call, paths) for call, paths in zip(calls, found, strict=True)]
    return "\n".join(f"r{at} = {text}" if at in kept else text for at, text in enumerate(texts)), read


def _call(call: Asked, paths: Mapping[Path, str]) -> str:
    """Return the source of a call, with expressions in place of the arguments at some paths."""
    plain, odd = list[str](), list[str]()
    for key, value in call.arguments.items():
        source = _source(value, (key,), paths)
        if key.isidentifier() and not keyword.iskeyword(key):
            plain.append(f"{key}={source}")
        else:
            odd.append(f"{key!r}: {source}")
    arguments = [*plain, *([f"**{{{', '.join(odd)}}}"] if odd else [])]
    if call.name.isidentifier() and call.name not in _TAKEN:
        return f"{call.name}({', '.join(arguments)})"
    return f"call_tool({', '.join([repr(call.name), *arguments])})"


def _source(value: Any, path: Path, paths: Mapping[Path, str]) -> str:
    if path in paths:
        return paths[path]
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_source(each, (*path, key), paths)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(_source(each, (*path, at), paths) for at, each in enumerate(value))}]"
    return repr(value)


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield everything in a value that is no object and no array, with the way to it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, (*path, key))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _leaves(each, (*path, at))
    else:
        yield path, value


def _text(leaf: Any) -> str:
    """Return what an argument is looked for by; nothing for those that are found everywhere."""
    if isinstance(leaf, str):
        return leaf
    return "" if leaf is None or isinstance(leaf, bool) else json.dumps(leaf)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
