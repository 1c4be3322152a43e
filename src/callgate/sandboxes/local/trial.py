"""The trial of a fork server: its first two guests try to break what every later one is promised.

One is the canary, which tries everything within small bounds. The other one is busy in all its threads and heeds no
signal: it has to be measured, and ended.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import socket
import time
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Self

from callgate.codec import JSON, is_object
from callgate.errors import SandboxLost
from callgate.limits import Limits
from callgate.sandboxes import bundle
from callgate.sandboxes.base import BadFrame, EndFrame, Frames, frame
from callgate.sandboxes.local import cures
from callgate.sandboxes.local.canary.attempts import ATTEMPTS
from callgate.sandboxes.local.forkserver import START_SECONDS, Bounds, ForkServer
from callgate.sandboxes.local.lure import Lure
from callgate.sandboxes.local.proof import PROPERTIES

__all__ = ["canary_program", "prove"]

BOUNDS = Bounds(memory_mb=64, disk_mb=1, cpu_seconds=5)
"""Of both guests: small, so that reaching them takes no time."""

MODULES = ("trying", "outside", "system", "attempts")
_SECONDS = 10.0
_GONE_SECONDS = 1.0
_MEASURED_SECONDS = 0.002
_READY = b"+"

_BUSY = """\
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
libc, room, thread = ctypes.CDLL(None), ctypes.create_string_buffer(256), ctypes.c_ulong()
libc.pthread_attr_init(room)
libc.pthread_attr_setstacksize(room, ctypes.c_size_t(1 << 17))
for _ in range(4):
    libc.pthread_create(ctypes.byref(thread), room, libc.pause, None)
while True:
    pass
