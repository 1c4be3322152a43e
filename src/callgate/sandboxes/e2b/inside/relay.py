"""The process between E2B's process service and one guest.

It starts the guest, hands the host what the guest says and the guest what the host says, keeps what the host has not
acknowledged, and ends with the host, the guest or the order to. Programs cannot reach it: where it is root, guests run
as a user of their own. It does not believe the guest: bytes are passed on as they are.
"""

# ruff: noqa: PTH101, PTH103, PTH108, PTH123

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from types import CodeType
from typing import Any, NoReturn

from . import confine, packets, server
from .packets import BY_FILE, DATA, ENDED, EXCHANGE, FILE, HELLO, PIECE, PING, QUIT, READY, Lines, Window

OLDEST = (3, 11)
SILENCE = 60.0
"""Seconds without a word from the host after which there is none."""
ACK_LATE = 0.1
"""Seconds that an acknowledgement waits for something to go with."""
ACK_BYTES = 1 << 18
"""Bytes at which it waits no longer."""
READ = 1 << 16
"""Bytes read at a time; below the size from which the allocator asks the kernel for each buffer."""
AHEAD = 1 << 20
"""Bytes that the host has not acknowledged, at which the guest is not read any further."""


def main(guest: dict[str, str], arguments: list[str]) -> NoReturn:
    """Serve one guest, or relays.

    Args:
        guest: text of its modules, by name.
        arguments: an order as JSON, or "serve" and the path of a socket.
    """
    code = {name: compile(text, f"<callgate_guest.{name}>", "exec") for name, text in guest.items()}
    if arguments[0] == "serve":
        server.serve(guest, arguments[1], lambda order, client: relay(code, order, client))
    relay(code, json.loads(arguments[0]))


def relay(guest: dict[str, CodeType], order: dict[str, Any], client: int | None = None) -> NoReturn:
    """Start a guest and serve it to its end.

    Args:
        guest: its modules, by name.
        order: "limits" and, as "frame", the bytes that a frame may have.
        client: a connection whose end is the end of all this.
    """
    if sys.version_info[:2] < OLDEST:
        _refuse(f"Python {OLDEST[0]}.{OLDEST[1]} or newer as python3; it is {sys.version.split()[0]}")
    if (path := order.get("notebook")) is not None:
        _relay_to_notebook(path, order["frame"], client)
    ours, theirs = socket.socketpair()
    report, told = os.pipe()
    place = confine.Place.make()
    pid = os.fork()
    if not pid:
        ours.close()
        os.close(report)
        if client is not None:
            os.close(client)
        confine.become_guest(guest, theirs.detach(), told, place, order["limits"])
    theirs.close()
    os.close(told)
    missing = b""
    while piece := os.read(report, 1 << 12):
        missing += piece
    os.close(report)
    if missing != confine.CONFINED:
        place.remove()
        _refuse(missing.decode("utf-8", "replace") or "a guest; it ended at once")
    Relay(ours, pid, place, order["frame"], client).serve()


