"""Threads whose locks, starts and joins wait on the baton.

Condition, Event, Semaphore, Barrier, Timer, Queue and the pools of concurrent.futures are Python upon these, so they
follow. Locks are handed over first come, first served.
"""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false, reportUnknownMemberType=false
# What is replaced here is private to the standard library, and unknown to its types.

from __future__ import annotations

import _thread
import concurrent.futures.thread
import ctypes
import functools
import itertools
import logging
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .baton import Strand, baton
from .clocks import monotonic

limit = 64
"""Threads alive at one time, the main thread not counted."""

M_ARENA_MAX = -8  # of glibc's malloc.h
PROCESSORS = 4  # pools are sized by it, and must have the same size wherever a program is replayed

FULL = "can't start new thread"
"""How CPython's own error begins; one that nobody catches is the end of a limit."""

_start = _thread.start_new_thread
_alive: set[Strand] = set()
_numbers = itertools.count(1)


class Lock:
    """threading.Lock."""

    __slots__ = ("__weakref__", "_held", "_queue")

    def __init__(self) -> None:
        self._held = False
        self._queue: deque[Strand] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, behind everybody who already waits for it."""
        if timeout != -1:
            if not blocking:
                raise ValueError("can't specify a timeout for a non-blocking call")
            if timeout < 0:
                raise ValueError("timeout value must be a non-negative number")
            if timeout > _thread.TIMEOUT_MAX:
                raise OverflowError("timeout value is too large")
        baton.turn()  # `while True: q.get_nowait()` is a busy wait too
        if not self._held:
            self._held = True
            return True
        if not blocking or timeout == 0:
            baton.spin()
            return False
        me = baton.current
        self._queue.append(me)
        try:
            if baton.park(None if timeout < 0 else baton.now + timeout):
                return True  # handed over by release()
        except BaseException:
            self._queue.remove(me)
            raise
        self._queue.remove(me)
        return False

    def release(self) -> None:
        """Hand the lock to whoever has waited longest."""
        if not self._held:
            raise RuntimeError("release unlocked lock")
        if self._queue:
            baton.wake(self._queue.popleft())
        else:
            self._held = False

    def locked(self) -> bool:
        """Say whether somebody holds it."""
        if self._held:
            baton.turn()
        return self._held

    acquire_lock, release_lock, locked_lock = acquire, release, locked

    def _is_owned(self) -> bool:  # else Condition would try to acquire, which here is a turn of a busy wait
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._held = False
        self._queue.clear()

    def __repr__(self) -> str:
        return f"<{'locked' if self._held else 'unlocked'} _thread.lock object at {id(self):#x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle '_thread.lock' object")


Lock.__module__, Lock.__qualname__, Lock.__name__ = "_thread", "lock", "lock"


class Handle:
    """_thread._ThreadHandle of Python 3.13 and later."""

    def __init__(self) -> None:
        self.ident: int | None = None
        self._over = Lock()
        self._over.acquire()
        self._thread: Strand | None = None

    def is_done(self) -> bool:
        """Say whether the thread is over."""
        if self._over._held:
            baton.spin()
        return not self._over._held

    def _set_done(self) -> None:
        if self._over._held:
            self._over.release()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread."""
        if self.ident is None:
            raise RuntimeError("thread not started")
        if self._over._held and self._thread is baton.current:
            raise RuntimeError("Cannot join current thread")
        if self._over.acquire(timeout=-1 if timeout is None or timeout < 0 else timeout):
            self._over.release()

    def __repr__(self) -> str:
        return f"<_ThreadHandle object: ident={self.ident}>"


_joined_at_end: dict[Handle, None] = {}


def start_new_thread(
    function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, /
) -> int:
    """_thread.start_new_thread."""
    if not callable(function):
        raise TypeError("first arg must be callable")
    if type(args) is not tuple:
        raise TypeError("2nd arg must be a tuple")
    return _launch(function, args, kwargs or {}, None)


def start_joinable_thread(
    function: Callable[..., object], /, handle: Handle | None = None, daemon: bool = True
) -> Handle:
    """_thread.start_joinable_thread."""
    if not callable(function):
        raise TypeError("thread function must be callable")
    handle = handle or Handle()
    if handle.ident is not None:
        raise RuntimeError("thread already started")
    handle.ident = _launch(function, (), {}, handle)
    if not daemon:
        _joined_at_end[handle] = None
    return handle


