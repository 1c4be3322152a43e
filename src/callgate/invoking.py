"""How a tool's own `invoke` and `ainvoke` are run, whichever of them it has."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from typing import Any

from callgate.driver import Invoke
from callgate.errors import UsageError
from callgate.names import RESERVED_NAMES
from callgate.tools import Call, Tool
from callgate.workers import Workers

__all__ = ["ainvoke_tool", "invoke_tool", "unless_reserved"]


def unless_reserved(given: Invoke | None, own: Invoke) -> Invoke:
    """Return given, where there is one, for everything but callgate's own tools."""
    if given is None:
        return own
    return lambda tool, call: (own if tool.name in RESERVED_NAMES else given)(tool, call)


def invoke_tool(tool: Tool, call: Call) -> Any:
    """Run a call in this thread; an async tool on a loop of its own.

    Raises:
        UsageError: if the tool has neither `invoke` nor `ainvoke`.
    """
    if tool.invoke is not None:
        return tool.invoke(call)
    if tool.ainvoke is not None:
        return asyncio.run(_awaited(tool.ainvoke(call)))
    raise UsageError(f"tool {tool.name!r} has no invoke: it runs only inside the framework it came from")


async def ainvoke_tool(workers: Workers, tool: Tool, call: Call) -> Any:
    """Run a call on this loop; a sync tool in a thread of workers.

    Raises:
        UsageError: if the tool has neither `invoke` nor `ainvoke`.
    """
    if tool.ainvoke is not None:
        return await tool.ainvoke(call)
    return await workers.run(functools.partial(invoke_tool, tool, call))


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value
