"""The fork server: one byte in, one fresh guest out.

Its loop keeps nothing from one guest to the next, not even an address: what a program can observe of its process must
not depend on how many ran before it. So the server only reads a byte and forks; the child fetches its own channel.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from . import addresses, identity, imports, namespaces, rlimits, tree
from .confine import CHANNEL, Confinement, standard_descriptors
from .kernel import LayerMissing, Mistake
from .launch import CONTROL, HANDOFF, PROC
from .plan import Plan

READY = b"+"

Run: TypeAlias = Callable[[int], NoReturn]

_ENVIRONMENT = {"HOME": "/tmp", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "TZ": "UTC", "USER": "guest"}  # noqa: S108
_KEPT_FREE = 16


def serve(run: Run, alone: imports.Alone, plan: Plan) -> NoReturn:
    """Serve guests until the host closes the control socket, or report what is missing and exit.

    Args:
        run: takes a guest's channel and runs one program.
        alone: does something before there is a host, and returns how many threads are left of it.
        plan: how guests are confined, and what they find.
    """
    try:
        _serve(run, alone, plan)
    except (LayerMissing, Mistake) as problem:
        problem.report(CONTROL)
    except OSError as error:
        LayerMissing.because("a fork server", error).report(CONTROL)
    finally:
        os._exit(1)  # never back to an interpreter that would run what else there is, or wait for threads


def _serve(run: Run, alone: imports.Alone, plan: Plan) -> NoReturn:
    confinement = _prepare(plan, alone)
    me = os.pidfd_open(os.getpid())
    handoff = socket.socket(fileno=HANDOFF)
    if plan.namespaces:
        namespaces.next_child_is_first(me)  # where this is refused, say so before anybody waits for a guest
    version = ".".join(map(str, sys.version_info[:3]))
    _settle()
    _tell(addresses=addresses.fixed(), landlock=confinement.landlock, python=version)
    while os.read(CONTROL, 1):
        if plan.namespaces:
            namespaces.next_child_is_first(me)
        try:
            child = _fork()
        except LayerMissing as missing:
            _refuse(_take(handoff)[0], missing)
            continue
        if not child:
            try:
                _become_guest(handoff, confinement, run)
            finally:
                os._exit(1)
    os._exit(0)


def _prepare(plan: Plan, alone: imports.Alone) -> Confinement:
    """Set up everything guests share. Returns in the first process of a pid namespace, if that is in the plan."""
    _be_first_to_go()
    if plan.namespaces:
        namespaces.own_everything(PROC)
        if child := _fork():
            os.closerange(CONTROL, PROC + 1)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
        identity.die_with_parent(0)
    identity.close_to_others()
    _schedule(os.SCHED_BATCH)  # a guest that is ordered ahead must not take the processor from who orders it
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    standard_descriptors()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guests are reaped by the kernel
    imports.standard()
    with tree.scratch() if plan.namespaces and plan.preload else contextlib.nullcontext():
        imports.others(plan, PROC, alone, lambda name: _tell(importing=name))
    confinement = Confinement(plan, PROC)
    os.close(PROC)
    return confinement


def _be_first_to_go() -> None:
    """Where the host's memory runs out, have the kernel end a guest, and not the host of it."""
    with contextlib.suppress(OSError):  # a /proc that is only read
        file = os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=PROC)
        try:
            os.write(file, b"1000")
        finally:
            os.close(file)


def _tell(**facts: str | int) -> None:
    """Send the host a line."""
    os.write(CONTROL, json.dumps(facts).encode() + b"\n")


def _schedule(policy: int) -> None:
    with contextlib.suppress(OSError):  # a host that refuses it is slower
        os.sched_setscheduler(0, policy, os.sched_param(0))


def _settle() -> None:
    """Bring the allocator to a state that a round of the loop leaves as it was."""
    spare = [n << 40 for n in range(1, _KEPT_FREE)]  # process ids above 256 are fresh integers; keep some blocks free
    del spare
    gc.collect()
    gc.freeze()
    gc.disable()


def _become_guest(handoff: socket.socket, confinement: Confinement, run: Run) -> NoReturn:
    """Fetch a channel, confine this process, tell the host, and run. Nothing untrusted runs before the end."""
    os.close(CONTROL)
    _schedule(os.SCHED_OTHER)
    channel, bounds = _take(handoff)
    if channel != CHANNEL:
        os.dup2(channel, CHANNEL, inheritable=False)
    try:
        _announce()
        confinement.apply(bounds)
    except LayerMissing as missing:
        missing.report(CHANNEL)
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the program must not run
        LayerMissing("a guest", type(error).__name__).report(CHANNEL)
        os._exit(1)
    os.write(CHANNEL, READY)
    gc.enable()
    run(CHANNEL)


def _take(handoff: socket.socket) -> tuple[int, rlimits.Bounds]:
    """Return the channel and the bounds of one guest; any guest's, for each message is complete in itself."""
    data, descriptors, _, _ = socket.recv_fds(handoff, rlimits.SIZE, 1)
    if len(descriptors) != 1:
        raise OSError
    return descriptors[0], rlimits.unpack(data)


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        raise LayerMissing.because("a process", error) from None


def _refuse(channel: int, missing: LayerMissing) -> None:
    """Tell who waits for a guest why there is none."""
    with contextlib.suppress(OSError):
        missing.report(channel)
    os.close(channel)


def _announce() -> None:
    """Send the host a pidfd of this process: what it kills the guest by."""
    channel = socket.socket(fileno=CHANNEL)
    mine = os.pidfd_open(os.getpid())
    socket.send_fds(channel, [READY], [mine])
    os.close(mine)
    channel.detach()
