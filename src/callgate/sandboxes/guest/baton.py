"""The baton: one strand runs at a time.

A strand gives the baton away when it waits. When nobody can run, the guest is at rest: it says so, names its earliest
timer, and the host hands it exactly one event, an answer or "the clock is now t". Everything a program can see is
then a function of its source, the seed and the list of events.
"""

from __future__ import annotations

import json
import os
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

CHUNK = 1 << 16
TEXT = 1 << 13  # printed characters that leave without waiting for the next rest
SHARE = (
    64  # a line leaves at once if it is at least that part of what left before: what a killed program may take along
)
PARCEL = 1 << 14  # characters of one `out` frame: few enough for any host, even if each needs twelve bytes
HELD = 1 << 20  # bytes of frames that leave without waiting for the next rest

TURNS = 1000  # what a strand may do without waiting before it counts as a busy wait
SPIN = 10  # turns that one look at something that has not happened yet counts for
QUANTUM = 0.001  # seconds of program time a busy wait then costs, or what it waits for could never come

_read, _readv, _write, _exit = os.read, os.readv, os.write, os._exit
_decode = json.JSONDecoder().raw_decode
_NOTHING = b'\x00\x00\x00\x0d{"rest":null}'


class Channel:
    """Frames over a blocking descriptor; what is posted leaves together at the next flush."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._arrived = b""
        self._frames: list[bytes] = []
        self._held = 0
        self._text: list[str] = []
        self._text_size = 0
        self._printed = 0
        self.sent = 0
        """Bytes sent so far."""
        self.resting = False
        """Whether the host would take whatever is sent now for a breach of turn: a finaliser may print meanwhile."""

    def post(self, body: bytes, rest: bytes = b"") -> None:
        """Send one frame, given in two parts so that a large one is not copied, at the next flush."""
        if self._text:
            self._pack_text()
        size = len(body) + len(rest)
        self._frames += (size.to_bytes(4, "big"), body, rest)
        self._held += size
        if self._held > HELD and not self.resting:
            self.flush()

    def print(self, text: str) -> None:
        """Send printed text, at the next flush or soon. The text alone decides when, or addresses would not repeat."""
        self._text.append(text)
        self._text_size += len(text)
        soon = self._text_size > TEXT or (self._text_size * SHARE >= self._printed and text.endswith("\n"))
        if soon and not self.resting:
            self.flush()

    # A finaliser may print in the middle of the next two, so each takes what there is in one step.

    def _pack_text(self) -> None:
        fresh: list[str] = []
        pieces = self._text
        self._text = fresh
        self._printed += self._text_size
        self._text_size = 0
        text = "".join(pieces)
        for start in range(0, len(text), PARCEL):
            body = f'{{"out":{_text_json(text[start : start + PARCEL])}}}'.encode("ascii")
            self._frames += (len(body).to_bytes(4, "big"), body)

    def flush(self, last: bytes = b"") -> None:
        """Write everything posted, and then last, a frame with its header."""
        if self._text:
            self._pack_text()
        if self._frames:
            fresh: list[bytes] = []
            frames = self._frames
            self._frames = fresh
            self._held = 0
            try:
                last = b"".join((*frames, last))
            except MemoryError:
                for one in frames:
                    self.write(one)
        self.write(last)

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.sent += len(data)
        try:
            written = _write(self._fd, data)
            if written < len(data):
                rest = memoryview(data)[written:]
                while rest:
                    rest = rest[_write(self._fd, rest) :]
        except OSError:
            _exit(9)  # the host is gone, and with it whoever could read a message

    def receive(self) -> dict[str, Any]:
        """Return the next frame from the host. A large one is copied once, from the kernel, before it is parsed."""
        arrived = self._arrived
        while len(arrived) < 4:
            more = self._more()
            arrived = arrived + more if arrived else more
        stop = 4 + int.from_bytes(arrived[:4], "big")
        if len(arrived) >= stop:
            self._arrived = arrived[stop:]
            return _decode(str(arrived[4:stop], "ascii"))[0]
        body = bytearray(stop - 4)
        have = len(arrived) - 4
        body[:have] = arrived[4:]
        self._arrived = arrived = b""
        with memoryview(body) as view:
            while have < len(body):
                got = _readv(self._fd, [view[have:]])
                if not got:
                    _exit(9)
                have += got
        text = str(body, "ascii")
        del body
        return _decode(text)[0]

    def _more(self) -> bytes:
        try:
            more = _read(self._fd, CHUNK)
        except OSError:
            more = b""
        if not more:
            _exit(9)
        return more


def _text_json(text: str) -> str:
    quoted = json.dumps(text)
    if "\\ud" in quoted:
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate is no text; two that make a pair are
            quoted = json.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return quoted


class Strand:
    """One operating system thread's place in the queue."""

    __slots__ = ("gate", "number", "on_exit", "parked", "turns", "woken")

    def __init__(self) -> None:
        self.gate = allocate_lock()
        self.gate.acquire()
        self.parked = self.woken = False
        self.turns = self.number = 0  # the main strand is number 0
        self.on_exit: list[Callable[[], object]] = []


