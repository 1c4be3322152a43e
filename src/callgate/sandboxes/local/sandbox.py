"""LocalSandbox: programs in a jailed CPython on this Linux host, without root, daemon or hypervisor."""

from __future__ import annotations

import asyncio
import platform
import sys
import threading
from typing import Self

from callgate.errors import LimitExceeded, SandboxLost, SandboxUnavailable, UsageError
from callgate.limits import Limits
from callgate.sandboxes.channel import SocketGuest, awent_away, went_away
from callgate.sandboxes.local import cures, forks, probe
from callgate.sandboxes.local.forkserver import Bounds, ForkServer
from callgate.sandboxes.local.guest import ENDING_SECONDS, Order
from callgate.sandboxes.local.seats import Seats
from callgate.sandboxes.local.pool import Pool

__all__ = ["LocalSandbox"]

_NO_GUEST = "no guest came up"
_NO_ANSWER = "the fork server does not answer"
_HANGS = (TimeoutError, BlockingIOError)
_MACHINES = ("x86_64", "aarch64")


class LocalSandbox:
    """Runs each program in a fresh process that is confined by the kernel.

    A guest is CPython, the same version as the host's, in user, mount, pid, network, IPC, UTS and cgroup namespaces of
    its own or of its server's, under Landlock, a seccomp allow-list and resource limits, without capabilities, with a
    private /tmp and no other place to write. It sees the standard library and the system's own libraries below /usr,
    and nothing of the host's processes, environment, files or network. Where one of these cannot be had, nothing runs.

    Guests come from a fork server, started by the first use, after its end, and anew in a forked child of the host.
    Many threads and event loops may share one sandbox.

    Args:
        spares: confined guests that are kept waiting for programs, so that a start takes next to no time. Each holds
            some MiB.
        guests: guests alive at the same time, at most; spares do not count. A further start waits for a place.

    Raises:
        UsageError: for an argument that makes no sense.
    """

    def __init__(self, *, spares: int = 2, guests: int = 64) -> None:
        self._spares = _number("spares", spares, 0)
        self._guests = _number("guests", guests, 1)
        self._places = Seats(guests)
        self._lock = threading.Lock()
        self._pool: Pool | None = None
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
        return self._running().server.fixed_addresses

    def check(self) -> str:
        """Prove the isolation with a guest that tries to break it, unless that was done, and return the level.

        Raises:
            SandboxUnavailable: with `missing` and `cure`, if this host cannot isolate programs.
        """
        self._running()
        return "L3"

    def start(self, limits: Limits) -> SocketGuest:
        """Return a fresh guest, confined and waiting for its program.

        Raises:
            LimitExceeded: if no place became free within `limits.seconds`.
            SandboxUnavailable: if this host cannot isolate it.
            SandboxLost: if the fork server does not answer.
            UsageError: if the sandbox is closed.
        """
        places, bounds = self._places, Bounds.of(limits)
        if not places.take(limits.seconds):
            raise self._full(limits)
        try:
            pool = self._running()
            try:
                return pool.guest(bounds, places.give_back)
            except _HANGS:
                pool.server.kill()
                raise SandboxLost(_NO_ANSWER) from None
            except OSError:
                if not went_away(pool.server.gone, ENDING_SECONDS):
                    raise SandboxLost(_NO_GUEST) from None
            try:  # nothing ran yet, and a new server may do
                return self._running().guest(bounds, places.give_back)
            except OSError:
                raise SandboxLost(_NO_GUEST) from None
        except BaseException:
            places.give_back()
            raise

    async def astart(self, limits: Limits) -> SocketGuest:
        """The awaitable twin of `start`. Cancelled, it leaves no guest behind."""
        places, bounds = self._places, Bounds.of(limits)
        if not await places.atake(limits.seconds):
            raise self._full(limits)
        try:
            pool = self._ready() or await asyncio.to_thread(self._running)
            try:
                return await pool.aguest(bounds, places.give_back)
            except _HANGS:
                await asyncio.to_thread(pool.server.kill)
                raise SandboxLost(_NO_ANSWER) from None
            except OSError:
                if not await awent_away(pool.server.gone, ENDING_SECONDS):
                    raise SandboxLost(_NO_GUEST) from None
            pool = await asyncio.to_thread(self._running)
            try:  # nothing ran yet, and a new server may do
                return await pool.aguest(bounds, places.give_back)
            except OSError:
                raise SandboxLost(_NO_GUEST) from None
        except BaseException:
            places.give_back()
            raise

    def close(self) -> None:
        """End every guest and the fork server. Does nothing the second time; `start` is a UsageError afterwards."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        self._places.let_in()  # who waits learns that it is closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forked(self) -> None:
        """In a forked child: start over, with a server of this process."""
        self._lock = threading.Lock()
        self._pool = None
        self._places = Seats(self._guests)

    def _ready(self) -> Pool | None:
        pool = self._pool
        return pool if pool is not None and not pool.server.gone() else None

    def _running(self) -> Pool:
        """Return the guests of a fork server, started and proven where there is none."""
        with self._lock:
            if self._closed:
                raise UsageError("this sandbox is closed; make a new LocalSandbox()")
            if (pool := self._ready()) is not None:
                return pool
            if self._pool is not None:
                self._pool.close()
                self._pool = None
            self._pool = Pool(_proven(), self._spares)
            return self._pool

    def _full(self, limits: Limits) -> LimitExceeded:
        text = f"{self._guests} programs run already, and none ended within {limits.seconds:g} s"
        return LimitExceeded(text, tool="", limit="guests")


def _number(name: str, given: object, least: int) -> int:
    if type(given) is not int or given < least:
        raise UsageError(f"LocalSandbox({name}={given!r}): give a whole number from {least} on")
    return given


def _proven() -> ForkServer:
    if sys.platform != "linux":
        raise cures.unavailable("Linux", f"this is {platform.system() or sys.platform}")
    if platform.machine() not in _MACHINES or sys.maxsize < 1 << 32:
        raise cures.unavailable("a known processor", f"this is {platform.machine()}, Python for {sys.maxsize:#x}")
    server = ForkServer()
    try:
        probe.prove(Order(server, Bounds.of(Limits())).wait())
    except OSError:
        server.kill()
        raise SandboxLost("the fork server ended before its first guest") from None
    except SandboxUnavailable:
        server.close()
        raise
    return server
