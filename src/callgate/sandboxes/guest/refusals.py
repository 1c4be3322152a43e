"""What a program cannot have, and what would block natively while it holds the baton.

These are explanations, not walls: isolation is the sandbox's business.
"""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# What is replaced here is private to the standard library, and unknown to its types.

from __future__ import annotations

import _posixsubprocess
import os
import select
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from .baton import QUANTUM, baton

_select, _poll = select.select, select.poll

PROCESSES = ("fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "execv", "execve")
LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
SIGNALS = ("alarm", "setitimer", "pause", "sigwait", "sigwaitinfo", "sigtimedwait")


def _refuse(name: str, reason: str) -> Callable[..., NoReturn]:
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise PermissionError(f"{name}: {reason}")

    refused.__name__ = refused.__qualname__ = name.rpartition(".")[2]
    return refused


def _replace(owner: Any, label: str, names: Iterable[str], reason: str) -> None:
    for name in names:
        if hasattr(owner, name):
            setattr(owner, name, _refuse(f"{label}.{name}", reason))


def watch(
    readers: Iterable[Any], writers: Iterable[Any], others: Iterable[Any], timeout: float | None = None, /
) -> tuple[list[Any], list[Any], list[Any]]:
    """select.select that lets other strands run meanwhile."""
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    watched = (list(readers), list(writers), list(others))
    anything = any(watched)

    def look() -> tuple[list[Any], list[Any], list[Any]]:
        return _select(*watched, 0) if anything else ([], [], [])

    return _wait(look, any, timeout, watching=anything)


def _wait(look: Callable[[], Any], found: Callable[[Any], bool], timeout: float | None, *, watching: bool) -> Any:
    deadline = None if timeout is None else baton.now + timeout
    while True:
        seen = look()
        if found(seen) or (deadline is not None and baton.now >= deadline):
            return seen
        again = baton.now + QUANTUM if watching else deadline
        baton.park(again if deadline is None or again is None else min(again, deadline))


class Poll:
    """select.poll that lets other strands run meanwhile."""

    def __init__(self) -> None:
        self._native = _poll()
        self.register, self.modify = self._native.register, self._native.modify
        self.unregister = self._native.unregister

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Return what is ready within timeout milliseconds."""
        patience = None if timeout is None or timeout < 0 else timeout / 1000
        return _wait(lambda: self._native.poll(0), bool, patience, watching=True)


def install() -> None:
    """Replace them; last of all, because a fork server needs the originals."""
    cure = "expose a host tool that does exactly this"
    _replace(os, "os", PROCESSES, f"a program cannot start processes; {cure}")
    _replace(subprocess.Popen, "subprocess", ("__init__",), f"a program cannot start processes; {cure}")
    _replace(_posixsubprocess, "multiprocessing", ("fork_exec",), f"a program cannot start processes; {cure}")
    _replace(socket.socket, "socket", ("__init__",), f"a program has no network; {cure}")
    _replace(socket, "socket", LOOKUPS, f"a program has no network; {cure}")
    _replace(
        signal, "signal", SIGNALS, "signals do not follow the program's clock; use threading.Timer or asyncio.timeout"
    )
    select.select = watch
    selectors.SelectSelector._select = staticmethod(watch)
    selectors.DefaultSelector = selectors.SelectSelector
    select.poll = Poll
    for name in ("epoll", "devpoll", "kqueue"):
        if hasattr(select, name):
            delattr(select, name)
