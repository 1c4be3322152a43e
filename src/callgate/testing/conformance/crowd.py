"""Many programs at once in one sandbox: none hears another one's answers, and none holds another one up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from callgate.outcome import Outcome
from callgate.sandboxes.base import RestFrame, frame
from callgate.testing.conformance.calls import Counting
from callgate.testing.conformance.case import Case, Peer
from callgate.testing.conformance.ways import once
from callgate.tools import tool

__all__ = ["Crowd"]

MANY = 8
PROGRAM = "found = [take(n={n} * 100 + i) for i in range(10)]\nprint('x' * 5_000, {n})\n[{n}, sum(found)]"


def check(outcomes: list[Outcome], counting: Counting) -> None:
    """Look at what came of `PROGRAM` for each number."""
    for n, outcome in enumerate(outcomes):
        assert outcome.status == "completed", outcome.text
        assert outcome.value == [n, sum(n * 100 + i for i in range(10))]
        assert outcome.stdout == f"{'x' * 5_000} {n}\n"
        assert [call.value for call in outcome.calls] == [n * 100 + i for i in range(10)]
    assert sorted(counting.taken) == [n * 100 + i for n in range(len(outcomes)) for i in range(10)]


class Crowd:
    """Several guests at a time."""

    def test_threads_share_a_sandbox(self, case: Case) -> None:
        """Eight programs run in eight threads, each thread with its own loop where it has one."""
        counting = Counting()
        runner = case.runner(counting.tool)
        with ThreadPoolExecutor(MANY) as pool:
            outcomes = list(pool.map(runner.run, [PROGRAM.format(n=n) for n in range(MANY)]))
        check(outcomes, counting)

    @once
    def test_tasks_share_a_sandbox(self, case: Case) -> None:
        """Eight programs run in tasks of one event loop."""
        counting = Counting()
        runner = case.runner(counting.tool).runner

        async def main() -> list[Outcome]:
            return await asyncio.gather(*(runner.arun(PROGRAM.format(n=n)) for n in range(MANY)))

        check(asyncio.run(main()), counting)

    def test_programs_run_at_the_same_time(self, case: Case) -> None:
        """Four programs whose tools wait for one another come to an end."""
        barrier = threading.Barrier(4)

        @tool(effect="read")
        def meet(n: int) -> int:
            barrier.wait(case.patience)
            return n

        runner = case.runner(meet)
        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(runner.run, [f"x = meet(n={n})\nx + 0" for n in range(4)]))
        assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3]

    def test_a_busy_program_holds_up_no_other(self, case: Case) -> None:
        """While one program computes, others start, run and end."""
        with case.peer() as peer:
            peer.order("x = echo(1)\nwhile True: pass")
            peer.until(RestFrame)
            peer.send(frame({"answer": 1, "at": 0.1, "value": 1}))
            assert [case.value(f"{n} * 2") for n in range(3)] == [0, 2, 4]

    def test_guests_that_wait_hear_only_their_own(self, case: Case) -> None:
        """Of four guests that wait at the same time each gets the answer that is sent to it, in whatever order."""
        with ExitStack() as stack:
            peers: list[Peer] = [stack.enter_context(case.peer()) for _ in range(4)]
            for n, peer in enumerate(peers):
                peer.order(f"x = echo({n})\n[{n}, x]")
            for peer in peers:
                peer.until(RestFrame)
            for n in (2, 0, 3, 1):
                peers[n].send(frame({"answer": 1, "at": 0.1, "value": f"for {n}"}))
            assert [peer.converse().value for peer in peers] == [[n, f"for {n}"] for n in range(4)]

    def test_killing_one_leaves_the_others(self, case: Case) -> None:
        """A guest that is killed takes none along."""
        with case.peer() as one, case.peer() as other:
            one.order("x = echo('one')\nx")
            other.order("x = echo('other')\nx")
            one.until(RestFrame)
            one.guest.kill()
            said = other.converse()
            assert (said.value, said.gone) == ("other", False)

    @once
    def test_cancelling_one_leaves_the_others(self, case: Case) -> None:
        """Of three actions in one loop, one that is cancelled takes none along."""

        async def main() -> list[object]:
            begun = asyncio.Event()

            async def hang(n: int) -> int:
                begun.set()
                await asyncio.sleep(case.patience)
                return n

            runner = case.runner(hang).runner
            victim = asyncio.create_task(runner.arun("x = hang(n=1)\nx + 0"))
            others = [asyncio.create_task(runner.arun(f"import time\ntime.sleep(0.2)\n{n}")) for n in range(2)]
            await asyncio.wait_for(begun.wait(), case.patience)
            victim.cancel()
            await asyncio.wait([victim], timeout=case.patience)
            assert victim.cancelled()
            return [(await one).value for one in others]

        assert asyncio.run(main()) == [0, 1]
