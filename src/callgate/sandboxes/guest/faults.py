"""What a program's exceptions look like from outside: its own lines only, no stranger's paths."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any, cast

PROGRAM = "<program>"
"""The file name of a program's code."""

TEXT = 8_000  # characters of an exception's text
OUTER, INNER = 10, 30  # frames of a trace that are kept, of a deep recursion
HINT = "a program has no access to the host's files; expose a host tool that does exactly this"


def describe(error: BaseException) -> dict[str, Any]:
    """Return the `error` of an `end` frame."""
    trace = _trace(error.__traceback__)
    line = trace[-1][0] if trace else None
    if isinstance(error, SyntaxError) and error.filename == PROGRAM:
        line = error.lineno
    fault: dict[str, Any] = {"type": type(error).__name__, "text": _text(error), "line": line, "trace": trace}
    limit = getattr(error, "limit", None)
    if type(error).__name__ == "LimitExceeded" and isinstance(limit, str):
        fault["limit"] = limit
    return fault


def render(error: BaseException) -> str:
    """Return an exception as a program's own standard error shows it."""
    lines = [f"  line {line}, in {function}\n" for line, function in _trace(error.__traceback__)]
    text = _text(error)
    name = type(error).__name__
    return "".join(["Traceback (most recent call last):\n", *lines, f"{name}: {text}\n" if text else f"{name}\n"])


def _trace(traceback: TracebackType | None) -> list[list[Any]]:
    frames: list[list[Any]] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == PROGRAM:
            frames.append([traceback.tb_lineno, code.co_name])
        traceback = traceback.tb_next
    if len(frames) > OUTER + INNER:
        frames[OUTER:-INNER] = []
    return frames


def _text(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == PROGRAM:
        return str(error.msg)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a program's own __str__
        text = ""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        text += ": " + "; ".join(f"{type(one).__name__}: {_text(one)}" for one in group.exceptions[:OUTER])
    if isinstance(error, MemoryError) and not text:
        text = "the program used up its memory"
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename is not None:
        text += f" ({HINT})"
    if len(text) > TEXT:
        text = f"{text[:TEXT]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def _print_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.stderr.write(render(error.with_traceback(traceback)))


def _print_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread is not None else "a thread"
        sys.stderr.write(f"Exception in {name}:\n{render(args.exc_value)}")


def install() -> None:
    """Make it what threads print when they fail."""
    sys.excepthook = sys.__excepthook__ = _print_uncaught
    threading.excepthook = threading.__excepthook__ = _print_of_thread
