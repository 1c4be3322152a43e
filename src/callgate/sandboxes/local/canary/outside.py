"""What of the host a canary goes for: its files, its network, its environment."""

# As a program would write it, and with modules that a guest has loaded already.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH116, PTH120, PTH123, PTH208, PTH211, S103, S108

from __future__ import annotations

import ctypes
import os
import struct
from _socket import socket
from errno import EINPROGRESS
from functools import partial

from .trying import Attempt, Bait, Word, any_of, call, opened, room, unseen

GIVEN = ("HOME", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONHASHSEED", "TZ", "USER")
"""The variables a guest is given, besides those that keep libraries from starting threads."""
PLACES = ("/tmp", "/out", "/var/tmp", "/dev/shm", "/run/lock", "/run", "/home", "/root", "/usr", "/")
"""Directories where a file may be left, or kept."""
_HERE, _PATH_ONLY, _EMPTY_PATH = -100, 0o10000000, 0x1000
_STREAM, _DGRAM = 1, 2


def _processes(bait: Bait) -> list[int | str]:
    return [bait.pid, os.getppid(), 1, "self"]


def _open_through_a_link(bait: Bait) -> None:
    link = f"/tmp/callgate-{bait.token}-link"
    os.symlink(bait.readable, link)
    try:
        opened(link)
    finally:
        os.unlink(link)


def _use_what_is_open(_: Bait) -> bool:
    null = os.stat(os.devnull)
    for descriptor in range(256):
        try:
            kind = os.fstat(descriptor)
        except OSError:
            continue
        if (kind.st_mode, kind.st_rdev) != (null.st_mode, null.st_rdev) and descriptor != 3:  # 3 is its channel
            return True
    return False


def _make_beside_the_library(bait: Bait) -> None:
    path = f"{os.path.dirname(os.__file__)}/callgate_{bait.token}"
    opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.unlink(path)


def _leave_files(bait: Bait) -> None:
    any_of(lambda place: not opened(f"{place}/callgate-{bait.token}", os.O_CREAT | os.O_WRONLY) and False, PLACES)


def _through_a_path_only(name: str, *words: Word) -> Attempt:
    def change(bait: Bait) -> None:
        descriptor = os.open(bait.owned, _PATH_ONLY)
        try:
            call(bait, name, descriptor, b"", *words, _EMPTY_PATH)
        finally:
            os.close(descriptor)

    return change


def _address(name: str, bait: Bait) -> tuple[int, int, bytes]:
    """Return family, kind and address of what is listened to."""
    family, kind, address = {
        "TCP": (2, _STREAM, struct.pack("!H4s8x", bait.tcp, b"\x7f\0\0\1")),
        "TCP over IPv6": (10, _STREAM, struct.pack("!HI15xBI", bait.tcp6, 0, 1, 0)),
        "UDP": (2, _DGRAM, struct.pack("!H4s8x", bait.udp, b"\x7f\0\0\1")),
        "a unix socket": (1, _STREAM, bait.stream.encode()),
        "an abstract unix socket": (1, _STREAM, b"\0" + bait.stream.encode()),
        "a unix datagram socket": (1, _DGRAM, bait.datagram.encode()),
        "an abstract unix datagram socket": (1, _DGRAM, b"\0" + bait.datagram.encode()),
    }[name]
    return family, kind, struct.pack("=H", family) + address


def _reach(name: str, bait: Bait) -> None:
    family, kind, address = _address(name, bait)
    descriptor = call(bait, "socket", family, kind | os.O_NONBLOCK, 0)
    try:
        call(bait, "connect", descriptor, address, len(address))
        call(bait, "sendto", descriptor, b"x", 1, 0, 0, 0)
    except OSError as error:
        if error.errno != EINPROGRESS:
            raise
    finally:
        os.close(descriptor)


def _reach_through_a_pair(name: str, bait: Bait) -> bool:
    _, kind, address = _address(name, bait)
    pair = room(8)
    call(bait, "socketpair", 1, kind, 0, pair)
    ends = struct.unpack("=ii", pair.raw)
    try:
        return any_of(
            lambda words: call(bait, *words),
            [
                ("sendto", ends[0], b"x", 1, 0, address, len(address)),
                ("connect", ends[0], address, len(address)),
            ],
        )
    finally:
        os.close(ends[0])
        os.close(ends[1])


def _reach_by_the_library(bait: Bait) -> bool:
    tried = socket(2, _STREAM)
    try:
        tried.setblocking(False)
        return tried.connect_ex(("127.0.0.1", bait.tcp)) in (0, EINPROGRESS)
    finally:
        tried.close()


def variables() -> list[str]:
    """Return the variables of this process as the C library has them and as Python has, which may differ."""
    entries = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    found = [f"{name}={value}" for name, value in os.environ.items()]
    place = 0
    while entries and (entry := entries[place]) is not None:
        found.append(entry.decode(errors="replace"))
        place += 1
    return found


def given(name: str) -> bool:
    """Say whether a variable is one that guests have of their own."""
    return name in GIVEN or name.endswith("_THREADS")


def _environment_of(process: int | str) -> bool:
    with open(f"/proc/{process}/environ", "rb") as file:
        names = {entry.partition(b"=")[0].decode(errors="replace") for entry in file.read().split(b"\0")}
    return not all(not name or given(name) for name in names)


STREAMS = ("TCP", "TCP over IPv6", "UDP", "a unix socket", "an abstract unix socket")
DATAGRAMS = ("a unix datagram socket", "an abstract unix datagram socket")

CHANGES: dict[str, Attempt] = {
    "change a mode": lambda bait: os.chmod(bait.owned, 0o777),
    "change a mode by its system call": lambda bait: call(bait, "fchmodat", _HERE, bait.owned.encode(), 0o777),
    "change a mode by a path": _through_a_path_only("fchmodat2", 0o777),
    "change times": lambda bait: os.utime(bait.owned, (1, 1)),
    "change times by a path": _through_a_path_only("utimensat", struct.pack("=QQQQ", 1, 0, 1, 0)),
    "change an owner": lambda bait: os.chown(bait.owned, os.getuid(), os.getgid()),
    "change an owner by a path": _through_a_path_only("fchownat", 65534, 65534),
    "add an attribute": lambda bait: call(bait, "setxattr", bait.owned.encode(), b"user.x", b"x", 1, 0),
}

OUTSIDE: dict[str, dict[str, Attempt]] = {
    "files.read": {
        "open a file": lambda bait: opened(bait.readable),
        "open a file by its system call": lambda bait: call(bait, "openat", _HERE, bait.readable.encode(), 0),
        "open a file through a link": _open_through_a_link,
        "open a file through a process": lambda bait: any_of(
            lambda process: opened(f"/proc/{process}/root{bait.readable}"), _processes(bait)
        ),
        "open a file of the system": lambda _: any_of(
            opened, ("/etc/passwd", "/etc/hostname", "/proc/version", "/proc/self/maps", "/sys/kernel/notes")
        ),
        "open the memory of a process": lambda bait: any_of(
            lambda process: opened(f"/proc/{process}/mem"), (bait.pid, os.getppid())
        ),
        "list a directory": lambda bait: os.listdir(bait.folder),
        "list the processes in /proc": lambda _: os.listdir("/proc"),
        "use a descriptor left open": _use_what_is_open,
    },
    "files.write": {
        "write to a file": lambda bait: os.write(os.open(bait.writable, os.O_WRONLY), b"broken"),
        "write to a file by its system call": lambda bait: os.write(
            call(bait, "openat", _HERE, bait.writable.encode(), os.O_RDWR | os.O_APPEND), b"broken"
        ),
        "truncate a file": lambda bait: os.truncate(bait.writable, 1),
        "truncate a file by opening it to read": lambda bait: opened(bait.writable, os.O_TRUNC),
        "make a file": lambda bait: opened(f"{bait.folder}/made", os.O_CREAT | os.O_EXCL | os.O_WRONLY),
        "make a directory": lambda bait: os.mkdir(f"{bait.folder}/directory"),
        "make a pipe": lambda bait: os.mkfifo(f"{bait.folder}/pipe"),
        "make a link": lambda bait: os.symlink("/", f"{bait.folder}/symbolic"),
        "link a file": lambda bait: os.link(bait.writable, f"{bait.folder}/hard"),
        "rename a file": lambda bait: os.rename(f"{bait.folder}/victim", f"{bait.folder}/renamed"),
        "remove a file": lambda bait: any_of(os.unlink, (f"{bait.folder}/victim", f"{bait.folder}/renamed")),
        "open the library to write": lambda _: opened(os.__file__, os.O_WRONLY),
        "make a file beside the library": _make_beside_the_library,
        "leave files": unseen(_leave_files),
    },
    "files.metadata": {name: unseen(change) for name, change in CHANGES.items()},
    "network": {
        **{f"reach {name}": partial(_reach, name) for name in (*STREAMS, *DATAGRAMS)},
        **{f"reach {name} through a socket pair": partial(_reach_through_a_pair, name) for name in DATAGRAMS},
        "reach TCP by the library": _reach_by_the_library,
    },
    "environment": {
        "read the environment of a process": lambda bait: any_of(_environment_of, _processes(bait)),
    },
}
"""Promise to the attempts at it, by name."""
