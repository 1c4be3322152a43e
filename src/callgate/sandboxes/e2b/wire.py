"""The wire to one relay: a command's output and input, held together by packets.

Everything here runs on the event loop of `callgate.sandboxes.e2b.engine`. Data that arrives twice, late, torn or not at
all is put right with the relay alone; see `inside.packets`. Whoever uses the wire learns of data in order, of the
guest's end, or that nothing can be heard any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from callgate.errors import SandboxLost, SandboxUnavailable
from callgate.sandboxes.e2b import client
from callgate.sandboxes.e2b.inside import packets
from callgate.sandboxes.e2b.inside.packets import ACK, BY_FILE, DATA, ENDED, FILE, HELLO, PIECE, PING, QUIT, READY
from callgate.sandboxes.e2b.timing import Timing
from callgate.sandboxes.e2b.writer import Writer, leave

if TYPE_CHECKING:
    from callgate.sandboxes.e2b.machine import Machine

__all__ = ["Wire"]

logger = logging.getLogger("callgate")

ACK_LATE, ACK_BYTES = 0.1, 1 << 18
"""Seconds, and bytes, that an acknowledgement waits for something to go with."""


class Wire:
    """Speaks with one relay.

    Args:
        machine: in which it runs.
        arrived: is given the bytes of the guest's channel, in order. An awaitable it returns is waited for before
            more is read.
        ended: is told of the guest's end.
        lost: is told that nothing can be heard any more, and whether the whole machine is at fault.
        timing: how long to wait.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        arrived: Callable[[bytes], Coroutine[Any, Any, None] | None],
        ended: Callable[[], None],
        lost: Callable[[bool], None],
        timing: Timing,
    ) -> None:
        self.machine = machine
        self.cpu = 0.0
        """Processor seconds of the guest, as last told."""
        self.python = ""
        """The version that runs programs."""
        self.isolated = False
        """Whether the guest has a user and files of its own in the machine."""
        self._arrived, self._ended, self._lost, self._timing = arrived, ended, lost, timing
        self._window, self._lines = packets.Window(), packets.Lines()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._handle: Any = None
        self._writer = Writer(self._trouble)
        self._queue: deque[bytes] = deque()
        """What has not got a number yet."""
        self._uploading = False
        self._look = asyncio.Event()
        self._heard = self._said = self._asked = self._asked_last = self._progress = self._loop.time()
        self._waiting_since: float | None = None
        self._nonce = ""
        """Of a `HELLO` that is not answered yet."""
        self._ack_timer: asyncio.TimerHandle | None = None
        self._unacked = self._unread = self._queued = 0
        self._over = self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending: asyncio.Task[Any] | None = None
        self._held_up = self._broken = self._owes = False

    # ---- life

    async def open(self, command: str) -> None:
        """Start the relay and its guest.

        Raises:
            SandboxUnavailable: if there cannot be a guest.
            SandboxLost: if nothing is heard of it.
            Exception: what the SDK raises.
        """
        self._keep(self._writer.run())
        self._handle = await self.machine.run(command, self._feed)
        self._watch_end()
        self._writer.use(self.machine.input(self._handle))
        self._heard = self._loop.time()
        self._keep(self._supervise())
        async with asyncio.timeout(self._timing.start):
            told = await self._ready
        if missing := told.get("missing"):
            raise SandboxUnavailable(f"this E2B sandbox has no guest: it lacks {missing}", missing=[missing])
        self.python, self.isolated = told["python"], told["isolated"]

    async def close(self) -> None:
        """End the guest and the relay, and let go of the streams."""
        if self._closed:
            return
        self._closed = True
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._handle is not None:
            await self._end_relay()
        if not self._ready.cancel() and not self._ready.cancelled():
            self._ready.exception()

    async def _end_relay(self) -> None:
        ended = self._ending is not None and self._ending.done()
        if not ended and not self.machine.gone:
            with suppress(Exception):
                await self._writer.send(self._window.plain(QUIT))
            if self._ending is not None:
                await asyncio.wait([self._ending], timeout=2)
                ended = self._ending.done()
            if not ended:
                await self.machine.kill(self._handle)
        await self._close_streams()

    async def _close_streams(self) -> None:
        await leave(self._writer.use(None))
        with suppress(Exception):
            await self._handle.disconnect()
        if self._ending is not None:
            self._ending.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._ending

    # ---- sending

    def send(self, *pieces: bytes) -> None:
        """Send bytes of the channel; pieces that go to E2B together where they fit."""
        self._queue += pieces
        self._queued += sum(map(len, pieces))
        self._number()

    @property
    def unread(self) -> int:
        """Bytes that are not known to have been read."""
        return self._window.unheard + self._unread + self._queued

    def ping(self) -> None:
        """Ask for the processor time."""
        self._say(self._window.plain(PING))

    def _number(self) -> None:
        lines: list[bytes] = []
        while self._queue and len(self._queue[0]) <= BY_FILE:
            data = self._queue.popleft()
            self._queued -= len(data)
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                lines.append(self._window.number(DATA, packets.pack(piece), len(piece)))
        self._say(*lines)
        if self._queue and not self._uploading:
            self._uploading = True
            self._keep(self._send_by_file())

    def _say(self, *lines: bytes) -> None:
        if not lines:
            return  # what is owed is still owed
        self._writer.put(*lines)
        self._said = self._loop.time()
        self._unacked = 0
        self._owes = False
        if self._waiting_since is None and self._window.unheard:
            self._waiting_since = self._said

    async def _send_by_file(self) -> None:
        data, path = self._queue[0], f"{packets.EXCHANGE}/{secrets.token_hex(8)}"
        while not self._over:
            try:
                await self.machine.upload(path, data)
                break
            except Exception as error:  # noqa: BLE001 - tried again until the wire itself is given up
                self._trouble(error)
                await asyncio.sleep(self._timing.ack)
        self._uploading = False
        self._queue.popleft()
        self._queued -= len(data)
        self._say(self._window.number(FILE, f"{path} {len(data)}", len(data)))
        self._number()

    # ---- hearing

    def _feed(self, text: str) -> Coroutine[Any, Any, None] | None:
        """Take what the relay printed; an awaitable is waited for before there is more."""
        found = self._lines.feed(text.encode("utf-8", "replace"))
        for position, packet in enumerate(found):
            self._hear(packet)
            if packet.kind == FILE or self._held_up:
                return self._hear_rest(found[position:])
            if packet.kind in packets.NUMBERED and (later := self._take(packet)) is not None:
                return self._after(later, found[position + 1 :])
        return None

    async def _after(self, first: Coroutine[Any, Any, None], rest: list[packets.Packet]) -> None:
        await self._patiently(first)
        await self._hear_rest(rest)

    async def _hear_rest(self, found: list[packets.Packet]) -> None:
        for packet in found:
            self._hear(packet)
            if packet.kind in packets.NUMBERED and (later := self._take(packet)) is not None:
                await self._patiently(later)

    async def _patiently(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait without holding it against the relay that it is not heard meanwhile."""
        self._held_up = True
        try:
            await work
        finally:
            self._held_up = False
            self._heard = self._loop.time()

    def _hear(self, packet: packets.Packet) -> None:
        window = self._window
        self._heard = self._loop.time()
        before = window.unheard
        window.heard(packet.ack)
        if window.unheard != before or not window.unheard:
            self._waiting_since = self._heard if window.unheard else None
        if packet.kind == PING:
            with suppress(ValueError):
                self.cpu = float(packet.text)
        elif packet.kind == ACK and packet.text:
            self._unread = int(packet.text)
        elif packet.kind == HELLO and packet.text == self._nonce:
            self._nonce = ""
            self._say(*window.missing())

    def _take(self, packet: packets.Packet) -> Coroutine[Any, Any, None] | None:
        window = self._window
        if packet.kind == FILE and packet.number == window.got + 1:
            return self._fetch(packet)
        if not window.next(packet.number):
            if packet.number > window.got + 1:
                self._hello()  # something is missing in between
            else:
                self._owe(0)
            return None
        self._progress = self._heard
        self._owe(len(packet.text))
        if packet.kind == DATA:
            return self._arrived(packets.unpack(packet.text))
        told = json.loads(packet.text)
        if packet.kind == READY and not self._ready.done():
            self._ready.set_result(told)
        elif packet.kind == ENDED:
            self.cpu = max(self.cpu, told["cpu"])
            self._over = True
            self._ended()
        return None

    async def _fetch(self, packet: packets.Packet) -> None:
        path, _, size = packet.text.rpartition(" ")
        if not path.startswith(f"{packets.EXCHANGE}/") or ".." in path or int(size) > self.machine.frame_most:
            self._fail(machine=False)
            return
        try:
            data = await self.machine.download(path)
        except Exception as error:  # noqa: BLE001
            self._trouble(error)
            return
        if len(data) != int(size):
            self._hello()
        elif self._window.next(packet.number):
            self._owe(ACK_BYTES)
            if (later := self._arrived(data)) is not None:
                await later

    def _owe(self, size: int) -> None:
        """See to it that the relay learns what has arrived."""
        self._unacked += size
        self._owes = True
        if self._unacked >= ACK_BYTES:
            self._say(self._window.plain(ACK))
        elif self._ack_timer is None:
            self._ack_timer = self._loop.call_later(ACK_LATE, self._ack)

    def _ack(self) -> None:
        self._ack_timer = None
        if self._owes:
            self._say(self._window.plain(ACK))

    # ---- putting it right

    def _hello(self) -> None:
        """Ask what is missing, once until it is answered or some time has passed."""
        now = self._loop.time()
        if self._nonce and now - self._asked_last < self._timing.ack:
            return
        if not self._nonce:
            self._nonce, self._asked = secrets.token_hex(4), now
        self._asked_last = now
        # Whatever is torn ends here.
        self._say(b"\n" + self._window.plain(HELLO, self._nonce))

    def _trouble(self, error: BaseException) -> None:
        logger.debug("E2B sandbox %s: %s: %s", self.machine.id, type(error).__name__, error)
        kind = client.trouble(error)
        if kind is client.Trouble.UNCLEAR:
            self._broken = True
            self._look.set()
        else:
            self._fail(machine=kind is client.Trouble.GONE)

    def _fail(self, *, machine: bool) -> None:
        if self._over or self._closed:
            return
        self._over = True
        if not self._ready.done():
            self._ready.set_exception(SandboxLost("the E2B sandbox went away"))
        else:
            self._lost(machine)

    def _watch_end(self) -> None:
        self._ending = ending = asyncio.create_task(self._handle.wait())

        def look(task: asyncio.Task[Any]) -> None:
            if not task.cancelled():
                task.exception()
            if task is self._ending:
                self._look.set()

        ending.add_done_callback(look)

    async def _supervise(self) -> None:
        timing = self._timing
        while not self._over:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), min(timing.ack, timing.heartbeat) / 3)
            self._look.clear()
            now = self._loop.time()
            if self._held_up or self._over:
                if now - self._said > timing.heartbeat:
                    self._say(self._window.plain(ACK))  # a relay that hears nothing believes that nobody is there
                continue
            if self._ending is not None and self._ending.done():
                if (error := self._ending.exception()) is None or type(error).__name__ == "CommandExitException":
                    self._fail(machine=False)
                    return
                self._ending = None
                self._trouble(error)
                continue
            if self.machine.gone or now - self._heard > timing.lost:
                self._fail(machine=True)
                return
            unanswered = self._nonce and now - max(self._asked, self._progress) > timing.reconnect
            if self._broken or unanswered:
                await self._reconnect()
            elif (
                self._nonce
                or (self._waiting_since is not None and now - self._waiting_since > timing.ack)
                or now - self._heard > timing.heartbeat
            ):
                self._hello()

    async def _reconnect(self) -> None:
        self._broken, self._nonce = False, ""
        pid, old = self._handle.pid, self._handle
        if self._ending is not None:
            ending, self._ending = self._ending, None
            ending.cancel()
        with suppress(Exception):
            await old.disconnect()
        self._keep(leave(self._writer.use(None)))
        try:
            self._lines = packets.Lines()
            self._handle = await self.machine.connect(pid, self._feed, 2 * self._timing.reconnect)
        except Exception as error:  # noqa: BLE001
            self._trouble(error)
            self._look.clear()
            await asyncio.sleep(min(self._timing.ack, 0.5))
            return
        self._watch_end()
        self._writer.use(self.machine.input(self._handle))
        self._hello()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
