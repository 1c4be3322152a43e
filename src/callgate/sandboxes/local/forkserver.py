"""The host's end of one fork server."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import socket
import subprocess
import weakref
from contextlib import suppress
from importlib import resources
from struct import Struct
from typing import IO, Any, NamedTuple

from callgate.errors import SandboxLost, SandboxUnavailable, UsageError
from callgate.limits import Limits
from callgate.sandboxes import bundle
from callgate.sandboxes.guest_source import guest_modules
from callgate.sandboxes.local import cures, forks
from callgate.sandboxes.local.interpreter import FLAGS
from callgate.sandboxes.local.policy import JailPolicy, Shown, moved_mounts
from callgate.sandboxes.local.shown import PACKAGES

__all__ = ["IMPORT_SECONDS", "START_SECONDS", "Bounds", "ForkServer"]

START_SECONDS = 10.0
"""How long a fork server may take to stand, and a guest to be there: far above what they need, on a loaded host too."""

IMPORT_SECONDS = 60.0
"""How long it may take to import one module of `preload`."""

_LAUNCH = ("syscalls", "kernel", "identity", "namespaces", "rlimits", "addresses", "places", "tree", "launch")
_SERVE = (*_LAUNCH, "plan", "landlock", "seccomp", "confine", "imports", "server")
_BOUNDS = Struct("!IIII")
_LARGEST = (1 << 32) - 1
_ROOM = 1 << 20
# What the library would do in each forked guest: renew locks that nobody holds, and random numbers that get a seed.
_NO_HOOKS = "import os\nos.register_at_fork = lambda **_: None\n"
_CLOSE_SECONDS = 2.0


class Bounds(NamedTuple):
    """What the kernel holds one guest to, as whole numbers."""

    memory_mb: int
    disk_mb: int
    cpu_seconds: int
    threads: int

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """Return the bounds that limits ask for."""
        wanted = (limits.memory_mb, limits.disk_mb, limits.cpu_seconds, limits.threads)
        return cls(*(min(math.ceil(bound), _LARGEST) for bound in wanted))


class ForkServer:
    """A running fork server. Starting one takes some 150 ms; a guest of it, a few.

    It ends, and its guests with it, when the last descriptor of its control socket closes: by `close`, when nobody
    refers to it any more, or when the host dies.

    Args:
        policy: the layers its guests are confined by, all of them or there is no guest, and what they are shown.

    Raises:
        SandboxUnavailable: naming the layer, or what else it is, that cannot be had.
        SandboxLost: if it does not come up in time.
    """

    def __init__(self, policy: JailPolicy) -> None:
        _can_be_shown(policy)
        program = _server_program(policy)
        with _memory("") as errors:
            with forks.held_off():  # a child of the host that held the server's ends would keep it alive
                self._start(policy, program, errors)
            try:
                report = self._first_report(errors)
            except BaseException:
                self.close()
                raise
        self.layers = policy.layers
        """The layers that confine each guest."""
        self.landlock: int = report["landlock"]
        """The kernel's version of Landlock, 0 where guests are not under it."""
        self.fixed_addresses: bool = report["addresses"]
        """Whether addresses are the same in all guests, so that replay repeats even what depends on `id()`."""
        self.python: str = report["python"]
        """The version of Python that runs inside."""
        self._control.setblocking(False)
        self._handoff.setblocking(False)

    def _start(self, policy: JailPolicy, program: str, errors: IO[bytes]) -> None:
        self._control, control = socket.socketpair()
        self._handoff, handoff = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Each order is a message on both, and only the one that is sent first may be refused for want of room.
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        with control, handoff, _memory(program) as text:
            try:
                self._process = _launch(policy, control, handoff, text, errors)
            except BaseException:
                self._control.close()
                self._handoff.close()
                raise
        self._end = weakref.finalize(self, _end, self._process, self._control, self._handoff)
        forks.watch(self)

    def _first_report(self, errors: IO[bytes]) -> dict[str, Any]:
        """Return what the server says of itself. Before each module it imports it names that module."""
        importing, text = None, b""
        self._control.settimeout(START_SECONDS)
        while True:
            try:
                more = self._control.recv(1 << 12)
            except TimeoutError:
                raise _late(importing) from None
            except OSError:
                more = b""
            if not more:
                raise self._ended(importing, errors)
            *lines, text = (text + more).split(b"\n")
            for line in lines:
                report = json.loads(line)
                if "importing" not in report:
                    return _checked(report)
                importing = report["importing"]
                self._control.settimeout(IMPORT_SECONDS)

    def _ended(self, importing: str | None, errors: IO[bytes]) -> SandboxUnavailable | SandboxLost | UsageError:
        if importing is not None:
            return UsageError(f"preload: the process that imports {importing!r} ended; leave it to the programs")
        try:
            status = self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            return SandboxLost("the fork server does not come up")
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return cures.unavailable("a fork server", last or f"it ended with status {status}")

    def hand_over(self, channel: socket.socket, bounds: Bounds) -> None:
        """Ask for a guest that has channel as its own. Never blocks.

        Raises:
            OSError: if the server is gone; a BlockingIOError if it takes no more orders now.
        """
        socket.send_fds(self._handoff, [_BOUNDS.pack(*bounds)], [channel.fileno()])
        self._control.send(b"!")

    def gone(self) -> bool:
        """Say whether the server has ended."""
        try:
            return not self._control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """End the server and all its guests. Does nothing the second time."""
        self._end()

    def kill(self) -> None:
        """End a server that does not answer."""
        self._process.kill()  # the server itself dies with this parent of it
        self.close()

    def forked(self) -> None:
        """In a forked child: let go of the parent's server without touching it. Held open here, it would outlive it."""
        self._end.detach()
        self._control.close()
        self._handoff.close()
        self._process.returncode = 0


