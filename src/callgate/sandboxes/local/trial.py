"""The trial of a fork server: its first two guests try to break what every later one is promised.

One is the canary, which tries everything within small bounds. The other one is busy in all its threads and heeds no
signal: it has to be measured, and ended.
"""

from __future__ import annotations

import functools
import os
import select
import time
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from callgate.codec import JSON, is_array, is_object
from callgate.errors import SandboxLost
from callgate.limits import Limits
from callgate.sandboxes import bundle
from callgate.sandboxes.base import EndFrame, frame
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.frames import BadFrame, Frames
from callgate.sandboxes.local.canary.attempts import ATTEMPTS
from callgate.sandboxes.local.canary.outside import given
from callgate.sandboxes.local.forkserver import Bounds, ForkServer
from callgate.sandboxes.local.guest import Order
from callgate.sandboxes.local.lure import Lure
from callgate.sandboxes.local.policy import JailPolicy
from callgate.sandboxes.local.proof import PROPERTIES

__all__ = ["canary_program", "prove"]

BOUNDS = Bounds(memory_mb=64, disk_mb=1, cpu_seconds=5, threads=16)
"""Of both guests: small, so that reaching them takes no time."""

MODULES = ("trying", "outside", "system", "attempts")
SECONDS = 10.0
GONE_SECONDS = 1.0
MEASURED_SECONDS = 0.002

TELLING = 12
"""Characters from which on a variable is somebody's own: libraries set short ones alike wherever they are imported."""
NO_ANSWER = "the canary gave no answer"

BUSY = """\
import ctypes, os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
libc, room, thread = ctypes.CDLL(None), ctypes.create_string_buffer(256), ctypes.c_ulong()
libc.pthread_attr_init(room)
libc.pthread_attr_setstacksize(room, ctypes.c_size_t(1 << 17))
for _ in range(4):
    if libc.pthread_create(ctypes.byref(thread), room, libc.pause, None):
        raise OSError("no thread")
os.write(3, b'\\0\\0\\0\\x0e{"out":"busy"}')
while True:
    pass
"""


def prove(server: ForkServer, policy: JailPolicy) -> dict[str, list[str]]:
    """Let two fresh guests try, and return property to the attempts that succeeded.

    Args:
        server: makes the guests. They are used up afterwards.
        policy: the server's.

    Raises:
        SandboxUnavailable: if a layer of the guests, or a place for bait, cannot be had.
        SandboxLost: if the server ends.
    """
    shown = [each.source for each in (*policy.packages, *policy.mounts)]
    try:
        with ExitStack() as stack:
            lure = stack.enter_context(Lure(policy.interpreter.path, shown))
            busy = _guest(server, stack)
            _run(busy, BUSY)
            found = [_endured(busy)]  # over before the canary starts: they would compete
            canary = _guest(server, stack)
            found.append(_privileges(_pid(canary)))
            _run(canary, canary_program(lure.bait()))
            said = _value(canary)
            found += [_told(said), _variables(said), lure.seen()]
    except OSError as error:
        server.kill()
        what = "does not answer" if isinstance(error, TimeoutError) else "ended before its first guest"
        raise SandboxLost(f"the fork server {what}") from None
    return {name: [attempt for each in found for attempt in each.get(name, ())] for name in PROPERTIES}


def canary_program(bait: dict[str, Any]) -> str:
    """Return the text of the canary that goes for bait."""
    bounds = {name: bound for name, bound in BOUNDS._asdict().items() if name != "threads"}
    return bundle.source(dict(_sources()), f"{bundle.PACKAGE}.attempts.report(**{bait | bounds!r})")


