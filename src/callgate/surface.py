"""What the model is shown: the one tool `execute_code`, with a line per tool it can call."""

from __future__ import annotations

import re
from collections import Counter

from callgate.codec import JSON
from callgate.stubs import Stubs
from callgate.tools import Catalogue

__all__ = ["EXECUTE_CODE", "STUB_TOKENS", "definition"]

EXECUTE_CODE = "execute_code"
"""The name of the code action's tool."""

STUB_TOKENS = 6_000
"""Tokens, at four characters each, up to which all tools are listed. A larger catalogue is searched by programs."""

GROUPS_CHARS = 1_200
"""Characters of the groups of names that stand for a larger catalogue."""

_RULES = """\
Run a Python program that calls tools. Only what it prints and the value of its last expression come back: filter, \
join and aggregate inside the program instead of showing raw data. Each run starts fresh, with the standard library, \
no network and no files but its own; those left in /out are kept. The clock is the program's own and CPU work does not \
move it. Tools are functions, called with keyword arguments; results are plain values (dicts by key, not by \
attribute), not text. A failing tool raises ToolFailed, a refused call Refused. Parallel: call_tools([(name, \
arguments), ...]), threads, or await asyncio.gather(...). Calls already made are not undone when a program fails.
"""

_SEARCH = """
{count} tools, too many to list. search_tools("words") returns up to 10 as [{{"name", "stub"}}], describe_tool(name) \
a dict with the whole description and input_schema; call one by call_tool(name, argument=...). Search, read and call \
in one program where you can; else print the stubs and go on in the next.
"""


def definition(catalogue: Catalogue, stub_tokens: int = STUB_TOKENS) -> dict[str, JSON]:
    """Return `execute_code` as {"name", "description", "parameters"}, parameters being a JSON Schema.

    Args:
        catalogue: the tools.
        stub_tokens: tokens, at four characters each, that the lines of all tools may have; above, the program searches.
    """
    return {
        "name": EXECUTE_CODE,
        "description": _RULES + _tools(catalogue, stub_tokens),
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "the program"}},
            "required": ["code"],
            "additionalProperties": False,
        },
    }


def _tools(catalogue: Catalogue, stub_tokens: int) -> str:
    lines = Stubs(catalogue.functions).text()
    if len(lines) <= 4 * stub_tokens:
        return f"\nTools:\n{lines or 'none'}"
    return _SEARCH.format(count=len(catalogue.functions)) + _groups(list(catalogue.functions))


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
