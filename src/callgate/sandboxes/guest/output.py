"""What a program prints: standard output and standard error, in order, up to a limit."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable
from typing import Any

from .baton import baton

FLOOD = 16  # times the limit: what a program may print until it is ended


class Output(io.TextIOBase):
    """A text stream to the host. What comes after the limit is counted and dropped."""

    encoding, errors, newlines, mode = "utf-8", "replace", None, "w"

    def __init__(self, most: int, name: str, counter: Counter) -> None:
        super().__init__()
        self.name = name
        self._most = most
        self._counter = counter

    def write(self, text: Any, /) -> int:
        """Print text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        size = len(text)
        counter = self._counter
        room = self._most - counter.printed
        counter.printed += size
        if room >= size:
            if size:
                baton.channel.print(text)
            return size
        if room > 0:
            baton.channel.print(text[:room])
        if counter.printed > FLOOD * self._most and counter.flooded is not None:
            counter.flooded()
        return size

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Raise: there is none."""
        raise io.UnsupportedOperation("the output of a program is no file")

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The stream for bytes, UTF-8."""
        return _Bytes(self)

    def flush(self) -> None:
        """Send what was printed."""
        if not baton.channel.resting:
            baton.channel.flush()

    def close(self) -> None:
        """Do nothing: whatever is printed afterwards still counts."""


class Counter:
    """Characters printed so far, over both streams."""

    __slots__ = ("flooded", "printed")

    def __init__(self) -> None:
        self.printed = 0
        self.flooded: Callable[[], object] | None = None
        """Ends a program that prints without end."""


class _Bytes(io.BufferedIOBase):
    def __init__(self, text: Output) -> None:
        super().__init__()
        self._text = text
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._text.write(self._decode(bytes(data)))
        return len(data)

    def writable(self) -> bool:
        return True


def capture(most: int) -> Counter:
    """Send what is printed to the host, at most that many characters of it. Returns the count of all."""
    counter = Counter()
    sys.stdout = sys.__stdout__ = Output(most, "<stdout>", counter)
    sys.stderr = sys.__stderr__ = Output(most, "<stderr>", counter)
    sys.stdin = sys.__stdin__ = io.StringIO()
    return counter
