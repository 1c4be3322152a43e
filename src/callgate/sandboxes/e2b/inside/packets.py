"""Packets over a wire that loses, repeats and tears: numbered lines, acknowledged, and sent again until they are.

A packet is one line of ASCII, `crc kind number ack text`: the CRC-32 of the rest in hexadecimal, a letter, a number
that counts the numbered packets of this direction from 1 (0 for those that are not numbered), the last number that
arrived in order from the other side, and text without line breaks. A line that is torn does not fit its sum and counts
as lost; one that comes again is known by its number. Nothing is sent again by a timer: after a `HELLO` with the last
number that arrived, the other side sends whatever is missing.

    h text   both ways: "we begin anew on this wire", text says which time; answered with the same text, and resent
    a bytes  both ways: only the acknowledgement; from the relay with the bytes that the guest has not taken yet
    d text   numbered, both ways: bytes of the guest's channel, as base64
    f text   numbered, both ways: bytes of the guest's channel in a file, "path size"
    p        to the relay: answered with `p seconds`, the guest's processor time
    x        to the relay: end the guest, and yourself
    r text   numbered, from the relay, first: the guest is there; JSON
    e text   numbered, from the relay, last: the guest is gone; JSON
"""

from __future__ import annotations

import json
from binascii import Error, a2b_base64, b2a_base64
from collections import deque
from typing import Any, NamedTuple
from zlib import crc32

HELLO, ACK, DATA, FILE, PING, QUIT, READY, ENDED = "h", "a", "d", "f", "p", "x", "r", "e"
NUMBERED = (DATA, FILE, READY, ENDED)

PIECE = 1 << 16
"""Bytes of the channel in one packet."""
BY_FILE = 1 << 18
"""Bytes from which on a frame goes by file."""
LONGEST = 1 << 18
"""Bytes of a line; one that is longer counts as torn before its end is there."""
EXCHANGE = "callgate-exchange"
"""Where such files lie, below the relay's working directory."""


class Packet(NamedTuple):
    """One line that arrived whole."""

    kind: str
    number: int
    ack: int
    text: str


def write(kind: str, number: int, ack: int, text: str = "") -> bytes:
    """Return a packet as a line."""
    body = f"{kind} {number} {ack} {text}".encode("ascii")
    return b"%08x %b\n" % (crc32(body), body)


def read(line: bytes) -> Packet | None:
    """Read a line; None where it is torn."""
    total, _, body = line.partition(b" ")
    try:
        if len(total) != 8 or int(total, 16) != crc32(body):
            return None
        kind, number, ack, text = body.decode("ascii").split(" ", 3)
        return Packet(kind, int(number), int(ack), text)
    except ValueError:
        return None


def pack(data: bytes | bytearray | memoryview) -> str:
    """Return bytes as the text of a packet."""
    return b2a_base64(data, newline=False).decode("ascii")


def unpack(text: str) -> bytes:
    """Return the bytes of a packet's text; none where it holds none."""
    try:
        return a2b_base64(text)
    except Error:
        return b""


def file_of(text: str, most: int) -> tuple[str, int] | None:
    """Return path and size of a `FILE`; None where no such file is exchanged."""
    path, _, size = text.rpartition(" ")
    fits = size.isdecimal() and len(size) < 16 and int(size) <= most
    return (path, int(size)) if fits and path.startswith(f"{EXCHANGE}/") and ".." not in path else None


def told(text: str) -> dict[str, Any] | None:
    """Return the JSON object of a `READY` or an `ENDED`, with its "cpu" as a number; None where it is none."""
    try:
        found: dict[str, Any] = dict(json.loads(text))
        return {**found, "cpu": float(found.get("cpu", 0.0))}
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


class Lines:
    """Cuts what arrives into packets."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that data completes."""
        *lines, rest = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = rest if len(rest) <= LONGEST else b""
        return [packet for line in lines if (packet := read(line)) is not None]


class Window:
    """What one side has sent and not yet been told to have arrived, and what has arrived from the other."""

    def __init__(self) -> None:
        self.sent = 0
        """Number of the last packet."""
        self.got = 0
        """Number of the last packet that arrived in order."""
        self.unheard = 0
        """Bytes that are not acknowledged."""
        self._kept: deque[tuple[int, str, str, int]] = deque()

    def number(self, kind: str, text: str, size: int) -> bytes:
        """Return the line of a new packet, which counts for size bytes until it is acknowledged."""
        self.sent += 1
        self.unheard += size
        self._kept.append((self.sent, kind, text, size))
        return write(kind, self.sent, self.got, text)

    def plain(self, kind: str, text: str = "") -> bytes:
        """Return the line of a packet without a number."""
        return write(kind, 0, self.got, text)

    def heard(self, ack: int) -> None:
        """Let go of what has arrived."""
        kept = self._kept
        while kept and kept[0][0] <= ack:
            self.unheard -= kept.popleft()[3]

    def missing(self) -> list[bytes]:
        """Return once more the lines of everything that has not been acknowledged."""
        return [write(kind, number, self.got, text) for number, kind, text, _ in self._kept]

    def next(self, number: int) -> bool:
        """Say whether a numbered packet is the next one; then it counts as arrived."""
        if number != self.got + 1:
            return False
        self.got = number
        return True
