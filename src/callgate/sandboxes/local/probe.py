"""The first program of every fork server: it tries to break what a guest is promised."""

from __future__ import annotations

from callgate.limits import Limits
from callgate.sandboxes.base import BadFrame, EndFrame, Frames, frame
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.local import cures

__all__ = ["prove"]

_SECONDS = 10.0

_PROGRAM = """\
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)

def held(promise):
    try:
        promise()
    except OSError:
        return True
    return False

def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

broken = [name for name, attempt in {
    "files are not read": lambda: open("/etc/passwd"),
    "processes are not seen": lambda: os.listdir("/proc"),
    "files are not written": lambda: open("/usr/callgate", "w"),
    "there is no network": lambda: call("socket", 2, 1, 0),
    "there are no local sockets": lambda: call("socket", 1, 1, 0),
    "processes are not started": lambda: call("fork"),
    "programs are not executed": lambda: call("execve", b"/usr/bin/true", None, None),
    "signals are not sent": lambda: call("kill", -1, 0),
    "namespaces are not made": lambda: call("unshare", 0x10000000),
    "file systems are not mounted": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
}.items() if not held(attempt)]
broken += [name for name in os.environ if name not in ("HOME", "LANG", "LC_CTYPE", "PATH", "TZ", "USER")]
with open("/tmp/own", "w") as file:
    file.write("works")
broken
"""


def prove(guest: SocketGuest) -> None:
    """Let a fresh guest try; it is used up afterwards.

    Raises:
        SandboxUnavailable: if a promise does not hold, or the guest does not say that all do.
    """
    limits = Limits()
    bounds = {"output_kb": limits.output_kb, "frame_mb": limits.frame_mb, "threads": limits.threads}
    try:
        guest.send(
            frame({"run": {"program": _PROGRAM, "seed": 0, "wall": 0.0, "tools": {}, "limits": bounds}}), _SECONDS
        )
        end = _end(guest)
    except (TimeoutError, BadFrame) as error:
        raise cures.unavailable("a kept promise", type(error).__name__) from None
    finally:
        guest.kill()
    if end is None or end.error is not None or end.value != []:
        found = "the guest died" if end is None else str(end.error or end.value)
        raise cures.unavailable("a kept promise", found)


def _end(guest: SocketGuest) -> EndFrame | None:
    frames = Frames(1)
    while data := guest.receive(_SECONDS):
        for each in frames.feed(data):
            if isinstance(each, EndFrame):
                return each
    return None
