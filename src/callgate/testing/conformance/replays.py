"""A guest is deterministic: a program that runs again from its journal does the same, and repeats no write."""

from __future__ import annotations

from contextlib import ExitStack

from callgate.errors import ToolFailed
from callgate.journal import MemoryJournal
from callgate.sandboxes.base import RestFrame, Sandbox
from callgate.testing.conformance.calls import Counting, echo
from callgate.testing.conformance.capabilities import needs
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once
from callgate.tools import tool

__all__ = ["Replays"]

SOURCES = """
import os, random, secrets, tempfile, time, uuid
[os.getpid(), random.random(), random.SystemRandom().random(), os.urandom(4).hex(), secrets.token_hex(4),
 uuid.uuid4().hex, uuid.uuid1().hex, next(tempfile._get_candidate_names()),
 hash('text'), list({'a', 'b', 'c', 'd'}), time.time(), time.monotonic()]
"""
SEEDED = 8
"""So many of them differ with the seed."""

RACE = """
import asyncio, random, threading, uuid
from concurrent.futures import ThreadPoolExecutor
log, lock = [], threading.Lock()
def work(n):
    for _ in range(3):
        echo(random.randrange(100))
        with lock: log.append(n)
with ThreadPoolExecutor(4) as pool: list(pool.map(work, range(6)))
async def main():
    async def one(n):
        await asyncio.sleep(random.random()); log.append(n); await echo(str(uuid.uuid4()))
    await asyncio.gather(*[one(n) for n in range(8)])
asyncio.run(main())
log
"""

PAYS = """
import time
rows = [echo(value=n) for n in range(5)]
time.sleep(0.1)
paid = [take(n=rows[n] + 10) for n in range(3)]
print('paid', paid)
[paid, time.monotonic() > 0.1]
"""


class Gated:
    """A tool `take` that waits for a human, reads beside it, and a journal."""

    def __init__(self, case: Case) -> None:
        self.counting, self.read, self.store = Counting(), list[object](), MemoryJournal()

        @tool(effect="read", name="echo")
        def reading(value: int) -> int:
            self.read.append(value)
            return value

        tools = (self.counting.tool, reading)
        self.runs = case.runner(*tools, journal=self.store, interrupt_on={"take": True})


