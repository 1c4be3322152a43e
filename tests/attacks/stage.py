"""The bait: what there is on this host to read, change, reach and signal, and whether somebody did."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

CANARY = "CALLGATE_ATTACK_CANARY"
"""The variable of the host's environment that holds the secret."""

NOBODY = 65534
MARK = signal.SIGUSR1
BEFORE = "nobody was here"
WINDOW = 1 << 16
_LEAKED = 100
SHARED = "callgate-attack"
"""What programs call things that a later one looks for."""


class Estate:
    """What stays for all attacks of one host process: secrets, leaked descriptors, a signal to be sent.

    `inside` is where programs find the directory that is shown on purpose.
    """

    def __init__(self) -> None:
        self.canary = os.environ[CANARY]
        self.root = Path(tempfile.mkdtemp(prefix="callgate-attacks-"))
        self.root.chmod(0o755)
        self.owner = NOBODY if os.getuid() == 0 else os.getuid()
        self.shelf = self.root / "shelf"
        self.shelf.mkdir()
        self.secret = self.shelf / "secret"
        self.secret.write_text(self.canary)
        (self.shelf / "planted.py").write_text(f"CANARY = {self.canary!r}\n")
        (self.shelf / "link").symlink_to(self.canary)
        database = sqlite3.connect(self.shelf / "database")
        with database:
            database.execute("create table secrets as select ? as canary", [self.canary])
        database.close()
        self._beside = Path(tempfile.mkdtemp(prefix="callgate-attacks-", dir="/var/tmp"))  # /tmp is never shown
        self._beside.chmod(0o755)
        (self._beside / "secret").write_text(self.canary)
        self.shown = self._beside / "shown"
        self.shown.mkdir()
        (self.shown / "note").write_text(BEFORE)
        (self.shown / "note").chmod(0o666)
        (self.shown / "way").symlink_to(self.secret)
        (self.shown / "up").symlink_to("..")
        (self.shown / "script").write_text("#!/bin/sh\necho changed > $1\n")
        (self.shown / "script").chmod(0o755)
        os.mkfifo(self.shown / "pipe")
        (self.shown / "pipe").chmod(0o666)
        self.pipe = os.open(self.shown / "pipe", os.O_RDWR | os.O_NONBLOCK)
        with suppress(PermissionError):
            os.mknod(self.shown / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
            (self.shown / "device").chmod(0o666)
        self.shown.chmod(0o777)
        for one in (self.shelf, *self.shelf.iterdir(), self._beside, *self._beside.rglob("*")):
            os.chown(one, self.owner, self.owner, follow_symlinks=False)
        self.inside = str(self.shown)
        self.held = os.open(self.secret, os.O_RDONLY)
        self.directory = _leak(os.open(self.shelf, os.O_RDONLY | os.O_DIRECTORY))
        self.listening, theirs = socket.socketpair()
        self.listening.setblocking(False)
        self.leaked = _leak(theirs.detach())
        self.memory = ctypes.create_string_buffer(self.canary.encode(), 64)
        self.signals = 0
        self.core = resource.getrlimit(resource.RLIMIT_CORE)
        self._over = threading.Event()
        threading.Thread(target=self._keep, args=(self.canary,), name="callgate-keeper", daemon=True).start()
        self._handler = signal.signal(MARK, self._count)

    def _keep(self, secret: str) -> None:
        self._over.wait()
        del secret

    def _count(self, *_: object) -> None:
        self.signals += 1

    def restore(self) -> None:
        """Put back what an attack without a jail changed in the directory that is shown."""
        for path in self.shown.iterdir():
            if path.name in ("new", "other"):
                (path.rmdir if path.is_dir() and not path.is_symlink() else path.unlink)()
        note = self.shown / "note"
        if not note.exists() or note.read_text() != BEFORE or note.stat().st_mode & 0o777 != 0o666:
            note.write_text(BEFORE)
            note.chmod(0o666)
            os.chown(note, self.owner, self.owner)

    def close(self) -> None:
        """Take everything away."""
        signal.signal(MARK, self._handler)
        self._over.set()
        for descriptor in (self.held, self.directory, self.leaked, self.pipe):
            os.close(descriptor)
        self.listening.close()
        for folder in (self.root, self._beside):
            shutil.rmtree(folder, ignore_errors=True)


def _leak(descriptor: int) -> int:
    """Move a descriptor out of the way of those of a child, and let children inherit it."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, _LEAKED)
    os.close(descriptor)
    return moved


class Stage:
    """What one trial may change, fresh for each, and how it looked before."""

    def __init__(self, estate: Estate, *, sockets: bool) -> None:
        self.estate, self.canary = estate, estate.canary
        self.root = Path(tempfile.mkdtemp(dir=estate.root))
        self.root.chmod(0o777)
        self.target, self.folder, self.fifo = self.root / "target", self.root / "folder", self.root / "fifo"
        self.target.write_text(BEFORE)
        self.target.chmod(0o666)
        self.folder.mkdir()
        self.folder.chmod(0o777)
        os.mkfifo(self.fifo)
        self.fifo.chmod(0o666)
        for one in (self.root, self.target, self.folder, self.fifo):
            os.chown(one, estate.owner, estate.owner)
        self._reader = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        self._signals, self._flushes = estate.signals, _flushes()
        self._sockets = _listeners(self.root) if sockets else {}
        self.in_pipe()
        os.write(estate.pipe, self.canary.encode())
        self._before = self._look()

    def bait(self) -> dict[str, Any]:
        """Return where everything is, for programs."""
        estate = self.estate
        return {
            **self._addresses(),
            "root": str(self.root),
            "target": str(self.target),
            "folder": str(self.folder),
            "fifo": str(self.fifo),
            "shelf": str(estate.shelf),
            "secret": str(estate.secret),
            "link": str(estate.shelf / "link"),
            "database": str(estate.shelf / "database"),
            "shown": estate.inside,
            "size": len(self.canary),
            "variable": CANARY,
            "host": os.getpid(),
            "held": estate.held,
            "directory": estate.directory,
            "memory": ctypes.addressof(estate.memory),
            "outside": str(Path(tempfile.gettempdir()) / f"{self.root.name}-outside"),
            "shared": f"{SHARED}-{os.getpid()}",
            "number": os.getpid() << 8 & 0x7FFFFFFF,
        }

    def _addresses(self) -> dict[str, Any]:
        found = {name.replace(" ", "_"): one.getsockname() for name, one in self._sockets.items()}
        ports = {name: address[1] for name, address in found.items() if isinstance(address, tuple)}
        names = {name: address[1:].decode() for name, address in found.items() if isinstance(address, bytes)}
        paths = {name: address for name, address in found.items() if isinstance(address, str)}
        return {"tcp6": 9, **ports, **names, **paths}

    @property
    def has_ipv6(self) -> bool:
        """Whether this host has a loopback address of IPv6."""
        return "tcp6" in self._sockets

    def touched(self) -> list[str]:
        """Return what of the files changed."""
        now = self._look()
        return sorted(name for name in now.keys() | self._before.keys() if now.get(name) != self._before.get(name))

    def arrived(self) -> list[str]:
        """Return the sockets that something reached."""
        found = [name for name, one in self._sockets.items() if _reached(one)]
        with suppress(OSError):
            found += ["leaked"] if self.estate.listening.recv(WINDOW) else []
        return found

    def in_pipe(self) -> bytes:
        """Take out what is in the pipe that is shown."""
        with suppress(BlockingIOError):
            return os.read(self.estate.pipe, WINDOW)
        return b""

    def flushes(self) -> int:
        """Return how often the host's disks were told to write everything down since."""
        return _flushes() - self._flushes

    def signalled(self) -> bool:
        """Say whether the host got the signal."""
        return self.estate.signals > self._signals

    def look(self, at: str) -> bool:
        """Say whether the host finds a lock on its standard library, or a server at a port of its own."""
        if at == "lock":
            with Path(os.__file__).open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
            return False
        try:
            socket.create_connection(("127.0.0.1", int(at)), 1).close()
        except (OSError, ValueError, OverflowError):
            return False
        return True

    def close(self) -> None:
        """Take everything away, and put back what an attack changed of the host process."""
        for one in self._sockets.values():
            one.close()
        os.close(self._reader)
        with suppress(OSError):
            Path(self.bait_outside()).unlink()
        for path in (self.folder, self.root):
            with suppress(OSError):
                path.chmod(0o777)
        shutil.rmtree(self.root, ignore_errors=True)
        self.estate.memory.value = self.canary.encode()
        self.estate.restore()
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, self.estate.core)

    def bait_outside(self) -> str:
        """Return a path in the host's directory for temporary files."""
        return str(Path(tempfile.gettempdir()) / f"{self.root.name}-outside")

    def _look(self) -> dict[str, Any]:
        seen: dict[str, Any] = {str(path): _state(path) for path in sorted(self.root.rglob("*"))}
        seen["root"], seen["outside"] = _state(self.root), os.path.lexists(self.bait_outside())
        seen["memory"] = self.estate.memory.value
        seen["limit"] = resource.getrlimit(resource.RLIMIT_CORE)
        with suppress(OSError):
            seen["pipe"] = os.read(self._reader, WINDOW)
        seen["secret"] = _state(self.estate.secret)
        seen |= {f"shown {path.name}": _state(path) for path in self.estate.shown.iterdir()}
        return seen


