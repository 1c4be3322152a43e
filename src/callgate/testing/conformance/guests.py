"""The two protocols themselves: what `Sandbox` and `Guest` promise to whoever drives them."""

from __future__ import annotations

import asyncio
import threading
import time

from callgate.codec import JSON
from callgate.errors import CallgateError
from callgate.sandboxes.base import CallFrame, EndFrame, Guest, RestFrame, Sandbox, frame
from callgate.sandboxes.frames import Frames
from callgate.testing.conformance.calls import echo
from callgate.testing.conformance.case import Case, Peer
from callgate.testing.conformance.ways import once

__all__ = ["Guests"]

SLEEP = "import time\ntime.sleep(600)\n'slept'"
SOON = 0.05
"""Seconds after which something is done from beside."""


class Guests:
    """What a guest does for its driver."""

    @once
    def test_it_is_a_sandbox(self, case: Case) -> None:
        """It has every method of the protocol, a name and a level, and they reach the journal's header."""
        assert isinstance(case.sandbox, Sandbox)
        header = case.run("1 + 1").journal.header
        assert (header["sandbox"], header["level"]) == (case.sandbox.name, case.sandbox.level)
        assert all(isinstance(one, str) and one for one in (case.sandbox.name, case.sandbox.level))

    def test_a_guest_runs_its_program_and_ends(self, case: Case) -> None:
        """After the frame that ends it a guest is gone, by itself."""
        with case.peer() as peer:
            peer.order("6 * 7")
            assert peer.converse().value == 42
            assert peer.receive() == b""
            assert not peer.guest.lost()

    def test_receive_returns_none_after_its_time(self, case: Case) -> None:
        """A driver that waits for a silent guest is free again when its time is over."""
        with case.peer() as peer:
            peer.order(SLEEP)
            peer.until(RestFrame)
            began = time.monotonic()
            assert peer.receive(0.1) is None
            assert 0.09 < time.monotonic() - began < 0.1 + case.patience / 4

    def test_wake_ends_the_running_receive(self, case: Case) -> None:
        """From any thread."""
        with case.peer() as peer:
            peer.order(SLEEP)
            peer.until(RestFrame)
            timer = threading.Timer(SOON, peer.guest.wake)
            timer.start()
            began = time.monotonic()
            assert peer.receive() is None
            assert time.monotonic() - began < case.patience * 0.9, "it went on until its time was over"
            timer.join()

    def test_wake_ends_the_next_receive_and_only_that(self, case: Case) -> None:
        """A wake between two receives is not lost, and two of them count as one."""
        with case.peer() as peer:
            peer.guest.wake()
            peer.guest.wake()
            began = time.monotonic()
            assert peer.receive() is None
            assert time.monotonic() - began < case.patience * 0.9, "it went on until its time was over"
            peer.order("'after'")
            assert peer.converse().value == "after"

    def test_wake_loses_no_bytes(self, case: Case) -> None:
        """Whatever arrives between wakes is there afterwards."""
        with case.peer() as peer:
            peer.order("for n in range(300): print('x' * 1000, n)\n'y' * 100_000")
            frames, seen, deadline = Frames(16), list[object](), time.monotonic() + case.patience
            while not any(isinstance(one, EndFrame) for one in seen):
                assert time.monotonic() < deadline
                peer.guest.wake()
                assert peer.receive() is None
                seen += frames.feed(peer.receive(0.01) or b"")
        assert isinstance(seen[-1], EndFrame)
        assert seen[-1].value == "y" * 100_000

    def test_kill_ends_the_running_receive(self, case: Case) -> None:
        """From any thread, and of a guest that is busy."""
        with case.peer() as peer:
            peer.order("x = echo(1)\nwhile True: pass")
            peer.until(RestFrame)
            peer.send(frame({"answer": 1, "at": 0.1, "value": 1}))
            timer = threading.Timer(SOON, peer.guest.kill)
            timer.start()
            assert peer.receive() == b""
            timer.join()

    def test_a_killed_guest_is_gone_for_good(self, case: Case) -> None:
        """Afterwards everything is harmless: receiving says that it is gone, sending goes nowhere, twice is once."""
        with case.peer() as peer:
            peer.order(SLEEP)
            peer.until(RestFrame)
            for _ in range(2):
                peer.guest.kill()
                assert peer.receive() == b""
                peer.send(frame({"clock": 600.0, "wall": 0.0}))
                peer.guest.wake()
            assert peer.guest.cpu_seconds() >= 0
            assert not peer.guest.lost(), "one guest that dies is not the sandbox"

    def test_kill_may_come_from_many_threads(self, case: Case) -> None:
        """At once."""
        with case.peer() as peer:
            threads = [threading.Thread(target=peer.guest.kill) for _ in range(8)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
            assert peer.receive() == b""

    def test_a_guest_that_does_not_read_is_a_timeout(self, case: Case) -> None:
        """Sending more than it takes raises TimeoutError and does not hold its driver up for ever."""
        with case.peer() as peer:
            peer.order("x = echo(1)\nwhile True: pass")
            peer.until(RestFrame)
            peer.send(frame({"answer": 1, "at": 0.1, "value": 1}))
            began, raised = time.monotonic(), False
            try:
                peer.send(bytes(16 << 20), 0.3)
            except TimeoutError:
                raised = True
            assert raised, "16 MiB went to a guest that reads nothing"
            assert time.monotonic() - began < case.patience

    def test_frames_sent_together_are_each_read(self, case: Case) -> None:
        """Several whole frames may be sent at once."""
        with case.peer() as peer:
            peer.order("import asyncio\nasync def f(): return [await echo(1), await echo(2)]\nx = asyncio.run(f())\nx")
            peer.until(CallFrame)
            peer.send(frame({"answer": 1, "at": 0.1, "value": "a"}))
            peer.until(CallFrame)
            peer.send(frame({"answer": 2, "at": 0.2, "value": "b"}))
            assert peer.converse().value == ["a", "b"]

    @once
    def test_cancelling_a_receive_loses_nothing(self, case: Case) -> None:
        """`areceive` may be cancelled at any time; what arrives is for the next one."""

        async def main() -> object:
            guest = await case.sandbox.astart(case.limits)
            try:
                order: JSON = {"program": "for n in range(200): print(n)\n'all'", "seed": 1, "wall": 0.0, "tools": {}}
                bounds = {"output_kb": 64, "frame_mb": 16, "threads": 8}
                await guest.asend(frame({"run": {**order, "limits": bounds}}), case.patience)
                return await self._impatient(guest, case.patience)
            finally:
                guest.kill()

        assert asyncio.run(main()) == ("".join(f"{n}\n" for n in range(200)), "all")

    @staticmethod
    async def _impatient(guest: Guest, patience: float) -> object:
        frames, out = Frames(16), ""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            waiting = asyncio.ensure_future(guest.areceive())
            await asyncio.wait([waiting], timeout=0.001)
            if not waiting.done():
                waiting.cancel()
                await asyncio.wait([waiting])
            if waiting.cancelled():
                continue
            for one in frames.feed(waiting.result() or b""):
                out += getattr(one, "text", "")
                if isinstance(one, EndFrame):
                    return out, one.value
        raise AssertionError("no end")

    @once
    def test_cancelling_an_action_ends_its_guest(self, case: Case) -> None:
        """A task that is cancelled kills the guest of its program, and nothing runs on."""
        calls: list[int] = []

        async def main() -> None:
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            async def tick(value: int) -> int:
                calls.append(value)
                loop.call_soon_threadsafe(begun.set)
                return value

            runner = case.runner(tick).runner
            task = asyncio.create_task(runner.arun("for n in range(10 ** 6): tick(value=n)"))
            await asyncio.wait_for(begun.wait(), case.patience)
            task.cancel()
            await asyncio.wait([task], timeout=case.patience)
            assert task.cancelled()
            made = len(calls)
            await asyncio.sleep(0.1)
            assert len(calls) <= made + 1

        asyncio.run(main())
        assert case.value("6 * 7") == 42

    @once
    def test_cancelling_a_start_leaves_the_sandbox_whole(self, case: Case) -> None:
        """`astart` may be cancelled at any time; afterwards programs run as ever."""

        async def main() -> list[JSON]:
            for delay in (0.0, 0.001, 0.005, 0.02):
                task = asyncio.ensure_future(case.sandbox.astart(case.limits))
                await asyncio.wait([task], timeout=delay)
                task.cancel()
                await asyncio.wait([task], timeout=case.patience)
                if not task.cancelled():
                    task.result().kill()
            runner = case.runner(echo).runner
            return [(await runner.arun(f"x = echo({n})\nx + 1")).value for n in range(3)]

        assert asyncio.run(main()) == [1, 2, 3]

    @once
    def test_a_guest_outlives_the_thread_that_started_it(self, case: Case) -> None:
        """One thread may start a guest, another one speak with it, and a third one kill it."""
        peers: list[Peer] = []
        starting = threading.Thread(
            target=lambda: peers.append(Peer(case.sandbox, case.limits, case.way, case.patience))
        )
        starting.start()
        starting.join()
        (peer,) = peers
        peer.order("x = echo('there')\nx")
        assert peer.converse().value == "there"
        ending = threading.Thread(target=peer.close)
        ending.start()
        ending.join()
        assert peer.receive() == b""

    def test_cpu_seconds_grow_and_stay_known(self, case: Case) -> None:
        """They never shrink, and are there after the end. 0.0 stands for what cannot be known."""
        with case.peer() as peer:
            peer.order("sum(range(3_000_000))\n" + SLEEP)
            peer.until(RestFrame)
            used = peer.guest.cpu_seconds()
            peer.guest.kill()
            assert 0 <= used <= peer.guest.cpu_seconds()

    def test_close_ends_every_guest_and_is_final(self, case: Case) -> None:
        """A sandbox that is closed, twice if need be, has no guests, and starts none."""
        with case.another() as sandbox:
            peer = Peer(sandbox, case.limits, case.way, case.patience)
            try:
                peer.order("x = echo(1)\nwhile True: pass")
                peer.until(RestFrame)
                sandbox.close()
                sandbox.close()
                assert peer.receive() == b""
            finally:
                peer.close()
            started = False
            try:
                Peer(sandbox, case.limits, case.way, case.patience).close()
                started = True
            except CallgateError:
                pass
            assert not started, "a closed sandbox started a guest"

    def test_sandboxes_are_apart(self, case: Case) -> None:
        """Closing one leaves another one's guests alone."""
        with case.peer() as peer:
            with case.another() as other:
                assert case.runner(echo, sandbox=other).run("x = echo(1)\nx + 1").value == 2
            peer.order("'alive'")
            assert peer.converse().value == "alive"
