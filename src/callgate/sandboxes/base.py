"""What every sandbox offers, and the frames a guest and a host exchange.

A frame is four bytes of big-endian length and that many bytes of ASCII JSON, one object, its kind named by a key:

    guest -> host   {"call": n, "tool": name, "args": {...}}       ask for a tool; n counts from 1
                    {"drop": n}                                     the program no longer waits for call n
                    {"out": text}                                   printed text
                    {"rest": t}                                     no strand can run; t is the earliest timer or null
                    {"file": name, "data": base64}                  a file below /out; only others and `end` follow
                    {"end": {"value", "error", "printed", ...}}     the program is over; "left": [[name, size, why]...]
                                                                    and "more": [n, size] are files it did not send
    host -> guest   {"run": {...}}                                  first and once: program, tools, seed, wall, limits
                    {"answer": n, "at": t, "value": JSON}           or "error": {"type", "text", ...} for "value"
                    {"clock": t, "wall": w}                         the program's clock is now t; w = wall time minus t

Times are seconds of the program's own clock, which starts at 0. A guest is at rest between its `rest` and the one
event, `answer` or `clock`, that the host hands it. The channel carries no authority: a host believes no frame.

The files come when the program is over, just before `end`. A name is a path below /out, its parts joined by "/". A
guest sends at most `MOST_FILES` files, each in one frame, together at most `Limits.disk_mb`, and within what
`FRAMES_BUDGET` leaves. `why` is "large" (for a frame), "room" (together they would be too large), "many", "kind" (no
regular file) or "unreadable".
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import NamedTuple, Protocol, runtime_checkable

from callgate.codec import JSON, NotJSON, decode, encode, is_array, is_object
from callgate.limits import Limits

__all__ = [
    "BadFrame",
    "CallFrame",
    "DropFrame",
    "EndFrame",
    "FileFrame",
    "Frame",
    "Frames",
    "Guest",
    "Left",
    "OutFrame",
    "RestFrame",
    "Sandbox",
    "answer",
    "frame",
]

HEADER = 4
FRAMES_BUDGET = 8
"""How many times `Limits.frame_mb` a guest may send in all: what it sends is held, and kept, by the host."""
MOST_FILES = 100
"""Files that a program may leave."""
MOST_LEFT = 20
"""Files that a guest names without sending them; it counts the others."""
PATH_CHARS = 1_000
"""Characters of a file's name that a guest can make the host look at."""
NAME_CHARS = 200
"""Characters of a tool's, a function's or an exception's name that a guest can make the host look at."""
TEXT_CHARS = 8_100
"""Characters of an error's text, likewise."""
TRACE_FRAMES = 40
LIMIT_NAMES = frozenset(field.name for field in fields(Limits))
REASONS = ("large", "room", "many", "kind", "unreadable")
"""Why a file is not sent."""
_MOST = 1 << 53
"""Numbers above it are no counts and no times."""


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


class FileFrame(NamedTuple):
    """A file the program left."""

    name: str
    """As the guest tells it: nothing to make a path of."""
    data: bytes


class Left(NamedTuple):
    """A file that a guest did not send."""

    name: str
    size: int
    """In bytes."""
    why: str
    """large | room | many | kind | unreadable"""


class EndFrame(NamedTuple):
    """The program is over."""

    value: JSON
    error: dict[str, JSON] | None
    """None, or {"type", "text", "line", "trace": [[line, function], ...]} with missing parts None."""
    printed: int
    """Characters the program printed, also those that never left the guest."""
    left: tuple[Left, ...] = ()
    """Files it did not send."""
    more: tuple[int, int] = (0, 0)
    """How many others it did not send either, and their bytes together."""


Frame = CallFrame | DropFrame | OutFrame | RestFrame | FileFrame | EndFrame


class BadFrame(ValueError):
    """A guest sent something that is no frame. Carries the limit it broke, if it broke one."""

    def __init__(self, message: str, *, limit: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class Frames:
    """Cuts a guest's bytes into frames, believing none of them."""

    def __init__(self, frame_mb: int) -> None:
        self._most = frame_mb << 20
        self._left = self._most * FRAMES_BUDGET
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that data completes.

        Raises:
            BadFrame: for a frame above the bound, before its body is read, or of another form than the module says.
        """
        self._left -= len(data)
        if self._left < 0:
            raise BadFrame("the guest sent more than an action may", limit="frame_mb")
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
        given = decode(body)
    except NotJSON as error:
        raise BadFrame(str(error)) from None
    for kind in given if is_object(given) else ():
        if kind in _PARSERS and (parsed := _PARSERS[kind](given)) is not None:
            return parsed
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


def _file(fields: dict[str, JSON]) -> Frame | None:
    name, data = fields["file"], fields.get("data")
    if not isinstance(name, str) or not isinstance(data, str):
        return None
    try:
        return FileFrame(name=_clean(name, PATH_CHARS), data=binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        return None


def _end(fields: dict[str, JSON]) -> Frame | None:
    end = fields["end"]
    if not is_object(end) or "value" not in end or not _whole(end.get("printed"), 0):
        return None
    error = end.get("error")
    if error is not None and not is_object(error):
        return None
    return EndFrame(
        value=end["value"],
        error=_error(error) if error else None,
        printed=end["printed"],
        left=_left(end.get("left")),
        more=_more(end.get("more")),
    )


def _left(given: JSON) -> tuple[Left, ...]:
    """Return the files a guest names without sending them, as far as they have the form they should have."""
    return tuple(
        Left(name=_clean(one[0], PATH_CHARS), size=one[1], why=one[2])
        for one in (given[:MOST_LEFT] if is_array(given) else ())
        if is_array(one) and len(one) == 3 and _whole(one[1], 0) and one[2] in REASONS
    )


def _more(given: JSON) -> tuple[int, int]:
    if is_array(given) and len(given) == 2 and all(_whole(number, 0) for number in given):
        return given[0], given[1]
    return 0, 0


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
    return {**error, "limit": limit} if isinstance(limit, str) and limit in LIMIT_NAMES else error


_PARSERS: dict[str, Callable[[dict[str, JSON]], Frame | None]] = {
    "call": _call,
    "rest": _rest,
    "out": _out,
    "drop": _drop,
    "file": _file,
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
            LimitExceeded: with limit "guests", if as many guests as it may have are alive, and none ends in time.
        """
        ...

    async def astart(self, limits: Limits) -> Guest:
        """The awaitable twin of `start`."""
        ...

    def close(self) -> None:
        """End every guest and give everything back. Does nothing the second time."""
        ...
