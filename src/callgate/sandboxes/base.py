"""What every sandbox offers, and the frames a guest and a host exchange.

A frame is four bytes of big-endian length and that many bytes of printable ASCII: JSON, one object, its kind named by
a key, and no further keys:

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
from dataclasses import fields
from typing import NamedTuple, Protocol, runtime_checkable

from callgate.codec import JSON, NotJSON, decode, encode, is_array, is_object
from callgate.limits import Limits
from callgate.room import FLOOR, LEAST, kept_size, room_of, size_within

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
KEYS = {"call": 3, "file": 2}
"""Number of keys of a frame, by its kind, where it is not 1."""
MOST_KEYS = max(KEYS.values())
NAME_CHARS = 200
"""Characters of a tool's, a function's or an exception's name that a guest can make the host look at."""
TEXT_CHARS = 8_100
"""Characters of an error's text, likewise."""
TRACE_FRAMES = 40
LIMIT_NAMES = frozenset(field.name for field in fields(Limits))
_MOST = 1 << 53
"""Numbers above it are no counts and no times."""


class CallFrame(NamedTuple):
    """The program asks for a tool."""

    n: int
    tool: str
    args: dict[str, JSON]
    size: int = 0
    """Bytes that the arguments take at most, parsed; 0 where that is little."""


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
COPIES: dict[type, int] = {CallFrame: 2, DropFrame: 0, OutFrame: 0, RestFrame: 0}
"""How often the host keeps a frame's text, where that is not once: a call's in the journal and in the outcome; how much
of the others there is, is bounded by what the gate lets a guest say."""


