"""A driver for the gate in simulated time, and guests written as generators.

A guest is a generator: it yields a list of frames, the last of them a rest or an end, and is sent the event it is
handed. Tools take the time the world says; no real time passes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from callgate.calls import Result, refusal
from callgate.codec import decode, encode
from callgate.errors import ToolFailed
from callgate.gate import Gate
from callgate.journal import Journal
from callgate.limits import Limits
from callgate.policy import InterruptOn, Policy, approvals
from callgate.recording import read_recording
from callgate.sandboxes.base import HEADER, CallFrame, DropFrame, EndFrame, FileFrame, Frame, OutFrame, RestFrame
from callgate.steps import End, Keep, Notify, Pause, Record, Send, Start, Step
from callgate.tools import Call, Catalogue, Tool

HEADER_WALL = 1_000_000.0

Guest = Callable[[], Generator[list[Frame], dict[str, Any], None]]


def call(n: int, tool: str, **args: Any) -> CallFrame:
    return CallFrame(n=n, tool=tool, args=args)


def rest(until: float | None = None) -> RestFrame:
    return RestFrame(until=until)


def out(text: str) -> OutFrame:
    return OutFrame(text=text)


def drop(n: int) -> DropFrame:
    return DropFrame(n=n)


def file(name: str, data: bytes = b"x") -> FileFrame:
    return FileFrame(name=name, data=data)


def end(value: Any = None, error: dict[str, Any] | None = None, printed: int = 0, **files: Any) -> EndFrame:
    return EndFrame(value=value, error=error, printed=printed, **files)


class Killed(Exception):
    """The test killed the host after this many journal lines."""


@dataclass
class World:
    """Tools, and what really happened."""

    tools: list[Tool]
    latency: Callable[[Call], float] = lambda call: 0.01
    interrupt_on: InterruptOn = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    done: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(tool, arguments) of every execution, in order of completion."""

    def catalogue(self) -> Catalogue:
        return Catalogue(self.tools)


def tool_of(name: str, effect: str = "write", answer: Callable[..., Any] | None = None, **options: Any) -> Tool:
    """A tool that returns its arguments, or what answer returns."""
    schema = {"type": "object", "additionalProperties": True}
    return Tool(
        name=name,
        effect=effect,  # type: ignore[arg-type]
        input_schema=options.pop("schema", schema),
        invoke=lambda call: answer(**call.arguments) if answer else {"tool": call.tool, **call.arguments},
        **options,
    )


class Life:
    """The durable part of one action: its journal lines and kept values, over any number of passes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: list[str] = []
        self.kept: dict[str, str] = {}
        header = {"e": "header", "action": "a", "program": "", "wall": HEADER_WALL, "thread": ""}
        self.lines.append(Journal().add(header, {}))
        self.passes: list[Pass] = []

    def decide(self, decisions: Mapping[str, Any]) -> None:
        """Append decisions as a runner would."""
        from callgate.decisions import DECISIONS, OUTCOMES, decision_line

        journal = Journal(self.lines)
        recording = read_recording(journal, self.kept.__getitem__)
        waiting = {record.call: record for record in recording.waiting()}
        for inner, given in decisions.items():
            allowed = OUTCOMES if waiting[inner].unknown else DECISIONS
            tool = self.world.catalogue().tools[waiting[inner].key[0]]
            fields, raw = decision_line(inner, given, name=tool.name, tool=tool, allowed=allowed)
            self.lines.append(journal.add(fields, raw))

    def go(self, guest: Guest, *, kill_after: int | None = None) -> End | Pause:
        """Run one pass; kill_after kills the host once the journal has that many lines."""
        one = Pass(self, kill_after)
        self.passes.append(one)
        return one.run(guest())

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        parsed = [decode(line) for line in self.lines[1:]]
        return [entry for entry in parsed if kind in (None, entry["e"])]


class Pass:
    def __init__(self, life: Life, kill_after: int | None) -> None:
        world = life.world
        journal = Journal(life.lines)
        policy = Policy(dict(world.catalogue().tools), approvals(world.interrupt_on, world.catalogue()), world.limits)
        recording = read_recording(journal, life.kept.__getitem__)
        self.gate = Gate(action="a", policy=policy, journal=journal, recording=recording, wall=2e6, watched=True)
        self.life, self.world, self.kill_after = life, world, kill_after
        self.now = 0.0
        self.events: list[dict[str, Any]] = []
        self.notices: list[tuple[str, str]] = []
        self._running: list[tuple[float, int, Start]] = []
        self._event: dict[str, Any] | None = None
        self._last: End | Pause | None = None

    def run(self, guest: Generator[list[Frame], dict[str, Any], None]) -> End | Pause:
        frames = next(guest)
        while self._last is None:
            self._carry_out(self.gate.frames(frames, self.now))
            frames = []
            while self._event is None and self._last is None:
                self._let_time_pass()
            if self._last is None and self._event is not None:
                event, self._event = self._event, None
                self.events.append(event)
                frames = guest.send(event)
        return self._last

    def _let_time_pass(self) -> None:
        if self._running and self._running[0][0] <= self.gate.wake_at:
            moment, n, start = heapq.heappop(self._running)
            self.now = max(self.now, moment)
            self._carry_out(self.gate.returned(n, self._execute(start), self.now))
        else:
            assert self.gate.wake_at < float("inf"), "nothing can ever happen"
            self.now = max(self.now, self.gate.wake_at)
            self._carry_out(self.gate.tick(self.now))

    def _execute(self, start: Start) -> Result:
        self.world.done.append((start.call.tool, start.call.arguments))
        try:
            return Result(text=encode(start.tool.invoke(start.call)))  # type: ignore[misc]
        except ToolFailed as error:
            return refusal("ToolFailed", str(error), tool=start.tool.name)

    def _carry_out(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Record):
                lines = self.life.lines
                assert step.position == len(lines), "lines leave the gate in order"
                room = len(step.lines) + 1 if self.kill_after is None else max(0, self.kill_after - len(lines))
                lines.extend(step.lines[:room])
                if room <= len(step.lines):
                    raise Killed
                self._carry_out(self.gate.recorded(self.now))
            elif isinstance(step, Keep):
                self.life.kept[step.handle] = step.text
            elif isinstance(step, Start):
                moment = self.now + self.world.latency(step.call)
                heapq.heappush(self._running, (moment, step.n, step))
            elif isinstance(step, Send):
                assert self._event is None, "a guest at rest is handed exactly one event"
                self._event = decode(step.frame[HEADER:])
            elif isinstance(step, Notify):
                self.notices.append((step.call.id, step.call.status))
            else:
                self._last = step


__all__ = ["HEADER_WALL", "Killed", "Life", "World", "call", "drop", "end", "file", "out", "rest", "tool_of"]
