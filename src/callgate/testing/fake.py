"""A sandbox without any isolation, for tests.

`FakeSandbox` runs programs in an ordinary child process, with the very guest that the real sandboxes run: calls,
clocks, threads, asyncio, replay and limits of the guest itself are the same. Nothing keeps a program from the files,
the processes and the network of this machine. Use it to test graphs and tools with programs you wrote yourself, on
any POSIX system; never give it a program that a model wrote.

What a program writes below /out goes to a directory of its own, and comes back as the outcome's artifacts. The program
starts in another, which is empty and goes with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress

from callgate.errors import SandboxLost
from callgate.limits import Limits
from callgate.sandboxes.channel import SocketGuest
from callgate.testing import forks

__all__ = ["FakeSandbox"]


class FakeSandbox:
    """Runs guests as plain child processes, WITHOUT ANY ISOLATION. For tests only; see the module's text.

    Memory and disk limits are not enforced, processor time is measured on Linux only, and addresses differ from guest
    to guest: a program whose doing depends on `id` may diverge on replay.
    """

    name = "fake"
    level = "L0"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guests: dict[int, SocketGuest] = {}  # by process; kept alive until they are killed
        self._lost = False
        self._closed = False

    def start(self, limits: Limits) -> SocketGuest:
        """Return a fresh guest; limits reach it with its program.

        Raises:
            SandboxLost: after `lose` or `close`.
        """
        if self._lost or self._closed:
            raise SandboxLost("the fake sandbox is gone" if self._lost else "the fake sandbox is closed")
        ours, theirs = socket.socketpair()
        folder = tempfile.mkdtemp(prefix="callgate-")
        try:
            for name in ("tmp", "out"):
                os.mkdir(f"{folder}/{name}")  # noqa: PTH102 - half the time
            with theirs:
                pid = forks.fork(theirs, folder)
        except OSError:
            ours.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        guest = SocketGuest(
            ours,
            kill=lambda: self._end(pid, folder),
            cpu=lambda: _cpu_seconds(pid),
            lost=lambda: self._lost,
            pid=pid,
        )
        with self._lock:
            self._guests[pid] = guest
        return guest

    async def astart(self, limits: Limits) -> SocketGuest:
        """The awaitable twin of `start`."""
        return await asyncio.to_thread(self.start, limits)

    def lose(self) -> None:
        """Act as a sandbox that goes away: every guest dies, and each of them says `lost()`."""
        self._lost = True
        self._kill_all()

    def close(self) -> None:
        """End every guest."""
        self._closed = True
        self._kill_all()

    def _end(self, pid: int, folder: str) -> None:
        with self._lock:
            self._guests.pop(pid, None)
        with suppress(OSError):
            forks.kill(pid)
        shutil.rmtree(folder, ignore_errors=True)

    def _kill_all(self) -> None:
        with self._lock:
            guests = list(self._guests.values())
        for guest in guests:
            guest.kill()


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process; Linux only, elsewhere it is not known."""
    if not sys.platform.startswith("linux"):
        return 0.0
    return time.clock_gettime((~pid << 3) | 2)
