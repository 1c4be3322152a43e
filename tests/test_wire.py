"""The host's side of the wire, fed what no honest guest sends: nothing it was not properly asked for ever happens.

Conversations of guests are drawn and then spoiled: reordered, doubled, spliced, torn, with values that are odd, huge or
none. `make test` feeds some thousand frames, always the same ones; `make soak` more than 100,000.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from simulated import Life, Pass, World, tool_of
from wire import CHANGES, changes, conversation, framed, pieces, rest, spoiled

from callgate import CodeRunner, Limits, MemoryJournal, ToolFailed
from callgate.codec import encode
from callgate.driver import fed
from callgate.errors import ReplayDivergence
from callgate.journal import Journal
from callgate.outcome import Outcome
from callgate.recording import read_recording
from callgate.report import report
from callgate.sandboxes.base import CallFrame
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.frames import BadFrame, Frames
from callgate.steps import End, Pause, Start, Step

LIMITS = Limits(
    seconds=5, calls=8, parallel_calls=3, pending_approvals=2, output_kb=1, frame_mb=1, disk_mb=1, shown_chars=300
)
STATUSES = {"completed", "failed", "limited", "paused", "lost"}
SLOW = 2.0
"""Seconds of processor time that no piece of what a guest sends may take."""

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="callgate")


def fails(**_: Any) -> Any:
    raise ToolFailed("no")


def world(latency: Callable[..., float] = lambda call: 0.01) -> World:
    tools = [
        tool_of("get", "read"),
        tool_of("put"),
        tool_of("pay"),
        tool_of("plain", callers=frozenset(["direct"])),
        tool_of("big", "read", lambda **_: "x" * 300_000),
        tool_of("fails", answer=fails),
    ]
    return World(tools=tools, interrupt_on={"pay": True}, limits=LIMITS, latency=latency)


# ---- what is looked at afterwards


def named(tool: str, arguments: dict[str, Any]) -> tuple[str, str]:
    return tool, encode(arguments)


def asked(data: list[bytes]) -> Counter[tuple[str, str]]:
    """Return what was asked for up to the first thing that is no frame, by a reading of its own."""
    found, frames = Counter[tuple[str, str]](), Frames(LIMITS.frame_mb)
    with suppress(BadFrame):
        for one in data:
            for frame in frames.feed(one):
                if isinstance(frame, CallFrame):
                    with suppress(ValueError):
                        found[named(frame.tool, frame.args)] += 1
    return found


def check_outcome(outcome: Outcome) -> None:
    assert outcome.status in STATUSES
    assert len(outcome.text) < 30_000
    assert len(repr(outcome)) < 120_000
    assert not set(outcome.text) & set("\x00\x1b\u202e\u200b")
    lines = list(outcome.journal.lines)
    assert Journal(lines).head == outcome.journal.head
    assert len(lines) <= 3 * (LIMITS.calls + 20)


def check_done(done: list[tuple[str, dict[str, Any]]], requested: Counter[tuple[str, str]]) -> None:
    happened = Counter(named(*one) for one in done)
    assert happened <= requested, happened - requested
    assert {tool for tool, _ in happened} <= {"get", "put", "big", "fails"}, "a tool ran that nobody allowed"


def check_journal(life: Life) -> None:
    """Every line follows the one before it; what was started is over, or was running when the action ended."""
    journal = Journal(life.lines)
    recording = read_recording(journal, life.kept.__getitem__)
    running = {start.call.id for one in life.passes for _, _, start in one.unfinished}
    for record in recording.records.values():
        assert not record.unknown or record.call in running
    ended = [entry for entry in journal.entries() if entry["e"] == "ended"]
    assert len(ended) <= 1
    assert not ended or recording.ended


# ---- frames


drawn_changes = st.lists(
    st.tuples(st.sampled_from(sorted(CHANGES)), *[st.integers(0, 65_535)] * 3),
    max_size=5,
)
drawn_turns = st.integers(0, 1 << 32).map(lambda seed: conversation(random.Random(seed)))
sent = st.builds(spoiled, drawn_turns, drawn_changes)
sizes = st.lists(st.integers(1, 40), max_size=3)
steady = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def read(data: list[bytes]) -> tuple[list[Any], str | None, str | None]:
    """Return the frames, what was wrong in the end, and the limit that broke."""
    frames, found = Frames(1), list[Any]()
    try:
        for one in data:
            found.extend(frames.feed(one))
    except BadFrame as error:
        return found, str(error), error.limit
    return found, None, None


@settings(steady, max_examples=300)
@given(sent, sizes)
def test_frames_are_the_same_however_they_are_torn(turns: list[bytes], cuts: list[int]) -> None:
    data = b"".join(turns)
    assert repr(read([data])) == repr(read(pieces(data, cuts)))


@settings(steady, max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=5))
@example([b"\0\0\0\x04null"])
@example([framed(b'{"call":1,"tool":"get","args":{"a":NaN}}')])
def test_bytes_are_frames_or_refused(data: list[bytes]) -> None:
    read(data)


# ---- the gate, in simulated time


class Talk(Pass):
    """A pass that reads bytes as the drivers do."""

    def __init__(self, life: Life, cuts: list[int]) -> None:
        super().__init__(life, None)
        self.guest = SimpleNamespace(lost=lambda: False)
        self._clock = SimpleNamespace(now=lambda: self.now, spent=lambda: False)
        self._frames, self._cuts = Frames(LIMITS.frame_mb), cuts
        self._handed = deque[dict[str, Any]]()
        self.heard = list[bytes]()
        self.slowest = 0.0

    @property
    def last(self) -> End | Pause | None:
        return self._last

    @property
    def unfinished(self) -> list[tuple[float, int, Start]]:
        return self._running

    def talk(self, guest: Generator[bytes, dict[str, Any], None]) -> End | Pause:
        data = next(guest)
        while self._last is None:
            for piece in pieces(data, self._cuts) or [b""]:
                self._hear(piece)
            while not self._handed and self._last is None:
                self._let_time_pass()
                self._take_event()
            if self._last is None:
                data = guest.send(self._handed.popleft())
        return self._last

    def _take_event(self) -> None:
        """A guest that does not wait for its event may rest again, and is handed another one."""
        if self._event is not None:
            self._handed.append(self._event)
            self._event = None

    def _hear(self, piece: bytes) -> None:
        if self._last is None:
            self.heard.append(piece)
            began = time.thread_time()
            steps: list[Step] = fed(self, self._clock, self._frames, piece)  # type: ignore[arg-type]
            self.slowest = max(self.slowest, time.thread_time() - began)
            self._carry_out(steps)
            self._take_event()


def speaker(turns: list[bytes]) -> Generator[bytes, dict[str, Any], None]:
    """Say each turn after the event that the one before it waits for; then be gone."""
    for turn in turns:
        yield turn or framed(rest(None))
    while True:
        yield b""


def talked(life: Life, turns: list[bytes], cuts: list[int]) -> Talk:
    one = Talk(life, cuts)
    life.passes.append(one)
    before = len(life.world.done)
    last = one.talk(speaker(turns))
    check_done(life.world.done[before:], asked(one.heard))
    check_journal(life)
    outcome = report(last, gate=one.gate, journal=Journal(life.lines), program="x = 1", limits=LIMITS)
    check_outcome(outcome)
    assert one.slowest < SLOW
    return one


@settings(steady, max_examples=400)
@given(sent, sizes, st.sampled_from([0.0, 0.01, 1.0, 100.0]))
def test_the_gate_does_nothing_it_was_not_asked_for(turns: list[bytes], cuts: list[int], latency: float) -> None:
    talked(Life(world(lambda call: latency)), turns, cuts)


@settings(steady, max_examples=150)
@given(drawn_turns, drawn_changes, drawn_changes, st.sampled_from(["approve", {"type": "reject"}]))
def test_what_a_guest_says_on_resume_moves_no_approval(turns: Any, first: Any, second: Any, said: Any) -> None:
    """The second pass may say something else; it pays what a human approved, once, or nothing."""
    resumed(turns, first, second, said)


def resumed(turns: Any, first: Any, second: Any, said: Any) -> int:
    life = Life(world())
    last = talked(life, spoiled(turns, first), []).last
    if not isinstance(last, Pause):
        return 0
    life.decide({one.id: said for one in last.waiting})
    allowed = Counter(named(one.tool, one.arguments) for one in last.waiting if said == "approve")
    one, before = Talk(life, []), len(life.world.done)
    life.passes.append(one)
    with suppress(ReplayDivergence):
        one.talk(speaker(spoiled(turns, second)))
    paid = Counter(named(*each) for each in life.world.done[before:] if each[0] == "pay")
    assert paid <= allowed
    check_journal(life)
    return sum(paid.values())


# ---- the drivers, over a real socket


class Peer:
    """A guest in a thread: it says its turns, reads or not, and hangs up."""

    def __init__(self, sock: socket.socket, turns: list[bytes], cuts: list[int], *, reads: bool) -> None:
        self._sock, self._turns, self._cuts, self._reads = sock, turns, cuts, reads
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with self._sock, suppress(OSError):
            self._sock.settimeout(3)
            self._event()  # the program
            for number, turn in enumerate(self._turns):
                for piece in pieces(turn, self._cuts):
                    self._sock.sendall(piece)
                if self._reads and number + 1 < len(self._turns):
                    self._sock.settimeout(0.05)
                    with suppress(TimeoutError):
                        self._event()
                    self._sock.settimeout(3)

    def _event(self) -> None:
        size = int.from_bytes(self._sock.recv(4, socket.MSG_WAITALL), "big")
        while size:
            size -= len(self._sock.recv(min(size, 1 << 16))) or size


class Wire:
    """A sandbox whose guests are peers that say what they are told."""

    name, level = "wire", "L0"

    def __init__(self) -> None:
        self.script: Iterator[tuple[list[bytes], list[int], bool]] = iter(())

    def start(self, limits: Limits) -> SocketGuest:
        ours, theirs = socket.socketpair()
        turns, cuts, reads = next(self.script)
        Peer(theirs, turns, cuts, reads=reads)
        return SocketGuest(ours, kill=lambda: None, cpu=lambda: 0.0, lost=lambda: False)

    async def astart(self, limits: Limits) -> SocketGuest:
        return self.start(limits)

    def close(self) -> None:
        """Nothing is kept."""


def drive(one: CodeRunner, mode: str) -> Outcome:
    if mode == "threads":
        return one.run("x = 1\nx")
    return asyncio.run(one.arun("x = 1\nx"))


@pytest.mark.parametrize("mode", ["threads", "asyncio"])
@settings(steady, max_examples=60)
@given(turns=sent, cuts=sizes, reads=st.booleans())
def test_a_driver_comes_to_an_end(mode: str, turns: list[bytes], cuts: list[int], reads: bool) -> None:
    wire, around = Wire(), world()
    wire.script = iter([(turns, cuts, reads)])
    outcome = drive(runner(wire, around), mode)
    check_outcome(outcome)
    check_done(around.done, asked(turns))


class Store(MemoryJournal):
    """A journal that can forget."""

    def forget(self) -> None:
        with self._lock:
            self._lines.clear()


def runner(wire: Wire, around: World, store: MemoryJournal | None = None) -> CodeRunner:
    def invoke_of(given: Any) -> Any:
        def invoke(call: Any) -> Any:
            around.done.append((call.tool, call.arguments))
            return given(call)

        return invoke

    tools = [dataclasses.replace(one, invoke=invoke_of(one.invoke)) for one in around.tools]
    return CodeRunner(tools, sandbox=wire, limits=LIMITS, interrupt_on=around.interrupt_on, journal=store)


# ---- a great many


def resident() -> int:
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) << 10


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_frames_through_the_gate() -> None:
    rng, frames, paid, began = random.Random(20), 0, 0, 0
    while frames < 100_000:
        turns = conversation(rng)
        said = spoiled(turns, changes(rng))
        cuts = [rng.randint(1, 60) for _ in range(rng.choice((0, 0, 1, 3)))]
        latency = rng.choice((0.0, 0.01, 1.0, 100.0))
        one = talked(Life(world(lambda call, latency=latency: latency)), said, cuts)
        frames += sum(map(len, turns))
        if isinstance(one.last, Pause) and rng.random() < 0.5:
            paid += resumed(turns, [], changes(rng), "approve")
            frames += 2 * sum(map(len, turns))
        if not began and frames > 5_000:
            began = resident()
    assert paid > 20, "approvals were reached"
    assert resident() - began < 64 << 20


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["threads", "asyncio"])
def test_twenty_five_thousand_frames_through_a_driver(mode: str) -> None:
    rng, frames, began, statuses = random.Random(mode), 0, 0, Counter[str]()
    wire, around = Wire(), world()
    store = Store()
    one = runner(wire, around, store)

    def script() -> Iterator[tuple[list[bytes], list[int], bool]]:
        nonlocal frames
        while True:
            turns = conversation(rng)
            said = spoiled(turns, changes(rng))
            frames += sum(map(len, turns))
            cuts = [rng.randint(1, 60) for _ in range(rng.choice((0, 0, 0, 1)))]
            yield said, cuts, rng.random() < 0.95

    wire.script = script()

    async def several() -> list[Outcome]:
        return await asyncio.gather(*(one.arun("x = 1\nx") for _ in range(8)))

    while frames < 25_000:
        outcomes = [one.run("x = 1\nx")] if mode == "threads" else asyncio.run(several())
        for outcome in outcomes:
            check_outcome(outcome)
            statuses[outcome.status] += 1
        around.done.clear()
        store.forget()
        if not began and frames > 5_000:
            began = resident()
    assert set(statuses) >= {"completed", "failed", "limited", "paused"}
    assert resident() - began < 64 << 20
