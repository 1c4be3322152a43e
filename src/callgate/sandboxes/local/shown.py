"""Files of the host that a guest is shown: chosen here, checked again where they are mounted."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from callgate.errors import UsageError
from callgate.sandboxes.local import packages as installed

__all__ = ["PACKAGES", "Shown", "show_mounts", "show_packages"]

PACKAGES = "/packages"
"""Where packages appear, a directory for each place they come from."""

_NEVER = ("/proc", "/sys", "/dev")
_TAKEN = ("bin", "dev", "etc", "out", "packages", "proc", "python", "sbin", "sys", "tmp", "usr")
_LONGEST_PATH, _LONGEST_NAME = 1024, 255
_ZONES = Path("/usr/share/zoneinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One file or directory of the host that is shown inside."""

    source: str
    """Where it is, without symbolic links."""
    target: str
    """Where it appears."""
    device: int
    inode: int
    """What it was when it was chosen; checked again on the very thing that is shown."""


def show_mounts(mounts: Mapping[str, str | PathLike[str]]) -> tuple[Shown, ...]:
    """Return what is shown for each target.

    Raises:
        UsageError: if a target is not a free place, or a source is nothing that can be shown.
    """
    for target in mounts:
        _check_target(target)
        within = [other for other in mounts if target.startswith(f"{other}/")]
        if within:
            raise UsageError(f"mounts: {target!r} lies inside {within[0]!r}; give one of them, or two places apart")
    return tuple(_shown(Path(source), target, f"mounts: {target!r}") for target, source in mounts.items())


def show_packages(
    packages: bool | Iterable[str | PathLike[str]], preload: tuple[str, ...]
) -> tuple[tuple[Shown, ...], tuple[tuple[str, str], ...]]:
    """Return what is shown to make packages importable, and (where it is, where it appears) of each place to look in.

    Raises:
        UsageError: if a distribution or a directory is not there, or nothing provides a module of preload.
    """
    found = _found(packages, preload)
    whole = {root for root, path in found if not path}
    numbers = {root: number for number, root in enumerate(dict.fromkeys(root for root, _ in found))}
    places = {root: f"{PACKAGES}/{number}" for root, number in numbers.items()}
    shown = [
        _shown(root / path, f"{places[root]}/{path}".rstrip("/"), "packages")
        for root, path in dict.fromkeys(found)
        if not path or root not in whole
    ]
    return tuple(shown), tuple((str(root), place) for root, place in places.items())


def _found(packages: bool | Iterable[str | PathLike[str]], preload: tuple[str, ...]) -> list[tuple[Path, str]]:
    if packages is True:
        return [(root, "") for root in installed.directories()]
    if isinstance(packages, str | PathLike):
        raise UsageError(f"packages={packages!r}: give a list of them")
    asked = list(packages or ())
    names = [each for each in asked if isinstance(each, str) and "/" not in each]
    folders = [_folder(each) for each in asked if each not in names]
    for module in preload:
        providers = installed.providers(module)
        names += providers
        if not (providers or _is_there(module, folders)):
            raise UsageError(
                f"preload: no installed distribution provides {module!r}; install it, or give the directory it lies "
                "in: packages=[...]"
            )
    distributions = installed.closure(names)
    if not _ZONES.is_dir():  # zoneinfo looks for this package where the system has no time zones
        distributions += installed.closure(installed.providers("tzdata"))
    return [each for distribution in distributions for each in installed.files(distribution)] + [
        (folder, "") for folder in folders
    ]


def _folder(path: str | PathLike[str]) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"packages: {str(path)!r} is no directory; give the one that the modules lie in")
    return folder.resolve()


def _is_there(module: str, folders: list[Path]) -> bool:
    top = module.partition(".")[0]
    return top in installed.STANDARD or any(next(folder.glob(f"{top}*"), None) for folder in folders)


def _check_target(target: str) -> None:
    names = target.split("/")[1:]
    if not target.startswith("/") or posixpath.normpath(target) != target or target.startswith("//") or "\0" in target:
        raise UsageError(f"mounts: {target!r} is no absolute path without '.', '..' and a slash at its end")
    if names[0] in ("", *_TAKEN) or names[0].startswith("lib"):
        raise UsageError(f"mounts: {target!r} is taken by the sandbox itself; choose another place, such as '/data'")
    if len(os.fsencode(target)) > _LONGEST_PATH or any(len(os.fsencode(name)) > _LONGEST_NAME for name in names):
        raise UsageError(f"mounts: {target[:50]!r}... is too long")


def _shown(path: Path, target: str, what: str) -> Shown:
    try:
        source = path.resolve(strict=True)
        found = source.stat()
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(f"{what}: {str(path)!r} cannot be shown: {reason}") from None
    if source == Path("/") or any(source.is_relative_to(each) for each in _NEVER):
        raise UsageError(f"{what}: {str(source)!r} cannot be shown: it is the host's own; give a directory of data")
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise UsageError(f"{what}: {str(source)!r} is neither a file nor a directory")
    if not os.access(source, os.R_OK):
        raise UsageError(f"{what}: {str(source)!r} cannot be read by this user")
    needed = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    if hasattr(os, "geteuid") and os.geteuid() == 0 and found.st_mode & needed != needed:
        raise UsageError(
            f"{what}: {str(source)!r} is closed to other users, and what root starts runs as nobody; "
            f"chmod -R o+rX {source}"
        )
    return Shown(source=str(source), target=target, device=found.st_dev, inode=found.st_ino)
