"""LocalSandbox: programs in a jailed CPython on this Linux host, without root, daemon or hypervisor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Self

from callgate.errors import LimitExceeded, SandboxLost, UsageError
from callgate.limits import Limits
from callgate.sandboxes.channel import SocketGuest, awent_away, went_away
from callgate.sandboxes.local import forks
from callgate.sandboxes.local.establish import Standing, establish
from callgate.sandboxes.local.forkserver import Bounds
from callgate.sandboxes.local.guest import ENDING_SECONDS
from callgate.sandboxes.local.policy import jail_policy
from callgate.sandboxes.local.pool import Pool
from callgate.sandboxes.local.proof import LEVELS, Proof
from callgate.sandboxes.local.seats import Seats

__all__ = ["LocalSandbox"]

_NO_GUEST = "no guest came up"
_NO_ANSWER = "the fork server does not answer"
_HANGS = (TimeoutError, BlockingIOError)


class LocalSandbox:
    """Runs each program in a fresh process that is confined by the kernel.

    A guest is CPython, of the host's minor version, in user, mount, pid, network, IPC, UTS and cgroup namespaces of its
    own or of its server's, under Landlock, a seccomp allow-list and resource limits, without capabilities. It can write
    to /tmp and /out, which are its own, and nowhere else. It sees the standard library, the system's libraries below
    /usr and what it is given here, and nothing of the host's processes, environment, other files or network. A host
    that cannot have all of that gets as much as `level` says, which is proven, and never less than the floor.

    Guests come from a fork server. The first use starts it, in some 0.2 s and what importing `preload` takes; so does
    the first use after its end, and the first one in a forked child of the host. Many threads and event loops may share
    one sandbox.

    Args:
        floor: the isolation below which nothing runs: "L3" for namespaces, Landlock and seccomp; "L2" for seccomp and
            one of the others, as a container allows; "L1" for seccomp only, where files may be read; "L0" for none.
        namespaces: False does without them, on a host that forbids them. The level is L2 at best.
        preload: modules that are imported once, by the fork server, so that a program finds them loaded. Their
            distributions are shown as `packages` by themselves.
        packages: what programs may import besides the standard library: True for every package installed in this
            environment, or names of distributions, which bring what they require, and directories.
        mounts: files and directories of this host that programs may read: {where it appears inside: where it is}.
        python: another interpreter of the same minor version to run programs with, as where this process's own lies
            below a home directory that nobody else may enter. None is the one under this process.
        spares: guests that are confined ahead and kept waiting, so that a start takes next to no time. Each holds a
            few MiB. 0 makes each guest when it is asked for.
        guests: guests alive at the same time, at most; spares do not count. A further `start` waits.

    Raises:
        UsageError: for an argument that cannot work.
    """

    def __init__(
        self,
        *,
        floor: str = "L2",
        namespaces: bool = True,
        preload: Iterable[str] = (),
        packages: bool | Iterable[str | PathLike[str]] = (),
        mounts: Mapping[str, str | PathLike[str]] | None = None,
        python: str | PathLike[str] | None = None,
        spares: int = 2,
        guests: int = 64,
    ) -> None:
        if floor not in LEVELS:
            raise UsageError(f"LocalSandbox(floor={floor!r}): give one of {', '.join(reversed(LEVELS))}")
        self._floor = floor
        self._spares = _whole("spares", spares, 0)
        self._guests = _whole("guests", guests, 1)
        self._policy = jail_policy(
            namespaces=namespaces, preload=preload, packages=packages, mounts=mounts, python=python
        )
        self._seats = Seats(guests)
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._standing: Standing | None = None
        self._closed = False
        forks.watch(self)

    @property
    def name(self) -> str:
        """What the journal's header calls it."""
        return "local"

    @property
    def level(self) -> str:
        """The isolation that is proven, "L3", "L2", "L1" or "L0"; see `floor`. Proves it if need be.

        Raises:
            SandboxUnavailable: if this host cannot isolate programs up to the floor.
        """
        return self.proof.level

    @property
    def proof(self) -> Proof:
        """What is proven, property by property, and by which layers each is held. Proves it if need be.

        Raises:
            SandboxUnavailable: if this host cannot isolate programs up to the floor.
        """
        return self._known().proof

    @property
    def python(self) -> str:
        """The version of Python that runs programs, as "3.11.7"."""
        return self._known().server.python

    @property
    def fixed_addresses(self) -> bool:
        """Whether addresses are equal in all guests. Where the host refuses, programs that use them may diverge."""
        return self._known().server.fixed_addresses

    def check(self) -> str:
        """Prove the isolation with guests that try to break it, unless that was done, and return the level.

        Raises:
            SandboxUnavailable: with `missing` and `cure`, if this host cannot isolate programs up to the floor.
            UsageError: if a module of `preload` cannot be imported, or the sandbox is closed.
        """
        self._running()
        return self.level

    def start(self, limits: Limits) -> SocketGuest:
        """Return a fresh guest, confined and waiting for its program.

        Raises:
            LimitExceeded: if all of `guests` were alive for `limits.seconds`. Nothing ran.
            SandboxUnavailable: if this host cannot isolate it.
            SandboxLost: if the fork server does not answer.
            UsageError: if the sandbox is closed.
        """
        self._check_open()
        seats, bounds = self._seats, Bounds.of(limits)
        if not seats.take(limits.seconds):
            raise self._full(limits)
        try:
            pool = self._running()
            try:
                return pool.guest(bounds, seats.give_back)
            except _HANGS:
                pool.server.kill()
                raise SandboxLost(_NO_ANSWER) from None
            except OSError:
                if not went_away(pool.server.gone, ENDING_SECONDS):
                    raise SandboxLost(_NO_GUEST) from None
            try:  # nothing ran yet, and a new server may do
                return self._running().guest(bounds, seats.give_back)
            except OSError:
                raise SandboxLost(_NO_GUEST) from None
        except BaseException:
            seats.give_back()
            raise

    async def astart(self, limits: Limits) -> SocketGuest:
        """The awaitable twin of `start`. Cancelled, it leaves no guest behind."""
        self._check_open()
        seats, bounds = self._seats, Bounds.of(limits)
        if not await seats.atake(limits.seconds):
            raise self._full(limits)
        try:
            pool = self._ready() or await asyncio.to_thread(self._running)
            try:
                return await pool.aguest(bounds, seats.give_back)
            except _HANGS:
                await asyncio.to_thread(pool.server.kill)
                raise SandboxLost(_NO_ANSWER) from None
            except OSError:
                if not await awent_away(pool.server.gone, ENDING_SECONDS):
                    raise SandboxLost(_NO_GUEST) from None
            pool = await asyncio.to_thread(self._running)
            try:  # nothing ran yet, and a new server may do
                return await pool.aguest(bounds, seats.give_back)
            except OSError:
                raise SandboxLost(_NO_GUEST) from None
        except BaseException:
            seats.give_back()
            raise

    def close(self) -> None:
        """End every guest and the fork server. Does nothing the second time; `start` is a UsageError afterwards."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        self._seats.let_in()  # who waits learns that it is closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forked(self) -> None:
        """In a forked child: start over, with a server of this process."""
        self._lock = threading.Lock()
        self._pool = None
        self._seats = Seats(self._guests)

    def _ready(self) -> Pool | None:
        pool = self._pool
        return pool if pool is not None and not pool.server.gone() else None

    def _running(self) -> Pool:
        """Return the guests of a fork server, started and proven where there is none."""
        with self._lock:
            self._check_open()
            if (pool := self._ready()) is not None:
                return pool
            if self._pool is not None:
                self._pool.close()
                self._pool = None
            self._standing = establish(self._policy, self._floor)
            self._pool = Pool(self._standing.server, self._spares)
            return self._pool

    def _known(self) -> Standing:
        """Return what is known of the last fork server, which may be over; of a first one where there was none."""
        if self._standing is None:
            self._running()
        assert self._standing is not None  # noqa: S101 - the server is its own
        return self._standing

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this sandbox is closed; make a new LocalSandbox()")

    def _full(self, limits: Limits) -> LimitExceeded:
        text = f"{self._guests} programs run already, and none ended within {limits.seconds:g} s"
        return LimitExceeded(text, tool="", limit="guests")


def _whole(name: str, given: object, least: int) -> int:
    if type(given) is not int or given < least:
        raise UsageError(f"LocalSandbox({name}={given!r}): give a whole number from {least} on")
    return given
