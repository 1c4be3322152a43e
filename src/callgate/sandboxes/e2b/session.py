"""One guest on the event loop of the engine: over one wire after another, if need be.

A guest is deterministic: what it says is a function of what it is sent. Where its sandbox goes away, the session
therefore starts another guest in a new one, sends it what the first was sent, and checks that it says again what the
first has said. From there on the new guest is the guest. No tool is called for that, and nobody but the log notices.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from callgate.limits import Limits
from callgate.room import most_of
from callgate.sandboxes.e2b import client
from callgate.sandboxes.e2b.notebook import Notebook
from callgate.sandboxes.e2b.wire import Wire

if TYPE_CHECKING:
    from callgate.sandboxes.e2b.engine import Engine

__all__ = ["Session"]

logger = logging.getLogger("callgate")

RECOVERIES = 3
"""New guests for one that went away."""
LOGGED = 1 << 26
"""Bytes sent to a guest that are kept for another one; a guest that was sent more cannot be replaced."""


class Session:
    """A guest, as far as the wire goes.

    Args:
        engine: has the sandboxes.
        limits: of the action.
        deliver: is given what the guest says, once; returns whether to wait for `drained` before there is more.
        over: is told that the guest is gone, and whether because the sandbox is.
    """

    def __init__(
        self, engine: Engine, limits: Limits, *, deliver: Callable[[bytes], bool], over: Callable[[bool], None]
    ) -> None:
        self._engine, self._deliver, self._over = engine, deliver, over
        self._notebook: Notebook | None = None
        if engine.notebook:
            self._notebook = Notebook(limits, deliver, over)
            self._deliver, self._over = self._notebook.said, self._notebook.over
        self._most = most_of(limits.frame_mb) + 4
        bounds = {name: getattr(limits, name) for name in ("memory_mb", "disk_mb", "cpu_seconds", "threads")}
        self._order: dict[str, Any] = {"limits": bounds, "frame": self._most}
        self._wire: Wire | None = None
        self._log: list[bytes] = []
        self._logged = 0
        self._taken = 0
        """Bytes that the guest said and that were delivered."""
        self._said = hashlib.sha256()
        self._repeats = 0
        """Bytes that a new guest has to say again."""
        self._repeated = hashlib.sha256()
        self._recoveries = 0
        self._recovering: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._done = False
        self._used = 0.0
        self._room = asyncio.Event()

    @property
    def cpu(self) -> float:
        """Processor seconds of the guest, as last told; never less than before, whatever a new guest says."""
        if self._wire is not None:
            self._used = max(self._used, self._wire.cpu)
        return self._used

    @property
    def read(self) -> int:
        """Bytes that the guest has read, of all it was sent; of one that is being replaced, as if it had read all."""
        wire = self._wire
        return self._logged - (wire.unread if wire is not None and self._recovering is None else 0)

    async def start(self) -> None:
        """Start the guest.

        Raises:
            SandboxUnavailable, SandboxLost, LimitExceeded: where there is none.
        """
        self._wire = await self._connect()
        if self._done:  # nobody wants it any more
            await self._let_go()

    def send(self, *pieces: bytes) -> None:
        """Send bytes of the channel."""
        self._logged += sum(map(len, pieces))
        if self._logged <= LOGGED:
            self._log += pieces
        else:
            self._log.clear()
        if self._wire is not None and self._recovering is None:
            self._wire.send(*pieces)

    def ping(self) -> None:
        """Ask for the processor time."""
        if self._wire is not None and self._recovering is None:
            self._wire.ping()

    def drained(self) -> None:
        """Hear that somebody has taken what was delivered."""
        self._room.set()

    def close(self) -> asyncio.Task[None]:
        """End the guest; the second time, return the same task."""
        self._finish(lost=True)  # whoever still waits for it learns that it is gone
        self._room.set()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        if self._recovering is not None:
            self._recovering.cancel()
            with suppress(asyncio.CancelledError):
                await self._recovering
        await self._let_go()
        self._log.clear()
        self._engine.forget(self)

    async def _let_go(self) -> None:
        wire, self._wire = self._wire, None
        if self._notebook is not None:
            await self._notebook.close()
        if wire is not None:
            try:
                await wire.close()
            finally:
                self._engine.release(wire.machine)

    async def _connect(self) -> Wire:
        order, notebook = self._order, self._notebook
        if notebook is not None:
            order = {**order, "notebook": f"/tmp/callgate-{secrets.token_hex(16)}"}  # noqa: S108 - inside the sandbox
        wire = await self._engine.connect(order, arrived=self._arrived, ended=self._ended, lost=self._lost)
        if notebook is not None:
            await self._open(notebook, wire, order["notebook"])
        return wire

    async def _open(self, notebook: Notebook, wire: Wire, path: str) -> None:
        try:
            await notebook.open(wire.machine, path)
        except BaseException as error:
            await wire.close()
            self._engine.release(wire.machine)
            if isinstance(error, Exception):
                raise client.refused(error, "no notebook could be had in the E2B sandbox") from error
            raise

    # ---- what the wire says

    def _arrived(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        if self._done:
            return None
        if self._repeats:
            again, data = data[: self._repeats], data[self._repeats :]
            self._repeats -= len(again)
            self._repeated.update(again)
            if not self._repeats and self._repeated.digest() != self._said.digest():
                logger.warning("a program did not repeat itself in a new E2B sandbox; it counts as lost")
                self._finish(lost=True)
                return None
        if not data:
            return None
        self._taken += len(data)
        self._said.update(data)
        self._room.clear()
        return self._wait_for_room() if self._deliver(data) else None

    async def _wait_for_room(self) -> None:
        await self._room.wait()

    def _ended(self) -> None:
        self._finish(lost=bool(self._repeats))

    def _lost(self, machine: bool) -> None:
        if machine and self._wire is not None:
            self._engine.discard(self._wire.machine)
        if self._done:
            return
        possible = self._logged <= LOGGED and self._recoveries < RECOVERIES
        if not possible or self._recovering is not None:
            self._finish(lost=True)
            return
        self._recoveries += 1
        self._recovering = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        wire = self._wire
        if wire is not None:
            logger.warning("E2B sandbox %s: a guest went away; its program is repeated in a new one", wire.machine.id)
        try:
            await self._let_go()
            self._repeats, self._repeated = self._taken, hashlib.sha256()
            self._wire = await self._connect()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the action ends as lost
            logger.warning("no new E2B sandbox for a program whose own went away: %s", error)
            self._finish(lost=True)
            return
        self._recovering = None
        self._wire.send(*self._log)

    def _finish(self, *, lost: bool) -> None:
        if not self._done:
            self._done = True
            self._over(lost)