class Baton:
    """Who runs, who is ready, who waits for what."""

    def __init__(self) -> None:
        self.now = 0.0
        """The program's clock, in seconds."""
        self.wall = 0.0
        """Wall time minus `now`."""
        self.current = Strand()
        self.ready: deque[Strand] = deque()
        self.timers: dict[Strand, float] = {}  # a strand has at most one; in the order in which they were set
        self.waiting: dict[int, Callable[[dict[str, Any]], object]] = {}
        """Who takes the answer, by call number."""
        self.asked = 0
        """Calls asked for so far."""
        self.channel = Channel(-1)
        self.stuck: Callable[[], object] | None = None
        """Called at rest if nothing can ever happen again."""
        self.give_up: Callable[[BaseException], NoReturn] | None = None
        """Ends the program for an exception that nobody can catch any more."""
        self._inside = False  # a finaliser that runs in the middle of a switch must not start another one

    def park(self, deadline: float | None = None) -> bool:
        """Wait for `wake` or the deadline, a program time in seconds. Returns whether it was woken."""
        if self._inside:
            raise RuntimeError("a finaliser cannot wait here")
        me = self.current
        if deadline is not None:
            self.timers[me] = deadline
        self._inside = True
        me.parked = True
        me.woken = False
        me.turns = 0
        self._switch(me)
        return me.woken

    def wake(self, strand: Strand) -> None:
        """Let a parked strand run. One whose deadline has just passed learns that it was woken after all."""
        strand.woken = True
        if strand.parked:
            strand.parked = False
            self.timers.pop(strand, None)
            self.ready.append(strand)

    def turn(self, cost: int = 1) -> None:
        """Count something that busy waits are made of: a lock taken, a clock read, a vain look at something."""
        me = self.current
        me.turns += cost
        if me.turns >= TURNS and (self.ready or self.timers or self.waiting) and not self._inside:
            self.park(self.now + QUANTUM)

    def spin(self, *, patient: bool = False) -> None:
        """Let the others run. A busy wait; patient if what it waits for may come without another strand."""
        me = self.current
        me.turns += SPIN
        if self._inside:
            return
        if me.turns >= TURNS and (patient or self.ready or self.timers or self.waiting):
            self.park(self.now + QUANTUM)
        elif self.ready:
            self._inside = True
            self.ready.append(me)
            self._switch(me)

    def begin(self, strand: Strand) -> None:
        """Wait, in a new thread, for the first turn of its strand."""
        strand.gate.acquire()
        self._inside = False

    def leave(self) -> None:
        """Pass the baton on for good: the running strand is over."""
        self._inside = True
        self._switch(None)

    def _switch(self, me: Strand | None) -> None:
        ready = self.ready
        while not ready:
            try:
                self._rest()
            except MemoryError as error:  # part of an event is lost; nothing after it would be right
                if self.give_up is None:
                    _exit(9)
                self.give_up(error)
        following = ready.popleft()
        if following is not me:
            self.current = following
            if me is None:
                following.gate.release()
                return
            wait = me.gate.acquire
            following.gate.release()
            wait()
        self._inside = False

    def _rest(self) -> None:
        timers, channel = self.timers, self.channel
        if timers:
            body = f'{{"rest":{min(timers.values())!r}}}'.encode("ascii")
            rest = len(body).to_bytes(4, "big") + body
        else:
            if self.stuck is not None and not self.waiting:
                self.stuck()
            rest = _NOTHING
        channel.resting = True
        channel.flush(rest)
        event = channel.receive()
        channel.resting = False
        if "answer" in event:
            self.now = max(self.now, event["at"])
            take = self.waiting.pop(event["answer"], None)
            if take is not None:
                take(event)
        else:
            self.now = max(self.now, event["clock"])
            self.wall = event["wall"]
            due = [(deadline, strand) for strand, deadline in timers.items() if deadline <= self.now]
            due.sort(key=lambda one: one[0])  # stable: equal deadlines in the order in which they were set
            for _, strand in due:
                del timers[strand]
                strand.parked = False
                self.ready.append(strand)


baton = Baton()
