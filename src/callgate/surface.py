"""What the model is shown: `execute_code`, with a line per tool it can call, or a short one beside plain tools."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping

from callgate.codec import JSON
from callgate.names import EXECUTE_CODE
from callgate.stubs import ArgumentProse, Stubs
from callgate.tools import Catalogue, Tool

__all__ = [
    "EXECUTE_CODE",
    "STUB_TOKENS",
    "ResultShapeWarning",
    "definition",
    "mixed_definition",
    "warn_of_unknown_results",
]

STUB_TOKENS = 6_000
"""Tokens, at four characters each, up to which all tools are listed. A larger catalogue is searched by programs."""

GROUPS_CHARS = 1_200
"""Characters of the groups of names that stand for a larger catalogue."""

NAMED = 20
"""Tools that a warning names."""

_RULES = """\
Run a Python program that calls tools. Only what it prints and the value of its last expression come back: filter, \
join and aggregate inside the program instead of showing raw data. Each run starts fresh, with the standard library, \
no network and no files but its own; those left in /out are kept. The clock is the program's own and CPU work does not \
move it. Tools are functions, called with keyword arguments; results are plain values (dicts by key, not by \
attribute), not text. A failing tool raises ToolFailed, a refused call Refused. Parallel: call_tools([(name, \
arguments), ...]), threads, or await asyncio.gather(...). Calls already made are not undone when a program fails.
"""

_MIXED_RULES = """\
Run Python that calls the other tools: for several calls, loops, or results to filter, join or count. Make \
a single call plainly. Each tool is a function of its name, with keyword arguments; results are plain values. Only \
what it prints and its last expression's value come back. Each starts fresh: standard library, no network. Errors \
raise ToolFailed or Refused. Parallel: call_tools([(name, arguments), ...]). Calls made are not undone.
"""

_SEARCH = """
{count} tools, too many to list. search_tools("words") returns up to 10 as [{{"name", "stub"}}], describe_tool(name) \
a dict with the whole description and input_schema; call one by call_tool(name, argument=...). Search, read and call \
in one program where you can; else print the stubs and go on in the next.
"""


class ResultShapeWarning(UserWarning):
    """Nobody says what some tools return: a program that uses their results has to guess, or look first."""


def warn_of_unknown_results(catalogue: Catalogue, stacklevel: int = 2) -> None:
    """Warn, once for all, of the tools that programs may call and that have no output schema.

    Args:
        catalogue: the tools.
        stacklevel: as `warnings.warn` has it, seen from the caller.
    """
    unknown = [one.name for one in catalogue.functions.values() if not one.output_schema]
    if not unknown:
        return
    names = ", ".join(unknown[:NAMED]) + (f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else "")
    cure = "annotate the return type (a pydantic model, TypedDict, dataclass, ...) or declare an output schema"
    text = f"programs cannot know the shape of what these tools return: {names}; {cure}"
    warnings.warn(ResultShapeWarning(text), stacklevel=stacklevel + 1)


def definition(
    catalogue: Catalogue, stub_tokens: int = STUB_TOKENS, argument_prose: ArgumentProse = "needed"
) -> dict[str, JSON]:
    """Return `execute_code` as {"name", "description", "parameters"}, parameters being a JSON Schema.

    Args:
        catalogue: the tools.
        stub_tokens: tokens, at four characters each, that the lines of all tools may have; above, the program searches.
        argument_prose: what is said of arguments: what their names do not say, or all there is.

    Raises:
        UsageError: for another argument_prose.
    """
    return _defined(_RULES + _tools(catalogue.functions, stub_tokens, argument_prose))


def mixed_definition(
    catalogue: Catalogue, stub_tokens: int = STUB_TOKENS, argument_prose: ArgumentProse = "needed"
) -> dict[str, JSON]:
    """Return the short `execute_code` that stands beside the plain definitions of the tools, in the same form.

    It says what those do not: functions that are not called as their tools are, which tools programs may not call, what
    is known of results, and the lines of the tools that only programs may call.

    Args:
        catalogue: the tools.
        stub_tokens: tokens, at four characters each, that the lines may have; above, results are left out, and where
            that is not enough, the program searches.
        argument_prose: as for `definition`.

    Raises:
        UsageError: as `definition` does.
    """
    plain = {name: one for name, one in catalogue.functions.items() if "direct" in one.callers}
    only_code = {name: one for name, one in catalogue.functions.items() if "direct" not in one.callers}
    text = _MIXED_RULES
    if renamed := [f"{name} is {_one_line(one.name)}" for name, one in plain.items() if name != one.name]:
        text += f"Functions of another name: {', '.join(renamed)}.\n"
    if only_direct := [_one_line(one.name) for one in catalogue if "code" not in one.callers]:
        text += f"Not for programs: {', '.join(only_direct)}.\n"
    lines = Stubs(only_code, results_of=plain, argument_prose=argument_prose).text()
    if len(lines) > 4 * stub_tokens:
        text += 'describe_tool(name)["output_schema"] is what a tool returns.\n'
        return _defined(text + (_tools(only_code, stub_tokens, argument_prose) if only_code else ""))
    if lines:
        text += f"\n{'Results, and functions that only programs call' if only_code else 'Results'}:\n{lines}"
    return _defined(text)


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _defined(description: str) -> dict[str, JSON]:
    return {
        "name": EXECUTE_CODE,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "the program"}},
            "required": ["code"],
            "additionalProperties": False,
        },
    }


def _tools(functions: Mapping[str, Tool], stub_tokens: int, argument_prose: ArgumentProse) -> str:
    lines = Stubs(functions, argument_prose=argument_prose).text()
    if len(lines) <= 4 * stub_tokens:
        return f"\nTools:\n{lines or 'none'}"
    return _SEARCH.format(count=len(functions)) + _groups(list(functions))


def _groups(names: list[str]) -> str:
    """Return the words with which most names begin, each with how many do."""
    words = Counter(re.split(r"_|(?<=[a-z0-9])(?=[A-Z])", name.strip("_"), maxsplit=1)[0].lower() for name in names)
    shown, size = list[str](), 0
    for word, count in sorted(words.items(), key=lambda pair: (-pair[1], pair[0])):
        text = f"{word} ({count})"
        size += len(text) + 2
        if count < 2 or size > GROUPS_CHARS:
            break
        shown.append(text)
    return f"Most names begin with: {', '.join(shown)}" if shown else ""
