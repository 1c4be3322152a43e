"""The first program of the sandbox: puts the fork server where it belongs and becomes it.

It runs between two execs. The host's interpreter is started at its real place; this program builds the read-only tree,
gives up root, and executes the same interpreter again inside the tree. Nothing of the host's paths is left then, and
the second exec is also the one that takes the layout of memory off chance.
"""

from __future__ import annotations

import fcntl
import os
from typing import NoReturn

from . import addresses, identity, namespaces, rlimits, tree
from .kernel import CLONE_NEWNS, LayerMissing, syscall

STDIN, CONTROL, HANDOFF, PROC = 0, 3, 4, 5
"""The fork server's descriptors; its program is its standard input."""

_ABOVE = 64


def launch(
    *, control: int, handoff: int, program: int, interpreter: list[tuple[str, str]], argv: list[str]
) -> NoReturn:
    """Become the fork server, or report on the control socket what is missing and exit.

    Args:
        control: descriptor of the socket on which the host asks for guests.
        handoff: descriptor of the socket that carries each guest's channel and bounds.
        program: descriptor of a file that holds the fork server's program.
        interpreter: (where it is, where it shall appear) of each part of the interpreter, the executable first.
        argv: its command line.
    """
    try:
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not _unshare_as_root():
            namespaces.own_mounts(proc)
        tree.enter(interpreter)
        if os.geteuid() == 0:
            identity.become_nobody()
        rlimits.settle_stack()
        addresses.fix()
        _place({STDIN: program, CONTROL: control, HANDOFF: handoff, PROC: proc})
        control = CONTROL
        environment = {"PYTHONHASHSEED": "0", "TZ": "UTC"}
        if interpreter[0][1].startswith(tree.HOME):
            environment["LD_LIBRARY_PATH"] = f"{tree.HOME}/lib"  # a shared libpython is looked for at its first place
        os.execve(interpreter[0][1], argv, environment)  # noqa: S606 - no shell is the point
    except LayerMissing as missing:
        missing.report(control)
    except OSError as error:
        LayerMissing.because("a readable interpreter", error).report(control)
    os._exit(1)


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
