"""The thread, the event loop and the one sandbox behind an `E2BSandbox`.

All talk with E2B happens on one loop of its own, so that threads and event loops of any kind may share a sandbox, and
so that closing the user's loop closes nothing here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from callgate.errors import LimitExceeded, SandboxError, SandboxLost
from callgate.sandboxes.e2b import client
from callgate.sandboxes.e2b.loop_thread import LoopThread
from callgate.sandboxes.e2b.machine import Machine, Plan, command, end
from callgate.sandboxes.e2b.session import Session
from callgate.sandboxes.e2b.timing import Timing
from callgate.sandboxes.e2b.wire import Wire

__all__ = ["Engine"]

logger = logging.getLogger("callgate")

T = TypeVar("T")

CLOSING = 30.0
"""Seconds that closing may take, in all."""


class Engine:
    """Makes guests, in a sandbox that is made when it is first needed, kept while it is used, and ended.

    Args:
        plan: how sandboxes are made.
        timing: of wires.
        idle_seconds: that a sandbox without guests is kept.
    """

    def __init__(self, plan: Plan, timing: Timing, idle_seconds: float) -> None:
        self._plan, self._timing, self._idle = plan, timing, idle_seconds
        self._sdk = client.sandboxes(notebook=plan.notebook)
        self._key = secrets.token_hex(8)
        self._made = 0
        self._machine: Machine | None = None
        self._paused: str | None = None
        self._making = asyncio.Lock()
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting: set[asyncio.Task[Any]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self.level = "vm"
        """What holds programs; see `E2BSandbox.level`."""
        self._thread = LoopThread("callgate-e2b")
        self._loop = self._thread.loop

    # ---- from any thread

    def post(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have something done on the loop."""
        self._thread.post(work, *arguments)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop.

        Raises:
            SandboxLost: if this engine is closed.
        """
        try:
            return self._thread.submit(work)
        except RuntimeError:
            raise SandboxLost("this sandbox is closed") from None

    def close(self) -> None:
        """End every guest and the sandbox. Does nothing the second time."""
        if self._thread.current:  # garbage is collected in any thread
            threading.Thread(target=self.close, name="callgate-e2b-close").start()
            return
        if self._closed or sys.is_finalizing():  # where the loop's thread does not run any more
            return
        self._closed = True
        with suppress(Exception):
            self.submit(self._finish()).result(CLOSING)
        self._thread.close(CLOSING)

    # ---- on the loop

    async def begin(self, session: Session) -> None:
        """Start a session's guest; where that fails, nothing of it is left."""
        self._sessions.add(session)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - `submit` makes one
        self._starting.add(task)
        try:
            await session.start()
        except BaseException:
            await asyncio.shield(session.close())
            raise
        finally:
            self._starting.discard(task)

    def forget(self, session: Session) -> None:
        """Let go of a session that is over."""
        self._sessions.discard(session)

    async def connect(self, order: dict[str, Any], **told: Any) -> Wire:
        """Return the wire to a new guest, in a new sandbox if the one there is does not answer.

        Raises:
            SandboxUnavailable, SandboxLost, LimitExceeded: where there is none.
        """
        for last in (False, True):
            machine = await self._running()
            machine.users += 1
            machine.frame_most = max(machine.frame_most, order["frame"])
            wire = Wire(machine, timing=self._timing, **told)
            try:
                await wire.open(command(order))
            except BaseException as error:
                await asyncio.shield(self._undo(wire))
                if not isinstance(error, Exception) or (isinstance(error, SandboxError) and not _went(error)):
                    raise
                self.discard(machine)
                if last:
                    raise client.refused(error, "no guest came up in the E2B sandbox") from error
                logger.debug("E2B sandbox %s: no guest: %s", machine.id, error)
            else:
                self.level = "vm" if wire.isolated else "vm-shared"
                return wire
        raise AssertionError

    async def _undo(self, wire: Wire) -> None:
        await wire.close()
        self.release(wire.machine)

    @property
    def notebook(self) -> bool:
        """Whether programs run in notebooks."""
        return self._plan.notebook

    def release(self, machine: Machine) -> None:
        """Hear that a guest in a machine is over."""
        machine.users -= 1
        machine.idle_since = self._loop.time()

    async def _running(self) -> Machine:
        async with self._making:
            machine = self._machine
            if machine is not None and not machine.gone:
                return machine
            if self._closed:
                raise SandboxLost("this sandbox is closed")
            try:
                self._machine = machine = await self._resumed() or await self._new()
            except Exception as error:
                raise client.refused(error, "no E2B sandbox could be made") from error
            if self._keeper is None:
                self._keeper = self._loop.create_task(self._keep())
            return machine

    async def _new(self) -> Machine:
        machine = await Machine.make(self._sdk, self._plan, key=f"callgate-{self._key}-{self._made}")
        self._made += 1  # now, and not before: what a request made whose answer was lost is what the next one gets
        await machine.prepare()
        return machine

    async def _resumed(self) -> Machine | None:
        paused, self._paused = self._paused, None
        if paused is None:
            return None
        try:
            return await Machine.resume(self._sdk, self._plan, paused)
        except Exception as error:  # noqa: BLE001 - it is a cache; a new one does as well
            logger.debug("E2B sandbox %s could not be resumed: %s", paused, error)
            self._background(self._end_paused(paused))
            return None

    def discard(self, machine: Machine) -> None:
        """End a machine that does not do what it should; others use it no more."""
        if not machine.gone:
            machine.gone = True
            self._background(machine.end())

    async def _keep(self) -> None:
        """Keep the sandbox while it is used; end or pause it when it is not."""
        step = min(self._plan.timeout / 3, max(self._idle, 0.05))
        while True:
            await asyncio.sleep(step)
            machine = self._machine
            if machine is None or machine.gone:
                continue
            try:
                if machine.users or self._making.locked():
                    await machine.keep()
                elif self._loop.time() - machine.idle_since >= self._idle:
                    await self._rest(machine)
            except Exception as error:  # noqa: BLE001 - the guests' wires find out what is wrong
                logger.debug("E2B sandbox %s could not be kept: %s", machine.id, error)

    async def _rest(self, machine: Machine) -> None:
        async with self._making:
            if machine.users:
                return
            self._machine = None
            machine.gone = True
            if self._plan.idle == "pause":
                try:
                    await machine.pause()
                except Exception as error:  # noqa: BLE001 - one that cannot be kept cheaply is not kept
                    logger.debug("E2B sandbox %s could not be paused: %s", machine.id, error)
                else:
                    self._paused = machine.id
                    return
            self._background(machine.end())  # which may take E2B half a minute; nobody has to wait for that

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        for _ in range(3):  # a cancellation may get lost where what it would end ends at that very moment
            if not (starting := set(self._starting)):
                break
            for task in starting:
                task.cancel()
            await asyncio.wait(starting, timeout=3)
        await asyncio.gather(*(session.close() for session in list(self._sessions)), return_exceptions=True)
        async with self._making:  # by a program that is repeated, or to rest
            machine, self._machine = self._machine, None
        if machine is not None and not machine.gone:
            await machine.end()
        elif self._paused is not None:
            await self._end_paused(self._paused)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end_paused(self, id: str) -> None:
        await end(lambda: self._sdk.kill(id, request_timeout=10, **self._plan.connection), id, "it stays paused")


def _went(error: SandboxError) -> bool:
    return isinstance(error, SandboxLost | LimitExceeded)
