"""A tiny host: it speaks frames with a guest, in simulated time, and answers calls from a table of functions."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from callgate.limits import Limits
from callgate.sandboxes.base import (
    CallFrame,
    DropFrame,
    EndFrame,
    FileFrame,
    OutFrame,
    RestFrame,
    Sandbox,
    frame,
)
from callgate.sandboxes.frames import Frames
from callgate.testing.fake import FakeSandbox

WALL = 1_800_000_000.0
PATIENCE = 20.0


@dataclass(kw_only=True)
class Tool:
    """What the host answers, and after how many seconds of program time."""

    answer: Callable[..., Any] = lambda **arguments: arguments
    params: tuple[str, ...] = ()
    seconds: float = 0.01


@dataclass(kw_only=True)
class Fault(Exception):
    """An answer that raises in the program."""

    type: str
    text: str = "no"
    limit: str | None = None


@dataclass(kw_only=True)
class Result:
    """Everything a guest sent."""

    value: Any = None
    error: dict[str, Any] | None = None
    printed: int = 0
    out: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    end: EndFrame | None = None
    rests: list[float | None] = field(default_factory=list)
    transcript: list[Any] = field(default_factory=list)
    deadlock: bool = False
    gone: bool = False
    seconds: float = 0.0
    """Program time at the end."""


def echo(**arguments: Any) -> Any:
    """Answer with the arguments."""
    return arguments


TOOLS: dict[str, Tool] = {
    "f": Tool(answer=lambda x=None: x, params=("x",)),
    "g": Tool(answer=lambda x=None: x, params=("x",), seconds=0.02),
    "echo": Tool(answer=echo, params=("a", "b")),
    "slow": Tool(answer=lambda x=None: x, params=("x",), seconds=5.0),
}


def run(
    program: str,
    *,
    tools: Mapping[str, Tool] = TOOLS,
    seed: int = 7,
    limits: Limits | None = None,
    wall: float = WALL,
    sandbox: Sandbox | None = None,
) -> Result:
    """Run one program to its end, or to a deadlock; in a FakeSandbox, or another one."""
    limits = limits or Limits()
    guest = (sandbox or FakeSandbox()).start(limits)
    try:
        guest.send(_order(program, tools, seed, limits, wall), PATIENCE)
        return _converse(guest, tools, Frames(limits.frame_mb), wall)
    finally:
        guest.kill()


def _order(program: str, tools: Mapping[str, Tool], seed: int, limits: Limits, wall: float) -> bytes:
    named = {name: {"tool": name, "params": list(tool.params)} for name, tool in tools.items()}
    bounds = {name: getattr(limits, name) for name in ("output_kb", "frame_mb", "threads", "disk_mb")}
    return frame({"run": {"program": program, "seed": seed, "wall": wall, "tools": named, "limits": bounds}})


def _converse(  # noqa: C901 - one case per frame
    guest: Any, tools: Mapping[str, Tool], frames: Frames, wall: float
) -> Result:
    result = Result()
    running: list[tuple[float, int, Callable[[float], bytes]]] = []
    dropped: set[int] = set()
    now = 0.0
    while True:
        started = time.monotonic()
        data = guest.receive(PATIENCE)
        assert data is not None, f"the guest says nothing for {time.monotonic() - started:.0f} s"
        if not data:
            result.gone = True
            return result
        for one in frames.feed(data):
            result.transcript.append(one)
            match one:
                case OutFrame(text=text):
                    result.out += text
                case CallFrame(n=n, tool=name, args=args):
                    result.calls.append((name, args))
                    tool = tools.get(name, Tool())
                    heapq.heappush(running, (now + tool.seconds, n, _answer(n, tool, args)))
                case DropFrame(n=n):
                    result.drops.append(n)
                    dropped.add(n)
                case FileFrame(name=name, data=data):
                    result.files[name] = data
                case EndFrame(value=value, error=error, printed=printed):
                    result.value, result.error, result.printed, result.seconds = value, error, printed, now
                    result.end = one
                    return result
                case RestFrame(until=until):
                    result.rests.append(until)
                    while running and running[0][1] in dropped:
                        heapq.heappop(running)
                    if not running and until is None:
                        result.deadlock = True
                        return result
                    if running and (until is None or running[0][0] < until):
                        now, _, answer = heapq.heappop(running)
                        reply = answer(now)
                    else:
                        now = max(now, until or 0.0)
                        reply = frame({"clock": now, "wall": wall})
                    guest.send(reply, PATIENCE)


def _answer(n: int, tool: Tool, args: dict[str, Any]) -> Callable[[float], bytes]:
    def at(now: float) -> bytes:
        try:
            return frame({"answer": n, "at": now, "value": tool.answer(**args)})
        except Fault as fault:
            error = {"type": fault.type, "text": fault.text, "tool": "f", "limit": fault.limit}
            return frame({"answer": n, "at": now, "error": error})

    return at