def _relay_to_notebook(path: str, most: int, client: int | None) -> NoReturn:
    """Serve the first who connects to a path, which is a kernel."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - the kernel may be anybody's, and the name is known to nobody else
    listening.listen(1)
    window = Window()
    python = ".".join(map(str, sys.version_info[:3]))
    os.write(1, window.number(READY, json.dumps({"python": python, "isolated": False}), 0))
    poll = select.poll()
    for descriptor in (listening.fileno(), *([client] if client is not None else [])):
        poll.register(descriptor, select.POLLIN)
    ready = dict(poll.poll(1000 * SILENCE))
    os.unlink(path)
    if listening.fileno() not in ready:
        os._exit(0)
    channel, _ = listening.accept()
    Relay(channel, None, confine.Place("", isolated=False), most, client, window).serve()


def _refuse(missing: str) -> NoReturn:
    os.write(1, Window().number(READY, json.dumps({"missing": missing}), 0))
    os._exit(0)


class Relay:
    """Passes on what both sides say.

    Args:
        channel: to the guest.
        pid: of the guest; None for one that somebody else started.
        place: where it works.
        most: bytes that a frame may have.
        client: a connection whose end is the end of all this.
        window: what was said so far, if "ready" was.
    """

    def __init__(
        self,
        channel: socket.socket,
        pid: int | None,
        place: confine.Place,
        most: int,
        client: int | None = None,
        window: Window | None = None,
    ) -> None:
        channel.setblocking(False)
        self._client = client
        self._channel, self._pid, self._place, self._most = channel, pid, place, most
        self._greeted = window is not None
        self._window, self._lines = window or Window(), Lines()
        self._to_guest: list[memoryview] = []
        self._waiting = self._told = self._taken = 0
        """Bytes that the guest has not read, as it was last told, and those that arrived since."""
        self._from_guest = bytearray()
        self._skip = 0
        """Bytes that the frame in hand still has."""
        self._owes = False
        """Whether something arrived that is not acknowledged yet."""
        self._gone = False
        """Whether the guest has said its last word."""
        self._files = 0
        self._out: list[bytes] = []

    def serve(self) -> NoReturn:
        """Serve until it is over."""
        python = ".".join(map(str, sys.version_info[:3]))
        if not self._greeted:
            self._say(self._window.number(READY, json.dumps({"python": python, "isolated": self._place.isolated}), 0))
        heard = time.monotonic()
        poll = select.poll()
        poll.register(0, select.POLLIN)
        if self._client is not None:
            poll.register(self._client, select.POLLIN)
        while True:
            self._watch(poll)
            self._flush()
            ready = dict(poll.poll(1000 * (ACK_LATE if self._owes else 5)))
            if self._client in ready:
                self._quit()
            if 0 in ready:
                heard = time.monotonic()
                self._hear()
            elif time.monotonic() - heard > SILENCE:
                self._quit()
            channel = ready.get(self._channel.fileno(), 0) if not self._gone else 0
            if channel & select.POLLOUT:
                self._feed_guest()
            if channel & ~select.POLLOUT:
                self._read_guest()
            full = self._taken >= ACK_BYTES or (self._told >= ACK_BYTES > self._waiting)
            if full or (self._owes and not ready):
                self._told, self._taken = self._waiting, 0
                self._say(self._window.plain(packets.ACK, str(self._waiting)))

    def _watch(self, poll: select.poll) -> None:
        if self._gone:
            if self._channel.fileno() >= 0:
                poll.unregister(self._channel)
                self._channel.close()
            return
        wanted = select.POLLIN if self._window.unheard < AHEAD else 0
        poll.register(self._channel, wanted | (select.POLLOUT if self._to_guest else 0))

    def _hear(self) -> None:
        data = os.read(0, READ)
        if not data:
            self._quit()
        for packet in self._lines.feed(data):
            window = self._window
            window.heard(packet.ack)
            if packet.kind == HELLO:
                self._say(window.plain(HELLO, packet.text), *window.missing())
            elif packet.kind == PING:
                self._say(window.plain(PING, f"{self._cpu():.3f}"))
            elif packet.kind == QUIT:
                self._quit()
            elif packet.kind in (DATA, FILE) and window.next(packet.number):
                self._owes = True
                data = self._bytes_of(packet)
                self._taken += len(data)
                self._waiting += len(data)
                self._to_guest.append(memoryview(data))
                self._feed_guest()
            elif packet.number:
                self._owes = True  # it came again: the host has not heard that it arrived

    def _bytes_of(self, packet: packets.Packet) -> bytes:
        if packet.kind == DATA:
            return packets.unpack(packet.text)
        path = packet.text.rpartition(" ")[0]
        try:
            with open(path, "rb") as file:
                data = file.read()
            os.unlink(path)
        except OSError:
            self._quit()
        return data

    def _feed_guest(self) -> None:
        waiting = self._to_guest
        if self._gone:
            waiting.clear()
        try:
            while waiting:
                sent = self._channel.send(waiting[0])
                self._waiting -= sent
                if sent == len(waiting[0]):
                    waiting.pop(0)
                else:
                    waiting[0] = waiting[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            waiting.clear()

    def _read_guest(self) -> None:
        try:
            data = self._channel.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(data)
            return
        self._send(self._from_guest)
        self._gone = True
        used, status = self._cpu(), 0
        if self._pid is not None:
            self._kill()
            _, status, usage = os.wait4(self._pid, 0)
            used = max(used, usage.ru_utime + usage.ru_stime)
        self._say(self._window.number(ENDED, json.dumps({"cpu": round(used, 3), "status": status}), 0))

    def _take(self, data: bytes) -> None:
        """Pass on what the guest said, up to a frame that goes by file and is not yet whole."""
        buffer = self._from_guest
        buffer += data
        at = 0
        while True:
            step = min(self._skip, len(buffer) - at)
            at += step
            self._skip -= step
            if self._skip or len(buffer) - at < 4:
                break
            size = 4 + int.from_bytes(buffer[at : at + 4], "big")
            if not BY_FILE < size <= self._most:
                self._skip = size
                continue
            self._send(buffer[:at])
            del buffer[:at]
            at = 0
            if len(buffer) < size:
                return
            self._send_by_file(buffer[:size])
            del buffer[:size]
        self._send(buffer[:at])
        del buffer[:at]

    def _send(self, data: bytearray) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._say(self._window.number(DATA, packets.pack(piece), len(piece)))

    def _send_by_file(self, data: bytearray) -> None:
        self._files += 1
        os.makedirs(EXCHANGE, 0o700, exist_ok=True)
        path = f"{EXCHANGE}/{os.getpid()}-{self._files}"
        with open(path, "wb", opener=_private) as file:
            file.write(data)
        self._place.exchanged.append(path)
        self._say(self._window.number(FILE, f"{path} {len(data)}", len(data)))

    def _say(self, *lines: bytes) -> None:
        self._out += lines

    def _flush(self) -> None:
        if self._out:
            data = memoryview(b"".join(self._out))
            self._out.clear()
            self._owes = False
            while data:
                data = data[os.write(1, data) :]

    def _cpu(self) -> float:
        if self._pid is None:
            return 0.0
        try:  # the clock of a whole process (include/linux/posix-timers.h: CPUCLOCK_SCHED)
            return time.clock_gettime((~self._pid << 3) | 2)
        except OSError:
            return 0.0

    def _kill(self) -> None:
        if self._pid is None:
            return
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(OSError):
                kill(self._pid, signal.SIGKILL)
        if self._place.isolated:
            confine.end_user(self._pid)

    def _quit(self) -> NoReturn:
        if not self._gone and self._pid is not None:
            self._kill()
            os.waitpid(self._pid, 0)
        self._place.remove()
        os._exit(0)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
