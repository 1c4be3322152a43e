"""What every sandbox offers, and the frames a guest and a host exchange.

A frame is four bytes of big-endian length and that many bytes of ASCII JSON, one object, its kind named by a key:

    guest -> host   {"call": n, "tool": name, "args": {...}}       ask for a tool; n counts from 1
                    {"drop": n}                                     the program no longer waits for call n
                    {"out": text}                                   printed text
                    {"rest": t}                                     no strand can run; t is the earliest timer or null
                    {"end": {"value", "error", "printed"}}          the program is over
    host -> guest   {"run": {...}}                                  first and once: program, tools, seed, wall, limits
                    {"answer": n, "at": t, "value": JSON}           or "error": {"type", "text", ...} for "value"
                    {"clock": t, "wall": w}                         the program's clock is now t; w = wall time minus t

Times are seconds of the program's own clock, which starts at 0. A guest is at rest between its `rest` and the one
event, `answer` or `clock`, that the host hands it. The channel carries no authority: a host believes no frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from callgate.codec import JSON, NotJSON, decode, encode, is_object
from callgate.limits import Limits

__all__ = [
    "BadFrame",
    "CallFrame",
    "DropFrame",
    "EndFrame",
    "Frame",
    "Frames",
    "Guest",
    "OutFrame",
    "RestFrame",
    "Sandbox",
    "answer",
    "frame",
]

HEADER = 4


class CallFrame(NamedTuple):
    """The program asks for a tool."""

    n: int
    tool: str
    args: dict[str, JSON]


class DropFrame(NamedTuple):
    """The program gave up on call n."""

    n: int


class OutFrame(NamedTuple):
    """The program printed."""

    text: str


class RestFrame(NamedTuple):
    """No strand of the program can run."""

    until: float | None
    """The program time of its earliest timer, in seconds, or None."""


class EndFrame(NamedTuple):
    """The program is over."""

    value: JSON
    error: dict[str, JSON] | None
    """None, or {"type", "text", "line", "trace": [[line, function], ...]} with missing parts None."""
    printed: int
    """Characters the program printed, also those that never left the guest."""


Frame = CallFrame | DropFrame | OutFrame | RestFrame | EndFrame


class BadFrame(ValueError):
    """A guest sent something that is no frame. Carries the limit it broke, if it broke one."""

    def __init__(self, message: str, *, limit: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class Frames:
    """Cuts a guest's bytes into frames, believing none of them."""

    def __init__(self, frame_mb: int) -> None:
        self._most = frame_mb << 20
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that data completes.

        Raises:
            BadFrame: for a frame above the bound, before its body is read, or of another form than the module says.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER:
                size = int.from_bytes(buffer[start : start + HEADER], "big")
                if size > self._most:
                    raise BadFrame(f"a frame of {size:,} bytes, the limit is {self._most:,}", limit="frame_mb")
                stop = start + HEADER + size
                if len(buffer) < stop:
                    break
                body = bytes(buffer[start + HEADER : stop])
                start = stop
                yield _parse(body)
        finally:
            del buffer[:start]


def _parse(body: bytes) -> Frame:
    try:
        fields = decode(body)
    except NotJSON as error:
        raise BadFrame(str(error)) from None
    for kind in fields if is_object(fields) else ():
        if kind in _PARSERS and (parsed := _PARSERS[kind](fields)) is not None:
            return parsed
    raise BadFrame("a frame of unknown form")


def _whole(number: object) -> bool:
    return type(number) is int


def _call(fields: dict[str, JSON]) -> Frame | None:
    n, tool, args = fields["call"], fields.get("tool"), fields.get("args")
    if _whole(n) and isinstance(tool, str) and isinstance(args, dict) and "\\ud" not in ascii(tool):
        return CallFrame(n=n, tool=tool, args=args)
    return None


def _rest(fields: dict[str, JSON]) -> Frame | None:
    until = fields["rest"]
    if until is None or type(until) in (int, float):
        return RestFrame(until=None if until is None else float(until))
    return None


def _out(fields: dict[str, JSON]) -> Frame | None:
    return OutFrame(text=fields["out"]) if isinstance(fields["out"], str) else None


def _drop(fields: dict[str, JSON]) -> Frame | None:
    return DropFrame(n=fields["drop"]) if _whole(fields["drop"]) else None


def _end(fields: dict[str, JSON]) -> Frame | None:
    end = fields["end"]
    if is_object(end) and "value" in end and _whole(end.get("printed")):
        error = end.get("error")
        if error is None or is_object(error):
            return EndFrame(value=end["value"], error=error, printed=end["printed"])
    return None


_PARSERS: dict[str, Callable[[dict[str, JSON]], Frame | None]] = {
    "call": _call,
    "rest": _rest,
    "out": _out,
    "drop": _drop,
    "end": _end,
}


def answer(n: int, at: float, value: str) -> bytes:
    """Return the frame that answers call n; value is canonical JSON text."""
    return _framed(f'{{"answer":{n},"at":{at!r},"value":{value}}}')


def frame(fields: dict[str, JSON]) -> bytes:
    """Return one frame of fields."""
    return _framed(encode(fields))


def _framed(body: str) -> bytes:
    data = body.encode("ascii")
    return len(data).to_bytes(HEADER, "big") + data


class Guest(Protocol):
    """One fresh process that runs one program. Used by one driver, from one thread or one event loop at a time.

    `wake` and `kill` may come from any thread.
    """

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send whole frames. Returns silently when the guest is gone; `receive` will say so.

        Raises:
            TimeoutError: if the guest does not take them within timeout seconds.
        """
        ...

    def receive(self, timeout: float | None) -> bytes | None:
        """Return the next bytes; b"" when the guest is gone; None after timeout seconds or a `wake`."""
        ...

    def wake(self) -> None:
        """Make the running or the next `receive` return None at once."""
        ...

    async def asend(self, data: bytes, timeout: float | None) -> None:
        """The awaitable twin of `send`."""
        ...

    async def areceive(self) -> bytes:
        """Return the next bytes; b"" when the guest is gone. Cancelling it loses nothing."""
        ...

    def cpu_seconds(self) -> float:
        """Return the processor time used so far; 0.0 where it cannot be known."""
        ...

    def kill(self) -> None:
        """End the guest and everything it started. Does nothing the second time."""
        ...

    def lost(self) -> bool:
        """Say whether the sandbox itself went away, rather than this one guest."""
        ...


@runtime_checkable
class Sandbox(Protocol):
    """Where programs run. Many threads and event loops may share one."""

    @property
    def name(self) -> str:
        """What the journal's header calls it: "local", "e2b", "fake"."""
        ...

    @property
    def level(self) -> str:
        """The isolation that is proven, for the journal's header."""
        ...

    def start(self, limits: Limits) -> Guest:
        """Return a fresh guest.

        Raises:
            SandboxUnavailable: if this host cannot isolate it.
            SandboxLost: if the sandbox went away.
        """
        ...

    async def astart(self, limits: Limits) -> Guest:
        """The awaitable twin of `start`."""
        ...

    def close(self) -> None:
        """End every guest and give everything back. Does nothing the second time."""
        ...