@functools.cache
def _sources() -> tuple[tuple[str, str], ...]:
    canary = resources.files("callgate.sandboxes.local") / "canary"
    return tuple((name, (canary / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES)


def _told(said: JSON) -> dict[str, list[str]]:
    """Return what the canary says it broke. Silence, or another form than it should have, is no proof of anything."""
    if not is_object(said):
        return {name: [NO_ANSWER] for name in ATTEMPTS}
    found: dict[str, list[str]] = {}
    told = said.get("attempts")
    for name, attempts in ATTEMPTS.items():
        results = told.get(name) if is_object(told) else None
        if not is_object(results) or results.keys() != attempts.keys():
            found[name] = [NO_ANSWER]
        else:
            found[name] = [attempt for attempt, result in results.items() if result is not False]
    return found


def _variables(said: JSON) -> dict[str, list[str]]:
    """Return whether the canary has a variable of this process."""
    variables = said.get("variables") if is_object(said) else None
    if not is_array(variables):
        return {"environment": [NO_ANSWER]}
    own = {f"{name}={value}" for name, value in os.environ.items() if not given(name) and len(value) >= TELLING}
    found = [each for each in variables if not isinstance(each, str) or each in own]
    return {"environment": ["have a variable of the host"] if found else []}


def _guest(server: ForkServer, stack: ExitStack) -> SocketGuest:
    guest = Order(server, BOUNDS).wait()
    stack.callback(guest.kill)
    return guest


def _pid(guest: SocketGuest) -> int:
    if guest.pid is None:
        raise ProcessLookupError
    return guest.pid


def _run(guest: SocketGuest, program: str) -> None:
    limits = Limits()
    bounds = {"output_kb": limits.output_kb, "frame_mb": limits.frame_mb, "threads": limits.threads}
    order = {"program": program, "seed": 0, "wall": 0.0, "tools": {}, "limits": bounds}
    guest.send(frame({"run": order}), SECONDS)


def _value(guest: SocketGuest) -> JSON:
    """Return what its program ends with; None if it does not, or not in time."""
    frames, deadline = Frames(1), time.monotonic() + SECONDS
    with suppress(BadFrame):
        while (left := deadline - time.monotonic()) > 0 and (data := guest.receive(left)):
            for each in frames.feed(data):
                if isinstance(each, EndFrame):
                    return each.value
    return None


def _privileges(pid: int) -> dict[str, list[str]]:
    """Return what the kernel says of a guest that it should not; nothing where the host cannot look."""
    try:
        text = status_of(pid)
    except OSError:
        return {}
    facts = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    sets = [name for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(facts.get(name, "0"), 16)]
    found = [f"have a capability ({name})" for name in sets]
    if facts.get("NoNewPrivs") == "0":
        found.append("gain a privilege by an exec")
    if facts.get("Seccomp", "2") != "2":
        found.append("be without a filter")
    return {"kernel_surface": found}


def _endured(guest: SocketGuest) -> dict[str, list[str]]:
    """Measure a guest that is busy, end it, and return what did not work."""
    pid = _pid(guest)
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:  # it ended by itself
        return {"cpu": ["run unmeasured"]}
    try:
        measured = _measured(guest, process)
        guest.kill()
        outlived = [] if _ended(process, GONE_SECONDS) else ["outlive its end"]
    finally:
        os.close(process)
    return {"cpu": [*([] if measured else ["run unmeasured"]), *outlived], "lifetime": outlived}


def _measured(guest: SocketGuest, process: int) -> bool:
    """Say whether the processor time of a guest can be seen to grow, once it says that it is busy."""
    if guest.receive(SECONDS) != frame({"out": "busy"}):
        return False
    used, deadline = guest.cpu_seconds(), time.monotonic() + SECONDS
    while guest.cpu_seconds() < used + MEASURED_SECONDS:
        if _ended(process, 0.001) or time.monotonic() > deadline:
            return False
    return True


def _ended(process: int, seconds: float) -> bool:
    """Say whether a process, with all its threads, is gone within seconds."""
    ended = select.poll()
    ended.register(process, select.POLLIN)
    return bool(ended.poll(seconds * 1000))


def status_of(pid: int) -> str:
    """Return what the kernel says of a process. Raises OSError where the host must not look."""
    return Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
