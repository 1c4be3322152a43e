"""What every sandbox offers, and the frames a guest and a host exchange.

A frame is four bytes of big-endian length and that many bytes of printable ASCII: JSON, one object, its kind named by
a key, and no further keys:

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
guest sends at most `MOST_FILES` files, each in one frame, together at most `Limits.disk_mb`, and as far as
`callgate.room` has room for them. `why` is "large" (for a frame), "room" (together they would be too large), "many",
"kind" (no regular file) or "unreadable".
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from callgate.codec import JSON, encode
from callgate.limits import Limits

__all__ = [
    "CallFrame",
    "DropFrame",
    "EndFrame",
    "FileFrame",
    "Frame",
    "Guest",
    "Left",
    "OutFrame",
    "RestFrame",
    "Sandbox",
    "answer",
    "frame",
]

HEADER = 4
MOST_FILES = 100
"""Files that a program may leave."""
MOST_LEFT = 20
"""Files that a guest names without sending them; it counts the others."""
TEXT_CHARS = 8_100
"""Characters of an error's text that a guest can make the host look at."""


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
        """Return the processor time used so far, in seconds; 0.0 where it cannot be known.

        Of a guest that is gone by itself, the most that it can have used.
        """
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
