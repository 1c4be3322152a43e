"""What a fresh sandbox costs: whole code actions beside a bare interpreter that was started in the same run.

    python benchmarks/sandbox.py [--json] [--rounds 7] [--executions 2000]

Each program returns `os.getpid()`, and the kernel's number of its process is taken down beside it: no process runs two
programs. Rounds are interleaved, so that a busy moment of the machine meets every measurement, and medians are
compared. The figures below the table are of the processes themselves; private memory is what the kernel counts in
/proc/<pid>/smaps_rollup.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import Fact, Samples, Table, expect, parser, report, rows

from callgate import CodeRunner, Limits, Tool
from callgate.journal import MemoryJournal
from callgate.sandboxes import Guest, LocalSandbox

GAP = 0.05
"""Seconds between two programs."""

PROGRAM = "import os\nos.getpid()"
FRAMES = """\
import numpy, pandas
frame = pandas.DataFrame({"key": numpy.arange(1000) % 7, "value": numpy.arange(1000.0)})
frame.groupby("key").value.sum().to_list()
"""
SUMS = [float(sum(range(key, 1000, 7))) for key in range(7)]
BARE = [sys.executable, "-I", "-S", "-c", "pass"]
COLD = [sys.executable, "-I", "-c", FRAMES]

TABLE: Table = (
    ("a program, 50 ms after the last", "alone", "python -I -S -c pass", "python alone", 0.25, False),
    ("a program, back to back", "back to back", "python -I -S -c pass", "python", 0.75, False),
    ("a program with pandas and numpy", "frames", "a cold process that imports them", "cold", 0.1, False),
)


class Counted:
    """A sandbox that takes down the kernel's number of each guest's process."""

    name = "local"

    def __init__(self, sandbox: LocalSandbox) -> None:
        self._sandbox = sandbox
        self.level = sandbox.level
        self.pids: list[int | None] = []

    def start(self, limits: Limits) -> Guest:
        """Return a fresh guest."""
        guest = self._sandbox.start(limits)
        self.pids.append(guest.pid)
        return guest

    async def astart(self, limits: Limits) -> Guest:
        """The awaitable twin of `start`."""
        guest = await self._sandbox.astart(limits)
        self.pids.append(guest.pid)
        return guest

    def close(self) -> None:
        """End every guest."""
        self._sandbox.close()


class Forgetful(MemoryJournal):
    """A journal that keeps nothing, so that what it keeps does not count."""

    def append(self, key: str, position: int, lines: Any) -> None:
        """Keep nothing."""


def ran(runner: CodeRunner) -> int:
    """Run the program and return what it takes for its number."""
    outcome = runner.run(PROGRAM)
    expect(outcome.status, "completed", outcome.text)
    return outcome.value


def with_frames(runner: CodeRunner) -> None:
    """Run the program that uses pandas and numpy."""
    outcome = runner.run(FRAMES)
    expect(outcome.value, SUMS, outcome.text)


def process(command: list[str]) -> None:
    """Run a process to its end."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def after_gaps(times: int, *tasks: Callable[[], object]) -> list[float]:
    """Return the seconds of each of some tasks that take turns, each time after a gap; medians of so many times."""
    seconds: list[list[float]] = [[] for _ in tasks]
    for _ in range(times):
        for each, task in zip(seconds, tasks, strict=True):
            time.sleep(GAP)
            each.append(timed(task))
    return [statistics.median(each) for each in seconds]


def timed(task: Callable[[], object], times: int = 1) -> float:
    """Return the seconds of a task that is done so many times in a row."""
    began = time.perf_counter()
    for _ in range(times):
        task()
    return (time.perf_counter() - began) / times


