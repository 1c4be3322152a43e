"""Programs in notebooks: E2B's code interpreter runs them, and what it shows comes back as files.

A program gets a kernel of its own. Its tool calls come through a relay, as any guest's do; what the kernel shows
besides, charts, tables and pictures, comes with the end of `run_code` and is put before the program's own end.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any, TypeGuard, cast

from callgate.limits import Limits
from callgate.room import most_of
from callgate.sandboxes import bundle
from callgate.sandboxes.base import HEADER, MOST_FILES, frame
from callgate.sandboxes.e2b.machine import Machine
from callgate.sandboxes.guest_source import guest_modules

__all__ = ["Notebook"]

logger = logging.getLogger("callgate")

_END = b'{"end":'
OUTPUTS = 16
"""Times the limit of output, at which a program is ended."""
KEPT = 500
"""Bytes that anything shown or printed takes besides its characters."""
_SHOWN = (("png", "png"), ("jpeg", "jpg"), ("pdf", "pdf"))
"""Forms of a result that come as base64, and how their files end."""
_WRITTEN = (("svg", "svg"), ("html", "html"), ("latex", "tex"), ("markdown", "md"))
"""Forms that come as text."""


class _TooMuch(Exception):
    """The kernel shows more than the host keeps. Its text is the limit."""


class Notebook:
    """One program's kernel.

    Args:
        limits: of the action.
        deliver: is given what the guest says, the files before its end.
        over: is told that it is over.
    """

    def __init__(self, limits: Limits, deliver: Callable[[bytes], bool], over: Callable[[bool], None]) -> None:
        self._limits, self._deliver, self._tell = limits, deliver, over
        self._machine: Machine | None = None
        self._context: Any = None
        self._running: asyncio.Task[Any] | None = None
        self._buffer = bytearray()
        self._ended = self._refused = False
        self._most = most_of(limits.frame_mb)
        self._results: list[Any] = []
        self._left = {"disk_mb": 2 * limits.disk_mb << 20, "output_kb": OUTPUTS * limits.output_kb << 10}
        """Characters that may yet be shown, and printed past the program's own output: the SDK keeps them all."""

    async def open(self, machine: Machine, path: str) -> None:
        """Have a kernel run the bridge to the relay that listens at a path."""
        self._machine = machine
        self._buffer.clear()
        self._results.clear()
        self._context = await machine.notebook.create_code_context(language="python")
        self._running = asyncio.get_running_loop().create_task(
            machine.notebook.run_code(
                _cell(path),
                context=self._context,
                on_result=self._shown,
                on_stdout=self._printed,
                on_stderr=self._printed,
                timeout=0,
            )
        )
        self._running.add_done_callback(self._finished)

    async def close(self) -> None:
        """End the kernel, whatever it does."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        if self._machine is not None and self._context is not None and not self._machine.gone:
            with suppress(Exception):
                await self._machine.notebook.remove_code_context(self._context)
        self._context = None

    def said(self, data: bytes) -> bool:
        """Pass on what the program said, all but its end; and what it must not say, for others to refuse."""
        if self._refused:
            return False
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER:
            size = int.from_bytes(self._buffer[at : at + HEADER], "big")
            stop, ends = at + HEADER + size, self._buffer.startswith(_END, at + HEADER)
            if size > self._most or (ends and stop < len(self._buffer)):
                at = len(self._buffer)
            if ends or stop > len(self._buffer):
                break
            at = stop
        if not at:
            return False
        ready = bytes(self._buffer[:at])
        del self._buffer[:at]
        return self._deliver(ready)

    def over(self, lost: bool) -> None:
        """Hear that the program, or its sandbox, is gone; the end waits for what the kernel still shows."""
        if self._refused:
            return
        if lost:
            self._tell(True)
            return
        self._ended = True
        if self._running is None or self._running.done():
            self._conclude()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("run_code: %s: %s", type(error).__name__, error)
            if isinstance(error, _TooMuch):
                self._refuse(str(error))
        if self._ended and not task.cancelled():
            self._conclude()

    def _shown(self, result: Any) -> None:
        self._take("disk_mb", sum(map(len, filter(_is_text, cast("dict[str, Any]", vars(result)).values()))))
        self._results.append(result)

    def _printed(self, message: Any) -> None:
        self._take("output_kb", len(message.line))

    def _take(self, limit: str, size: int) -> None:
        self._left[limit] -= size + KEPT
        if self._left[limit] < 0:
            raise _TooMuch(limit)

    def _refuse(self, limit: str) -> None:
        """End the program, whatever it says besides."""
        self._refused = True
        self._buffer.clear()
        self._results.clear()
        text = "the notebook shows more than this limit"
        told: dict[str, Any] = {"type": "LimitExceeded", "text": text, "line": None, "trace": []}
        self._deliver(frame({"end": {"value": None, "error": {**told, "limit": limit}, "printed": 0}}))
        self._tell(False)

    def _conclude(self) -> None:
        shown = b"".join(self._files()) if self._buffer else b""
        self._deliver(shown + bytes(self._buffer))
        self._buffer.clear()
        self._tell(False)

    def _files(self) -> Iterator[bytes]:
        """Yield the frames of what was shown, as far as the action has room for it."""
        most, disk, count = most_of(self._limits.frame_mb), self._limits.disk_mb << 20, 0
        for number, result in enumerate(self._results, 1):
            for ending, data in _forms(result):
                encoded = base64.b64encode(data).decode("ascii")
                if len(data) > disk or len(encoded) + 100 > most or count == MOST_FILES:
                    logger.warning("a result of a notebook was left out: %s of %s bytes", ending, len(data))
                    continue
                disk -= len(data)
                count += 1
                yield frame({"file": f"result-{number}.{ending}", "data": encoded})


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _forms(result: Any) -> Iterator[tuple[str, bytes]]:
    for name, ending in _SHOWN:
        if text := getattr(result, name, None):
            with suppress(ValueError):
                yield ending, base64.b64decode(text)
    for name, ending in _WRITTEN:
        if text := getattr(result, name, None):
            yield ending, str(text).encode("utf-8", "replace")
    if (chart := getattr(result, "chart", None)) is not None:
        told = chart.to_dict() if hasattr(chart, "to_dict") else chart
        yield "chart.json", json.dumps(told, default=str).encode()


def _cell(path: str) -> str:
    """Return what the kernel runs."""
    return f"{_bridge()}\nawait _callgate.run({path!r}, globals(), globals().get('display', print))"


@cache
def _bridge() -> str:
    text = (files("callgate.sandboxes.e2b") / "inside" / "bridge.py").read_text("utf-8")
    source = bundle.source({**guest_modules(), "bridge": text}, "")
    packed = base64.b85encode(zlib.compress(source.encode(), 9)).decode("ascii")
    return (
        "import base64 as _b, zlib as _z\n"
        f"exec(compile(_z.decompress(_b.b85decode({packed!r})), '<callgate>', 'exec'), {{}})\n"
        f"from {bundle.PACKAGE} import bridge as _callgate"
    )
