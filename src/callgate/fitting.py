"""Whether a tool call, as written in a program, can fit the tool."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Sequence

from callgate.names import GUEST_NAMES
from callgate.tools import Catalogue, Tool

__all__ = ["miscall", "misfit", "nearest", "no_tool"]

_LONGEST, _MOST = 100, 2_000
"""Length and number of the names compared, so that no program makes the comparison slow."""


def miscall(call: ast.Call, function: str, catalogue: Catalogue) -> str | None:
    """Return what is wrong with a call of a tool, None for other calls and where nothing is."""
    if function in catalogue.functions:
        return misfit(f"{function}()", catalogue.functions[function], call.args, call.keywords)
    if function not in ("call_tool", "acall_tool"):
        return None
    match call.args:
        case []:
            return f"{function} takes the tool's name first: {function}('name', argument=value)."
        case [ast.Constant(value=str(name)), *rest] if not any(isinstance(one, ast.Starred) for one in rest):
            tool = catalogue.tools.get(name)
            if name in GUEST_NAMES:
                return None
            if tool is None or "code" not in tool.callers:
                return None if name in catalogue.functions else no_tool(name, catalogue)
            if rest:
                cure = f"{function}({name!r}, **{{...}})" if isinstance(rest[0], ast.Dict) else "name=value"
                return f"{function} takes the arguments of {name!r} by keyword only. Write {cure}."
            return misfit(f"Tool {name!r}", tool, [], call.keywords)
        case _:
            return None


def misfit(label: str, tool: Tool, positional: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> str | None:
    """Return why a call's arguments cannot fit a tool's parameters, None where they may.

    Positional arguments stand for the parameters in the order of the schema. `*args` hides everything, `**kwargs`
    hides what is missing.
    """
    if any(isinstance(one, ast.Starred) for one in positional):
        return None
    parameters = tool.parameters
    named = [one.arg for one in keywords if one.arg is not None]
    given = {*parameters[: len(positional)], *named}
    shown = ", ".join(one if one in tool.required else f"{one} (optional)" for one in parameters)
    takes = f"Its parameters are: {shown}." if parameters else "It has no parameters."
    if len(positional) > len(parameters):
        return f"{label} takes at most {len(parameters)} positional arguments, got {len(positional)}. {takes}"
    if unknown := [one for one in named if one not in parameters and not tool.open]:
        return f"{label} has no parameter {', '.join(map(repr, unknown))}. {takes}"
    if twice := [one for one in named if one in parameters[: len(positional)]]:
        return f"{label} gets {', '.join(map(repr, twice))} twice, by position and by keyword. {takes}"
    missing = [one for one in tool.required if one not in given]
    if missing and len(named) == len(keywords):
        return f"{label} needs {', '.join(map(repr, missing))}. {takes}"
    return None


def no_tool(name: str, catalogue: Catalogue) -> str:
    """Return why no program can call a tool of that name, and what to do instead."""
    if name in catalogue.tools:
        return f"Tool {name!r} may not be called from code; call it as a plain tool call."
    known = [one.name for one in catalogue.functions.values()]
    listed = f"The tools are: {', '.join(known[:10])}{', ...' if len(known) > 10 else ''}." if known else ""
    return f"There is no tool {name!r}. {nearest(name, known) or listed or 'This program has no tools.'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question naming the names that look like name, "" where none does."""
    if len(name) > _LONGEST:
        return ""
    likely = sorted(one for one in set(known) if len(one) <= _LONGEST)[:_MOST]
    near = difflib.get_close_matches(name, likely, n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(near)}?" if near else ""
