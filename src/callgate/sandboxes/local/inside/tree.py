"""The file system a guest sees: the interpreter, the system's libraries, three devices, and nothing else."""

# pathlib costs the launch more than all else it imports.
# ruff: noqa: PTH208, PTH102, PTH103, PTH110, PTH112, PTH114, PTH115, PTH120, PTH211

from __future__ import annotations

import os

from .kernel import LayerMissing, syscall

HOME = "/python"
"""Where an interpreter from outside /usr appears. Its real place may name a user."""

_LAYER = "mount namespaces"
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_CLOEXEC = 0x80000
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MS_RDONLY = 1
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
_MNT_DETACH = 2
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8

_FILES = _RDONLY | _NOSUID | _NODEV
_DEVICE = _RDONLY | _NOSUID | _NOEXEC
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_LINKED = ("/bin", "/lib", "/lib64")


def enter(interpreter: list[tuple[str, str]]) -> None:
    """Replace the root by a read-only tree. Needs a mount namespace of one's own and power over it.

    Args:
        interpreter: (where it is, where it shall appear) of each file or directory the interpreter consists of.
    """
    syscall(_LAYER, "mount", b"none", b"/", 0, _MS_REC | _MS_PRIVATE, 0)
    # Cut out first and put in place afterwards: where the tree is built hides what lies below.
    shown = _system() + [part for part in interpreter if not part[1].startswith("/usr/")]
    trees = [(_cut(source, _FILES), target, os.path.isdir(source)) for source, target in shown]
    trees += [(_cut(device, _DEVICE), device, False) for device in _DEVICES]
    links = [(os.readlink(path), path) for path in _LINKED if os.path.islink(path)]
    if os.path.exists("/usr/share/zoneinfo/UTC"):
        links.append(("/usr/share/zoneinfo/UTC", "/etc/localtime"))
    # /proc exists on every host, nothing of it is wanted inside, and this namespace is nobody else's.
    syscall(_LAYER, "mount", b"tmpfs", b"/proc", b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, b"size=1m,mode=755")
    os.chdir("/proc")
    for tree, target, is_directory in trees:
        _put(tree, target.lstrip("/"), is_directory)
    for content, path in links:
        os.makedirs(os.path.dirname(path.lstrip("/")) or ".", exist_ok=True)
        os.symlink(content, path.lstrip("/"))
    for path in _hidden():
        flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        syscall(_LAYER, "mount", b"tmpfs", os.fsencode(path), b"tmpfs", flags, b"size=4k,mode=755")
    os.mkdir("tmp")
    # The old root is stacked over the new one and taken away at once: no directory for it is needed.
    syscall(_LAYER, "pivot_root", b".", b".")
    syscall(_LAYER, "umount2", b".", _MNT_DETACH)
    os.chdir("/")
    _set(_AT_FDCWD, b"/", 0, _RDONLY | _NOSUID | _NODEV | _NOEXEC)


def _hidden() -> list[str]:
    """Return what lies in the shown trees, below the current directory, and is the host's business."""
    paths = ["usr/etc", "usr/src", "usr/lib/python3/dist-packages"]
    paths += [f"usr/local/{name}" for name in ("etc", "src", "share/ca-certificates")]
    for libraries in (f"{HOME.lstrip('/')}/lib", "usr/lib", "usr/local/lib"):
        versions = [name for name in _listed(libraries) if name.startswith("python3")]
        paths += [f"{libraries}/{name}/{kind}-packages" for name in versions for kind in ("site", "dist")]
    return [path for path in dict.fromkeys(paths) if os.path.isdir(path) and not os.path.islink(path)]


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def private_tmp(megabytes: int) -> None:
    """Put an empty file system of that size at /tmp and go there."""
    options = f"size={megabytes}m,nr_inodes={max(1024, megabytes * 256)},mode=700"
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    syscall("a private /tmp", "mount", b"tmpfs", b"/tmp", b"tmpfs", flags, options.encode())
    os.chdir("/tmp")  # noqa: S108 - of the guest's own namespace


def _system() -> list[tuple[str, str]]:
    paths = ["/usr", *(path for path in _LINKED[1:] if not os.path.islink(path)), "/etc/ld.so.cache"]
    return [(path, path) for path in paths if os.path.exists(path)]


def _cut(path: str, attributes: int) -> int:
    try:
        tree = syscall(_LAYER, "open_tree", _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | _AT_RECURSIVE | _CLOEXEC)
    except LayerMissing as error:
        if os.access(path, os.R_OK):
            raise
        raise LayerMissing("a readable interpreter", error.reason, error.code) from None
    _set(tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes)
    return tree


def _set(directory: int, path: bytes, flags: int, attributes: int) -> None:
    """Add attributes to a mount: struct mount_attr is four 64-bit words, the first being what to set."""
    wanted = attributes.to_bytes(8, "little") + bytes(24)
    syscall(_LAYER, "mount_setattr", directory, path, flags, wanted, len(wanted))


def _put(tree: int, target: str, is_directory: bool) -> None:
    os.makedirs(target if is_directory else os.path.dirname(target), exist_ok=True)
    if not is_directory:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    syscall(_LAYER, "move_mount", tree, b"", _AT_FDCWD, target.encode(), _MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)
