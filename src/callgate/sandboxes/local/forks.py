"""What has to happen in a child that the host process forks."""

from __future__ import annotations

import functools
import os
import weakref
from typing import Protocol

__all__ = ["Forked", "watch"]


class Forked(Protocol):
    """Something that must not be used, or held, by two processes."""

    def forked(self) -> None:
        """Called in each forked child, in which only one thread runs."""
        ...


def watch(thing: Forked) -> None:
    """Call the `forked` of thing in every child forked from now on, for as long as thing lives."""
    _watched().add(thing)


@functools.cache
def _watched() -> weakref.WeakSet[Forked]:
    things: weakref.WeakSet[Forked] = weakref.WeakSet()

    def tell() -> None:
        for thing in list(things):
            thing.forked()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=tell)
    return things
