"""What a jail is made of: its layers, the interpreter inside, and what of this host is shown there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike

from callgate.errors import UsageError
from callgate.sandboxes.local.interpreter import Interpreter, find
from callgate.sandboxes.local.shown import Shown, show_mounts, show_packages

__all__ = ["LAYERS", "JailPolicy", "Shown", "jail_policy", "layer_of", "moved_mounts"]

LAYERS = ("namespaces", "Landlock", "seccomp")
"""The layers a host may lack. Resource limits always hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JailPolicy:
    """Everything that decides what a guest can do and see."""

    layers: frozenset[str]
    """Those of `LAYERS` that confine each guest. Where one cannot be had, no guest runs."""
    interpreter: Interpreter
    preload: tuple[str, ...] = ()
    """Modules the fork server imports once, for all guests."""
    packages: tuple[Shown, ...] = ()
    """What is importable besides the standard library."""
    path: tuple[tuple[str, str], ...] = ()
    """(where it is, where it appears) of each directory in which modules are looked for."""
    mounts: tuple[Shown, ...] = ()
    """Data of the host, to be read."""

    def without(self, layer: str) -> JailPolicy:
        """Return the policy that does without one of its layers."""
        return replace(self, layers=self.layers - {layer})

    @property
    def digest(self) -> str:
        """A name for exactly this policy, for caches."""
        try:
            executable = os.stat(self.interpreter.path)  # noqa: PTH116
            found = (executable.st_dev, executable.st_ino, executable.st_mtime_ns, executable.st_size)
        except OSError:
            found = ()
        parts = (found, sorted(self.layers), self.interpreter, self.preload, self.packages, self.path, self.mounts)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def jail_policy(
    *,
    namespaces: bool = True,
    preload: Iterable[str] = (),
    packages: bool | Iterable[str | PathLike[str]] = (),
    mounts: Mapping[str, str | PathLike[str]] | None = None,
    python: str | PathLike[str] | None = None,
) -> JailPolicy:
    """Return the policy these arguments of `LocalSandbox` ask for, with every layer but those they rule out.

    With namespaces a guest finds packages at /packages and mounts at their targets, and nothing tells it where they
    come from. Without, all is read where it really is, and more of the host is visible: the paths of the interpreter
    and of packages, the names of all that is installed beside either, and for any other path that a program guesses,
    whether it is there, its size, times and owner, and where a link leads; the host's name, and which process numbers
    are in use. What files and directories contain stays closed.

    Args:
        namespaces: use them; else guests have no files of their own, and /tmp and /out cannot be written.
        preload: modules to import once for all guests. What provides them is shown as if it was named in packages.
        packages: what can be imported: True for every directory that packages of this environment lie in, with all that
            is in it, also what tells of this host (.pth files, direct_url.json); or names of distributions, whose
            requirements are included, and directories of modules.
        mounts: target inside to file or directory of this host, with all that lies below, also what is mounted there.
            Links are followed once, now. Without namespaces a target has to be its own source.
        python: the interpreter to run programs with, or None for the one under this process.

    Raises:
        UsageError: if one of them cannot work.
    """
    if isinstance(preload, str):
        raise UsageError(f"preload={preload!r}: give a list of modules")
    preload = tuple(dict.fromkeys(preload))
    for module in preload:
        if not all(part.isidentifier() for part in module.split(".")):
            raise UsageError(f"preload: {module!r} is no name of a module")
    shown, path = show_packages(packages, preload)
    policy = JailPolicy(
        layers=frozenset(LAYERS) if namespaces else frozenset(LAYERS) - {"namespaces"},
        interpreter=find(python),
        preload=preload,
        packages=shown,
        path=path,
        mounts=show_mounts(mounts or {}),
    )
    if (moved := moved_mounts(policy)) and not namespaces:
        raise UsageError(f"mounts: without namespaces {moved[0]!r} can only show what is really there")
    return policy


def moved_mounts(policy: JailPolicy) -> list[str]:
    """Return the targets that are not where their source is, which takes a tree of one's own."""
    return [mount.target for mount in policy.mounts if mount.target != mount.source]


def layer_of(missing: str) -> str | None:
    """Return the layer that is lost with what a `SandboxUnavailable` names in `missing`, or None: there is no way."""
    if missing.endswith("namespaces"):
        return "namespaces"
    return missing if missing in LAYERS else None
