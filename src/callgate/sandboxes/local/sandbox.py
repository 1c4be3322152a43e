"""LocalSandbox: programs in a jailed CPython on this Linux host, without root, daemon or hypervisor."""

from __future__ import annotations

import asyncio
import socket
import threading
from os import PathLike
from typing import Self

from callgate.errors import SandboxLost, UsageError
from callgate.limits import Limits
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.local import forks
from callgate.sandboxes.local.establish import establish
from callgate.sandboxes.local.forkserver import Bounds, ForkServer
from callgate.sandboxes.local.guest import await_guest, wait_for_guest
from callgate.sandboxes.local.policy import jail_policy
from callgate.sandboxes.local.proof import Proof

__all__ = ["LocalSandbox"]

_NO_GUEST = "no guest came up"


class LocalSandbox:
    """Runs each program in a fresh process that is confined by the kernel.

    A guest is CPython, the same version as the host's, in user, mount, pid, network, IPC, UTS and cgroup namespaces of
    its own or of its server's, under Landlock, a seccomp allow-list and resource limits, without capabilities, with a
    private /tmp and no other place to write. It sees the standard library and the system's own libraries below /usr,
    and nothing of the host's processes, environment, files or network. Where one of these cannot be had, nothing runs.

    Guests come from a fork server, started by the first use, after its end, and anew in a forked child of the host.
    Many threads and event loops may share one sandbox.
    """

    def __init__(
        self, *, floor: str = "L2", namespaces: bool = True, python: str | PathLike[str] | None = None
    ) -> None:
        self._floor = floor
        self._policy = jail_policy(namespaces=namespaces, python=python)
        self._proof: Proof | None = None
        self._lock = threading.Lock()
        self._server: ForkServer | None = None
        self._closed = False
        forks.watch(self)

    @property
    def name(self) -> str:
        """What the journal's header calls it."""
        return "local"

    @property
    def level(self) -> str:
        """The isolation that is proven: "L3", namespaces, Landlock, seccomp and limits together. Proves it if need be.

        Raises:
            SandboxUnavailable: if this host cannot isolate programs.
        """
        return self.check()

    @property
    def fixed_addresses(self) -> bool:
        """Whether addresses are equal in all guests. Where the host refuses, programs that use them may diverge."""
        return self._running().fixed_addresses

    @property
    def proof(self) -> Proof:
        """What is proven of its guests, property by property. Proves it if need be."""
        self._running()
        assert self._proof is not None  # noqa: S101 - the server came with it
        return self._proof

    def check(self) -> str:
        """Prove the isolation with a guest that tries to break it, unless that was done, and return the level.

        Raises:
            SandboxUnavailable: with `missing` and `cure`, if this host cannot isolate programs.
        """
        return self.proof.level

    def start(self, limits: Limits) -> SocketGuest:
        """Return a fresh guest, confined and waiting for its program.

        Raises:
            SandboxUnavailable: if this host cannot isolate it.
            SandboxLost: if the fork server does not answer.
            UsageError: if the sandbox is closed.
        """
        server = self._running()
        try:
            return wait_for_guest(_ordered(server, limits), server.lost)
        except OSError as error:
            _explain(server, error)
        server = self._running()
        try:
            return wait_for_guest(_ordered(server, limits), server.lost)
        except OSError:
            raise SandboxLost(_NO_GUEST) from None

    async def astart(self, limits: Limits) -> SocketGuest:
        """The awaitable twin of `start`. Cancelled, it leaves no guest behind."""
        server = self._ready() or await asyncio.to_thread(self._running)
        try:
            return await await_guest(_ordered(server, limits), server.lost)
        except OSError as error:
            _explain(server, error)
        server = await asyncio.to_thread(self._running)
        try:
            return await await_guest(_ordered(server, limits), server.lost)
        except OSError:
            raise SandboxLost(_NO_GUEST) from None

    def close(self) -> None:
        """End every guest and the fork server. Does nothing the second time; `start` is a UsageError afterwards."""
        with self._lock:
            self._closed = True
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forked(self) -> None:
        """In a forked child: start over, with a server of this process."""
        self._lock = threading.Lock()
        self._server = None

    def _ready(self) -> ForkServer | None:
        server = self._server
        return server if server is not None and not server.gone() else None

    def _running(self) -> ForkServer:
        """Return the fork server, started and proven where there is none."""
        with self._lock:
            if self._closed:
                raise UsageError("this sandbox is closed; make a new LocalSandbox()")
            if (server := self._ready()) is not None:
                return server
            if self._server is not None:
                self._server.close()
                self._server = None
            standing = establish(self._policy, self._floor)
            self._server, self._proof = standing.server, standing.proof
            return self._server


def _ordered(server: ForkServer, limits: Limits) -> socket.socket:
    """Order a guest and return the host's end of its channel."""
    mine, theirs = socket.socketpair()
    with theirs:
        try:
            server.hand_over(theirs, Bounds.of(limits))
        except BaseException:
            mine.close()
            raise
    return mine


def _explain(server: ForkServer, error: OSError) -> None:
    """Raise what a failed start means; return where the server had ended, for nothing ran yet and a new one may do."""
    if isinstance(error, TimeoutError):
        server.kill()
        raise SandboxLost("the fork server does not answer") from None
    if not server.lost():
        raise SandboxLost(_NO_GUEST) from None
