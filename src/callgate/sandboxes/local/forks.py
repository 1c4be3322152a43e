"""What has to happen in a child that the host process forks, and what must not be halfway when it forks."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["Forked", "held_off", "watch"]

_lock = threading.RLock()  # a signal handler may fork in the thread that holds it


class Forked(Protocol):
    """Something that must not be used, or held, by two processes."""

    def forked(self) -> None:
        """Called in each forked child, in which only one thread runs."""
        ...


def watch(thing: Forked) -> None:
    """Call the `forked` of thing in every child forked from now on, for as long as thing lives."""
    _watched().add(thing)


def held_off() -> AbstractContextManager[object]:
    """Return a lock that holds off forks by other threads: for moments in which a child would get what nobody owns."""
    _watched()
    return _lock


@functools.cache
def _watched() -> weakref.WeakSet[Forked]:
    things: weakref.WeakSet[Forked] = weakref.WeakSet()

    def tell() -> None:
        _lock.release()
        for thing in list(things):
            thing.forked()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=tell)
    return things
