"""What of the host's system a guest is shown, whether in a tree of its own or where it really is."""

# pathlib costs the launch more than all else it imports.
# ruff: noqa: PTH110, PTH112, PTH114, PTH118, PTH208

from __future__ import annotations

import os
from collections.abc import Iterator

SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache")
"""Libraries, and where the loader finds them. What is a link into another one of these is not shown twice."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


def system() -> list[str]:
    """Return those of `SYSTEM` that this host has."""
    return [path for path in SYSTEM if os.path.exists(path) and not os.path.islink(path)]


def hidden(root: str, libraries: tuple[str, ...]) -> list[str]:
    """Return the directories below root that are the host's business, though they lie in what is shown.

    Args:
        root: the directory that stands for /, ending in a slash.
        libraries: where interpreters keep their modules, relative to root; /usr is known.
    """
    paths = ["usr/etc", "usr/src", "usr/lib/python3/dist-packages"]
    paths += [f"usr/local/{name}" for name in ("etc", "src", "share/ca-certificates")]
    for folder in (*libraries, *(f"usr/{place}{kind}" for place in ("", "local/") for kind in ("lib", "lib64"))):
        versions = [name for name in listed(f"{root}{folder}") if name.startswith("python3")]
        paths += [f"{folder}/{name}/{kind}-packages" for name in versions for kind in ("site", "dist")]
    found = [f"{root}{path}" for path in dict.fromkeys(paths)]
    return [path for path in found if os.path.isdir(path) and not os.path.islink(path)]


def readable(interpreter: tuple[str, ...], namespaces: bool) -> Iterator[str]:
    """Yield what of the system and of the interpreter a guest may read: all of it in a tree, which hides the rest."""
    tops = [*system(), *interpreter]
    if namespaces:
        yield from tops
        return
    away = hidden("/", tuple(part.lstrip("/") for part in interpreter))
    for top in tops:
        yield from spared(top, away)


def spared(path: str, hidden: list[str]) -> Iterator[str]:
    """Yield the largest files and directories that together are all of path but what is hidden, links left out."""
    if os.path.islink(path) or path in hidden:
        return
    if any(each.startswith(f"{path}/") for each in hidden):
        for name in listed(path):
            yield from spared(os.path.join(path, name), hidden)
    else:
        yield path


def listed(path: str) -> list[str]:
    """Return the names in a directory; none where it cannot be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
