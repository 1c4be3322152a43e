"""A guest that is no process: a program that is exactly one tool call.

It speaks the frames a sandboxed guest would speak for the same program, so the gate, the journal, approvals and the
outcome cannot tell the two apart.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Literal

from callgate.codec import JSON, decode, encode, quote
from callgate.limits import Limits
from callgate.room import CALL_COPIES, kept_size, most_of, room_of, size_within
from callgate.sandboxes.base import HEADER, frame

__all__ = ["DirectGuest"]

_ENVELOPE = 104
"""Bytes of a frame that a sandboxed guest reserves beside a value without an error."""
_PARCEL = 1 << 14
"""Characters that it prints with one frame."""
_ROOM = 1000
"""Bytes that it leaves free when it asks whether the host can take a value."""
_TOO_LONG = "the program's value takes {:,} bytes, it may take {:,}"
_TOO_MUCH = (
    "the program's value takes {:,} bytes, and more of the host's memory than frame_mb leaves it; "
    "end with less, or with one text in place of many values"
)


class DirectGuest:
    """The `Guest` of a program that is one call.

    Args:
        tool: its tool's name.
        arguments: its arguments.
        line: of the program, named where the call fails.
        show: whether the result is the program's value or is printed.
        limits: of the action.
    """

    def __init__(
        self, *, tool: str, arguments: dict[str, JSON], line: int, show: Literal["value", "print"], limits: Limits
    ) -> None:
        self._tool, self._arguments, self._line, self._show = tool, arguments, line, show
        self._limits = limits
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
            value, most = encode(answer["value"]), most_of(self._limits.frame_mb) - _ENVELOPE
            if len(value) > most or size_within(value, self._room()) is None:
                text = _TOO_MUCH if len(value) <= most else _TOO_LONG
                told = {"type": "LimitExceeded", "text": text.format(len(value), most), "line": None, "trace": []}
                return frame({"end": {"value": None, "error": {**told, "limit": "frame_mb"}, "printed": 0}})
            return frame({"end": {"value": answer["value"], "error": None, "printed": 0}})
        text = f"{answer['value']}\n"
        seen = text[: self._limits.output_kb << 10]
        pieces = [frame({"out": seen[start : start + _PARCEL]}) for start in range(0, len(seen), _PARCEL)]
        return b"".join((*pieces, frame({"end": {"value": None, "error": None, "printed": len(text)}})))

    def _room(self) -> int:
        """Return what the call has left of the host's memory for a value."""
        size = len(encode(self._arguments)) + len(quote(self._tool)) + 50
        return room_of(self._limits.frame_mb) - kept_size(size, CALL_COPIES) - _ROOM

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
