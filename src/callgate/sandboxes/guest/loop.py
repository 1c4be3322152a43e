"""asyncio on the baton: an event loop without file descriptors."""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# What is replaced here is private to the standard library, and unknown to its types.

from __future__ import annotations

import asyncio
from asyncio import base_events, unix_events
from typing import Any

from .baton import Strand, baton
from .clocks import TICK

GLANCES = 10_000  # readings of the loop's clock within one turn that pass for asyncio's own


class Loop(base_events.BaseEventLoop):
    """Waits on the baton where other loops wait for sockets. It is its own selector."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self
        self._parked: Strand | None = None
        self._glances = 0

    def time(self) -> float:
        """Return the program's clock.

        Unlike other readings it costs no time, or each of a thousand sleeps begun together would get a timer of its
        own; only a loop that does nothing but read it sees it move.
        """
        self._glances += 1
        if self._glances > GLANCES:
            baton.now += TICK
        return baton.now

    def select(self, timeout: float | None) -> tuple[()]:
        """Let other strands run until a callback is due or another thread schedules one."""
        self._glances = 0
        if timeout is not None and timeout <= 0:
            baton.spin(patient=bool(self._scheduled))
        else:
            self._parked = baton.current
            baton.park(None if timeout is None else baton.now + timeout)
            self._parked = None
        return ()

    def _write_to_self(self) -> None:
        if self._parked is not None:
            baton.wake(self._parked)

    def _process_events(self, event_list: Any) -> None:
        pass


def install() -> None:
    """Make it the loop that asyncio creates."""
    for name in ("SelectorEventLoop", "EventLoop"):
        for module in (asyncio, unix_events):
            if hasattr(module, name):
                setattr(module, name, Loop)
    unix_events._UnixSelectorEventLoop = Loop
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        if hasattr(unix_events, name):
            getattr(unix_events, name)._loop_factory = Loop
