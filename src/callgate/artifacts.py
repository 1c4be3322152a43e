"""Files that a program leaves.

Their names come from a guest that nobody trusts. So a name is made here: relative, safe to write on Linux, macOS and
Windows, plain to read, and different from all others of its outcome.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from callgate.errors import UsageError

__all__ = ["Artifact", "LeftOut", "Names"]

NAME_CHARS, PART_BYTES, ENDING_CHARS = 200, 200, 20
"""Characters of a name, bytes of one part of it, and characters of an ending that a cut leaves whole, at most."""

_FORBIDDEN = frozenset('<>:"|?*\\')
"""What Windows does not take in a name."""

_UNSEEN = ("C", "Zl", "Zp")
"""Unicode's categories of what does not show: control and format characters, the unassigned, line ends."""

_LEADING = ("-", ".", "~")
"""An option, a hidden file and a home directory, where somebody hands the name to a shell."""

_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"]
)
"""Devices of Windows, which it sees in such a name whatever its ending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a program left below /out."""

    name: str
    """A relative path, its parts joined by "/". Made safe, so it may differ from what the program called it."""
    data: bytes = field(repr=False)
    size: int
    """In bytes."""
    digest: str
    """SHA-256 of the data, in hexadecimal."""

    @classmethod
    def of(cls, name: str, data: bytes) -> Artifact:
        """Return the artifact of some data; the name is a safe one."""
        return cls(name=name, data=data, size=len(data), digest=hashlib.sha256(data).hexdigest())

    def save(self, directory: str | PathLike[str]) -> Path:
        """Write the file below a directory, make the directories that are missing, and return its path.

        Raises:
            FileExistsError: if something of that name is there.
            UsageError: if a link there leads elsewhere, or the name is none that an outcome gives.
            OSError: if it cannot be written.
        """
        if Names().take(self.name) != self.name:
            raise UsageError(f"{self.name!r} is no safe name; save artifacts as an outcome gives them")
        Path(directory).mkdir(parents=True, exist_ok=True)
        path = Path(directory).resolve()
        *parents, last = self.name.split("/")
        for part in parents:
            path /= part
            path.mkdir(exist_ok=True)
            if path.resolve() != path:
                raise UsageError(f"{path} is a link, and leads out of the directory")
        path /= last
        with path.open("xb") as file:  # exclusive, so it goes through no link either
            file.write(self.data)
        return path


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that a program left and that is not among the artifacts."""

    name: str
    """Made safe, as an artifact's; empty for the rest of many, which nobody named."""
    size: int
    """In bytes."""
    why: str
    count: int = 1
    """How many files this is."""


class Names:
    """Makes the names of one outcome's files."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: set[str] = set()

    def take(self, given: str) -> str:
        """Return a safe name for a path that a guest gave, different from all before."""
        *parents, last = [_safe(part) for part in given.split("/") if part not in ("", ".")] or ["_"]
        number = 1
        while True:
            name = "/".join([*parents, last if number == 1 else _cut(last, f"-{number}")])
            keys = _keys(name)
            if parents and (len(name) > NAME_CHARS or not self._files.isdisjoint(keys[:-1])):
                parents = []
            elif keys[-1] in self._files or keys[-1] in self._directories:
                number += 1
            else:
                break
        self._files.add(keys[-1])
        self._directories.update(keys[:-1])
        return name


def _keys(name: str) -> list[str]:
    """Return the directories above a name and the name itself, equal where a file system may take them for equal."""
    parts = unicodedata.normalize("NFKC", name).casefold().split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _safe(part: str) -> str:
    """Return a part of a path that no system, shell or reader takes for anything else."""
    part = "".join(map(_plain, unicodedata.normalize("NFC", part))).strip(" ")
    if part.startswith(_LEADING):
        part = f"_{part[1:]}"
    if part.partition(".")[0].rstrip(" ").casefold() in _RESERVED:
        part = f"_{part}"
    return _cut(part).rstrip(" .") or "_"  # Windows drops them


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    return "_" if character in _FORBIDDEN or category.startswith(_UNSEEN) else character


def _cut(part: str, suffix: str = "") -> str:
    """Return a part with a suffix before its ending, short enough for a file system."""
    stem, dot, ending = part.rpartition(".")
    if not stem or len(ending) > ENDING_CHARS:
        stem, dot, ending = part, "", ""
    room = PART_BYTES - len(f"{suffix}{dot}{ending}".encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix + dot + ending
