"""Proofs that were made before, in this process or by another one of the same user since the last boot.

A proof is kept under everything it depends on, and as what was broken only: the rest follows. It is kept in memory
and, where this user has a directory of its own for caches, in a file there that nobody else can write. Whatever is
wrong with that file, the proof is made anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

from callgate.codec import JSON, is_array, is_object
from callgate.sandboxes.local.policy import JailPolicy
from callgate.sandboxes.local.proof import PROPERTIES

__all__ = ["Broken", "forget", "key", "load", "store"]

Broken = dict[str, list[str]]
"""Property to the attempts that broke it: all that has to be kept of a proof."""

_FORMAT = 1
_ENTRIES = 32
_BYTES = 1 << 16
_NAMESPACES = ("user", "mnt", "pid", "net", "ipc")
_STATUS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
_LABELS = ("current", "apparmor/current")

_known: dict[str, Broken] = {}


def key(policy: JailPolicy, landlock: int) -> str | None:
    """Return a name for everything a proof depends on; None where this cannot be known, so that nothing is kept.

    Args:
        policy: what the guests are confined by and shown.
        landlock: the kernel's version of Landlock.
    """
    own = Path("/proc/self")
    try:
        status = dict(line.split(":\t", 1) for line in (own / "status").read_text().splitlines() if ":\t" in line)
        interpreter = Path(policy.interpreter.path).stat()
        parts = [
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            [platform.release(), platform.version(), platform.machine()],
            [str((own / "ns" / name).readlink()) for name in _NAMESPACES],
            [status[name] for name in _STATUS],
            [status.get("Seccomp_filters"), [_label(own / "attr" / name) for name in _LABELS]],
            [interpreter.st_dev, interpreter.st_ino, interpreter.st_size, interpreter.st_mtime_ns],
            [policy.digest, landlock],
            _sources(),
        ]
    except (OSError, KeyError, ValueError):
        return None
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load(name: str | None) -> Broken | None:
    """Return what was found under a key, or None."""
    if name is None:
        return None
    if (found := _known.get(name)) is None and (entry := _read().get(name)) is not None:
        found = _known[name] = entry
    return found


def store(name: str | None, broken: Broken) -> None:
    """Keep what was found. Does nothing where it cannot be kept."""
    if name is not None:
        _known[name] = broken
        _write({**_read(), name: broken})


def forget(name: str | None) -> None:
    """Keep nothing under a key."""
    if name is not None:
        _known.pop(name, None)
        if name in (kept := _read()):
            _write({each: broken for each, broken in kept.items() if each != name})


def _label(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@functools.cache
def _sources() -> str:
    """Return a digest of all that runs inside, and of what judges it."""
    package = resources.files("callgate")
    found = hashlib.sha256()
    with suppress(metadata.PackageNotFoundError):
        found.update(metadata.version("callgate").encode())
    for folder in ("guest", "local"):
        for place in _files(package / "sandboxes" / folder):
            text = place.read_bytes()
            found.update(f" {place.name} {len(text)} ".encode() + text)
    found.update((package / "codec.py").read_bytes())
    return found.hexdigest()


def _files(folder: Traversable) -> Iterator[Traversable]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _files(each)
        elif each.name.endswith(".py"):
            yield each


def _directory(*, make: bool = False) -> Path | None:
    """Return the directory of the cache, if there is one that only this user can write to."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        top = Path(given) if given.startswith("/") else Path.home() / ".cache"
        for path in (top, top / "callgate"):
            if make and not path.exists() and path.parent.stat().st_uid == os.geteuid():
                path.mkdir(mode=0o700)
        found = (top / "callgate").lstat()
    except (OSError, RuntimeError):  # no home, or not to be reached
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return top / "callgate" if own else None


def _read() -> dict[str, Broken]:
    if (directory := _directory()) is None:
        return {}
    try:
        descriptor = os.open(directory / "proofs.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                return {}
            given = json.loads(file.read(_BYTES + 1)) if found.st_size <= _BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    return _strict(given) or {}


def _strict(given: JSON) -> dict[str, Broken] | None:
    """Return what a file holds, if it is of exactly the form that is written."""
    if not is_object(given) or given.keys() != {"format", "proofs"} or given["format"] != _FORMAT:
        return None
    proofs = given["proofs"]
    if not is_object(proofs) or not all(len(name) == 64 for name in proofs):
        return None
    found: dict[str, Broken] = {}
    for name, broken in proofs.items():
        if not is_object(broken) or tuple(broken) != PROPERTIES or not all(map(_texts, broken.values())):
            return None
        found[name] = dict(broken)
    return found


def _texts(given: JSON) -> bool:
    return is_array(given) and all(isinstance(each, str) for each in given)


def _write(proofs: Mapping[str, Broken]) -> None:
    if (directory := _directory(make=True)) is None:
        return
    newest = dict(list(proofs.items())[-_ENTRIES:])
    text = json.dumps({"format": _FORMAT, "proofs": newest})
    if len(text) > _BYTES:
        return
    fresh = directory / f"proofs-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            fresh.replace(directory / "proofs.json")
        except OSError:
            fresh.unlink(missing_ok=True)
    except OSError:  # full, read-only: it will be proven again
        return
