"""What a guest sends, cut into frames. None of it is believed.

A frame is refused before its body is there if its length alone says so, and before it is parsed if what is in it would
take more memory than the action has room for; see `callgate.room`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import fields

from callgate.codec import JSON, NotJSON, decode, is_array, is_object
from callgate.limits import Limits
from callgate.room import CALL_COPIES, FLOOR, LEAST, kept_size, most_of, room_of, size_within
from callgate.sandboxes.base import (
    HEADER,
    MOST_LEFT,
    TEXT_CHARS,
    CallFrame,
    DropFrame,
    EndFrame,
    FileFrame,
    Frame,
    Left,
    OutFrame,
    RestFrame,
)

__all__ = ["BadFrame", "Frames"]

KEYS = {"call": 3, "file": 2}
"""Number of keys of a frame, by its kind, where it is not 1."""
MOST_KEYS = max(KEYS.values())
COPIES: dict[type, int] = {CallFrame: CALL_COPIES, DropFrame: 0, OutFrame: 0, RestFrame: 0}
"""How often the host keeps a frame's text, where that is not once. How much of those that are not kept there is, is
bounded by what the gate lets a guest say."""
NAME_CHARS = 200
"""Characters of a tool's, a function's or an exception's name that a guest can make the host look at."""
PATH_CHARS = 1_000
"""Characters of a file's name that a guest can make the host look at."""
TRACE_FRAMES = 40
LIMIT_NAMES = frozenset(field.name for field in fields(Limits))
REASONS = ("large", "room", "many", "kind", "unreadable")
"""Why a file is not sent."""
_MOST = 1 << 53
"""Numbers above it are no counts and no times."""


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
        self._most = most_of(frame_mb)
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
            if self._room < 0 and not isinstance(parsed, EndFrame):
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
