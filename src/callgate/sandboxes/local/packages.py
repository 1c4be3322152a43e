"""Which files make up the packages a program may import, and the modules the fork server imports for it."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from callgate.errors import UsageError

__all__ = ["STANDARD", "closure", "directories", "files", "providers"]

_NAMED = r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*"
_REQUIREMENT = re.compile(_NAMED + r"(?:[(<>=!~@][^;]*)?(?:;(.*))?", re.DOTALL)
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
STANDARD = sys.stdlib_module_names | frozenset(sys.builtin_module_names)
"""What needs no distribution."""
_PRIVATE = ("direct_url.json",)
"""Files of a distribution that say where on this host it came from."""


def directories() -> list[Path]:
    """Return every directory of this environment that packages are installed in, in the order of sys.path."""
    found = {_root(distribution) for distribution in metadata.distributions()}
    ordered = [root for root in dict.fromkeys(Path(entry).resolve() for entry in sys.path if entry) if root in found]
    return [*ordered, *dict.fromkeys(added for root in ordered for added in _added(root, sorted(root.glob("*.pth"))))]


def closure(names: Iterable[str]) -> list[metadata.Distribution]:
    """Return the distributions of these names and all that they require.

    A requirement that is not installed is left out: its marker may not hold here. What a name asks for in brackets is
    required too.

    Raises:
        UsageError: if one of the names is not installed.
    """
    found: dict[str, metadata.Distribution] = {}
    done: set[tuple[str, str]] = set()
    wanted = [(name, True) for name in names]
    while wanted:
        requirement, asked_for = wanted.pop(0)
        match = re.fullmatch(_NAMED, requirement) if asked_for else _REQUIREMENT.fullmatch(requirement)
        if match is None:
            if not asked_for:
                continue
            raise UsageError(f"packages: {requirement!r} is neither the name of a distribution nor a directory")
        name, extras = _normal(match[1]), {_normal(extra) for extra in (match[2] or "").split(",") if extra.strip()}
        try:
            distribution = found.get(name) or metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if asked_for:
                raise UsageError(f"packages: {match[1]} is not installed here; pip install {match[1]}") from None
            continue
        found[name] = distribution
        for extra in {"", *extras} - {extra for each, extra in done if each == name}:
            done.add((name, extra))
            wanted += [(each, False) for each in distribution.requires or () if _wants(each, extra)]
    return list(found.values())


def providers(module: str) -> list[str]:
    """Return the names of the distributions that a module outside the standard library is part of."""
    parts = module.split(".")
    if parts[0] in STANDARD:
        return []
    recorded = [(distribution, f"\n{_record(distribution)}") for distribution in metadata.distributions()]
    for depth in range(len(parts), 0, -1):  # several distributions may share the first part of a name
        place = "/".join(parts[:depth])
        found = [distribution for distribution, record in recorded if _has(distribution, record, place)]
        if found:
            return list(dict.fromkeys(_normal(distribution.metadata["Name"]) for distribution in found))
    return []


def files(distribution: metadata.Distribution) -> Iterator[tuple[Path, str]]:
    """Yield (directory of modules, path in it) of each file and directory that only this distribution put there.

    Raises:
        UsageError: if the distribution does not say what it consists of.
    """
    root, paths = _root(distribution), [row[0].split("/") for row in csv.reader(_record(distribution).splitlines())]
    inside = [
        path
        for path in paths
        if ".." not in path and path[0] not in ("", "__pycache__") and not path[0].endswith(".pth")
    ]
    yield from ((root, path) for path in _whole(root, "", 0, inside))
    added = list(_added(root, [root / path[0] for path in paths if path[0].endswith(".pth")]))
    yield from ((directory, "") for directory in added)
    if not added and all(path[0].endswith((".dist-info", ".egg-info")) for path in inside):
        raise UsageError(
            f"packages: {distribution.metadata['Name']} does not say where its modules are; "
            "give the directory they lie in instead"
        )


def _whole(root: Path, folder: str, depth: int, paths: list[list[str]]) -> Iterator[str]:
    below: dict[str, list[list[str]]] = {}
    for path in paths:
        below.setdefault(path[depth], []).append(path)
    for name, its in sorted(below.items()):
        place = f"{folder}{name}"
        names = {path[depth + 1] for path in its if len(path) > depth + 1}
        if not names:
            if name not in _PRIVATE and (root / place).exists():
                yield place
        elif (root / place).is_dir() and name != "__pycache__":
            if "__init__.py" in names or _names(root / place) <= names - {*_PRIVATE}:
                yield place
            else:  # others put files there too
                yield from _whole(root, f"{place}/", depth + 1, its)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"__pycache__"}


def _record(distribution: metadata.Distribution) -> str:
    """Return the list of a distribution's files, one a line, each relative to the directory it is installed in."""
    record = distribution.read_text("RECORD")
    return record if record is not None else "\n".join(str(path) for path in distribution.files or ())


def _has(distribution: metadata.Distribution, record: str, place: str) -> bool:
    if f"\n{place}/" in record or f"\n{place}." in record:
        return True
    root = _root(distribution)
    links = [root / line.partition(",")[0] for line in record.splitlines() if ".pth" in line]
    return any(_holds(folder, place) for folder in _added(root, links))


def _holds(folder: Path, place: str) -> bool:
    return (folder / place).is_dir() or (folder / f"{place}.py").is_file()


def _added(root: Path, links: list[Path]) -> Iterator[Path]:
    """Yield the directories that .pth files add: an editable installation is there."""
    for link in links:
        for line in link.read_text("utf-8", "replace").splitlines() if link.is_file() else ():
            if line.strip() and not line.startswith(("#", "import ", "import\t")) and (root / line.strip()).is_dir():
                yield (root / line.strip()).resolve()


def _root(distribution: metadata.Distribution) -> Path:
    return Path(str(distribution.locate_file(""))).resolve()


def _wants(requirement: str, extra: str) -> bool:
    """Say whether a line of requirements counts for an extra, or for none: ""."""
    match = _REQUIREMENT.fullmatch(requirement)
    extras = {_normal(each) for each in _EXTRA.findall((match[3] or "") if match else "")}
    return extra in extras if extras else not extra


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).strip().lower()