class Replays:
    """What happens the second time."""

    @once
    def test_the_same_seed_gives_the_same_program(self, case: Case) -> None:
        """Randomness, process numbers, hashes and clocks are equal in every guest of one seed."""
        first, second = case.says(SOURCES), case.says(SOURCES)
        assert first.error is None
        assert first.value == second.value

    @once
    def test_another_seed_gives_other_randomness(self, case: Case) -> None:
        """And the same hashes and clocks."""
        first, second = case.says(SOURCES, seed=1).value, case.says(SOURCES, seed=2).value
        assert [one != other for one, other in zip(first[:SEEDED], second[:SEEDED], strict=True)] == [True] * SEEDED
        assert first[SEEDED:] == second[SEEDED:]

    def test_threads_and_tasks_take_turns_alike(self, case: Case) -> None:
        """A program with many strands says the same frames, in the same order, twice."""
        first, second = case.says(RACE), case.says(RACE)
        assert (first.error, first.stuck, first.gone) == (None, False, False)
        assert first.frames == second.frames

    def test_the_clock_is_the_hosts(self, case: Case) -> None:
        """Wall time begins where the host says, and time passes only as the host says."""
        said = case.says("import time\na = time.time()\ntime.sleep(1000)\n[a, time.time() - a]", wall=1_234_567_890.0)
        assert said.value is not None, said.error
        assert abs(said.value[0] - 1_234_567_890.0) < 0.01
        assert abs(said.value[1] - (1_800_000_000.0 - 1_234_567_890.0) - 1000) < 0.01
        assert 1000 <= said.seconds < 1001

    @once
    @needs("addresses")
    def test_addresses_are_the_same(self, case: Case) -> None:
        """Of objects that guests make alike: the first, later ones, one beside others, one of another sandbox."""
        program = "class Thing: pass\nimport sys\n[id(one) for one in (object(), Thing, Thing(), [], sys, print)]"

        def addresses(sandbox: Sandbox) -> list[int]:
            with case.peer(sandbox=sandbox) as peer:
                peer.order(program)
                return peer.converse().value

        with case.another() as sandbox, ExitStack() as stack:
            seen = [addresses(sandbox) for _ in range(3)]
            for _ in range(6):
                beside = stack.enter_context(case.peer(sandbox=sandbox))
                beside.order("x = echo(1)\nx")
                beside.until(RestFrame)
            seen += [addresses(sandbox), addresses(case.sandbox)]
        assert seen[0] is not None
        assert seen == seen[:1] * 5

    def test_approvals_one_after_another_repeat_nothing(self, case: Case) -> None:
        """Each resume answers what was done from the journal; each approved call runs once, reads do not run again."""
        gated = Gated(case)
        outcome = gated.runs.run(PAYS, id="a")
        for n in range(3):
            assert outcome.status == "paused", outcome.text
            assert [one.arguments for one in outcome.waiting] == [{"n": n + 10}]
            outcome = gated.runs.resume("a", {outcome.waiting[0].id: "approve"})
        assert (outcome.status, outcome.value) == ("completed", [[10, 11, 12], True]), outcome.text
        assert outcome.stdout == "paid [10, 11, 12]\n"
        assert (gated.counting.taken, gated.read) == ([10, 11, 12], [0, 1, 2, 3, 4])
        assert outcome.warnings == ()

    def test_what_a_program_draws_is_the_same_after_a_pause(self, case: Case) -> None:
        """An approved call whose arguments are random is the one that was shown."""
        gated = Gated(case)
        paused = gated.runs.run("import random\nx = take(n=random.randrange(10 ** 9))\nx + 0", id="r")
        (shown,) = (one.arguments["n"] for one in paused.waiting)
        outcome = gated.runs.resume("r", {paused.waiting[0].id: "approve"})
        assert (outcome.value, gated.counting.taken) == (shown, [shown])

    def test_parallel_approvals_are_answered_by_identity(self, case: Case) -> None:
        """Edited, answered for and approved calls get what was decided about each."""
        gated = Gated(case)
        paused = gated.runs.run("found = call_tools([('take', {'n': n}) for n in range(3)])\nfound", id="p")
        calls = {one.arguments["n"]: one.id for one in paused.waiting}
        edited = {"type": "edit", "edited_action": {"name": "take", "args": {"n": 70}}}
        answered = {"type": "respond", "message": "no need"}
        outcome = gated.runs.resume("p", {calls[0]: edited, calls[2]: answered, calls[1]: "approve"})
        assert outcome.value == [70, 1, "no need"], outcome.text
        assert sorted(gated.counting.taken) == [1, 70]

    def test_a_program_cannot_swallow_a_pause(self, case: Case) -> None:
        """No exception is raised in it; a rejection it can catch."""
        gated = Gated(case)
        program = "try:\n    x = take(n=1)\nexcept BaseException as error:\n    x = type(error).__name__\nx"
        paused = gated.runs.run(program, id="s")
        assert (paused.status, paused.stdout) == ("paused", ""), paused.text
        outcome = gated.runs.resume("s", {paused.waiting[0].id: {"type": "reject", "message": "no"}})
        assert (outcome.value, gated.counting.taken) == ("ApprovalRejected", [])

    def test_strands_that_wait_are_found_again(self, case: Case) -> None:
        """Calls of threads that wait for a human keep their decisions, however their threads are scheduled."""
        gated = Gated(case)
        program = """
from concurrent.futures import ThreadPoolExecutor
def work(n): return take(n=echo(value=n) * 10)
with ThreadPoolExecutor(3) as pool: found = list(pool.map(work, range(3)))
found
"""
        paused = gated.runs.run(program, id="t")
        assert len(paused.waiting) == 3, paused.text
        outcome = gated.runs.resume("t", {one.id: "approve" for one in paused.waiting})
        assert (outcome.value, sorted(gated.counting.taken)) == ([0, 10, 20], [0, 10, 20])

    def test_failures_are_replayed(self, case: Case) -> None:
        """A tool that failed before a pause is not called again, and fails alike."""
        tries: list[int] = []

        @tool(effect="read")
        def flaky(n: int) -> int:
            tries.append(n)
            raise ToolFailed(f"try {len(tries)}")

        counting = Counting()
        runs = case.runner(flaky, counting.tool, interrupt_on={"take": True})
        program = "try:\n    flaky(n=1)\nexcept ToolFailed as error:\n    text = str(error)\nx = take(n=1)\n[text, x]"
        paused = runs.run(program, id="f")
        assert runs.resume("f", {paused.waiting[0].id: "approve"}).value == ["try 1", 1]
        assert tries == [1]

    def test_another_sandbox_goes_on(self, case: Case) -> None:
        """An action that paused in one sandbox is finished in another one of its kind."""
        gated = Gated(case)
        paused = gated.runs.run(PAYS, id="o")
        with case.another() as sandbox:
            runs = case.runner(
                gated.counting.tool, echo, sandbox=sandbox, journal=gated.store, interrupt_on={"take": True}
            )
            for _ in range(3):
                paused = runs.resume("o", {paused.waiting[0].id: "approve"})
        assert (paused.status, gated.counting.taken) == ("completed", [10, 11, 12]), paused.text

    def test_a_crash_in_the_middle_of_a_write_repeats_nothing(self, case: Case) -> None:
        """A host that died while a write ran is told what became of it, and the program goes on behind it."""
        counting, whole, cut = Counting(), MemoryJournal(), MemoryJournal()
        program = "found = [take(n=n) for n in range(4)]\nfound"
        case.runner(counting.tool, journal=whole).run(program, id="c")
        lines = whole.read("c")
        started = [position for position, line in enumerate(lines) if '"e":"started"' in line]
        cut.append("c", 0, lines[: started[2] + 1])
        counting.taken.clear()
        runs = case.runner(counting.tool, journal=cut)
        paused = runs.resume("c")
        assert (paused.status, [one.unknown for one in paused.waiting]) == ("paused", [True]), paused.text
        outcome = runs.resume("c", {paused.waiting[0].id: {"type": "done", "value": 70}})
        assert (outcome.value, counting.taken) == ([0, 1, 70, 3], [3]), outcome.text

    @needs("lose")
    def test_a_sandbox_that_goes_away_is_told_as_lost(self, case: Case) -> None:
        """Its guests end, each of them says `lost()`, and the action is `lost`, not failed."""
        with case.another() as sandbox, case.peer(sandbox=sandbox) as peer:
            peer.order("x = echo(1)\nx")
            peer.until(RestFrame)
            assert not peer.guest.lost()
            case.lose(sandbox)
            assert peer.receive() == b""
            assert peer.guest.lost()

    @needs("lose")
    def test_an_action_goes_on_after_its_sandbox_went_away(self, case: Case) -> None:
        """Resumed in another sandbox it repeats no write, and ends as if nothing had happened."""
        counting, store = Counting(), MemoryJournal()
        with case.another() as sandbox:

            @tool(effect="read")
            def fall(n: int) -> int:
                case.lose(sandbox)
                return n

            program = "a = take(n=1)\nb = fall(n=2)\nc = take(n=3)\n[a, b, c]"
            lost = case.runner(counting.tool, fall, sandbox=sandbox, journal=store).run(program, id="l")
            assert (lost.status, counting.taken) == ("lost", [1]), lost.text
            found = MemoryJournal()  # the tool may outlive its action, and is journalled when it returns: not in here
            found.append("l", 0, store.read("l"))

        @tool(effect="read", name="fall")
        def stand(n: int) -> int:
            return n

        outcome = case.runner(counting.tool, stand, journal=found).resume("l")
        assert (outcome.value, counting.taken) == ([1, 2, 3], [1, 3]), outcome.text
