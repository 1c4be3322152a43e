"""What a loopback server does wrong on demand."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Faults"]


@dataclass(slots=True, kw_only=True)
class _Failing:
    path: str
    status: int
    times: int
    headers: dict[str, str]


class Faults:
    """What goes wrong. May be changed at any time, from any thread.

    Faults that happen at once are methods of the server.

    Args:
        seed: decides where output is split.
    """

    def __init__(self, seed: int = 0) -> None:
        self.latency = 0.0
        """Seconds that each request, and each piece of a stream, is late."""
        self.stall_stdin = 0.0
        """Seconds that each write to a process's input is held up. It is carried out afterwards, also when the client
        has given up on it."""
        self.deaf = False
        """Whether writes to a process's input are taken and never carried out."""
        self.mute = False
        """Whether output is lost on its way, while its stream seems to be open."""
        self.largest: int | None = None
        """Bytes that a piece of output has at most, split at random; None leaves the pieces as they were read."""
        self._random = random.Random(seed)  # noqa: S311 - of tests
        self._failing: list[_Failing] = []
        self._lock = threading.Lock()

    def fail(self, path: str, status: int, times: int = 1, *, headers: dict[str, str] | None = None) -> None:
        """Answer the next requests to a path, or below it, with that status: 404, 429, 502, ...

        Args:
            path: as in "/v2/sandboxes" or "/process.Process/SendInput".
            status: of the answer.
            times: how many requests are answered so.
            headers: of the answer, as {"Retry-After": "1"}.
        """
        with self._lock:
            self._failing.append(_Failing(path=path, status=status, times=times, headers=headers or {}))

    def failing(self, path: str) -> tuple[int, bytes, dict[str, str]] | None:
        """Return status, body and headers a request is to be answered with; None where nothing is wrong."""
        with self._lock:
            for one in self._failing:
                if one.times > 0 and path.startswith(one.path):
                    one.times -= 1
                    text = {"code": one.status, "message": f"fault on demand: {one.status}"}
                    return one.status, json.dumps(text).encode(), one.headers
        return None

    def forget(self) -> None:
        """Let nothing more go wrong."""
        self.latency = self.stall_stdin = 0.0
        self.deaf = self.mute = False
        self.largest = None
        with self._lock:
            self._failing.clear()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Split output at any byte."""
        largest = self.largest
        if largest is None:
            yield data
            return
        while data:
            size = self._random.randint(1, largest)
            yield data[:size]
            data = data[size:]
