"""The bait a canary goes for, and what the host sees of what became of it.

Files, sockets and a process that a program of the same user could use, so that nothing but the jail is in the way.
What happens to them is seen from outside; no guest is believed about it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from callgate.errors import SandboxLost
from callgate.sandboxes.local import cures
from callgate.sandboxes.local.canary.outside import DATAGRAMS, PLACES, STREAMS
from callgate.sandboxes.local.inside.syscalls import NUMBERS, number

__all__ = ["Lure"]

_NOBODY = 65534
"""Whom the guests of root run as."""
_CONTENT = b"bait"
_SECONDS = 10.0
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - what is made there is made by mkdtemp

_PREY = """\
import os, sys
if (user := int(sys.argv[1])) >= 0:
    import ctypes
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # it can be looked into again
os.write(1, b"+")
while os.read(0, 1):
    os.write(1, b"+")
"""


class Lure:
    """Bait, from entering it to leaving it. What it holds can be used by everybody on this host meanwhile.

    Args:
        python: an interpreter that the guests' user can run.
        shown: what guests may read, so that bait must not lie there.
    """

    def __init__(self, python: str, shown: Sequence[str] = ()) -> None:
        self._python = python
        self._shown = [Path(each) for each in shown]
        self._token = secrets.token_hex(8)
        self._user = _NOBODY if os.geteuid() == 0 else -1
        self._open = ExitStack()
        self.listeners: dict[str, socket.socket] = {}
        """What is listened to, by name."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._process = self._start_process(stack)
            self._directory = self._lay_files(stack)
            self._owned = self.look()
            self._listen(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._open:
            for path in self._left():
                with suppress(OSError):
                    path.unlink()

    def bait(self) -> dict[str, Any]:
        """Return what a canary has to know, once everything is in place."""
        if not self._answers():
            raise SandboxLost("the process that a canary shall try to reach did not come up")
        return {
            "token": self._token,
            "folder": str(self._directory / "folder"),
            **{name: str(self._directory / name) for name in ("readable", "writable", "owned", "stream", "datagram")},
            "pid": self._process.pid,
            "tcp": self._port("TCP"),
            "tcp6": self._port("TCP over IPv6"),
            "udp": self._port("UDP"),
            "numbers": {name: number(name) for name in NUMBERS},
        }

    def look(self) -> tuple[object, ...]:
        """Return what the file system knows of the file that is the guest's own."""
        path = self._directory / "owned"
        now = path.stat()
        return now.st_mode, now.st_uid, now.st_gid, now.st_mtime_ns, now.st_ctime_ns, *os.listxattr(path)

    def seen(self) -> dict[str, list[str]]:
        """Return what the host sees: promise to what was broken."""
        return {
            "files.write": self._written(),
            "files.metadata": ["change what is known of a file"] if self._changed() else [],
            "network": [f"be heard by {name}" for name in self.listeners if self._heard(name)],
            "signals": [] if self._lives() else ["end a process"],
        }

    def _start_process(self, stack: ExitStack) -> subprocess.Popen[bytes]:
        self._line, its = socket.socketpair()
        stack.enter_context(self._line)
        self._line.settimeout(_SECONDS)
        with its:
            process = subprocess.Popen(  # noqa: S603 - the interpreter that also runs inside
                [self._python, "-I", "-S", "-c", _PREY, str(self._user)],
                env={"CALLGATE_BAIT": self._token},
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        stack.enter_context(process)
        stack.callback(self._kill)
        return process

    def _lay_files(self, stack: ExitStack) -> Path:
        directory = self._make_directory()
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        for name, mode in (("readable", 0o644), ("writable", 0o666), ("owned", 0o600)):
            (directory / name).write_bytes(_CONTENT)
            (directory / name).chmod(mode)
        folder = directory / "folder"
        folder.mkdir()
        (folder / "victim").touch()
        folder.chmod(0o777)
        if self._user >= 0:
            with suppress(OSError):  # root without the power to give files away
                os.chown(directory / "owned", self._user, self._user)
        directory.chmod(0o755)
        return directory

    def _make_directory(self) -> Path:
        reason = "there is none"
        with suppress(OSError):  # none that can be written to
            for place in (tempfile.gettempdir(), *_TEMPORARY):
                if any(Path(place).resolve().is_relative_to(each) for each in self._shown):
                    reason = "it is shown to programs"
                    continue
                try:
                    return Path(tempfile.mkdtemp(prefix="callgate-", dir=place))
                except OSError as error:
                    reason = error.strerror or type(error).__name__
        raise cures.unavailable("a temporary directory", reason)

    def _listen(self, stack: ExitStack) -> None:
        places: list[tuple[int, int, Any]] = [
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(self._directory / "stream")),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self._directory / 'stream'}"),
            (socket.AF_UNIX, socket.SOCK_DGRAM, str(self._directory / "datagram")),
            (socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{self._directory / 'datagram'}"),
        ]
        for name, (family, kind, address) in zip((*STREAMS, *DATAGRAMS), places, strict=True):
            with suppress(OSError):  # a host without IPv6, or whose own sandbox leaves it no network
                listener = socket.socket(family, kind)
                stack.callback(listener.close)
                listener.setblocking(False)
                listener.bind(address)
                if kind == socket.SOCK_STREAM:
                    listener.listen()
                self.listeners[name] = listener
        for name in ("stream", "datagram"):
            with suppress(OSError):
                (self._directory / name).chmod(0o666)

    def _port(self, name: str) -> int:
        return self.listeners[name].getsockname()[1] if name in self.listeners else 0

    def _heard(self, name: str) -> bool:
        listener = self.listeners[name]
        try:
            if listener.type == socket.SOCK_STREAM:
                listener.accept()[0].close()
            else:
                listener.recv(1)
        except BlockingIOError:
            return False
        return True

    def _written(self) -> list[str]:
        found = ["change a file"] if any(not self._intact(name) for name in ("readable", "writable", "owned")) else []
        if [path.name for path in (self._directory / "folder").iterdir()] != ["victim"]:
            found.append("change a directory")
        return [*found, *(["leave a file"] if self._left() else [])]

    def _intact(self, name: str) -> bool:
        try:
            return (self._directory / name).read_bytes() == _CONTENT
        except OSError:
            return False

    def _left(self) -> list[Path]:
        wanted = f"callgate-{self._token}"
        paths = [Path(place) / f"{wanted}{kind}" for place in PLACES for kind in ("", "-link", "-full")]
        return [path for path in paths if os.path.lexists(path)]

    def _changed(self) -> bool:
        try:
            return self.look() != self._owned
        except OSError:
            return True

    def _kill(self) -> None:
        self._line.close()
        with suppress(PermissionError):  # root without the power to: it ends with the line to it
            self._process.kill()

    def _lives(self) -> bool:
        """Ask the process: one that was killed may take its time to end, but answers nothing any more."""
        with suppress(OSError):
            self._line.send(b"?")
            return self._answers()
        return False

    def _answers(self) -> bool:
        with suppress(OSError):
            return self._line.recv(1) == b"+"
        return False
