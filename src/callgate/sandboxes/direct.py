"""A guest that is no process: a program that is exactly one tool call.

It speaks the frames a sandboxed guest would speak for the same program, so the gate, the journal, approvals and the
outcome cannot tell the two apart.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Literal

from callgate.codec import JSON, decode, encode
from callgate.sandboxes.base import HEADER, frame

__all__ = ["DirectGuest"]

_ENVELOPE = 104
"""Bytes of a frame that a sandboxed guest reserves beside a value without an error."""


class DirectGuest:
    """The `Guest` of a program that is one call.

    Args:
        tool: its tool's name.
        arguments: its arguments.
        line: of the program, named where the call fails.
        show: whether the result is the program's value or is printed.
        frame_mb: how large a value may be, in MiB.
    """

    def __init__(
        self, *, tool: str, arguments: dict[str, JSON], line: int, show: Literal["value", "print"], frame_mb: int
    ) -> None:
        self._tool, self._arguments, self._line, self._show = tool, arguments, line, show
        self._most = frame_mb << 20
        self._out: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._woken = self._killed = False
        self._arrived = asyncio.Event()

    def send(self, data: bytes, timeout: float | None) -> None:
        """Take the host's frame and say what the program would say next."""
        del timeout
        event = decode(data[HEADER:])
        if "run" in event:
            self._say(frame({"call": 1, "tool": self._tool, "args": self._arguments}) + frame({"rest": None}))
        elif "answer" in event:
            self._say(self._ending(event))
        else:  # a clock: nothing waits for it
            self._say(frame({"rest": None}))

    def _ending(self, answer: dict[str, JSON]) -> bytes:
        error: dict[str, JSON] | None = answer.get("error")
        if error is not None:
            told: dict[str, JSON] = {"type": error["type"], "text": error["text"], "line": self._line}
            told["trace"] = [[self._line, "<module>"]]
            if error.get("limit") is not None:
                told["limit"] = error["limit"]
            return frame({"end": {"value": None, "error": told, "printed": 0}})
        if self._show == "value":
            size = len(encode(answer["value"]))
            if size + _ENVELOPE > self._most:
                text = f"the program's value takes {size:,} bytes, it may take {self._most - _ENVELOPE:,}"
                told = {"type": "LimitExceeded", "text": text, "line": None, "trace": [], "limit": "frame_mb"}
                return frame({"end": {"value": None, "error": told, "printed": 0}})
            return frame({"end": {"value": answer["value"], "error": None, "printed": 0}})
        text = f"{answer['value']}\n"
        return frame({"out": text}) + frame({"end": {"value": None, "error": None, "printed": len(text)}})

    def _say(self, data: bytes) -> None:
        with self._changed:
            self._out.append(data)
            self._changed.notify_all()
        self._arrived.set()

    def receive(self, timeout: float | None) -> bytes | None:
        """Return the next frames; see `Guest.receive`."""
        with self._changed:
            self._changed.wait_for(lambda: self._out or self._woken or self._killed, timeout)
            if self._woken:
                self._woken = False
                return None
            if self._out:
                return self._out.popleft()
            return b"" if self._killed else None

    def wake(self) -> None:
        """Make the running or the next `receive` or `areceive` return None at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()
        self._arrived.set()

    async def asend(self, data: bytes, timeout: float | None) -> None:
        """The awaitable twin of `send`."""
        self.send(data, timeout)

    async def areceive(self) -> bytes | None:
        """Return the next frames, b"" or None; see `Guest.areceive`."""
        while not self._out and not self._woken and not self._killed:
            self._arrived.clear()
            await self._arrived.wait()
        if self._woken:
            self._woken = False
            return None
        return b"" if self._killed else self._out.popleft()

    def cpu_seconds(self) -> float:
        """Return 0.0: nothing runs but the tool."""
        return 0.0

    def kill(self) -> None:
        """Let go of whoever waits."""
        with self._changed:
            self._killed = True
            self._changed.notify_all()

    def lost(self) -> bool:
        """Return False: there is no sandbox to lose."""
        return False
