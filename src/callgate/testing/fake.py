"""A sandbox without any isolation, for tests.

`FakeSandbox` runs programs in an ordinary child process, with the very guest that the real sandboxes run: calls,
clocks, threads, asyncio, replay and limits of the guest itself are the same. Nothing keeps a program from the files,
the processes and the network of this machine. Use it to test graphs and tools with programs you wrote yourself, on
any POSIX system; never give it a program that a model wrote.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache

from callgate.errors import SandboxLost
from callgate.limits import Limits
from callgate.sandboxes import bundle
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.guest_source import guest_modules

__all__ = ["FakeSandbox"]

READ_ALL = "import sys; exec(compile(sys.stdin.buffer.read(), '<guest>', 'exec'))"


class FakeSandbox:
    """Runs guests as plain child processes, WITHOUT ANY ISOLATION. For tests only; see the module's text.

    Memory, disk and processor limits are not enforced.
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
            with theirs:
                process = _spawn(theirs.fileno(), folder)
        except OSError:
            ours.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        guest = SocketGuest(
            ours,
            kill=lambda: self._end(process, folder),
            cpu=lambda: _cpu_seconds(process.pid),
            lost=lambda: self._lost,
        )
        with self._lock:
            self._guests[process.pid] = guest
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

    def _end(self, process: subprocess.Popen[bytes], folder: str) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with self._lock:
            self._guests.pop(process.pid, None)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    def _kill_all(self) -> None:
        with self._lock:
            guests = list(self._guests.values())
        for guest in guests:
            guest.kill()


@cache
def _interpreter() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


@cache
def _guest() -> str:
    return bundle.source(guest_modules(), "callgate_guest.main.install()")


def _spawn(fd: int, folder: str) -> subprocess.Popen[bytes]:
    """Start a guest that speaks over a descriptor. Its text comes as a file on standard input: no pipe to fill."""
    with tempfile.TemporaryFile() as text:
        text.write(f"{_guest()}callgate_guest.main.run({fd})\n".encode())
        text.seek(0)
        return subprocess.Popen(  # noqa: S603 - our own interpreter, our own text
            [_interpreter(), "-S", "-s", "-P", "-B", "-c", READ_ALL],
            stdin=text,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "TZ": "UTC"},
            cwd=folder,
            pass_fds=[fd],
            start_new_session=True,
        )


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process; Linux only, elsewhere it is not known."""
    if not sys.platform.startswith("linux"):
        return 0.0
    return time.clock_gettime((~pid << 3) | 2)
