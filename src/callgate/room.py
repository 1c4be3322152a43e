"""How much of the host's memory the text of a guest takes, known before it is parsed.

Two bytes of JSON can become a hundred bytes of lists, and a string of sixteen million characters four times as much.
So a host counts what is in a text, which costs no memory, and parses nothing it has no room for. A guest counts by the
same rules what it is about to send; a program that would pass them gets an exception it can catch.

An action's room is `ROOM` times the size of a frame. In it are the calls a guest has sent, as the journal and the
outcome keep them, the arguments of those that run, as their tools have them, and the frame in hand with its copies. The
module needs only the standard library: it also runs inside the guest.
"""

from __future__ import annotations

import re

__all__ = [
    "CALL_COPIES",
    "COPIES",
    "FLOOR",
    "LEAST",
    "MARGIN",
    "kept_size",
    "most_of",
    "parsed_size",
    "room_of",
    "size_within",
    "width",
]

ROOM = 3.5
"""How many times `Limits.frame_mb` of the host's memory all that a guest sends may take."""

COPIES = 4
"""A text as it arrived, its parts while it is written again, what is then kept, and what the allocator gives back late.
"""

CALL_COPIES = 3
"""A call's text in the journal and in the outcome, and what the allocator cannot give back between such texts."""

LEAST = COPIES + 1
"""Bytes of memory without which there is no room for a byte of text."""

MARGIN = 4096
"""Bytes of memory for what is in a frame besides its one large text."""

LIST, DICT, ITEM, KEY, NEW_KEY, TEXT = 98, 170, 60, 20, 110, 32
"""Bytes for a list, a dict, each item of one, each key, the first of equal keys, and each string, its characters aside.

Bounds of what was measured with CPython 3.11 and 3.13 on 64 bits, with what a dict takes while it grows, what the
parser remembers, and numbers that have a longer canonical text.
"""

FLOOR = 2 << 20
"""Bytes of memory that a frame may take whatever room there is: a guest must be able to end."""

LITTLE = 3 << 20
"""Bytes of memory up to which an estimate will do that is several times too high."""

SMALL = 4096
"""Bytes of a text that nobody measures."""

FREE = 512
"""Bytes of a frame that are not counted when it is kept: `Limits.calls` bounds how many there are."""

_STRING = re.compile(r'"(?:((?:[^"\\]++|\\.)*+)"(?=:)|(?:[^"\\]++|\\.)*+")')
"""A key, its text as the group, or another string."""
_WHOLE = re.compile(r'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+')
"""Text that ends inside no string."""
_WINDOW = 1 << 18
"""Bytes looked at together."""


def room_of(frame_mb: int) -> int:
    """Return how many bytes of the host's memory all that a guest sends may take."""
    return int(ROOM * (frame_mb << 20))


def most_of(frame_mb: int) -> int:
    """Return how many bytes a frame of a guest may have: for plain text of that length there is room."""
    return (room_of(frame_mb) - MARGIN) // LEAST


def kept_size(size: int, copies: int) -> int:
    """Return how many bytes a frame of that size takes as long as it is kept."""
    return copies * max(0, size - FREE)


def size_within(text: str, room: int) -> int | None:
    """Return how many bytes the value of a JSON text takes at most, parsed; 0 where that is little.

    Returns None where room, in bytes, is too small for it and for the copies of the text that are made on the way.
    """
    if len(text) <= SMALL:
        return 0
    left = max(room, FLOOR) - COPIES * len(text)
    size = parsed_size(text, min(LITTLE, left), left)
    return size if size <= left else None


def parsed_size(text: str, roughly: int, enough: int) -> int:
    """Return how many bytes the value of a JSON text takes at most, while and after it is parsed.

    Args:
        text: JSON, or not: it is only counted.
        roughly: up to here, an estimate that is too high will do.
        enough: counting ends above it, at any figure.
    """
    size = width(text) * len(text)
    most = size + _structure(text) + NEW_KEY * text.count(":") + TEXT * (text.count('"') // 2)
    if most <= max(roughly, min(2 * size, enough)) or size > enough:
        return most
    # A closer look: punctuation in strings is no structure, and rows repeat their keys.
    keys: set[str] = set()
    at = 0
    while at < len(text) and size <= enough:
        part = _WHOLE.match(text, at, at + _WINDOW)
        if part is not None and part[0]:
            strings, rest = _STRING.findall(part[0]), _STRING.sub("", part[0])
            keys.update(strings)
            size += _structure(rest) + TEXT * (len(strings) - rest.count(":"))
        elif (part := _STRING.match(text, at)) is not None:  # longer than a window
            size += TEXT + KEY + NEW_KEY
        else:
            break  # a string that does not end: no JSON
        at = part.end()
    return size + (TEXT + NEW_KEY) * len(keys)


def width(text: str) -> int:
    """Return how many bytes a character takes in the widest string of a JSON text."""
    return 4 if "\\ud" in text or "\\uD" in text else 2 if "\\u" in text else 1


def _structure(text: str) -> int:
    return LIST * text.count("[") + DICT * text.count("{") + ITEM * text.count(",") + KEY * text.count(":")