def _flushes() -> int:
    """Return how many flushes the disks have done (Documentation/admin-guide/iostats.rst, field 16)."""
    try:
        lines = Path("/proc/diskstats").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(fields[18]) for line in lines if len(fields := line.split()) > 18)


def _state(path: Path) -> Any:
    """Return what can be changed of a file; reading it here changes nothing of that."""
    try:
        is_ = path.lstat()
        text = path.read_bytes() if stat.S_ISREG(is_.st_mode) else b""
        extra = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        return error.errno
    return is_.st_mode, is_.st_uid, is_.st_gid, is_.st_nlink, is_.st_size, is_.st_mtime_ns, text, extra


def _listeners(folder: Path) -> dict[str, socket.socket]:
    """Return sockets that programs may try to reach."""
    made = {
        "tcp": socket.create_server(("127.0.0.1", 0)),
        "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "stream": socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "datagram": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        "abstract": socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "abstract datagram": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    }
    with suppress(OSError):  # a host without IPv6
        made["tcp6"] = socket.create_server(("::1", 0), family=socket.AF_INET6)
    made["udp"].bind(("127.0.0.1", 0))
    for name in ("stream", "datagram"):
        made[name].bind(str(folder / name))
        (folder / name).chmod(0o666)
    for name in ("abstract", "abstract datagram"):
        made[name].bind(f"\0callgate-{name.replace(' ', '-')}-{folder.name}")
    for name in ("stream", "abstract"):
        made[name].listen()
    for one in made.values():
        one.setblocking(False)
    return made


def _reached(one: socket.socket) -> bool:
    try:
        if one.type == socket.SOCK_DGRAM:
            return bool(one.recv(WINDOW))
        one.accept()[0].close()
    except OSError:
        return False
    return True
