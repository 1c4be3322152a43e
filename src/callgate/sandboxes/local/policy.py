"""What a jail is made of: its layers, the interpreter inside, and what of this host is shown there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike

from callgate.errors import UsageError
from callgate.sandboxes.local.interpreter import Interpreter, find

__all__ = ["LAYERS", "JailPolicy", "Shown", "jail_policy", "layer_of"]

LAYERS = ("namespaces", "Landlock", "seccomp")
"""The layers a host may lack. Resource limits always hold."""


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
        parts = (sorted(self.layers), self.interpreter, self.preload, self.packages, self.path, self.mounts)
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

    Raises:
        UsageError: if one of them cannot work.
    """
    if preload or packages or mounts or python is not None:
        raise UsageError("preload, packages, mounts and python are not built yet")
    layers = frozenset(LAYERS) if namespaces else frozenset(LAYERS) - {"namespaces"}
    return JailPolicy(layers=layers, interpreter=find())


def layer_of(missing: str) -> str | None:
    """Return the layer that is lost with what a `SandboxUnavailable` names in `missing`, or None: there is no way."""
    if missing.endswith("namespaces"):
        return "namespaces"
    return missing if missing in LAYERS else None
