"""What the model is shown: the one tool `execute_code`, with a line per tool it can call."""

from __future__ import annotations

from callgate.codec import JSON
from callgate.schema import stub
from callgate.tools import Catalogue

__all__ = ["EXECUTE_CODE", "definition"]

EXECUTE_CODE = "execute_code"
"""The name of the code action's tool."""

_RULES = """\
Run a Python program that calls tools. Only what it prints and the value of its last expression come back: filter, \
join and aggregate inside the program instead of showing raw data. Each run starts fresh, with the standard library, \
no network and no files but its own; those left in /out are kept. The clock is the program's own and CPU work does not \
move it. Tools are functions; results are plain values, not text. A failing tool raises ToolFailed, a refused call \
Refused. Parallel: call_tools([(name, arguments), ...]), threads, or await asyncio.gather(...). Calls already made are \
not undone when a program fails.

Tools:
"""


def definition(catalogue: Catalogue) -> dict[str, JSON]:
    """Return `execute_code` as {"name", "description", "parameters"}, parameters being a JSON Schema."""
    stubs = "\n".join(stub(name, one) for name, one in catalogue.functions.items())
    return {
        "name": EXECUTE_CODE,
        "description": _RULES + (stubs or "none"),
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "the program"}},
            "required": ["code"],
            "additionalProperties": False,
        },
    }
