"""The fork server: one byte in, one fresh guest out.

Its loop keeps nothing from one guest to the next, not even an address: what a program can observe of its process must
not depend on how many ran before it. So the server only reads a byte and forks; the child fetches its own channel.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from . import addresses, identity, namespaces, rlimits, seccomp, tree
from .kernel import LayerMissing
from .landlock import Landlock
from .launch import CONTROL, HANDOFF, PROC, STDIN

CHANNEL = 3
"""The one descriptor a guest has besides its standard ones, which are /dev/null."""

READY = b"+"
PRELOADED = """
    abc array ast asyncio base64 bisect calendar cmath collections concurrent.futures contextlib copy csv
    dataclasses datetime decimal difflib enum fractions functools glob hashlib heapq hmac html inspect io
    itertools json logging math numbers operator pathlib pprint queue random re secrets shutil statistics string
    struct tempfile textwrap threading time traceback types typing unicodedata urllib.parse uuid zlib zoneinfo
"""
"""Modules that programs often import; they find them loaded."""

_ENVIRONMENT = {"HOME": "/tmp", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "TZ": "UTC", "USER": "guest"}  # noqa: S108
_KEPT_FREE = 16


def serve(run: Callable[[int], NoReturn]) -> NoReturn:
    """Serve guests until the host closes the control socket, or report what is missing and exit.

    Args:
        run: takes a guest's channel and runs one program.
    """
    try:
        _serve(run)
    except LayerMissing as missing:
        missing.report(CONTROL)
    except OSError as error:
        LayerMissing.because("a fork server", error).report(CONTROL)
    finally:
        os._exit(1)  # never back to an interpreter that would run what else there is, or wait for threads


def _serve(run: Callable[[int], NoReturn]) -> NoReturn:
    landlock = _prepare()
    filter_ = seccomp.program()
    me = os.pidfd_open(os.getpid())
    handoff = socket.socket(fileno=HANDOFF)
    namespaces.next_child_is_first(me)  # where this is refused, say so before anybody waits for a guest
    _settle()
    version = ".".join(map(str, sys.version_info[:3]))
    facts = {"addresses": addresses.fixed(), "landlock": landlock.abi, "python": version}
    os.write(CONTROL, json.dumps(facts).encode() + b"\n")
    while os.read(CONTROL, 1):
        namespaces.next_child_is_first(me)
        try:
            forked = os.fork() == 0
        except OSError:  # no process to be had: the host sees the channel close
            os.close(_take(handoff)[0])
            continue
        if forked:
            try:
                _become_guest(handoff, landlock, filter_, run)
            finally:
                os._exit(1)
    os._exit(0)


def _prepare() -> Landlock:
    """Set up everything guests share. Returns in the first process of a pid namespace; its parent waits for it."""
    namespaces.own_everything(PROC)
    os.close(PROC)
    if child := os.fork():
        os.closerange(CONTROL, PROC)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    identity.die_with_parent()
    identity.close_to_others()
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    _standard_descriptors()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guests are reaped by the kernel
    for name in PRELOADED.split():
        importlib.import_module(name)
    return Landlock()


def _settle() -> None:
    """Bring the allocator to a state that a round of the loop leaves as it was."""
    spare = [n << 40 for n in range(1, _KEPT_FREE)]  # process ids above 256 are fresh integers; keep some blocks free
    del spare
    gc.collect()
    gc.freeze()
    gc.disable()


def _become_guest(
    handoff: socket.socket, landlock: Landlock, filter_: bytes, run: Callable[[int], NoReturn]
) -> NoReturn:
    """Fetch a channel, confine this process, tell the host, and run. Nothing untrusted runs before the end."""
    os.close(CONTROL)
    channel, bounds = _take(handoff)
    if channel != CHANNEL:
        os.dup2(channel, CHANNEL, inheritable=False)
    try:
        _announce()
        _confine(bounds, landlock, filter_)
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


def _announce() -> None:
    """Send the host a pidfd of this process: what it kills the guest by."""
    channel = socket.socket(fileno=CHANNEL)
    mine = os.pidfd_open(os.getpid())
    socket.send_fds(channel, [READY], [mine])
    os.close(mine)
    channel.detach()


def _confine(bounds: rlimits.Bounds, landlock: Landlock, filter_: bytes) -> None:
    namespaces.own_mounts_and_ipc()
    tree.private_tmp(bounds.disk_mb)
    namespaces.own_user()
    identity.drop_capabilities()
    identity.forbid_new_privileges()
    landlock.restrict()
    identity.die_with_parent()
    identity.close_to_others()
    _standard_descriptors()  # a description of its own: flags set on a shared one would reach other guests
    os.closerange(CHANNEL + 1, 1 << 20)
    rlimits.limit(bounds)
    seccomp.install(filter_)


def _standard_descriptors() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for standard in (STDIN, 1, 2):
        os.dup2(null, standard)
    os.close(null)
