"""Resource limits of a guest."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from errno import EAGAIN, EFAULT
from struct import Struct

from .kernel import LayerMissing, syscall

MORE_THREADS, MORE_AMONG_OTHERS = 32, 256
"""Threads the kernel lets a guest have above `Limits.threads`, which the guest itself keeps: those of libraries, which
it does not see. Without a user namespace, and before Linux 5.14 with one, the kernel counts all processes and threads
of the user, and these come and go.
"""

DESCRIPTORS = 256
STACK_BYTES = 8 << 20
_LAYER = "resource limits"
_WIRE = Struct("!IIII")
_MIB = 1 << 20
_CLONE_VM, _CLONE_PIDFD, _NOWHERE = 0x100, 0x1000, 16  # no page is ever there
_MOST_RUNNING = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the host hands over for one guest. Of fixed size on the wire, so that memory layouts stay equal."""

    memory_mb: int
    disk_mb: int
    cpu_seconds: int
    threads: int


SIZE = _WIRE.size


def unpack(data: bytes) -> Bounds:
    """Read the bounds from the four words the host sends."""
    memory_mb, disk_mb, cpu_seconds, threads = _WIRE.unpack(data)
    return Bounds(memory_mb=memory_mb, disk_mb=disk_mb, cpu_seconds=cpu_seconds, threads=threads)


def limit(bounds: Bounds, mapped_mb: int, others: int) -> None:
    """Set every limit, soft and hard alike.

    Args:
        bounds: what the host asks for.
        mapped_mb: address space that is taken before the program's first line.
        others: processes and threads that count as the guest's own besides those of its program.
    """
    cpu = bounds.cpu_seconds + 1  # the host ends a guest at its limit; this one holds if the host cannot
    wanted = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, (bounds.memory_mb + mapped_mb) * _MIB),
        (resource.RLIMIT_FSIZE, (bounds.disk_mb + 1) * _MIB),  # a full disk shows as ENOSPC, not as EFBIG
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_NPROC, bounds.threads + others),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, DESCRIPTORS),
        (resource.RLIMIT_STACK, STACK_BYTES),
    )
    for which, most in wanted:
        _set(which, most, most)


def mapped_mb(proc: int) -> int:
    """Return the address space of this process, in MiB, rounded up. Read at a descriptor of /proc."""
    try:
        file = os.open("self/statm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            pages = int(os.read(file, 256).split()[0])
        finally:
            os.close(file)
    except OSError as error:
        raise LayerMissing.because(_LAYER, error) from None
    return -(-pages * resource.getpagesize() // _MIB)


def running() -> int:
    """Return how many processes and threads the kernel counts for this user, this one included.

    No file tells: /proc shows neither the processes of another container nor whose a closed one is. But a new process
    is refused for the limit (EAGAIN) before it is for where its descriptor should go (EFAULT), so none is ever made.
    """
    low, high = 0, 2
    while high < _MOST_RUNNING and not _may_run(high):
        low, high = high + 1, high * 4
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _may_run(middle) else (middle + 1, high)
    return max(low - 1, 0)


def _may_run(processes: int) -> bool:
    """Say whether a user with that limit could start one more."""
    _set(resource.RLIMIT_NPROC, processes, resource.RLIM_INFINITY)
    try:
        syscall(_LAYER, "clone", _CLONE_VM | _CLONE_PIDFD, _NOWHERE, _NOWHERE, 0, 0)
    except LayerMissing as missing:
        if missing.code not in (EAGAIN, EFAULT):
            raise
        return missing.code == EFAULT
    raise LayerMissing(_LAYER, "clone: took a descriptor that has no place")


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
        raise LayerMissing(_LAYER, f"limit {which}: {type(error).__name__}") from None
