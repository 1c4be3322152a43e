"""What a program cannot have, and what would block natively while it holds the baton.

These are explanations, not walls: isolation is the sandbox's business.
"""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# What is replaced here is private to the standard library, and unknown to its types.

from __future__ import annotations

import _posixsubprocess
import concurrent.futures
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Iterable
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

from .baton import QUANTUM, baton

_select, _poll = select.select, select.poll

CURE = "expose a host tool that does exactly this"
NO_PROCESSES = f"a program cannot start processes; {CURE}"
ONE_PROCESS = (
    "a program is one process; use concurrent.futures.ThreadPoolExecutor, threading or asyncio in place of "
    f"processes, or {CURE}"
)
NO_NETWORK = f"a program has no network; {CURE}"
NO_SIGNALS = "signals do not follow the program's clock; use threading.Timer or asyncio.timeout"
NO_KILLING = "a program cannot send signals to processes, its own included; end it with sys.exit()"

PROCESSES = ("fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "execv", "execve")
LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
SIGNALS = ("alarm", "setitimer", "pause", "sigwait", "sigwaitinfo", "sigtimedwait")
SHARED = (
    *("Manager", "Pipe", "Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"),
    *("Queue", "JoinableQueue", "SimpleQueue", "Pool", "Value", "Array"),
)
"""What multiprocessing shares between processes."""
CONNECTIONS = (
    *("create_connection", "create_server", "create_datagram_endpoint", "getaddrinfo", "getnameinfo"),
    *("create_unix_connection", "create_unix_server"),
)
"""Methods of an event loop."""


_refusing = False
"""Whether a program runs here. Before that this is a fork server, which needs the originals."""


def _refuse(name: str, reason: str, original: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return what refuses in a program, and in a fork server does what the original does, if there is one."""

    def refused(*args: Any, **kwargs: Any) -> Any:
        if original is None or _refusing:
            raise PermissionError(f"{name}: {reason}")
        return original(*args, **kwargs)

    refused.__name__ = refused.__qualname__ = name.rpartition(".")[2]
    return refused


def _replace(owner: Any, label: str, names: Iterable[str], reason: str) -> None:
    for name in names:
        if hasattr(owner, name):
            setattr(owner, name, _refuse(f"{label}.{name}", reason, getattr(owner, name)))


def watch(
    readers: Iterable[Any], writers: Iterable[Any], others: Iterable[Any], timeout: float | None = None, /
) -> tuple[list[Any], list[Any], list[Any]]:
    """select.select that lets other strands run meanwhile."""
    if not _refusing:
        return _select(readers, writers, others, timeout)
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
        if not _refusing:
            return self._native.poll(timeout)
        patience = None if timeout is None or timeout < 0 else timeout / 1000
        return _wait(lambda: self._native.poll(0), bool, patience, watching=True)


def _import_what_is_shown() -> None:
    """Let a module whose file is closed, as what lies beside a shown package may be, be none that there is."""
    read, load = SourceFileLoader.get_data, ExtensionFileLoader.create_module

    def no_module(loader: Any) -> ModuleNotFoundError:
        return ModuleNotFoundError(f"No module named {loader.name!r}", name=loader.name)

    def get_data(self: SourceFileLoader, path: str) -> bytes:
        try:
            return read(self, path)
        except PermissionError:
            if _refusing and path == self.path:  # not what was compiled from it
                raise no_module(self) from None
            raise

    def create_module(self: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        try:
            return load(self, spec)
        except ImportError:
            try:
                os.close(os.open(self.path, os.O_RDONLY))
            except PermissionError:
                raise no_module(self) from None
            raise

    SourceFileLoader.get_data, ExtensionFileLoader.create_module = get_data, create_module


class ProcessPoolExecutor(concurrent.futures.Executor):
    """concurrent.futures.ProcessPoolExecutor."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse("concurrent.futures.ProcessPoolExecutor", ONE_PROCESS)()


def prepare() -> None:
    """Replace what a program is refused; once and in the fork server, for a changed class costs a guest memory."""
    import multiprocessing.context  # noqa: PLC0415 - only now, with random numbers that repeat
    import multiprocessing.process  # noqa: PLC0415

    sys.modules.pop("__mp_main__", None)  # it would be the fork server's own module
    _replace(multiprocessing.context.BaseContext, "multiprocessing", SHARED, ONE_PROCESS)
    _replace(multiprocessing.process.BaseProcess, "multiprocessing.Process", ("start",), ONE_PROCESS)
    for name in SHARED:
        setattr(multiprocessing, name, getattr(multiprocessing.context._default_context, name))
    concurrent.futures.ProcessPoolExecutor = ProcessPoolExecutor
    _import_what_is_shown()
    _replace(os, "os", PROCESSES, NO_PROCESSES)
    _replace(os, "os", ("kill", "killpg"), NO_KILLING)
    subprocess.Popen.__init__ = _refuse("subprocess.Popen", NO_PROCESSES, subprocess.Popen.__init__)
    _replace(_posixsubprocess, "multiprocessing", ("fork_exec",), NO_PROCESSES)
    _replace(BaseEventLoop, "asyncio", ("subprocess_exec", "subprocess_shell"), NO_PROCESSES)
    socket.socket.__init__ = _refuse("socket.socket", NO_NETWORK, socket.socket.__init__)
    _replace(socket, "socket", (*LOOKUPS, "socketpair"), NO_NETWORK)
    _replace(BaseEventLoop, "asyncio", CONNECTIONS, NO_NETWORK)
    _replace(signal, "signal", SIGNALS, NO_SIGNALS)
    select.select = watch
    selectors.SelectSelector._select = staticmethod(watch)
    selectors.DefaultSelector = selectors.SelectSelector
    select.poll = Poll
    for name in ("epoll", "devpoll", "kqueue"):
        if hasattr(select, name):
            delattr(select, name)


def install() -> None:
    """Refuse from now on, and let nothing wait natively."""
    global _refusing  # noqa: PLW0603
    _refusing = True
