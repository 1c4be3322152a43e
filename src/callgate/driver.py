"""What the two drivers of a pass share; `driver_threads` and `driver_asyncio` carry out what the gate says.

Both feed the gate one input at a time and finish its steps before the next one. Tools run beside them; a tool that
returns after the pass is over is still journalled.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from callgate.calls import CallState, Result, refusal
from callgate.codec import NotJSON, encode_any
from callgate.errors import OutcomeUnknown, ToolFailed, ToolWaits, UsageError
from callgate.gate import Gate
from callgate.journal import JournalStore
from callgate.limits import Limits
from callgate.sandboxes.base import Guest
from callgate.sandboxes.frames import BadFrame, Frames
from callgate.steps import Start, Step
from callgate.tools import Call, Tool
from callgate.workers import Workers

__all__ = ["Clock", "Invoke", "Pass", "Unread", "failed", "fed", "logger", "result_of", "run_call", "told", "unread"]

logger = logging.getLogger("callgate")

Invoke: TypeAlias = Callable[[Tool, Call], Any]
"""Runs one call of a tool and returns its value; for `drive_async`, an awaitable of it."""

SEND_SECONDS = 10.0
"""How long a guest may take to read what it is sent."""

LOOKS = 0.05
"""Seconds between two looks at the guest's processor time, at least."""

DIED = (
    "the program's process died in C code: it recursed too deeply there, ran out of memory, or crashed an extension "
    "module or ctypes; do less at a time, or do it another way"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass of an action: everything a driver needs."""

    gate: Gate
    guest: Guest
    opening: bytes
    """The `run` frame."""
    store: JournalStore
    key: str
    """Under which the journal's lines are stored."""
    kept: Callable[[str], str]
    """Turns a handle into the key its value is stored under."""
    limits: Limits
    invoke: Invoke
    listen: Callable[[CallState], None] | None
    workers: Workers


def failed(tool: Tool, call: Call, error: BaseException) -> Result:
    """Return what an exception of a tool makes of its call; the program is told its text only where it is meant to."""
    if isinstance(error, OutcomeUnknown) and tool.effect == "write":
        logger.warning("nobody knows how call %s of %s ended: %s", call.id, tool.name, error)
        return Result(waits=True, unknown=True)
    if isinstance(error, ToolFailed | OutcomeUnknown):
        return refusal("ToolFailed", str(error), tool=tool.name)
    if isinstance(error, NotJSON):
        return refusal("ToolFailed", f"{tool.name} returned what JSON cannot carry: {error}", tool=tool.name)
    logger.warning("tool %s raised in call %s", tool.name, call.id, exc_info=error)
    return refusal("ToolFailed", f"{tool.name} raised {type(error).__name__} (call {call.id})", tool=tool.name)


def result_of(value: object) -> Result:
    """Return what a tool returned as a result; callgate's own tools may return one."""
    return value if isinstance(value, Result) else Result(text=encode_any(value))


def run_call(invoke: Invoke, start: Start) -> Result | UsageError:
    """Run one call in this thread."""
    try:
        return result_of(invoke(start.tool, start.call))
    except UsageError as error:
        return error
    except ToolWaits:
        return Result(waits=True)
    except BaseException as error:  # noqa: BLE001 - whatever a tool raises is a result, SystemExit too
        return failed(start.tool, start.call, error)


class Clock:
    """Seconds since the pass began, and when to look at the guest's processor time again."""

    def __init__(self, run: Pass) -> None:
        self._began, self._run = time.monotonic(), run
        self._cores = os.cpu_count() or 1
        self._look_at = run.limits.cpu_seconds / self._cores
        run.guest.cpu_seconds()  # of a guest that goes away, what it can have used is counted from here

    def now(self) -> float:
        """Return the seconds since the pass began."""
        return time.monotonic() - self._began

    def look(self) -> list[Step]:
        """Return what the gate says about the time and the guest's processor time, where it is time to look."""
        run, now = self._run, self.now()
        if now >= self._look_at:
            left = run.limits.cpu_seconds - run.guest.cpu_seconds()
            self._look_at = now + max(left / self._cores, LOOKS)
            if left <= 0:
                return run.gate.stop("cpu_seconds")
        return run.gate.tick(now) if now >= run.gate.wake_at else []

    def spent(self) -> bool:
        """Say whether a guest that is gone may have been ended by the kernel, for the processor time it used."""
        return self._run.guest.cpu_seconds() >= self._run.limits.cpu_seconds

    def send_seconds(self) -> float:
        """Return how long the guest may take to read, in seconds: never past the end of its time."""
        return min(SEND_SECONDS, max(0.05, self._run.gate.deadline - self.now()))

    def patience(self) -> float:
        """Return the seconds until something has to be done without any input."""
        return max(0.0, min(self._run.gate.wake_at, self._look_at) - self.now())


def fed(run: Pass, clock: Clock, frames: Frames, data: bytes) -> list[Step]:
    """Feed the gate what a guest sent, or its end."""
    gate = run.gate
    if not data:
        if run.guest.lost():
            return gate.fail("SandboxLost", "the sandbox went away while the program ran", lost=True)
        return gate.stop("cpu_seconds") if clock.spent() else gate.fail("ProcessDied", DIED)
    try:
        return gate.frames(frames.feed(data, gate.running.busy), clock.now())
    except BadFrame as error:
        logger.warning("a guest sent a bad frame: %s", error)
        return gate.stop(error.limit) if error.limit else gate.fail("ProtocolError", "the guest broke the protocol")
    except (NotJSON, OverflowError, RecursionError, MemoryError) as error:
        logger.warning("a guest sent what cannot be handled: %s", type(error).__name__)
        return gate.fail("ProtocolError", "the guest broke the protocol")


class Unread(Exception):
    """The guest does not read what it is sent."""


def unread(run: Pass, now: float) -> list[Step]:
    """Say to the gate that the guest does not read what it is sent."""
    gate = run.gate
    late = gate.tick(now) if now >= gate.deadline else []
    return late or gate.fail("ProtocolError", "the guest does not read what it is sent")


def told(run: Pass, call: CallState) -> None:
    """Tell the listener what happens to a call."""
    if run.listen is not None:
        try:
            run.listen(call)
        except Exception:
            logger.exception("on_event raised")
