"""A directory of one's own for /out, where there is no file system of one's own. Runs inside, never in the host.

Only Python's ways to files are led there. What opens files in C, sqlite3 for one, still sees the machine's /out.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import builtins
import functools
import io
import os
from collections.abc import Callable
from typing import Any

ONE = """
    access chdir chmod chown lchown link listdir lstat mkdir open readlink remove rename replace rmdir scandir stat
    statvfs symlink truncate unlink utime
"""
"""Functions of `os` whose first argument, and for some the second, is a path."""

TWO = ("link", "rename", "replace", "symlink")


def install(root: str, directory: str) -> None:
    """Lead paths below root to a directory."""

    def led(path: Any) -> Any:
        try:
            text = os.fsdecode(path)
        except TypeError:  # a descriptor, or an error that the function itself explains
            return path
        if text != root and not text.startswith(f"{root}/"):
            return path
        moved = directory + text[len(root) :]
        return os.fsencode(moved) if isinstance(path, bytes) else moved

    def leading(function: Callable[..., Any], paths: int) -> Callable[..., Any]:
        @functools.wraps(function)
        def lead(*args: Any, **kwargs: Any) -> Any:
            return function(*map(led, args[:paths]), *args[paths:], **kwargs)

        return lead

    for name in ONE.split():
        if hasattr(os, name):
            setattr(os, name, leading(getattr(os, name), 2 if name in TWO else 1))
    builtins.open = io.open = leading(io.open, 1)
