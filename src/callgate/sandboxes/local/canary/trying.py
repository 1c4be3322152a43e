"""How an attempt is made, and what counts as its success.

An attempt has succeeded if it returns, and not False; it raises OSError where the kernel refused. Each is harmless if
it succeeds.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from errno import EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSYS
from functools import cache
from typing import Any, NamedTuple, TypeAlias

_UNTRIED = (EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM)
"""Errors that do not say whether it would have been allowed."""


class Bait(NamedTuple):
    """What the host laid out, and by which numbers this processor knows system calls."""

    token: str
    """In the name of every file the canary makes."""
    folder: str
    """A directory where everybody may do everything. It holds `victim`."""
    readable: str
    writable: str
    owned: str
    """Three files: everybody's to read, everybody's to write, and the guest's own."""
    pid: int
    """A process of the guest's own user, with a secret in its environment."""
    tcp: int
    tcp6: int
    udp: int
    """Ports that are listened to on the loopback addresses; 0: none."""
    stream: str
    datagram: str
    """Unix sockets that are listened to: in the file system and, of the same names, in the abstract name space."""
    memory_mb: int
    disk_mb: int
    cpu_seconds: int
    """The guest's own bounds."""
    numbers: dict[str, int | None]


Attempt: TypeAlias = Callable[[Bait], object]
Word: TypeAlias = "int | bytes | ctypes.Array[ctypes.c_char]"
"""An argument of a system call."""


def outcome(attempt: Attempt, bait: Bait) -> bool | None:
    """Say whether an attempt succeeds; None: nobody can say."""
    try:
        return attempt(bait) is not False
    except OSError as error:
        return None if error.errno in _UNTRIED else False
    except Exception:  # noqa: BLE001 - a canary that stumbles has shown nothing
        return None


def call(bait: Bait, name: str, *words: Word) -> int:
    """Make a system call by its number, which nothing in Python can stand in front of."""
    number = bait.numbers[name]
    if number is None:
        raise OSError(ENOSYS, name)
    result: int = _libc().syscall(
        ctypes.c_long(number), *[ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    )
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return result


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def room(size: int) -> ctypes.Array[ctypes.c_char]:
    """Return memory that a system call may write to."""
    return ctypes.create_string_buffer(size)


def any_of(tries: Callable[[Any], object], things: Iterable[Any]) -> bool:
    """Say whether it succeeds with one of things, or raise why nobody can say."""
    unsure: OSError | None = None
    for thing in things:
        try:
            if tries(thing) is not False:
                return True
        except OSError as error:
            unsure = error if error.errno in _UNTRIED else unsure
    if unsure is not None:
        raise unsure
    return False


def opened(path: str, flags: int = 0) -> None:
    """Open and close a file."""
    os.close(os.open(path, flags | os.O_CLOEXEC, 0o600))


def unseen(tries: Attempt) -> Attempt:
    """Leave it to the host whether it succeeded: a jail may answer with success and do nothing."""

    def leaves_it(bait: Bait) -> bool:
        tries(bait)
        return False

    return leaves_it
