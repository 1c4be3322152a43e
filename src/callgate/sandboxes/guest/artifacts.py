"""The files a program leaves: what lies below /out when it is over, sent to the host before its end.

They are read in pieces, so that a large file costs no memory. By then a program may have replaced whatever it could
reach, so what is used here was taken before it began.
"""

from __future__ import annotations

import gc
import io
import json
import os
import stat
from binascii import b2a_base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .baton import baton

if TYPE_CHECKING:
    from callgate.room import COPIES, FLOOR, LEAST, MARGIN, kept_size, width
else:
    from .room import COPIES, FLOOR, LEAST, MARGIN, kept_size, width

root = "/out"
"""Where a program leaves files."""

MOST, NAMED, PATH = 100, 20, 1000  # files sent, files named without being sent, characters of a name
CHUNK = 3 << 14  # bytes read at a time; a multiple of three, so that pieces of base64 join

_open, _close, _read, _fstat, _lstat, _listdir = os.open, os.close, os.read, os.fstat, os.lstat, os.listdir
_exit, _objects, _dumps = os._exit, gc.get_objects, json.dumps
_is_file, _is_directory = stat.S_ISREG, stat.S_ISDIR
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TEXT, _BYTES, _RANDOM = io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom


def any_left() -> bool:
    """Say whether there is anything to send."""
    try:
        return bool(_listdir(root))
    except OSError:
        return False


def write_out() -> OSError | None:
    """Write what open files still hold back. Returns why one of them could not be written."""
    fault = None
    for one in _objects():
        if type(one) is _TEXT or type(one) is _BYTES or type(one) is _RANDOM:
            try:
                if not one.closed:
                    one.flush()
            except OSError as error:
                fault = error
            except ValueError:  # detached
                pass
    return fault


class Sending:
    """Sends files as long as there is room for them.

    Args:
        disk: bytes that all files together may have.
        frame: bytes that one frame may have; fewer where its name makes characters wide.
        room: bytes of memory that the host has for what is sent.
        last: bytes of it that the frame after the files is going to take.
    """

    def __init__(self, *, disk: int, frame: int, room: int, last: int) -> None:
        self._disk, self._frame, self._room, self._last = disk, frame, room, last
        self._sent = 0
        self.left: list[tuple[str, int, str]] = []
        """Name, size in bytes and reason of the first that were not sent."""
        self.more = [0, 0]
        """How many others were not sent, and their bytes."""

    def all_left(self) -> list[int]:
        """Return how many files were not sent, and their bytes."""
        return [self.more[0] + len(self.left), self.more[1] + sum(size for _, size, _ in self.left)]

    def run(self) -> None:
        """Send what there is."""
        baton.channel.flush()
        for name, path in _walk():
            size, why = self._offer(name, path)
            if why and len(self.left) < NAMED:
                self.left.append((_shown(name), size, why))
            elif why:
                self.more[0] += 1
                self.more[1] += size

    def _offer(self, name: str, path: str) -> tuple[int, str]:
        """Send one file, or return its size and why not."""
        try:
            seen = _lstat(path)
            if not _is_file(seen.st_mode):
                return 0, "kind"
            if self._sent == MOST:
                return seen.st_size, "many"
            file = _open(path, _FLAGS)
        except OSError:
            return 0, "unreadable"
        try:
            seen = _fstat(file)
            if not _is_file(seen.st_mode):
                return 0, "kind"
            return seen.st_size, self._send(name, file, seen.st_size)
        finally:
            _close(file)

    def _send(self, name: str, file: int, size: int) -> str:
        name = _dumps(_shown(name))
        head = f'{{"file":{name},"data":"'.encode("ascii")
        length = len(head) + 4 * ((size + 2) // 3) + 2
        kept, takes = kept_size(length, copies=1), (COPIES + width(name)) * length + MARGIN
        if takes > LEAST * self._frame + MARGIN:
            return "large"
        if size > self._disk or kept > self._room - self._last or takes > max(self._room, FLOOR):
            return "room"
        self._disk -= size
        self._room -= kept
        self._sent += 1
        baton.channel.write(length.to_bytes(4, "big") + head)
        try:
            for piece in _pieces(file, size):
                baton.channel.write(b2a_base64(piece, newline=False))
        except (OSError, MemoryError):
            _exit(9)  # a frame that is torn cannot be taken back
        baton.channel.write(b'"}')
        return ""


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:PATH]


def _pieces(file: int, size: int) -> Iterator[bytes]:
    while size:
        piece = _read(file, min(CHUNK, size))
        while len(piece) < min(CHUNK, size):
            more = _read(file, min(CHUNK, size) - len(piece))
            if not more:
                raise OSError  # somebody made it shorter meanwhile
            piece += more
        size -= len(piece)
        yield piece


def _walk() -> Iterator[tuple[str, str]]:
    """Yield name and path of what is no directory below the root, in order, following no link."""
    waiting = [("", root)]
    while waiting:
        name, path = waiting.pop()
        try:
            if name and not _is_directory(_lstat(path).st_mode):
                yield name, path
                continue
            inner = _listdir(path)
        except OSError:
            yield name, path
            continue
        waiting += [(f"{name}/{one}" if name else one, f"{path}/{one}") for one in sorted(inner, reverse=True)]
