"""The file system a guest sees: the interpreter, the system's libraries, three devices, and nothing else."""

# pathlib costs the launch more than all else it imports.
# ruff: noqa: PTH102, PTH103, PTH110, PTH114, PTH115, PTH120, PTH211

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from . import places
from .kernel import LayerMissing, Mistake, replaced, syscall

HOME = "/python"
"""Where an interpreter from outside /usr appears. Its real place may name a user."""

OWN = ("/tmp", "/out")  # noqa: S108 - of the guest's own namespace
"""The directories each guest has of its own; it starts in the first."""

_LAYER = "mount namespaces"
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_AT_SYMLINK_NOFOLLOW = 0x100
_OPEN_TREE_CLONE = 1
_CLOEXEC = 0x80000
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MS_RDONLY = 1
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8

_LINKED = ("/bin", "/lib", "/lib64")


class Part(NamedTuple):
    """One file or directory of the host and its place in the tree."""

    source: str
    target: str
    device: int
    inode: int
    """What it has to be, or 0 where any will do."""
    attributes: int


def library(source: str, target: str, device: int = 0, inode: int = 0) -> Part:
    """Return something that is read and mapped as code."""
    return Part(source, target, device, inode, _RDONLY | _NOSUID | _NODEV)


def data(source: str, target: str, device: int, inode: int) -> Part:
    """Return something that is only read."""
    return Part(source, target, device, inode, _RDONLY | _NOSUID | _NODEV | _NOEXEC)


def enter(parts: list[Part]) -> None:
    """Replace the root by a read-only tree of the system and parts. Needs a mount namespace of one's own and power.

    Raises:
        Replaced: if a part is not what it has to be.
    """
    syscall(_LAYER, "mount", b"none", b"/", 0, _MS_REC | _MS_PRIVATE, 0)
    # Cut out first and put in place afterwards: where the tree is built hides what lies below.
    shown = [library(path, path) for path in places.system()]
    shown += [Part(device, device, 0, 0, _RDONLY | _NOSUID | _NOEXEC) for device in places.DEVICES]
    shown += [part for part in parts if not part.target.startswith("/usr/")]
    trees = [(_cut(part), part.target) for part in shown]
    links = [(os.readlink(path), path) for path in _LINKED if os.path.islink(path)]
    if os.path.exists("/usr/share/zoneinfo/UTC"):
        links.append(("/usr/share/zoneinfo/UTC", "/etc/localtime"))
    # /proc exists on every host, nothing of it is wanted inside, and this namespace is nobody else's.
    syscall(_LAYER, "mount", b"tmpfs", b"/proc", b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, b"size=1m,mode=755")
    os.chdir("/proc")
    for tree, target in trees:
        _put(tree, target.lstrip("/"))
    for content, path in links:
        os.makedirs(os.path.dirname(path.lstrip("/")) or ".", exist_ok=True)
        os.symlink(content, path.lstrip("/"))
    for path in places.hidden("", ("python/lib", "python/lib64")):
        flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        syscall(_LAYER, "mount", b"tmpfs", os.fsencode(path), b"tmpfs", flags, b"size=4k,mode=755")
    for path in OWN:
        os.mkdir(path.lstrip("/"))
    # The old root is stacked over the new one and taken away at once: no directory for it is needed.
    syscall(_LAYER, "pivot_root", b".", b".")
    syscall(_LAYER, "umount2", b".", _MNT_DETACH)
    os.chdir("/")
    _set(_AT_FDCWD, b"/", 0, _RDONLY | _NOSUID | _NODEV | _NOEXEC)


def own_files(megabytes: int) -> None:
    """Put empty directories at the places of `OWN`, which share one file system of that size, and go to the first."""
    options = f"size={megabytes}m,nr_inodes={max(1024, megabytes * 256)},mode=700"
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    base, *_ = OWN
    _mount(b"tmpfs", base, b"tmpfs", flags, options)
    for path in reversed(OWN):  # the one that covers the others comes last
        os.mkdir(f"{base}{path}")
        _mount(os.fsencode(f"{base}{path}"), path, b"", _MS_BIND)
    os.chdir(base)


@contextmanager
def scratch() -> Generator[None]:
    """Have a /tmp while the server imports what may want one. Nothing of it is left for guests."""
    _mount(b"tmpfs", OWN[0], b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "size=64m,mode=700")
    yield
    syscall(_LAYER, "umount2", os.fsencode(OWN[0]), _MNT_DETACH)


def _mount(source: bytes, target: str, kind: bytes, flags: int, options: str = "") -> None:
    syscall("private files", "mount", source, os.fsencode(target), kind, flags, options.encode())


def _cut(part: Part) -> int:
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | _CLOEXEC | (_AT_SYMLINK_NOFOLLOW if part.inode else 0)
    try:
        tree = syscall(_LAYER, "open_tree", _AT_FDCWD, os.fsencode(part.source), flags)
    except LayerMissing as error:
        if os.access(part.source, os.R_OK):
            raise
        if part.inode:
            raise Mistake(f"what is shown at {part.target} cannot be reached any more: {error.reason}") from None
        raise LayerMissing("a readable interpreter", error.reason, error.code) from None
    if part.inode:
        found = os.fstat(tree)
        if (found.st_dev, found.st_ino) != (part.device, part.inode):
            raise replaced(part.target)
    _set(tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, part.attributes)
    return tree


def _set(directory: int, path: bytes, flags: int, attributes: int) -> None:
    """Add attributes to a mount: struct mount_attr is four 64-bit words, the first being what to set."""
    wanted = attributes.to_bytes(8, "little") + bytes(24)
    syscall(_LAYER, "mount_setattr", directory, path, flags, wanted, len(wanted))


def _put(tree: int, target: str) -> None:
    is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    os.makedirs(target if is_directory else os.path.dirname(target), exist_ok=True)
    if not is_directory:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    syscall(_LAYER, "move_mount", tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)
