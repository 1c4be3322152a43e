"""The first program of the sandbox: puts the fork server where it belongs and becomes it.

It runs between two execs. The host's interpreter is started at its real place; this program builds the read-only tree
where there are namespaces, gives up root, and executes the same interpreter again, inside the tree if there is one.
Nothing of the host's paths is left in a tree, and the second exec is also the one that takes the layout of memory off
chance.
"""

from __future__ import annotations

import fcntl
import os
from typing import NoReturn

from . import addresses, identity, rlimits, tree
from .kernel import CLONE_NEWNS, LayerMissing, Mistake, syscall
from .namespaces import own_mounts

STDIN, CONTROL, HANDOFF, PROC = 0, 3, 4, 5
"""The fork server's descriptors; its program is its standard input."""

_ABOVE = 64


def launch(
    *,
    control: int,
    handoff: int,
    program: int,
    namespaces: bool,
    interpreter: list[tuple[str, str]],
    packages: list[tuple[str, str, int, int]],
    mounts: list[tuple[str, str, int, int]],
    arguments: list[str],
) -> NoReturn:
    """Become the fork server, or report on the control socket what is missing and exit.

    Args:
        control: descriptor of the socket on which the host asks for guests.
        handoff: descriptor of the socket that carries each guest's channel and bounds.
        program: descriptor of a file that holds the fork server's program.
        namespaces: build a tree, and run the server in it.
        interpreter: (where it is, where it shall appear) of each part of the interpreter, the executable first.
        packages: likewise for what can be imported, with the device and inode each has to be.
        mounts: likewise for what can be read.
        arguments: the interpreter's.
    """
    try:
        proc = _proc()
        if namespaces:
            if not _unshare_as_root():
                own_mounts(proc)
            parts = [tree.library(source, target) for source, target in interpreter]
            parts += [tree.library(*each) for each in packages]
            tree.enter(parts + [tree.data(*each) for each in mounts])
        if os.geteuid() == 0:
            identity.become_nobody()
        executable, *libraries = (target if namespaces else source for source, target in interpreter)
        if not (namespaces or os.access(os.__file__, os.R_OK)):
            raise LayerMissing("a readable interpreter", "its library is closed to the user it would run as")
        rlimits.settle_stack()
        addresses.fix()
        _place({STDIN: program, CONTROL: control, HANDOFF: handoff, PROC: proc})
        control = CONTROL
        environment = {"PYTHONHASHSEED": "0", "TZ": "UTC"}
        if libraries:  # a shared libpython is looked for where it was first installed
            environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        os.execve(executable, [executable, *arguments], environment)  # noqa: S606 - no shell is the point
    except (LayerMissing, Mistake) as problem:
        problem.report(control)
    except OSError as error:
        LayerMissing.because("a readable interpreter", error).report(control)
    os._exit(1)


def _proc() -> int:
    try:
        return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LayerMissing.because("/proc", error) from None


def _unshare_as_root() -> bool:
    """Try the way of root, whose interpreter may be where nobody else can read it; False: go the ordinary way."""
    if os.geteuid() != 0:
        return False
    try:
        syscall("mount namespaces", "unshare", CLONE_NEWNS)
    except LayerMissing:  # root by name only, as in most containers
        identity.become_nobody()
        return False
    return True


def _place(wanted: dict[int, int]) -> None:
    """Put descriptors at their numbers, whichever they have now, and close all others but 1 and 2."""
    safe = {target: fcntl.fcntl(source, fcntl.F_DUPFD, _ABOVE) for target, source in wanted.items()}
    for target, source in safe.items():
        os.dup2(source, target)
    os.closerange(max(wanted) + 1, os.sysconf("SC_OPEN_MAX"))
