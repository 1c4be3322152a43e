"""The wire to a relay, by itself: what it says to one that is played here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from callgate.sandboxes.e2b.inside.packets import (
    ACK,
    DATA,
    ENDED,
    EXCHANGE,
    FILE,
    HELLO,
    LONGEST,
    PING,
    QUIT,
    READY,
    Lines,
    Packet,
    Window,
    pack,
)
from callgate.sandboxes.e2b.timing import Timing
from callgate.sandboxes.e2b.wire import Wire
from callgate.sandboxes.e2b.writer import Writer

QUICK = Timing(ack=0.1, heartbeat=0.1, reconnect=60, lost=60)


class Played:
    """A machine with one relay, and the handle and the input stream of it."""

    id, pid, gone, frame_most = "played", 1, False, 1 << 20

    def __init__(self) -> None:
        self.window, self._lines = Window(), Lines()
        self.heard: asyncio.Queue[Packet] = asyncio.Queue()
        self.files: list[bytes] = []
        self.feed: Callable[[str], Coroutine[Any, Any, None] | None] = lambda _: None
        self._ended = asyncio.Event()

    async def run(self, command: str, on_stdout: Callable[[str], Coroutine[Any, Any, None] | None]) -> Played:
        self.feed = on_stdout
        asyncio.get_running_loop().call_soon(
            self.say, self.window.number(READY, '{"python": "3", "isolated": true}', 0)
        )
        return self

    def say(self, *lines: bytes) -> Coroutine[Any, Any, None] | None:
        return self.feed(b"".join(lines).decode())

    def input(self, handle: object) -> Played:
        return self

    async def send(self, data: bytes) -> None:
        for packet in self._lines.feed(data):
            self.heard.put_nowait(packet)
            if packet.kind == QUIT:
                self._ended.set()

    async def next(self, kind: str) -> Packet:
        """Return the next packet of a kind."""
        async with asyncio.timeout(20):
            while (packet := await self.heard.get()).kind != kind:
                pass
            return packet

    async def download(self, path: str, most: int) -> bytes:
        return self.files.pop(0)

    async def wait(self) -> None:
        await self._ended.wait()

    async def disconnect(self) -> None:
        """Nothing is held."""

    async def kill(self, handle: object) -> None:
        """Nothing runs."""

    async def close(self) -> None:
        """Nothing is held."""


async def opened(
    timing: Timing, arrived: Callable[[bytes], Coroutine[Any, Any, None] | None] = lambda _: None
) -> tuple[Wire, Played]:
    relay: Any = Played()
    wire = Wire(relay, arrived=arrived, ended=lambda: None, lost=lambda _: None, timing=timing)
    await wire.open("")
    return wire, relay


async def test_what_arrived_is_acknowledged_though_a_hello_is_answered_with_nothing_missing() -> None:
    wire, relay = await opened(Timing(heartbeat=0.1, ack=60, lost=120))
    hello = await relay.next(HELLO)
    relay.say(relay.window.number(DATA, pack(b"x"), 1), relay.window.plain(HELLO, hello.text))
    assert (await relay.next(ACK)).ack == 2, "READY and DATA"
    await wire.close()


async def test_a_relay_hears_that_its_host_is_there_while_that_takes_its_time() -> None:
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    wire, relay = await opened(QUICK, lambda _: wait())
    waiting = relay.say(relay.window.number(DATA, pack(b"x"), 1))
    assert waiting is not None
    holding = asyncio.create_task(waiting)
    for _ in range(4):  # more than the one acknowledgement that is owed
        await relay.next(ACK)
    go_on.set()
    await holding
    await wire.close()


async def test_a_file_that_came_short_is_asked_for_again() -> None:
    found: list[bytes] = []
    wire, relay = await opened(Timing(heartbeat=60, ack=60, lost=120), found.append)
    relay.files = [b"shor", b"short"]
    line = relay.window.number(FILE, f"{EXCHANGE}/1 5", 5)
    first = relay.say(line)
    assert first is not None
    await first
    hello = await relay.next(HELLO)
    again = relay.say(relay.window.plain(HELLO, hello.text), line)
    assert again is not None
    await again
    assert found == [b"short"]
    await wire.close()


async def test_a_file_that_is_larger_than_was_said_is_refused() -> None:
    found: list[bytes] = []
    wire, relay = await opened(Timing(heartbeat=60, ack=60, lost=120), found.append)
    lost: list[bool] = []
    wire._lost = lost.append  # type: ignore[attr-defined]
    relay.files = [b"longer"]
    waiting = relay.say(relay.window.number(FILE, f"{EXCHANGE}/1 5", 5))
    assert waiting is not None
    await waiting
    assert (found, lost) == ([], [False])
    await wire.close()


async def test_what_comes_together_is_written_together() -> None:
    wire, relay = await opened(Timing(heartbeat=60, ack=60, lost=120))
    sent: list[bytes] = []
    plain = relay.send

    async def send(data: bytes) -> None:
        sent.append(data)
        await plain(data)

    relay.send = send  # type: ignore[method-assign]
    wire.send(b"a", b"b", b"c")
    assert [[packet.kind for packet in Lines().feed(data)] for data in sent] == [[DATA] * 3]
    await wire.close()


async def test_a_stream_that_waits_though_it_was_said_to_queue_is_written_to_by_a_task() -> None:
    """What it was given first is lost, as it may be on any wire; nothing that comes later is."""
    sent: list[bytes] = []

    class Slow:
        async def send(self, data: bytes) -> None:
            await asyncio.sleep(0)
            sent.append(data)

    writer = Writer(lambda error: pytest.fail(str(error)))
    task = asyncio.create_task(writer.run())
    writer.use(Slow())
    await asyncio.sleep(0)
    writer.put(b"1\n")
    for number in (b"2\n", b"3\n"):
        writer.put(number)
        async with asyncio.timeout(20):
            while number not in b"".join(sent):
                await asyncio.sleep(0)
    assert b"".join(sent) == b"2\n3\n"
    task.cancel()


async def test_the_processor_time_is_asked_for_at_once() -> None:
    wire, relay = await opened(Timing(heartbeat=60, ack=60, lost=120))
    wire.ping()
    assert relay.heard.get_nowait().kind == PING
    await wire.close()


def test_a_line_without_end_is_not_kept() -> None:
    lines = Lines()
    for _ in range(8):
        assert lines.feed(b"x" * LONGEST) == []
    assert len(lines._rest) <= LONGEST  # type: ignore[attr-defined]
    whole = Window().plain(HELLO, "1")
    assert [packet.kind for packet in lines.feed(b"\n" + whole)] == [HELLO]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ENDED, "[1]"),
        (ENDED, '{"cpu": "much"}'),
        (ENDED, "[" * 100_000),
        (FILE, "nothing"),
        (FILE, f"{EXCHANGE}/1 -5"),
        (FILE, f"{EXCHANGE}/1 {'9' * 40}"),
        (FILE, f"{EXCHANGE}/../1 5"),
    ],
)
async def test_a_relay_that_says_what_none_says_is_given_up(kind: str, text: str) -> None:
    wire, relay = await opened(Timing(heartbeat=60, ack=60, lost=120))
    lost: list[bool] = []
    wire._lost = lost.append  # type: ignore[attr-defined]
    waiting = relay.say(relay.window.number(kind, text, 0))
    if waiting is not None:
        await waiting
    assert lost == [False]
    await wire.close()


@pytest.mark.parametrize("text", ["x", "-99999999999", "9" * 5000])
async def test_what_a_relay_says_of_the_bytes_it_holds_is_a_number(text: str) -> None:
    wire, relay = await opened(Timing(heartbeat=60, ack=60, lost=120))
    relay.say(relay.window.plain(ACK, text))
    assert 0 <= wire.unread < 1 << 60
    await wire.close()
