"""What confines one guest: the layers of the plan, each of them or none at all."""

# ruff: noqa: PTH112

from __future__ import annotations

import os
import sys
from contextlib import suppress

from . import identity, namespaces, places, rlimits, seccomp, tree
from .kernel import Mistake
from .landlock import Landlock
from .plan import Plan

CHANNEL = 3
"""The one descriptor a guest has besides its standard ones, which are /dev/null."""


class Confinement:
    """How guests are confined, prepared once by the server.

    Args:
        plan: which layers there are, and what they may read.
        proc: a descriptor of /proc.

    Raises:
        LayerMissing: if a layer cannot be had.
    """

    def __init__(self, plan: Plan, proc: int) -> None:
        self._namespaces = plan.namespaces
        self._landlock = _landlock(plan) if "Landlock" in plan.layers else None
        self._filter = b""
        if "seccomp" in plan.layers:
            self._filter = seccomp.program(namespaces=self._namespaces, landlock=self._landlock is not None)
        self._server = 0 if self._namespaces else os.getpid()
        self._mapped_mb = rlimits.mapped_mb(proc)
        self.landlock = 0 if self._landlock is None else self._landlock.abi
        """The kernel's version of Landlock; 0 where guests are not under it."""

    def apply(self, bounds: rlimits.Bounds) -> None:
        """Confine this process, which has its channel at `CHANNEL`, for good.

        Raises:
            LayerMissing: if a layer cannot be had. Nothing untrusted may run then.
        """
        if self._namespaces:
            namespaces.own_mounts_and_ipc()
            tree.own_files(bounds.disk_mb)
            namespaces.own_user()
        identity.drop_capabilities(bounding=self._namespaces)
        identity.forbid_new_privileges()
        others = rlimits.running()
        more = rlimits.MORE_THREADS if self._namespaces else rlimits.MORE_AMONG_OTHERS
        if not self._namespaces:
            _go_where_a_guest_expects_to_be()
        if self._landlock is not None:
            self._landlock.restrict()
        identity.die_with_parent(self._server)
        identity.close_to_others()
        standard_descriptors()  # a description of its own: flags set on a shared one would reach other guests
        os.closerange(CHANNEL + 1, 1 << 20)
        rlimits.limit(bounds, self._mapped_mb, others + more)
        if self._filter:
            seccomp.install(self._filter if self._namespaces else seccomp.bound(self._filter, os.getpid()))


def standard_descriptors() -> None:
    """Make the standard descriptors stand for /dev/null."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)


def _landlock(plan: Plan) -> Landlock:
    for path, _, _ in plan.shown:
        if not os.access(path, os.R_OK):
            raise Mistake(f"{path} is closed to the user that programs run as, or one of the directories above it is")
    shown = {path: (device, inode) for path, device, inode in plan.shown}
    readable = [*places.readable(plan.interpreter, plan.namespaces), *shown]
    below = tuple(f"{path}/" for path in readable)
    listed = [path for path in sys.path if os.path.isdir(path) and not f"{path}/".startswith(below)]  # by an import
    known = {path: found for path, found in shown.items() if found[1]}
    return Landlock(readable, listed, tree.OWN if plan.namespaces else (), known)


def _go_where_a_guest_expects_to_be() -> None:
    """Go to /tmp, though nothing can be done there: where a program finds itself does not change with the host."""
    with suppress(OSError):
        os.chdir(tree.OWN[0])
