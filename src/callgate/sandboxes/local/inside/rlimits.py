"""Resource limits of a guest."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from struct import Struct

from .kernel import LayerMissing

THREADS = 512
"""Threads the kernel lets a guest have: a backstop far above `Limits.threads`, which the guest itself keeps."""

DESCRIPTORS = 256
STACK_BYTES = 8 << 20
_WIRE = Struct("!III")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the host hands over for one guest. Of fixed size on the wire, so that memory layouts stay equal."""

    memory_mb: int
    disk_mb: int
    cpu_seconds: int


SIZE = _WIRE.size


def unpack(data: bytes) -> Bounds:
    """Read the bounds from the three words the host sends."""
    memory_mb, disk_mb, cpu_seconds = _WIRE.unpack(data)
    return Bounds(memory_mb=memory_mb, disk_mb=disk_mb, cpu_seconds=cpu_seconds)


def limit(bounds: Bounds) -> None:
    """Set every limit, soft and hard alike."""
    cpu = bounds.cpu_seconds + 1  # the host ends a guest at its limit; this one holds if the host cannot
    wanted = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, bounds.memory_mb * _MIB),
        (resource.RLIMIT_FSIZE, (bounds.disk_mb + 1) * _MIB),  # a full disk shows as ENOSPC, not as EFBIG
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_NPROC, THREADS),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, DESCRIPTORS),
        (resource.RLIMIT_STACK, STACK_BYTES),
    )
    for which, most in wanted:
        _set(which, most, most)


def settle_stack() -> None:
    """Give the coming exec the same stack limit everywhere: the kernel lays out memory by it."""
    _set(resource.RLIMIT_STACK, STACK_BYTES, resource.RLIM_INFINITY)


def _set(which: int, soft: int, hard: int) -> None:
    """Set a limit, within the one there is."""
    try:
        _, most = resource.getrlimit(which)
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), most if hard == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(which, (soft, hard))
    except (OSError, ValueError) as error:
        raise LayerMissing("resource limits", f"limit {which}: {type(error).__name__}") from None
