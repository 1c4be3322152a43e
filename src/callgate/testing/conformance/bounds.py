"""Every limit of `Limits` ends a program as `limited`, with its name; the next one runs as ever."""

from __future__ import annotations

import threading
import time

from callgate.limits import Limits
from callgate.outcome import Outcome
from callgate.testing.conformance.calls import Counting, echo
from callgate.testing.conformance.capabilities import needs
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once
from callgate.tools import tool

__all__ = ["Bounds"]

SO_FAR = "print('so far')\nx = take(n=1)\n"


def limited(case: Case, program: str, limit: str, *tools: object, limits: Limits) -> Outcome:
    """Run a program that a limit has to end, and one after it."""
    counting = Counting()
    outcome = case.run(SO_FAR + program, counting.tool, *tools, limits=limits)
    assert (outcome.status, outcome.limit) == ("limited", limit), f"{program}: {outcome.text[:1000]}"
    assert outcome.stdout.startswith("so far\n")
    assert counting.taken[:1] == [1]
    assert f"limit {limit}" in outcome.text
    assert case.value("6 * 7") == 42
    return outcome


class Bounds:
    """What limits do."""

    def test_limit_seconds_ends_a_busy_program(self, case: Case) -> None:
        """A loop that never waits, and swallows whatever is raised in it, ends soon after its time."""
        program = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
        began = time.monotonic()
        limited(case, program, "seconds", limits=case.bounded(seconds=case.brief, cpu_seconds=60))
        assert time.monotonic() - began < case.brief + case.patience

    @once
    def test_limit_seconds_ends_a_sleeping_program(self, case: Case) -> None:
        """So does one that only waits."""
        limited(case, "import time\ntime.sleep(600)", "seconds", limits=case.bounded(seconds=case.brief))

    def test_limit_seconds_ends_a_program_in_a_tool(self, case: Case) -> None:
        """Time in tools counts: one that takes too long ends the program."""
        over = threading.Event()

        @tool(effect="read")
        def hang() -> None:
            over.wait(case.patience)

        try:
            limited(case, "hang()", "seconds", hang, limits=case.bounded(seconds=case.brief))
        finally:
            over.set()

    @once
    def test_limit_seconds_ends_a_program_that_blocks_in_c(self, case: Case) -> None:
        """A read that blocks in the operating system, where no Python runs, is ended too."""
        limited(case, "import os\nos.read(os.pipe()[0], 1)", "seconds", limits=case.bounded(seconds=case.brief))

    def test_what_a_killed_program_printed_is_there(self, case: Case) -> None:
        """Lines that were printed before a program is ended from outside are not lost."""
        outcome = case.run(
            "for n in range(50): print('line', n)\nwhile True: pass", limits=case.bounded(seconds=case.brief)
        )
        assert outcome.stdout == "".join(f"line {n}\n" for n in range(50))

    @needs("cpu_seconds")
    def test_limit_cpu_seconds(self, case: Case) -> None:
        """Processor time is bounded on its own, and waiting costs none."""
        limits = case.bounded(seconds=10 * case.brief, cpu_seconds=0.3)
        assert case.value("import time\ntime.sleep(0.4)\n'rested'", limits=limits) == "rested"
        limited(case, "while True: pass", "cpu_seconds", limits=limits)

    @needs("memory_mb")
    def test_limit_memory_mb(self, case: Case) -> None:
        """More memory than the limit is a MemoryError, which ends a program that does not catch it."""
        limits = case.bounded(memory_mb=128)
        limited(case, "x = bytearray(600 << 20)", "memory_mb", limits=limits)
        limited(case, "x = []\nfor n in range(600): x.append(bytearray(1 << 20))", "memory_mb", limits=limits)
        program = "try: x = bytearray(600 << 20)\nexcept MemoryError: x = None\n'on' if x is None else 'too much'"
        assert case.value(program, limits=limits) == "on"

    @needs("disk_mb")
    def test_limit_disk_mb(self, case: Case) -> None:
        """More files than the limit are an OSError, which ends a program that does not catch it."""
        limits = case.bounded(disk_mb=4)
        for folder in ("tmp", "out"):
            write = f"for n in range(12): open(f'/{folder}/{{n}}', 'wb').write(bytes(1 << 20))"
            limited(case, write, "disk_mb", limits=limits)
        program = f"try:\n    {write}\nexcept OSError: full = True\nfull"
        assert case.value(program, limits=limits) is True

    def test_limit_output_kb(self, case: Case) -> None:
        """What is printed above the limit is counted and dropped; sixteen times as much ends the program."""
        limits = case.bounded(output_kb=8)
        cut = case.run("for n in range(1000): print('x' * 100)\n'end'", limits=limits)
        assert (cut.status, cut.value, len(cut.stdout), cut.truncated[0].total) == ("completed", "end", 8192, 101_000)
        assert len(limited(case, "while True: print('x' * 100)", "output_kb", limits=limits).stdout) == 8192

    @once
    def test_limit_shown_chars(self, case: Case) -> None:
        """What the model reads is short, however much the program shows, and the whole is there for the host."""
        outcome = case.run("print('y' * 3_000)\n'x' * 100_000", limits=case.bounded(shown_chars=500))
        assert (len(outcome.value), len(outcome.stdout), len(outcome.text) < 3_000) == (100_000, 3_001, True)

    def test_limit_calls(self, case: Case) -> None:
        """The call above the limit is refused; a program that goes on is ended."""
        counting = Counting()
        program = "while True:\n    try: take(n=2)\n    except Exception: pass"
        outcome = case.run(program, counting.tool, limits=case.bounded(calls=5))
        assert (outcome.status, outcome.limit, len(counting.taken)) == ("limited", "calls", 5), outcome.text

    def test_limit_parallel_calls(self, case: Case) -> None:
        """No more calls than that run at the same time, and all of them run."""
        running, most, lock = [0], [0], threading.Lock()

        @tool(effect="read")
        def busy(n: int) -> int:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.02)
            with lock:
                running[0] -= 1
            return n

        program = "found = call_tools([('busy', {'n': n}) for n in range(12)])\nsum(found)"
        assert case.value(program, busy, limits=case.bounded(parallel_calls=3)) == 66
        assert most[0] == 3

    def test_limit_frame_mb(self, case: Case) -> None:
        """An argument, a result or a value that is too large is refused with that limit, on either side."""

        @tool(effect="read")
        def large() -> str:
            return "x" * (2 << 20)

        limits = case.bounded(frame_mb=1)
        for program in ("echo(value='x' * (2 << 20))", "y = large()", "'x' * (2 << 20)"):
            limited(case, program, "frame_mb", echo, large, limits=limits)
        caught = "try:\n    y = large()\nexcept LimitExceeded as error:\n    name = error.limit\nname"
        assert case.value(caught, large, limits=limits) == "frame_mb"

    def test_limit_threads(self, case: Case) -> None:
        """The thread above the limit cannot start; a program that does not expect it ends."""
        start = "threading.Thread(target=time.sleep, args=(0.05,)).start()"
        program = f"import threading, time\nfor n in range(99): {start}"
        limited(case, program, "threads", limits=case.bounded(threads=9))
        caught = f"import threading, time\nfor n in range(99):\n    try: {start}\n    except RuntimeError: break\nn"
        assert case.value(caught, limits=case.bounded(threads=9)) == 9

    def test_limit_pending_approvals(self, case: Case) -> None:
        """Calls above the limit that would wait for a human are refused, the others wait."""
        counting = Counting()
        program = """
try: call_tools([('take', {'n': n}) for n in range(5)])
except LimitExceeded as error: print(error.limit)
"""
        outcome = case.run(
            program, counting.tool, limits=case.bounded(pending_approvals=3), interrupt_on={"take": True}
        )
        assert (outcome.status, len(outcome.waiting), counting.taken) == ("paused", 3, [])
