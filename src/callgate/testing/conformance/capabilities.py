"""What not every sandbox can do, by name, and which checks need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from callgate.errors import UsageError

__all__ = ["CAPABILITIES", "check_lacks", "needed_by", "needs"]

CAPABILITIES: Mapping[str, str] = MappingProxyType(
    {
        "addresses": "objects have the same addresses in every guest, so that programs that show them replay too",
        "artifacts": "the files that a program leaves below /out come back",
        "cpu_seconds": "the processor time of a guest is bounded",
        "disk_mb": "the files of a guest are bounded",
        "environment": "a program sees no environment variable of the host's process",
        "frames": "the suite can make a guest send any bytes, by `raw`",
        "host_files": "a program reads no file of the host",
        "leftovers": "the suite can see what is left of guests that are over, by `leftovers`",
        "lose": "the suite can make the sandbox go away, by `lose`",
        "memory_mb": "the memory of a guest is bounded",
        "network": "a program reaches no service of the host's network",
        "processes": "a program starts and signals no process",
        "tmp": "a program has a directory and a /tmp of its own, and may write there",
    }
)
"""Name to what it means. A sandbox has each, or its class says in `lacks` why it does not."""

_needed: dict[str, str] = {}

F = TypeVar("F", bound=Callable[..., None])


def needs(capability: str) -> Callable[[F], F]:
    """Mark a check that only a sandbox with that capability passes."""

    def mark(check: F) -> F:
        assert capability in CAPABILITIES, capability
        _needed[check.__name__] = capability
        return check

    return mark


def needed_by(check: str) -> str | None:
    """Return the capability that a check needs, None for one that every sandbox passes."""
    return _needed.get(check)


def check_lacks(name: str, lacks: Mapping[str, str]) -> None:
    """Look at what a class declares.

    Raises:
        UsageError: for a capability that is none, or a lack without a reason.
    """
    for capability, reason in lacks.items():
        if capability not in CAPABILITIES:
            raise UsageError(f"{name}.lacks names {capability!r}; capabilities are {', '.join(CAPABILITIES)}")
        if not reason.strip():
            raise UsageError(f"{name}.lacks[{capability!r}]: say why, in a sentence that people read")
