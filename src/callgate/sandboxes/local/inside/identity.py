"""Who a process is: an unprivileged user without capabilities that nobody can look into."""

from __future__ import annotations

import os

from .kernel import LayerMissing, syscall

NOBODY = 65534
"""The kernel's overflow identity: owns nothing on any ordinary host."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 4, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_POSSIBLE_CAPABILITY = 63
_SIGKILL = 9


def become_nobody() -> None:
    """Give up root for good."""
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        raise LayerMissing.because("an unprivileged identity", error) from None
    if os.getresuid() != (NOBODY,) * 3 or os.getresgid() != (NOBODY,) * 3 or os.getgroups():
        raise LayerMissing("an unprivileged identity", "the change did not hold")
    # The change hides /proc/self from its own owner, and the maps of a user namespace are written there.
    syscall("an unprivileged identity", "prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def drop_capabilities(*, bounding: bool) -> None:
    """Clear every set of capabilities.

    Args:
        bounding: the bounding set too, which takes a user namespace of one's own. It matters to nobody who must not
            gain a privilege by an exec.
    """
    layer = "dropped capabilities"
    for capability in range(_LAST_POSSIBLE_CAPABILITY + 1 if bounding else 0):
        try:
            syscall(layer, "prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except LayerMissing:
            if capability == 0 or _in_bounding_set(capability):
                raise
            break  # the first number this kernel does not know
    syscall(layer, "prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    syscall(layer, "capset", header, bytes(24))


def _in_bounding_set(capability: int) -> bool:
    try:
        return syscall("dropped capabilities", "prctl", _PR_CAPBSET_READ, capability, 0, 0, 0) == 1
    except LayerMissing:
        return False


def close_to_others() -> None:
    """Let no process of the same user trace or read this one."""
    syscall("a process closed to others", "prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent dies, or end at once if that has happened.

    Args:
        parent: its process id as this process sees it; 0 where it is in another pid namespace.
    """
    syscall("a process that dies with its parent", "prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def forbid_new_privileges() -> None:
    """Make every later exec, and the filters, unable to gain a privilege."""
    syscall("no new privileges", "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