def _checked(report: dict[str, Any]) -> dict[str, Any]:
    if "mistake" in report:
        raise UsageError(report["mistake"])
    if "missing" in report:
        raise cures.unavailable(report["missing"], report["reason"])
    return report


def _late(importing: str | None) -> SandboxLost | UsageError:
    if importing is None:
        return SandboxLost(f"the fork server did not come up within {START_SECONDS:g} s")
    return UsageError(
        f"preload: importing {importing!r} takes longer than {IMPORT_SECONDS:g} s; leave it to the programs"
    )


def _launch(
    policy: JailPolicy, control: socket.socket, handoff: socket.socket, program: IO[bytes], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    python = policy.interpreter
    arguments = {
        "control": control.fileno(),
        "handoff": handoff.fileno(),
        "program": program.fileno(),
        "namespaces": "namespaces" in policy.layers,
        "interpreter": list(python.parts),
        "packages": [_part(shown) for shown in policy.packages],
        "mounts": [_part(shown) for shown in policy.mounts],
        "arguments": [*FLAGS, "-"],
    }
    text = bundle.source(_modules(_LAUNCH), f"{bundle.PACKAGE}.launch.launch(**{arguments!r})")
    with _memory(text) as first:
        try:
            return subprocess.Popen(  # noqa: S603 - the interpreter this process runs on, or the one it was given
                [python.path, *FLAGS, "-"],
                env={"PYTHONHASHSEED": "0", "TZ": "UTC"},
                stdin=first,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[control.fileno(), handoff.fileno(), program.fileno()],
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the terminal is the host's business
            )
        except OSError as error:
            missing = "a process" if error.errno in (errno.EAGAIN, errno.ENOMEM) else "a readable interpreter"
            raise cures.unavailable(missing, error.strerror or type(error).__name__) from None


def _part(shown: Shown) -> tuple[str, str, int, int]:
    return shown.source, shown.target, shown.device, shown.inode


def _can_be_shown(policy: JailPolicy) -> None:
    """Refuse what takes a tree of one's own where there is none."""
    moved = moved_mounts(policy) if "namespaces" not in policy.layers else []
    if moved:
        raise SandboxUnavailable(
            f"without namespaces a mount shows only what is really there: {', '.join(moved)} cannot be had",
            missing=["mount namespaces"],
            cure="Give each mount the path of its source as its target, or use a host that allows namespaces.",
        )


def _server_program(policy: JailPolicy) -> str:
    """Return the program of the fork server: the guest's modules, which patch the library, then the jail's."""
    at = 1 if "namespaces" in policy.layers else 0
    if at:  # each part was checked when the tree was made, which holds nothing else at PACKAGES
        places = [PACKAGES] if policy.packages else []
        shown = [(place, 0, 0) for place in (*places, *(each.target for each in policy.mounts))]
    else:
        shown = [(each.source, each.device, each.inode) for each in (*policy.packages, *policy.mounts)]
    plan = {
        "layers": frozenset(policy.layers),
        "interpreter": tuple(part[at] for part in policy.interpreter.parts),
        "shown": tuple(shown),
        "path": tuple(entry[at] for entry in policy.path),
        "preload": policy.preload,
    }
    guest = bundle.source(guest_modules(), f"{bundle.PACKAGE}.main.install()")
    serve = (
        f"from {bundle.PACKAGE} import early, main, plan, server; "
        f"server.serve(main.run, early.alone, plan.Plan(**{plan!r}))"
    )
    return _NO_HOOKS + guest + bundle.source(_modules(_SERVE), serve)


@functools.cache
def _modules(names: tuple[str, ...]) -> dict[str, str]:
    inside = resources.files("callgate.sandboxes.local") / "inside"
    return {name: (inside / f"{name}.py").read_text(encoding="utf-8") for name in names}


def _memory(text: str) -> IO[bytes]:
    """Return a file without a name that holds text."""
    file = os.fdopen(os.memfd_create("callgate", os.MFD_CLOEXEC), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file


def _end(process: subprocess.Popen[bytes], control: socket.socket, handoff: socket.socket) -> None:
    with suppress(OSError):
        control.shutdown(socket.SHUT_RDWR)  # a forked child may hold a copy
    control.close()
    handoff.close()
    try:
        process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # the server dies with this parent of it
        process.wait()
