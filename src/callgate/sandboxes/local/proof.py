"""What is proven about a jail: twelve properties, and the level they come to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from callgate.sandboxes.local.policy import LAYERS

__all__ = ["LEVELS", "PROPERTIES", "RESOURCE_LIMITS", "Proof", "Property", "judge", "reachable"]

LEVELS = ("L0", "L1", "L2", "L3")
"""From nothing proven to all three layers."""

RESOURCE_LIMITS = "resource limits"
"""The layer that no host lacks."""

_HELD_BY: dict[str, dict[str, int]] = {
    "files.read": {"namespaces": 0, "Landlock": 1},
    "files.write": {"namespaces": 0, "Landlock": 1},
    "files.metadata": {"namespaces": 0},
    "network": {"namespaces": 0, "Landlock": 4, "seccomp": 0},
    "environment": {"namespaces": 0, "Landlock": 1},
    "signals": {"namespaces": 0, "Landlock": 6, "seccomp": 0},
    "processes": {"namespaces": 0, "Landlock": 1, "seccomp": 0},
    "kernel_surface": {"seccomp": 0},
    "memory": {RESOURCE_LIMITS: 0},
    "cpu": {RESOURCE_LIMITS: 0},
    "disk": {"namespaces": 0},
    "lifetime": {"namespaces": 0, "seccomp": 0},
}
"""Which layers hold a property, each alone or its share of it, and from which version of Landlock on.

Landlock's share of the network is TCP, and from version 6 on abstract unix sockets; of the processes, that none is
traced or looked into, and no program executed. The kernel's Documentation/userspace-api/landlock.rst has the versions.
"""
_INSTEAD = {
    "files.write": ("Landlock", "seccomp"),
    "files.metadata": ("seccomp",),
    "disk": ("Landlock", "seccomp"),
}
"""What holds a property where there are no namespaces, the first of them that is there.

The filter then answers for changes of metadata; and nothing at all can be written, by Landlock's rules or, where there
is no Landlock either, because the filter lets no file be opened to that end.
"""

PROPERTIES = tuple(_HELD_BY)

_EVERYWHERE = ("network", "signals", "processes", "kernel_surface", "memory", "cpu", "lifetime")
_REQUIRED = {"L3": PROPERTIES, "L2": PROPERTIES, "L1": _EVERYWHERE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One promise to the host about every guest."""

    name: str
    held: bool
    """Whether a canary tried to break it and could not, and a layer is there that holds it."""
    layers: tuple[str, ...]
    """The active layers that hold it, each alone or its share of it."""
    broken: tuple[str, ...]
    """The attempts that succeeded, or of which nobody can say that they failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a canary showed."""

    level: str
    """ "L3": namespaces, Landlock and seccomp. "L2": seccomp and one of the others. Both: every property is held.

    "L1": seccomp alone. Files may be read, those in which the kernel shows other processes included; what can do harm
    outside is held. "L0": less than that.
    """
    properties: tuple[Property, ...]
    """All twelve, in the order of `PROPERTIES`."""


def reachable(layers: Collection[str]) -> str:
    """Return the level that these layers come to if every property they promise is held."""
    if "seccomp" not in layers:
        return "L0"
    return {1: "L1", 2: "L2", 3: "L3"}[len(frozenset(layers) & frozenset(LAYERS))]


def judge(layers: Collection[str], landlock: int, broken: Mapping[str, Collection[str]]) -> Proof:
    """Return the proof.

    Args:
        layers: those that confine each guest.
        landlock: the version of Landlock they have, 0 for none.
        broken: property to the attempts that succeeded.
    """
    properties = tuple(_judged(name, layers, landlock, tuple(broken[name])) for name in PROPERTIES)
    held = {each.name for each in properties if each.held}
    most = LEVELS.index(reachable(layers))
    proven = [level for level in LEVELS[1 : most + 1] if held.issuperset(_REQUIRED[level])]
    return Proof(level=proven[-1] if proven else "L0", properties=properties)


def _judged(name: str, layers: Collection[str], landlock: int, broken: tuple[str, ...]) -> Property:
    holders = _HELD_BY[name]
    if "namespaces" not in layers and name in _INSTEAD:
        holders = dict.fromkeys([each for each in _INSTEAD[name] if each in layers][:1], 0)
    active = (*(layer for layer in LAYERS if layer in layers), RESOURCE_LIMITS)
    holding = tuple(each for each in active if each in holders and (each != "Landlock" or landlock >= holders[each]))
    return Property(name=name, held=bool(holding) and not broken, layers=holding, broken=broken)
