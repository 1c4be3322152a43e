"""What a program's exceptions look like from outside: its own lines only, no stranger's paths.

Also which of them are the end of a limit, and what a program can do about what it cannot have.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, cast

from . import artifacts
from .baton import baton
from .threads import FULL

PROGRAM = "<program>"
"""The file name of a program's code."""

TEXT = 8_000  # characters of an exception's text
OUTER, INNER = 10, 30  # frames of a trace that are kept, of a deep recursion
CAUSES = 100  # exceptions looked at for a limit behind one
RESERVE = 2 << 20  # bytes of address space that are given back when memory is used up, to be able to say so
DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
REFUSED = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS)
SQLITE_FULL, SQLITE_CANTOPEN = 13, 14
OWN = ("memory_mb", "disk_mb", "threads")
"""Limits of the process itself: it ends where nobody catches such an exception, in whatever thread."""

CURE = "expose a host tool that does exactly this"
FILES = f"a program has no access to the host's files and writes only below /tmp and /out; {CURE}"
NO_FILES = f"a program has no access to the host's files; {CURE}"
NO_PLACE = (
    f"in this sandbox a program has no place to write files: print the text or end with it as the value, or {CURE}"
)
PACKAGE = (
    "a program has the standard library and the packages that are shown to it: "
    "LocalSandbox(packages=[{name!r}]) shows this one; do without it, or expose a host tool"
)
NOT_PERMITTED = f"the sandbox lets no program start processes, open sockets, signal others or change the system; {CURE}"
NO_MEMORY = "the program used up its memory"
OUT_OF_MEMORY: dict[str, Any] = {
    "type": "MemoryError",
    "text": NO_MEMORY,
    "line": None,
    "trace": [],
    "limit": "memory_mb",
}

_access = os.access
_reserve: mmap.mmap | None = None


def describe(error: BaseException) -> dict[str, Any]:
    """Return the `error` of an `end` frame."""
    trace = _trace(error.__traceback__)
    line = trace[-1][0] if trace else None
    if isinstance(error, SyntaxError) and error.filename == PROGRAM:
        line = error.lineno
    fault: dict[str, Any] = {"type": type(error).__name__, "text": _text(error), "line": line, "trace": trace}
    limit = limit_of(error)
    return fault if limit is None else {**fault, "limit": limit}


def of_limit(limit: str, text: str) -> dict[str, Any]:
    """Return the `error` of a program that is ended where it is now."""
    trace = _short([(frame.f_lineno, frame) for frame in _frames()][::-1])
    line = trace[-1][0] if trace else None
    return {"type": "LimitExceeded", "text": text, "line": line, "trace": trace, "limit": limit}


def render(error: BaseException) -> str:
    """Return an exception as a program's own standard error shows it."""
    lines = [f"  line {line}, in {function}\n" for line, function in _trace(error.__traceback__)]
    text = _text(error)
    name = type(error).__name__
    return "".join(["Traceback (most recent call last):\n", *lines, f"{name}: {text}\n" if text else f"{name}\n"])


def limit_of(error: BaseException) -> str | None:
    """Return the limit that an exception is the end of: itself, the cause it was raised from, or one of its group.

    What it was merely raised beside does not count: that had been caught.
    """
    waiting = [error]
    for one in waiting:  # grows meanwhile
        if (limit := _own_limit(one)) is not None:
            return limit
        if len(waiting) < CAUSES and one.__cause__ is not None:
            waiting.append(one.__cause__)
        if len(waiting) < CAUSES and isinstance(one, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", one).exceptions
    return None


def _own_limit(error: BaseException) -> str | None:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "memory_mb"
    if isinstance(error, OSError) and error.errno in DISK:
        return "disk_mb"
    text = error.args[0] if type(error) is RuntimeError and error.args else None
    if isinstance(text, str) and text.startswith(FULL):
        return "memory_mb" if "memory" in text else "threads"
    if _attribute(error, "sqlite_errorcode") == SQLITE_FULL:
        return "disk_mb"
    limit = _attribute(error, "limit") if type(error).__name__ == "LimitExceeded" else None
    return limit if isinstance(limit, str) else None


def _attribute(error: BaseException, name: str) -> Any:
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a program's own class
        return None


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        yield frame
        frame = frame.f_back


def _trace(traceback: TracebackType | None) -> list[list[Any]]:
    frames: list[tuple[int, FrameType]] = []
    while traceback is not None:
        frames.append((traceback.tb_lineno, traceback.tb_frame))
        traceback = traceback.tb_next
    return _short(frames)


def _short(frames: list[tuple[int, FrameType]]) -> list[list[Any]]:
    own = [[line, frame.f_code.co_name] for line, frame in frames if frame.f_code.co_filename == PROGRAM]
    if len(own) > OUTER + INNER:
        own[OUTER:-INNER] = []
    return own


def _text(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == PROGRAM:
        return str(error.msg)
    try:
        text, hint = str(error), _hint(error)
    except Exception:  # noqa: BLE001 - a program's own __str__
        text, hint = "", None
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        text += ": " + "; ".join(f"{type(one).__name__}: {_text(one)}" for one in group.exceptions[:OUTER])
    if isinstance(error, MemoryError) and not text:
        text = NO_MEMORY
    if hint is not None:
        text += f" ({hint})"
    if len(text) > TEXT:
        text = f"{text[:TEXT]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def _hint(error: BaseException) -> str | None:
    """Return what a program can do about what it cannot have."""
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        return PACKAGE.format(name=name) if name and name not in sys.stdlib_module_names else None
    if isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOENT):
        return _hint_of_files(error.filename) if error.errno in REFUSED else None
    if isinstance(error, OSError):
        return NOT_PERMITTED if error.errno == errno.EPERM else None
    return _hint_of_files("/") if _attribute(error, "sqlite_errorcode") == SQLITE_CANTOPEN else None


def _hint_of_files(path: Any) -> str:
    """Return what a program can do about a file it cannot have; None stands for one of its own, as of tempfile."""
    if _access(artifacts.root, os.W_OK):
        return FILES
    own = path is None or not str(path).startswith("/") or f"{path}/".startswith(("/tmp/", "/out/"))  # noqa: S108
    return NO_PLACE if own else NO_FILES


def give_back_reserve() -> None:
    """Give back the address space that was kept, to be able to tell that memory is used up."""
    if _reserve is not None:
        _reserve.close()


def _end_of_limit(error: BaseException) -> None:
    if baton.give_up is not None and limit_of(error) in OWN:
        baton.give_up(error)


def _print_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    error = error.with_traceback(traceback)
    _end_of_limit(error)
    sys.stderr.write(render(error))


def _print_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _end_of_limit(args.exc_value)
        name = args.thread.name if args.thread is not None else "a thread"
        sys.stderr.write(f"Exception in {name}:\n{render(args.exc_value)}")


def install() -> None:
    """Make it what threads print when they fail, and keep a reserve of address space, which no page stands behind."""
    global _reserve  # noqa: PLW0603
    _reserve = mmap.mmap(-1, RESERVE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    sys.excepthook = sys.__excepthook__ = _print_uncaught
    threading.excepthook = threading.__excepthook__ = _print_of_thread
