"""Namespaces: the server's own set, and one more of those a guest must not share with another."""

from __future__ import annotations

import os

from .kernel import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    LayerMissing,
    syscall,
)

_USER = "user namespaces"
_PID = "pid namespaces"


def own_mounts(proc: int) -> None:
    """Get a mount namespace by way of a user namespace, as an ordinary user must."""
    uid, gid = os.getuid(), os.getgid()
    syscall(_USER, "unshare", CLONE_NEWUSER | CLONE_NEWNS)
    _map(proc, uid, gid)


def own_everything(proc: int) -> None:
    """Enter a user namespace, and one of each other kind that belongs to it.

    The next child is the first process of the pid namespace.
    """
    uid, gid = os.getuid(), os.getgid()
    syscall(_USER, "unshare", CLONE_NEWUSER)
    _map(proc, uid, gid)
    kinds = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
    syscall(_USER, "unshare", kinds)
    syscall("uts namespaces", "sethostname", b"sandbox", 7)


def next_child_is_first(server: int) -> None:
    """Make the next child the first process of a pid namespace of its own, below the server's.

    Args:
        server: a pidfd of this process. A namespace for children can be left only to the one it stands for.
    """
    syscall(_PID, "setns", server, CLONE_NEWPID)
    syscall(_PID, "unshare", CLONE_NEWPID)


def own_mounts_and_ipc() -> None:
    """Leave the server's mounts and its System V and POSIX message objects."""
    syscall("mount namespaces", "unshare", CLONE_NEWNS | CLONE_NEWIPC)


def own_user() -> None:
    """Enter a user namespace in which nobody is mapped.

    Nothing outside belongs to a guest's capabilities any more, its user shows as the overflow identity on every host,
    and its threads are counted apart from those of other guests.
    """
    syscall(_USER, "unshare", CLONE_NEWUSER)


def _map(proc: int, uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"), ("uid_map", f"{uid} {uid} 1")):
        try:
            file = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)
        except OSError as error:
            raise LayerMissing.because(_USER, error) from None
