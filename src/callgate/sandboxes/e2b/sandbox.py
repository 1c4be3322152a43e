"""E2BSandbox: programs in E2B's micro-VMs."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from callgate.errors import LimitExceeded, SandboxUnavailable, UsageError
from callgate.limits import Limits
from callgate.sandboxes.e2b import client
from callgate.sandboxes.e2b.engine import Engine
from callgate.sandboxes.e2b.guest import E2BGuest
from callgate.sandboxes.e2b.machine import Plan
from callgate.sandboxes.e2b.timing import Timing
from callgate.sandboxes.local import forks
from callgate.sandboxes.local.seats import Seats

__all__ = ["E2BSandbox"]


class E2BSandbox:
    """Runs each program in a fresh process in a micro-VM of E2B. Needs `pip install 'callgate[e2b]'`.

    The micro-VM, which E2B calls a sandbox, is made when the first program starts, serves all programs of this object,
    and is ended when it has been idle, on `close`, at the end of this process, and at the latest when `timeout` passes
    without a sign of life. It is the wall between programs and everything else. Programs in it have no internet, and
    each has a user, a /tmp and a /out of its own; who does not want two programs in one machine makes two of these
    objects.

    Where the sandbox goes away in the middle of an action, the program is repeated in a new one, up to where it was,
    from what it was told so far: no tool is called for that. Only where that fails the action ends as `lost`.

    Args:
        template: name or id of the template; None is E2B's own.
        timeout: seconds after which E2B ends the sandbox if nobody asks for more; it is asked for while programs run.
        idle: what becomes of a sandbox in which no program has run for `idle_seconds`, as while a human is waited for:
            "end" it, or "pause" it, which costs less than running and comes back faster than a new one.
        idle_seconds: see `idle`.
        internet: whether programs reach the internet.
        network: E2B's network rules, in place of `internet`.
        envs: environment variables of the sandbox. Programs do not see them; commands of a template may.
        packages: what is installed by pip when the sandbox is made. A template that has them starts faster.
        metadata: of the sandbox, for your own lists.
        notebook: whether programs run in the code interpreter's notebook, each in a kernel of its own: what it shows,
            charts for one, comes back as artifacts, what is below /out does not. The kernel has its own clocks, threads
            and random numbers, no limits of its own but those of the sandbox, and awaits one tool at a time; a program
            that cannot repeat itself after a pause or a loss is a divergence.
        guests: programs at the same time, at most. A further `start` waits.
        api_key: None takes E2B_API_KEY.
        domain: of E2B or of somebody who speaks its protocol; None takes E2B_DOMAIN, or E2B's own.
        api_url, sandbox_url: of a server that is found in another way, as `callgate.testing.e2b`.
        timing: how patient the wire is.

    Raises:
        UsageError: for an argument that cannot work.
    """

    def __init__(
        self,
        *,
        template: str | None = None,
        timeout: int = 300,
        idle: Literal["end", "pause"] = "end",
        idle_seconds: float = 60,
        internet: bool = False,
        network: Mapping[str, Any] | None = None,
        envs: Mapping[str, str] | None = None,
        packages: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        notebook: bool = False,
        guests: int = 16,
        api_key: str | None = None,
        domain: str | None = None,
        api_url: str | None = None,
        sandbox_url: str | None = None,
        timing: Timing | None = None,
    ) -> None:
        if idle not in ("end", "pause"):
            raise UsageError(f'E2BSandbox(idle={idle!r}): give "end" or "pause"')
        for name, given in (("timeout", timeout), ("guests", guests)):
            if type(given) is not int or given < 1:
                raise UsageError(f"E2BSandbox({name}={given!r}): give a whole number from 1 on")
        if isinstance(packages, str):
            raise UsageError(f"E2BSandbox(packages={packages!r}): give a list of names")
        connection = {"api_key": api_key, "domain": domain, "api_url": api_url, "sandbox_url": sandbox_url}
        self._plan = Plan(
            connection={name: value for name, value in connection.items() if value is not None},
            template=template,
            timeout=timeout,
            idle=idle,
            internet=internet,
            network=network,
            envs=dict(envs or {}),
            metadata=dict(metadata or {}),
            packages=tuple(packages),
            notebook=notebook,
        )
        self._timing, self._idle_seconds, self._guests = timing or Timing(), idle_seconds, guests
        self._seats = Seats(guests)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._end: weakref.finalize[..., Any] | None = None
        self._closed = False
        forks.watch(self)

    @property
    def name(self) -> str:
        """What the journal's header calls it."""
        return "e2b"

    @property
    def level(self) -> str:
        """What holds programs: "vm" where each has a user and files of its own in the micro-VM, else "vm-shared".

        It is E2B's word that there is a micro-VM; nothing here proves it.
        """
        return self._engine.level if self._engine is not None else "vm"

    def check(self) -> str:
        """Look whether the SDK and a key are there, without asking E2B, and return the level.

        Raises:
            SandboxUnavailable: if they are not.
        """
        client.client({})
        if "api_key" not in self._plan.connection and not os.environ.get("E2B_API_KEY"):
            cure = "give E2BSandbox(api_key=...) or set E2B_API_KEY"
            raise SandboxUnavailable(f"there is no E2B API key; {cure}", missing=["an API key"], cure=cure)
        return self.level

    def start(self, limits: Limits) -> E2BGuest:
        """Return a fresh guest; the first one, and the first one after a pause, waits for a sandbox.

        Raises:
            LimitExceeded: with limit "guests", if as many programs as may run are running and none ends in time, or if
                E2B has no more sandboxes for this account. Nothing ran.
            SandboxUnavailable: if there is no SDK, no account, or no sandbox as it was asked for.
            SandboxLost: if E2B cannot be reached.
            UsageError: if this object is closed.
        """
        engine = self._running()
        if not self._seats.take(limits.seconds):
            raise self._full(limits)
        guest = E2BGuest(engine, limits, self._seats.give_back)
        future = engine.submit(engine.begin(guest.session))
        try:
            future.result()
        except BaseException:
            future.cancel()
            guest.kill()
            raise
        return guest

    async def astart(self, limits: Limits) -> E2BGuest:
        """The awaitable twin of `start`. Cancelled, it leaves no guest behind."""
        engine = self._running()
        if not await self._seats.atake(limits.seconds):
            raise self._full(limits)
        guest = E2BGuest(engine, limits, self._seats.give_back)
        started: asyncio.Future[None] = asyncio.wrap_future(engine.submit(engine.begin(guest.session)))
        try:
            # What the SDK has begun is better finished: a request that is cut off may have made a sandbox.
            await asyncio.shield(started)
        except BaseException:
            started.add_done_callback(_heard)
            guest.kill()
            raise
        return guest

    def close(self) -> None:
        """End every guest and the sandbox. Does nothing the second time; `start` is a UsageError afterwards."""
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
            if self._end is not None:
                self._end.detach()
        if engine is not None:
            engine.close()
        self._seats.let_in()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forked(self) -> None:
        """In a forked child: start over, with a sandbox of this process's own."""
        self._lock = threading.Lock()
        self._engine = None
        if self._end is not None:
            self._end.detach()
            self._end = None
        self._seats = Seats(self._guests)

    def _running(self) -> Engine:
        with self._lock:
            if self._closed:
                raise UsageError("this sandbox is closed; make a new E2BSandbox()")
            if self._engine is None:
                self.check()
                self._engine = Engine(self._plan, self._timing, self._idle_seconds)
                self._end = weakref.finalize(self, self._engine.close)
            return self._engine

    def _full(self, limits: Limits) -> LimitExceeded:
        text = f"{self._guests} programs run already, and none ended within {limits.seconds:g} s"
        return LimitExceeded(text, tool="", limit="guests")


def _heard(start: asyncio.Future[None]) -> None:
    """Keep asyncio from complaining of a start that nobody waits for any more."""
    if not start.cancelled():
        start.exception()
