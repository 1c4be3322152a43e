"""What tools are called: names that are taken, functions, and tools of several sources told apart."""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from callgate.errors import UsageError

__all__ = ["EXECUTE_CODE", "GUEST_NAMES", "RESERVED_NAMES", "function_names", "told_apart"]

EXECUTE_CODE = "execute_code"
"""The name of the code action's tool."""

RESERVED_NAMES = frozenset(("load_value", "search_tools", "describe_tool"))
"""Tools that are callgate's own; no tool of a catalogue may have their names."""

GUEST_NAMES = RESERVED_NAMES | {
    "call_tool",
    "call_tools",
    "acall_tool",
    "Refused",
    "UnknownTool",
    "NotAllowed",
    "InvalidArguments",
    "ApprovalRejected",
    "LimitExceeded",
    "ToolFailed",
}
"""Names every program finds besides its tools."""

_RESERVED = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | GUEST_NAMES
"""What no tool's function may be called."""

T = TypeVar("T")


def function_names(names: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """Give each tool name a function name: an identifier, unique, shadowing nothing a program relies on.

    Args:
        names: of the tools.
        others: of tools that have no function: no function may look like one of them.
    """
    used = set(others)
    functions: dict[str, str] = {}
    for one in sorted(names, key=lambda one: _identifier(one) != one):  # exact names first
        base = function = _identifier(one)
        count = 1
        while function in used or function in _RESERVED:
            count += 1
            function = f"{base}_{count}"
        used.add(function)
        functions[one] = function
    return functions


def _identifier(name: str) -> str:
    base = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "tool"
    return f"tool_{base}" if base[0].isdigit() or base in _RESERVED else base


def told_apart(sources: Mapping[str, Iterable[T]], name_of: Callable[[T], str]) -> list[tuple[str, T]]:
    """Return the tools of several sources with the names they are called by, in the order given.

    Where two sources have tools whose functions would be of one name, and where a name is callgate's own, the tool is
    called `<source>_<name>`. All others keep their names.

    Raises:
        UsageError: if a source has two tools of a name, or a new name is another tool's already.
    """
    given = [(source, name_of(one), one) for source, tools in sources.items() for one in tools]
    for (source, name), count in Counter((source, name) for source, name, _ in given).items():
        if count > 1:
            raise UsageError(f"source {source!r} has two tools called {name!r}; rename one")
    clashing = Counter(function for _, function in {(source, _identifier(name)) for source, name, _ in given})
    named: dict[str, T] = {}
    for source, name, one in given:
        clashes = clashing[_identifier(name)] > 1 or name in RESERVED_NAMES or name == EXECUTE_CODE
        called = f"{_prefix(source)}_{name}" if clashes else name
        if called in named:
            raise UsageError(
                f"two tools would be called {called!r}, one of them {name!r} of {source!r}; rename a source"
            )
        named[called] = one
    return list(named.items())


def _prefix(source: str) -> str:
    """Return a source as vendors let the name of a tool begin."""
    prefix = re.sub(r"[^A-Za-z0-9_-]+", "_", source).strip("_")
    if not prefix:
        raise UsageError(
            f"source {source!r}: give it a name with a letter or digit, which its tools can have in theirs"
        )
    return prefix
