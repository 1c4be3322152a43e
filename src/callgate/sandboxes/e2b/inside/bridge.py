"""One program in the kernel of a notebook, calling tools as any program does.

The kernel is an ordinary Python: its clocks, threads and random numbers are its own, and awaiting a tool waits for it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from callgate.codec import encode, encode_any
    from callgate.room import most_of
    from callgate.sandboxes.guest import baton, calls, faults, output, program
else:
    from . import baton, calls, faults, output, program
    from .codec import encode, encode_any
    from .room import most_of

REPR = 2_000
ENVELOPE = 1_000
_RICH = ("_repr_html_", "_repr_png_", "_repr_svg_", "_repr_mimebundle_", "_ipython_display_")


async def run(path: str, names: dict[str, Any], display: Any) -> None:
    """Run the program that arrives on a socket, and say how it ended.

    Args:
        path: of the socket.
        names: what the program finds besides its tools; the kernel's.
        display: shows a value.
    """
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(path)
    turn = baton.baton
    turn.channel = baton.Channel(channel.fileno())
    order = turn.channel.receive()["run"]
    limits = order["limits"]
    calls.most, calls.room = most_of(limits["frame_mb"]), calls.Room(limits["frame_mb"])
    cast("Any", calls).acall_tool, cast("Any", calls).acall_tools = _acall_tool, _acall_tools
    streams = sys.stdout, sys.stderr, sys.stdin
    counter = output.capture(limits["output_kb"] << 10)
    value, error = "null", None
    try:
        value = await _execute(order["program"], order["tools"], names, display, counter)
    except BaseException as raised:  # noqa: BLE001 - whatever a program raises ends it, never the kernel
        error = None if isinstance(raised, SystemExit) and not raised.code else faults.describe(raised)
    finally:
        sys.stdout, sys.stderr, sys.stdin = streams
    fault = encode(error)
    if len(value) + len(fault) + ENVELOPE > calls.most or calls.room.size(value) is None:
        text = f"the program's value takes {len(value):,} bytes; end with less"
        told: dict[str, Any] = {"type": "LimitExceeded", "text": text, "line": None, "trace": [], "limit": "frame_mb"}
        value, fault = "null", encode(told)
    turn.channel.post(f'{{"end":{{"value":{value},"error":{fault},"printed":{counter.printed}}}}}'.encode("ascii"))
    turn.channel.flush()
    channel.close()


async def _execute(
    source: str, tools: Mapping[str, Any], names: dict[str, Any], display: Any, counter: output.Counter
) -> str:
    """Run a program and return its value as JSON text."""
    found = calls.names(tools)
    found["acall_tool"], found["acall_tools"] = _acall_tool, _acall_tools
    names.update(found)
    ready = program.prepare(source, {name for name in found if hasattr(found[name], "awaitable")})
    awaitable = eval(ready.code, names)  # noqa: S307 - the one place where code runs that somebody else wrote
    if awaitable is not None:
        await awaitable
    value: Any = names.pop(program.VALUE, None)
    if ready.assigns and counter.printed:
        return "null"
    if any(hasattr(cast("Any", type(value)), name) for name in _RICH):
        display(value)
    try:
        return encode_any(value)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - NotJSON, or whatever methods of the value raise
        text = repr(value)[:REPR]
        return encode(text.encode("utf-8", "backslashreplace").decode())


async def _acall_tool(name: str, /, *positional: Any, **arguments: Any) -> Any:
    await asyncio.sleep(0)
    return calls.call_tool(name, *positional, **arguments)


async def _acall_tools(wanted: Any, /) -> Any:
    await asyncio.sleep(0)
    return calls.call_tools(wanted)
