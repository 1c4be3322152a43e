"""What a guest finds in an E2B sandbox, and what it cannot reach there.

The virtual machine is the wall between a program and everybody else. Inside of it, where the relay is root, each guest
gets a user of its own, /tmp and /out of its own, and no way to more privileges, so that programs that follow one
another in one machine do not find what others left. Without root it gets directories of its own, and no more.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH108, PTH112, PTH123, S103, S108

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import site
import sys
import tempfile
from dataclasses import dataclass, field
from types import CodeType, ModuleType
from typing import Any, NoReturn

CONFINED = b"+"
STAND_IN = "CALLGATE_LOOPBACK"
"""Names, in the environment, a place that only stands in for a sandbox: nothing of the machine is touched there."""

_CLONE_NEWNS, _MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 2, 4, 1 << 12, 1 << 14, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9
_MIB = 1 << 20
_USERS = 100_000
"""Numbers of users from here on are nobody else's."""
_DESCRIPTORS = 256
_STACK = 8 << 20
_MORE_THREADS = 32
_ENVIRONMENT = {"HOME": "/tmp", "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin", "TZ": "UTC", "USER": "guest"}


@dataclass(slots=True)
class Place:
    """Where one guest works."""

    folder: str
    """With `tmp` and `out`; used where `isolated` is false."""
    isolated: bool
    exchanged: list[str] = field(default_factory=list)
    """Files that the relay made for the host."""

    @classmethod
    def make(cls) -> Place:
        """Return a new one."""
        isolated = os.geteuid() == 0 and not os.environ.get(STAND_IN)
        folder = tempfile.mkdtemp(prefix="callgate-", dir=os.environ.get(STAND_IN) or None)
        for name in ("tmp", "out"):
            os.mkdir(f"{folder}/{name}")
        return cls(folder, isolated)

    def remove(self) -> None:
        """Remove what is left of it."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        for path in self.exchanged:
            with contextlib.suppress(OSError):
                os.unlink(path)


def become_guest(
    modules: dict[str, CodeType], channel: int, report: int, place: Place, limits: dict[str, Any]
) -> NoReturn:
    """Confine this process, say so, and run one program; say what is missing where it cannot be confined.

    Args:
        modules: the guest's, by name, in the order in which they import one another.
        channel: to the relay.
        report: where to say what is missing.
        place: where to work.
        limits: memory_mb, disk_mb, cpu_seconds, threads.
    """
    try:
        packages = _packages()
        guest = _lay_down(modules)
        guest.main.install()
        _confine(place, limits, guest)
        sys.path += packages
        _standard_descriptors()
        os.write(report, CONFINED)
        os.close(report)
        os.closerange(3, channel)
        os.closerange(channel + 1, 1 << 12)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the program must not run
        os.write(report, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    guest.main.run(channel)
    os._exit(1)


def _lay_down(modules: dict[str, CodeType]) -> Any:
    """Put the guest's package where its modules find one another, in place of the relay's."""
    package: Any = ModuleType("callgate_guest")
    package.__path__ = []
    sys.modules[package.__name__] = package
    for name, code in modules.items():
        module = ModuleType(f"callgate_guest.{name}")
        module.__package__ = package.__name__
        sys.modules[module.__name__] = module
        exec(code, module.__dict__)  # noqa: S102 - our own text
        setattr(package, name, module)
    return package


def _packages() -> list[str]:
    """Return where installed packages lie, without running what they want to run at every start."""
    found = [*site.getsitepackages(), "/usr/lib/python3/dist-packages"]
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


def _confine(place: Place, limits: dict[str, Any], guest: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _ask(libc, "prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    os.setsid()
    if place.isolated:
        _own_files(libc, place.folder, limits["disk_mb"])
        _own_user(os.getpid())
        # Changing the user made the kernel forget whose death ends it.
        _ask(libc, "prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        _ask(libc, "prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
        _ask(libc, "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.chdir("/tmp")
    else:
        guest.redirect.install(guest.artifacts.root, f"{place.folder}/out")
        guest.artifacts.root = f"{place.folder}/out"
        os.chdir(f"{place.folder}/tmp")
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    _limit(limits)


def _own_files(libc: Any, folder: str, disk_mb: int) -> None:
    """Put one file system of that size where programs write, /tmp last: the folder lies below it."""
    _ask(libc, "unshare", _CLONE_NEWNS)
    _ask(libc, "mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    _ask(libc, "mount", b"tmpfs", folder.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"size=%dm" % disk_mb)
    for name in ("out", "shm", "tmp"):
        path = "/dev/shm" if name == "shm" else f"/{name}"
        os.makedirs(path, exist_ok=True)
        os.mkdir(f"{folder}/{name}")
        os.chmod(f"{folder}/{name}", 0o1777)
        _ask(libc, "mount", f"{folder}/{name}".encode(), path.encode(), None, _MS_BIND, None)


def _own_user(pid: int) -> None:
    """Become the user of a guest: no other one is that user."""
    user = _USERS + pid
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def end_user(pid: int) -> None:
    """End every process of a guest's user, also those that left its group."""
    ender = os.fork()
    if not ender:
        try:
            _own_user(pid)
            os.kill(-1, _SIGKILL)  # all that this user may end, but for this process
        finally:
            os._exit(0)
    os.waitpid(ender, 0)


def _limit(limits: dict[str, Any]) -> None:
    with open("/proc/self/statm", "rb") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    for which, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(limits["cpu_seconds"]) + 1),
        (resource.RLIMIT_AS, limits["memory_mb"] * _MIB + mapped),
        (resource.RLIMIT_FSIZE, (limits["disk_mb"] + 1) * _MIB),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_STACK, _STACK),
        *([(resource.RLIMIT_NPROC, limits["threads"] + _MORE_THREADS)] if os.geteuid() >= _USERS else ()),
    ):
        hard = resource.getrlimit(which)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (bound, bound))


def _standard_descriptors() -> None:
    """Leave the relay's input and output to the relay."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def _ask(libc: Any, name: str, *arguments: Any) -> None:
    given = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if getattr(libc, name)(*given) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
