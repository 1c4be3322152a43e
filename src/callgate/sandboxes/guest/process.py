"""The program's process and threads as it sees them: numbers drawn from its seed.

In a pid namespace every program would be process 1, and outside of one its number would be the host's and another one
on replay.
"""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# What is replaced here is private to the standard library, and unknown to its types.

from __future__ import annotations

import _thread
import os
import threading

from .baton import baton

PARENT = 1

_getpid, _getppid = os.getpid, os.getppid
_number = 0


def getpid() -> int:
    """os.getpid: the program's number; the kernel's before there is a program."""
    return _number or _getpid()


def getppid() -> int:
    """os.getppid."""
    return PARENT if _number else _getppid()


def get_native_id() -> int:
    """threading.get_native_id: of the main thread the process's own number, as on Linux."""
    return getpid() + baton.current.number


def _group(pid: int = 0, /) -> int:
    """os.getpgid and os.getsid."""
    if pid not in (0, getpid()):
        raise ProcessLookupError(3, "No such process")
    return getpid()


def install() -> None:
    """Replace what tells the kernel's numbers."""
    os.getpid, os.getppid = getpid, getppid
    os.getpgid = os.getsid = _group
    os.getpgrp = getpid
    _thread.get_native_id = threading.get_native_id = get_native_id


def begin(number: int) -> None:
    """Be the process of that number."""
    global _number  # noqa: PLW0603
    _number = number
    threading.main_thread()._native_id = number