def measure(plain: Counted, loaded: Counted, rounds: int) -> tuple[Samples, list[int]]:
    """Measure everything, so many times, in turns. Returns the programs' own numbers too."""
    runner, frames = CodeRunner([], sandbox=plain), CodeRunner([], sandbox=loaded)
    samples, numbers = Samples(list), list[int]()
    for number in range(rounds + 1):
        found: dict[str, float] = {}
        found["alone"], found["python alone"] = after_gaps(
            10, lambda: numbers.append(ran(runner)), lambda: process(BARE)
        )
        found["back to back"] = timed(lambda: numbers.append(ran(runner)), 40)
        found["python"] = timed(lambda: process(BARE), 10)
        found["frames"], found["cold"] = after_gaps(2, lambda: with_frames(frames), lambda: process(COLD))
        if number:  # what is done first is not typical: pages of files, the fork server
            for name, seconds in found.items():
                samples[name].append(seconds)
    return samples, numbers


# ---- processes


def private_mib(pid: int | None) -> float:
    """Return the memory that only this process has; not a number where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except PermissionError:
        return float("nan")
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def live_memory(sandbox: Counted, program: str) -> float:
    """Return the private memory of a guest in the middle of a program, in MiB."""
    found = list[float]()
    look = Tool(
        name="look",
        input_schema={"type": "object", "properties": {}},
        effect="read",
        invoke=lambda _: found.append(private_mib(sandbox.pids[-1])),
    )
    outcome = CodeRunner([look], sandbox=sandbox).run(f"{program}\nlook()\nNone")
    expect(outcome.status, "completed", outcome.text)
    return found[0]


def own_processes(pid: int | None = None) -> int:
    """Return how many processes there are below this one."""
    count = 0
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            count += 1 + own_processes(int(child))
    return count


def standing() -> tuple[float, int, int]:
    """Return this process's resident memory in MiB, its descriptors, and the processes below it."""
    gc.collect()
    time.sleep(1)  # whoever was killed last is gone
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    mib = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return mib, sum(1 for _ in Path("/proc/self/fd").iterdir()), own_processes()


def grown(sandbox: Counted, executions: int) -> list[Fact]:
    """Run so many programs and return by how much the host has grown."""
    runner = CodeRunner([], sandbox=sandbox, journal=Forgetful())
    for _ in range(100):
        ran(runner)
    sandbox.pids = list(range(-executions, 0))  # room for what the next programs will take down
    before = standing()
    sandbox.pids.clear()
    for _ in range(executions):
        ran(runner)
    after = standing()
    expect(len(set(sandbox.pids)), executions, "processes that ran two programs")
    names, units = ("memory", "descriptors", "processes"), ("MiB", "", "")
    return [
        Fact(name=f"{name} of the host, {executions:,} programs later", value=now - then, unit=unit, target=most)
        for name, unit, most, then, now in zip(names, units, (4, 0, 0), before, after, strict=True)
    ]


def facts(plain: Counted, loaded: Counted, executions: int) -> list[Fact]:
    """Return the figures that need no baseline."""
    memory = (
        ("private memory of a live guest", plain, "", 4.0),
        ("... with pandas and numpy loaded", loaded, "", 4.0),
        ("... and used", loaded, FRAMES, None),
    )
    found = [
        Fact(name=name, value=live_memory(sandbox, program), unit="MiB", target=target)
        for name, sandbox, program, target in memory
    ]
    return found + grown(plain, executions)


def main() -> None:
    """Measure and print."""
    arguments = parser("What a fresh sandbox costs, against a bare interpreter of the same run.")
    arguments.add_argument("--executions", type=int, default=2000, help="programs after which nothing has grown (2000)")
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    with LocalSandbox() as first, LocalSandbox(preload=["numpy", "pandas"]) as second:
        plain, loaded = Counted(first), Counted(second)
        samples, numbers = measure(plain, loaded, given.rounds)
        expect(len(set(plain.pids)), len(numbers), "processes that ran two programs")
        expect(len(set(numbers)), len(numbers), "programs that took themselves for the same process")
        about = {"level": plain.level, "rounds": given.rounds, "programs": len(numbers), "processes": len(numbers)}
        report(
            about,
            rows(TABLE, samples),
            facts(plain, loaded, given.executions),
            began=began,
            as_json=given.json,
        )


if __name__ == "__main__":
    main()