"""


def prove(server: ForkServer, python: str) -> dict[str, list[str]]:
    """Let two fresh guests try, and return property to the attempts that succeeded.

    Args:
        server: makes the guests. They are used up afterwards.
        python: an interpreter that the guests' user can run.

    Raises:
        SandboxUnavailable: if a layer of the guests, or a place for bait, cannot be had.
        SandboxLost: if the server ends.
    """
    try:
        with Lure(python) as lure, _Guest(server) as busy, _Guest(server) as canary:
            busy.confined()
            busy.run(_BUSY)
            found = [busy.endured()]  # over before the canary starts: they would compete
            canary.confined()
            found.append(canary.status())
            canary.run(canary_program(lure.bait()))
            found += [_told(canary.value()), lure.seen()]
    except OSError as error:
        server.kill()
        what = "does not answer" if isinstance(error, TimeoutError) else "ended before its first guest"
        raise SandboxLost(f"the fork server {what}") from None
    return {name: [attempt for each in found for attempt in each.get(name, ())] for name in PROPERTIES}


def canary_program(bait: dict[str, Any]) -> str:
    """Return the text of the canary that goes for bait."""
    return bundle.source(dict(_sources()), f"{bundle.PACKAGE}.attempts.report(**{bait | BOUNDS._asdict()!r})")


@functools.cache
def _sources() -> tuple[tuple[str, str], ...]:
    canary = resources.files("callgate.sandboxes.local") / "canary"
    return tuple((name, (canary / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES)


def _told(said: JSON) -> dict[str, list[str]]:
    """Return what the canary says it broke. Silence, or another form than it should have, is no proof of anything."""
    if not is_object(said):
        return {name: ["the canary gave no answer"] for name in ATTEMPTS}
    found: dict[str, list[str]] = {}
    for name, attempts in ATTEMPTS.items():
        results = said.get(name)
        if not is_object(results) or results.keys() != attempts.keys():
            found[name] = ["the canary gave no answer"]
        else:
            found[name] = [attempt for attempt, result in results.items() if result is not False]
    return found


class _Guest:
    """A guest seen from close by: with its process, and without trust in the library that talks to guests."""

    def __init__(self, server: ForkServer) -> None:
        self._stack = ExitStack()
        self._channel, theirs = socket.socketpair()
        self._stack.callback(self._channel.close)
        self._process = -1
        with theirs:
            try:
                server.hand_over(theirs, BOUNDS)
            except BaseException:
                self._stack.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process != -1:
            self._kill()
        self._stack.close()

    def confined(self) -> None:
        """Wait until it is."""
        self._channel.settimeout(START_SECONDS)
        data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if descriptors:
            self._process = descriptors[0]
            self._stack.callback(os.close, self._process)
            data = b""
        data += self._channel.recv(1 << 12)
        if data != _READY:
            if not data:
                raise ConnectionResetError
            missing = json.loads(data)
            raise cures.unavailable(missing["missing"], missing["reason"])

    def run(self, program: str) -> None:
        """Give it its program."""
        limits = Limits()
        bounds = {"output_kb": limits.output_kb, "frame_mb": limits.frame_mb, "threads": limits.threads}
        order = {"program": program, "seed": 0, "wall": 0.0, "tools": {}, "limits": bounds}
        with suppress(ConnectionError):  # it died: it will have said nothing
            self._channel.sendall(frame({"run": order}))

    def value(self) -> JSON:
        """Return what its program ends with; None if it does not, or not in time."""
        frames, deadline = Frames(1), time.monotonic() + _SECONDS
        with suppress(TimeoutError, ConnectionError, BadFrame):
            while (left := deadline - time.monotonic()) > 0:
                self._channel.settimeout(left)
                if not (data := self._channel.recv(1 << 16)):
                    break
                for each in frames.feed(data):
                    if isinstance(each, EndFrame):
                        return each.value
        return None

    def status(self) -> dict[str, list[str]]:
        """Return what the kernel says of its process that it should not; nothing where the host cannot look."""
        try:
            text = Path(f"/proc/{self._pid()}/status").read_text(encoding="ascii", errors="replace")
        except (OSError, ValueError):
            return {}
        facts = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        sets = [name for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(facts.get(name, "0"), 16)]
        found = [f"hold a capability ({name})" for name in sets]
        if facts.get("NoNewPrivs") == "0":
            found.append("gain a privilege by an exec")
        if facts.get("Seccomp", "2") != "2":
            found.append("be without a filter")
        return {"kernel_surface": found}

    def endured(self) -> dict[str, list[str]]:
        """Measure a guest that is busy, end it, and return what did not work."""
        found: dict[str, list[str]] = {"cpu": [], "lifetime": []}
        if not self._measured():
            found["cpu"].append("run unmeasured")
        self._kill()
        if not self._ended(_GONE_SECONDS):
            found["cpu"].append("outlive its end")
            found["lifetime"].append("outlive its end")
        return found

    def _measured(self) -> bool:
        """Say whether its processor time can be seen to grow."""
        try:
            # The clock of a whole process (include/linux/posix-timers.h: CPUCLOCK_SCHED), by its number on this host.
            clock = (~self._pid() << 3) | 2
            wanted, deadline = time.clock_gettime(clock) + _MEASURED_SECONDS, time.monotonic() + _SECONDS
            while time.clock_gettime(clock) < wanted:
                if self._ended(0.001) or time.monotonic() > deadline:
                    return False
        except (OSError, ValueError):
            return False
        return True

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def _ended(self, seconds: float) -> bool:
        """Say whether its process, with all its threads, is gone within seconds."""
        ended = select.poll()
        ended.register(self._process, select.POLLIN)
        return bool(ended.poll(seconds * 1000))

    def _pid(self) -> int:
        """Return its number on this host. Raises ValueError where the host does not see it."""
        text = Path(f"/proc/self/fdinfo/{self._process}").read_text(encoding="ascii")
        number = int(dict(line.split(":\t", 1) for line in text.splitlines())["Pid"])
        if number < 1:
            raise ValueError(number)
        return number