class BadFrame(ValueError):
    """A guest sent something that is no frame. Carries the limit it broke, if it broke one."""

    def __init__(self, message: str, *, limit: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class Frames:
    """Cuts a guest's bytes into frames, believing none of them.

    What is kept of them, and the one in hand while it is parsed, take at most `room_of(frame_mb)` of the host's
    memory: nothing is read that would take more.

    Args:
        frame_mb: of the action's limits.
    """

    def __init__(self, frame_mb: int) -> None:
        self._most = frame_mb << 20
        self._room = room_of(frame_mb)
        self._buffer = bytearray()

    def feed(self, data: bytes, busy: int = 0) -> Iterator[Frame]:
        """Yield the frames that data completes.

        Args:
            data: what the guest sent.
            busy: bytes that the arguments of running and waiting calls take now.

        Raises:
            BadFrame: for a frame above a bound, before it is parsed or, if its size alone says so, before it is there;
                for a frame of another form than the module says.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER:
            size = int.from_bytes(buffer[:HEADER], "big")
            if size > self._most:
                raise BadFrame(f"a frame of {size:,} bytes, the limit is {self._most:,}", limit="frame_mb")
            if size > max(self._room - busy, FLOOR) // LEAST:
                raise BadFrame(f"a frame of {size:,} bytes, for which there is no memory left", limit="frame_mb")
            stop = HEADER + size
            if len(buffer) < stop:
                break
            text = _text_of(buffer, stop)
            del buffer[:stop]
            takes = size_within(text, self._room - busy)
            if takes is None:
                raise BadFrame(f"a frame of {size:,} bytes, for which there is not enough memory", limit="frame_mb")
            parsed = _parse(text, takes)
            del text
            self._room -= kept_size(size, COPIES.get(type(parsed), 1))
            if self._room < 0 and isinstance(parsed, CallFrame):
                raise BadFrame("the guest sent more than an action may", limit="frame_mb")
            yield parsed
            del parsed  # or it would be held while the next one is parsed


def _text_of(buffer: bytearray, stop: int) -> str:
    """Return the text of the first frame. JSON writes whatever is not printable ASCII as escapes."""
    with memoryview(buffer) as view:
        try:
            text = str(view[HEADER:stop], "ascii")
        except UnicodeDecodeError:
            raise BadFrame("a frame that is not ASCII") from None
    if not text.isprintable():
        raise BadFrame("a frame with control characters")
    return text


def _parse(text: str, takes: int) -> Frame:
    try:
        given = decode(text)
    except NotJSON as error:
        raise BadFrame(str(error)) from None
    for kind in given if is_object(given) and len(given) <= MOST_KEYS else ():
        if kind in _PARSERS and len(given) == KEYS.get(kind, 1) and (parsed := _PARSERS[kind](given)) is not None:
            return parsed._replace(size=takes) if takes and isinstance(parsed, CallFrame) else parsed
    raise BadFrame("a frame of unknown form")


def _whole(number: object, least: int, most: int = _MOST) -> bool:
    return type(number) is int and least <= number <= most


def _clean(text: object, most: int) -> str:
    """Return text cut, and without what UTF-8 cannot carry."""
    return text[:most].encode(errors="replace").decode() if isinstance(text, str) else ""


def _call(fields: dict[str, JSON]) -> Frame | None:
    n, tool, args = fields["call"], fields.get("tool"), fields.get("args")
    if _whole(n, 1) and isinstance(tool, str) and isinstance(args, dict):
        return CallFrame(n=n, tool=_clean(tool, NAME_CHARS), args=args)
    return None


def _rest(fields: dict[str, JSON]) -> Frame | None:
    until = fields["rest"]
    if until is None:
        return RestFrame(until=None)
    if type(until) in (int, float) and 0 <= until <= _MOST:
        return RestFrame(until=float(until))
    return None


def _out(fields: dict[str, JSON]) -> Frame | None:
    text = fields["out"]
    return OutFrame(text=_clean(text, len(text))) if isinstance(text, str) and text else None


def _drop(fields: dict[str, JSON]) -> Frame | None:
    return DropFrame(n=fields["drop"]) if _whole(fields["drop"], 1) else None


def _end(fields: dict[str, JSON]) -> Frame | None:
    end = fields["end"]
    if not is_object(end) or "value" not in end or not _whole(end.get("printed"), 0):
        return None
    error = end.get("error")
    if error is not None and not is_object(error):
        return None
    return EndFrame(value=end["value"], error=_error(error) if error else None, printed=end["printed"])


def _error(given: dict[str, JSON]) -> dict[str, JSON]:
    """Return what a guest says of an error, as far as it has the form it should have."""
    line, trace, limit = given.get("line"), given.get("trace"), given.get("limit")
    error: dict[str, JSON] = {
        "type": _clean(given.get("type"), NAME_CHARS) or "Exception",
        "text": _clean(given.get("text"), TEXT_CHARS),
        "line": line if _whole(line, 1) else None,
        "trace": [
            [frame[0], _clean(frame[1], NAME_CHARS)]
            for frame in (trace[:TRACE_FRAMES] if is_array(trace) else ())
            if is_array(frame) and len(frame) == 2 and _whole(frame[0], 1)
        ],
    }
    return {**error, "limit": limit} if limit in LIMIT_NAMES else error


_PARSERS: dict[str, Callable[[dict[str, JSON]], Frame | None]] = {
    "call": _call,
    "rest": _rest,
    "out": _out,
    "drop": _drop,
    "end": _end,
}


def answer(n: int, at: float, value: str) -> bytes:
    """Return the frame that answers call n; value is canonical JSON text."""
    return _framed(f'{{"answer":{n},"at":{at!r},"value":'.encode("ascii"), value.encode("ascii"), b"}")


def frame(fields: dict[str, JSON]) -> bytes:
    """Return one frame of fields."""
    return _framed(encode(fields).encode("ascii"))


def _framed(*parts: bytes) -> bytes:
    return b"".join((sum(map(len, parts)).to_bytes(HEADER, "big"), *parts))


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
        """Make the running or the next `receive` or `areceive` return None at once."""
        ...

    async def asend(self, data: bytes, timeout: float | None) -> None:
        """The awaitable twin of `send`."""
        ...

    async def areceive(self) -> bytes | None:
        """Return the next bytes; b"" when the guest is gone; None after a `wake`. Cancelling it loses nothing."""
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
