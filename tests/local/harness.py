"""One program in a local sandbox, in simulated time: whatever the guest waits for is due at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest

from callgate.errors import SandboxUnavailable
from callgate.limits import Limits
from callgate.sandboxes.base import EndFrame, OutFrame, RestFrame, frame
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.frames import Frames
from callgate.sandboxes.local.forkserver import Bounds, ForkServer
from callgate.sandboxes.local.guest import Order
from callgate.sandboxes.local.policy import JailPolicy, layer_of

PATIENCE = 30.0
NOBODY = 65534


@dataclass(kw_only=True)
class Result:
    """What a guest sent."""

    value: Any = None
    error: dict[str, Any] | None = None
    out: str = ""
    gone: bool = False
    """It ended without saying so."""


def order(program: str, limits: Limits | None = None, wall: float = 1_800_000_000.0, seed: int = 7) -> bytes:
    """Return the frame that brings a program."""
    limits = limits or Limits()
    bounds = {"output_kb": limits.output_kb, "frame_mb": limits.frame_mb, "threads": limits.threads}
    return frame({"run": {"program": program, "seed": seed, "wall": wall, "tools": {}, "limits": bounds}})


class Server:
    """A bare fork server of a policy, to be used like a sandbox."""

    def __init__(self, policy: JailPolicy) -> None:
        self._server = ForkServer(policy)

    def start(self, limits: Limits) -> SocketGuest:
        return Order(self._server, Bounds.of(limits)).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


def served(policy: JailPolicy) -> Server:
    """Return a fork server of a policy; skips where this host lacks a layer of it."""
    try:
        return Server(policy)
    except SandboxUnavailable as error:
        if any(layer_of(each) is None for each in error.missing):
            raise
        pytest.skip(str(error))


@cache
def open_python() -> str | None:
    """Return an interpreter of this version that any user can run; None: the one of these tests will do.

    Skips where there is none. Without namespaces what root starts runs as nobody, in an interpreter at its real place.
    """
    if os.getuid() != 0:
        return None
    name = f"python3.{sys.version_info.minor}"
    own = getattr(sys, "_base_executable", None) or sys.executable
    for path in (own, f"/usr/bin/{name}", f"/usr/local/bin/{name}", f"/opt/python/bin/{name}"):
        try:
            subprocess.run(
                [path, "-S", "-c", ""], user=NOBODY, group=NOBODY, extra_groups=[], env={}, cwd="/", check=True
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return path
    pytest.skip(f"no {name} that an ordinary user can run, as it takes without namespaces")


def run(sandbox: Any, program: str, limits: Limits | None = None) -> Result:
    """Run one program to its end."""
    guest = sandbox.start(limits or Limits())
    try:
        guest.send(order(program, limits), PATIENCE)
        return converse(guest)
    finally:
        guest.kill()


def converse(guest: Any) -> Result:
    """Move the guest's clock on until it ends."""
    frames, result, now = Frames(16), Result(), 0.0
    while True:
        data = guest.receive(PATIENCE)
        assert data is not None, f"the guest says nothing for {PATIENCE} s"
        if not data:
            result.gone = True
            return result
        for one in frames.feed(data):
            match one:
                case OutFrame(text=text):
                    result.out += text
                case RestFrame(until=until):
                    assert until is not None, "the guest waits for ever"
                    now = max(now, until)
                    guest.send(frame({"clock": now, "wall": 1_800_000_000.0}), PATIENCE)
                case EndFrame(value=value, error=error):
                    result.value, result.error = value, error
                    return result
                case _:
                    raise AssertionError(one)


def value(sandbox: Any, program: str, limits: Limits | None = None) -> Any:
    """Return what a program ends with."""
    result = run(sandbox, program, limits)
    assert not result.gone, "the guest died"
    assert result.error is None, result.error
    return result.value


def descendants(pid: int | None = None) -> set[int]:
    """Return the processes below one, this one by default, by what the kernel says now."""
    found: set[int] = set()
    tasks = Path(f"/proc/{pid or os.getpid()}/task")
    try:
        for task in tasks.iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child} | descendants(child)
    except FileNotFoundError:  # it ended meanwhile
        pass
    return found


def alive(pid: int) -> bool:
    """Say whether there is a process of that number that is not over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def settled() -> set[int]:
    """Return the processes below this one, once those that were killed are gone."""
    found, since = descendants(), time.monotonic()
    while time.monotonic() - since < 0.1:
        time.sleep(0.01)
        if (now := descendants()) != found:
            found, since = now, time.monotonic()
    return found