def _launch(
    function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any], handle: Handle | None
) -> int:
    if len(_alive) >= limit:
        raise RuntimeError(f"{FULL}: the limit is {limit} threads")
    strand = Strand()
    if handle is not None:
        handle._thread = strand
        strand.on_exit.append(lambda: (_joined_at_end.pop(handle, None), handle._set_done()))
    try:
        ident = _start(_boot, (strand, [function, args, kwargs]))
    except RuntimeError:
        raise RuntimeError(f"{FULL}: too little memory is left for its stack") from None
    strand.number = next(_numbers)
    _alive.add(strand)
    baton.ready.append(strand)
    return ident


def _boot(strand: Strand, work: list[Any]) -> None:
    baton.begin(strand)
    function, args, kwargs = work
    work.clear()
    try:
        function(*args, **kwargs)
    except SystemExit:
        pass
    except BaseException as error:  # noqa: BLE001 - the last frame of its thread
        sys.excepthook(type(error), error, error.__traceback__)
    del function, args, kwargs  # their finalisers belong to this strand's turn
    _alive.remove(strand)
    for action in strand.on_exit:
        action()
    baton.leave()


def _set_sentinel() -> Lock:
    """_thread._set_sentinel of Python 3.11 and 3.12: a lock that opens when the running thread ends."""
    lock = Lock()
    baton.current.on_exit.append(lambda: lock.release() if lock._held else None)
    return lock


def _join_all() -> None:
    """_thread._shutdown of Python 3.13 and later."""
    while _joined_at_end:
        next(iter(_joined_at_end)).join()


def join_at_end() -> None:
    """Wait for all threads that are no daemons, as an interpreter does that ends."""
    threading._shutdown()


def begin(most: int) -> None:
    """Start the count of threads of one run, at most that many alive at one time."""
    global limit, _numbers
    limit, _numbers = most, itertools.count(1)


def install() -> None:
    """Replace what `threading` and `_thread` are made of."""
    replacements: dict[str, Any] = {
        "allocate_lock": Lock,
        "allocate": Lock,
        "lock": Lock,
        "LockType": Lock,
        "start_new_thread": start_new_thread,
        "start_new": start_new_thread,
        "start_joinable_thread": start_joinable_thread,
        "RLock": threading._RLock,
        "_ThreadHandle": Handle,
        "_set_sentinel": _set_sentinel,
        "_shutdown": _join_all,
        "_count": lambda: len(_alive),
    }
    aliases = {
        "allocate_lock": ("Lock", "_allocate_lock"),
        "LockType": ("_LockType",),
        "start_new_thread": ("_start_new_thread",),
        "start_joinable_thread": ("_start_joinable_thread",),
        "RLock": ("RLock",),
        "_ThreadHandle": ("_ThreadHandle",),
        "_set_sentinel": ("_set_sentinel",),
        "_shutdown": ("_thread_shutdown",),
    }
    for name, replacement in replacements.items():
        if hasattr(_thread, name):
            setattr(_thread, name, replacement)
            for alias in aliases.get(name, ()):
                if hasattr(threading, alias):
                    setattr(threading, alias, replacement)
    threading._CRLock = None
    threading._time = queue.time = monotonic
    threading._active_limbo_lock = threading._RLock()
    threading._shutdown_locks_lock = Lock()
    functools.RLock = threading._RLock
    queue.SimpleQueue = queue._PySimpleQueue
    concurrent.futures.thread._global_shutdown_lock = Lock()
    logging._lock = threading._RLock()
    if logging.lastResort is not None:
        logging.lastResort.createLock()
    _share_one_arena()
    for name in ("cpu_count", "process_cpu_count"):
        if hasattr(os, name):
            setattr(os, name, lambda: PROCESSORS)
    _install_main_thread()
    _let_look(threading.Event, "is_set", baton.spin)
    _let_look(concurrent.futures.Future, "done", baton.spin)
    for name in ("qsize", "empty"):
        _let_look(queue._PySimpleQueue, name, baton.turn)


def _share_one_arena() -> None:
    """Let all threads allocate from one arena: glibc gives each its own, which takes 64 MiB of address space."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)


def _install_main_thread() -> None:
    main = threading.main_thread()
    main._started = threading.Event()
    main._started.set()
    if hasattr(main, "_tstate_lock"):
        main._tstate_lock = Lock()
        main._tstate_lock.acquire()
        threading._shutdown_locks.clear()
    for name in ("_handle", "_os_thread_handle"):
        if hasattr(main, name):
            handle = Handle()
            handle.ident, handle._thread = main.ident, baton.current
            setattr(main, name, handle)


def _let_look(cls: Any, name: str, pause: Callable[[], object]) -> None:
    """Make a look at something that has not happened yet a turn of a busy wait."""
    question = getattr(cls, name)

    @functools.wraps(question)
    def look(self: object) -> Any:
        answer = question(self)
        if not answer or name == "empty":
            pause()
        return answer

    setattr(cls, name, look)
