"""What is written to a relay's input: lines, as many at a time as there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Writer", "leave"]

MESSAGE = 1 << 17
"""Bytes that are written at once."""


class Writer:
    """Writes lines to whatever stream there is at the moment.

    Args:
        trouble: is told of what a stream raises. What was to be written then is lost, as it may be on any wire.
    """

    def __init__(self, trouble: Callable[[BaseException], object]) -> None:
        self._trouble = trouble
        self._lines: list[bytes] = []
        self._wake = asyncio.Event()
        self._stream: Any = None
        self._queues = False

    def use(self, stream: Any) -> Any:
        """Write to another stream from now on, and return the one before."""
        before, self._stream = self._stream, stream
        self._queues = getattr(stream, "queues", True)
        self._wake.set()
        return before

    def put(self, *lines: bytes) -> None:
        """Write lines: at once where the stream only queues them, which spares every answer a turn of the loop."""
        self._lines += lines
        while self._lines and self._queues and self._stream is not None and not self._wake.is_set():
            if not self._queued(self._next()):
                return
        if self._lines:
            self._wake.set()

    def _queued(self, data: bytes) -> bool:
        """Write to a stream that is said only to queue; False where that went wrong."""
        sending = self._stream.send(data)
        try:
            sending.send(None)
        except StopIteration:
            return True
        except Exception as error:  # noqa: BLE001 - as in `run`
            self._trouble(error)
            return False
        sending.close()
        self._queues = False  # it waits after all; what it was given counts as lost
        return False

    async def send(self, line: bytes) -> None:
        """Write one line now, behind what the stream was given before."""
        await self._stream.send(line)

    async def run(self) -> None:
        """Write what there is, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._lines and self._stream is not None:
                try:
                    await self._stream.send(self._next())
                except Exception as error:  # noqa: BLE001 - whatever it is, the wire is begun anew
                    self._trouble(error)
                    break

    def _next(self) -> bytes:
        lines, size, count = self._lines, 0, 0
        while count < len(lines) and (not count or size + len(lines[count]) <= MESSAGE):
            size += len(lines[count])
            count += 1
        data = lines[0] if count == 1 else b"".join(lines[:count])
        del lines[:count]
        return data


async def leave(stream: Any, seconds: float = 2.0, *, closing: str = "close") -> None:
    """Close a stream, if it can be."""
    with suppress(Exception):  # it is over either way
        await asyncio.wait_for(getattr(stream, closing)(), seconds)
