"""What E2BSandbox adds to the E2B SDK: inner calls beside the SDK's own echo, over the loopback server.

    python benchmarks/cloud.py [--json] [--rounds 7]

The echo is the least that the SDK can do: a line into a process's input by `stream_input`, and the same line back by
`on_stdout`, from a process that does nothing else. It is as long as what an inner call sends, and made by the client
for event loops, whose calls E2BSandbox makes for threads, too; the client for threads is shown beside it. An inner call
is a tool that returns its argument, timed from one call of it to the next, so everything is in it: the program, the
relay, the packets, the gate and the journal. All go through the same server, which runs in a process of its own. Rounds
are interleaved, and medians are compared.

An inner call in FakeSandbox is the same program and the same gate over a socket: what no wire can take away.
"""

from __future__ import annotations

import asyncio
import json
import queue
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2b import E2B
from figures import Fact, Samples, Table, expect, parser, report, rows

from callgate import CodeRunner, Limits, Tool
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing import FakeSandbox

CALLS = 400
LARGE = 100_000
PROGRAM = "for n in range({}): take(n=n, text='x' * {})\nNone"
ECHO = "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"

TABLE: Table = (
    ("an inner call, threads", "threads", "echo by the SDK alone", "echo", 1.5, False),
    ("an inner call, event loop", "loop", "echo by the SDK alone", "echo", 1.5, False),
    ("... in FakeSandbox, threads", "fake threads", "echo by the SDK alone", "echo", None, False),
    ("... in FakeSandbox, event loop", "fake loop", "echo by the SDK alone", "echo", None, False),
    ("echo by the SDK for threads", "sync echo", "echo by the SDK alone", "echo", None, False),
    ("an inner call with 100 kB", "large", "echo of 100 kB by the SDK", "large echo", None, False),
    ("a program, sandbox running", "program", "a command by the SDK", "command", None, False),
)


@contextmanager
def served() -> Iterator[dict[str, str]]:
    """Serve E2B on loopback from another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "callgate.testing.e2b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()


class Took:
    """A tool that returns its argument, and when it was called."""

    def __init__(self) -> None:
        self.times: list[float] = []
        schema = {"type": "object", "properties": {"n": {"type": "integer"}, "text": {"type": "string"}}}
        self.tool = Tool(name="take", input_schema=schema, effect="read", invoke=self._take, ainvoke=self._atake)

    async def _atake(self, call: Any) -> int:
        return self._take(call)

    def _take(self, call: Any) -> int:
        self.times.append(time.perf_counter())
        return call.arguments["n"]

    def each(self) -> float:
        """Return the seconds from one call to the next."""
        times, self.times = self.times, []
        return (times[-1] - times[0]) / (len(times) - 1)


async def echoes(options: dict[str, str], count: int, size: int) -> float:
    """Return the seconds that one echo takes."""
    sandbox = await E2B(**options).AsyncSandbox.create("base", timeout=120)
    line, heard, missing = "x" * size + "\n", asyncio.Event(), 0

    def hear(text: str) -> None:
        nonlocal missing
        missing -= len(text)
        if not missing:
            heard.set()

    try:
        handle = await sandbox.commands.run(
            f"exec python3 -u -S -c '{ECHO}'",
            background=True,
            stdin=True,
            timeout=0,
            on_stdout=hear,
            retain_output=False,
        )
        stream = sandbox.commands.stream_input(handle.pid, timeout=0)
        began = 0.0
        for number in range(-10, count):
            if not number:
                began = time.perf_counter()
            heard.clear()
            missing = len(line)
            await stream.send(line)
            await heard.wait()
        took = (time.perf_counter() - began) / count
        await stream.close()
        await handle.close_stdin()
        await handle.wait()
        return took
    finally:
        await sandbox.kill()


def sync_echoes(options: dict[str, str], count: int, size: int) -> float:
    """Return the seconds that one echo takes by the client for threads, which sends what an iterator yields."""
    sandbox = E2B(**options).Sandbox.create("base", timeout=120)
    line, lines = "x" * size + "\n", queue.SimpleQueue[str | None]()
    try:
        handle = sandbox.commands.run(
            f"exec python3 -u -S -c '{ECHO}'", background=True, stdin=True, timeout=0, retain_output=False
        )
        pid = handle.pid
        sending = threading.Thread(
            target=lambda: sandbox.commands.stream_input(pid, iter(lines.get, None), timeout=0), daemon=True
        )
        sending.start()
        heard = iter(handle)
        began = 0.0
        for number in range(-10, count):
            if not number:
                began = time.perf_counter()
            lines.put(line)
            missing = len(line)
            while missing:
                missing -= len(next(heard)[0] or "")
        took = (time.perf_counter() - began) / count
        lines.put(None)
        sending.join()
        handle.close_stdin()
        return took
    finally:
        sandbox.kill()


def command(options: dict[str, str]) -> float:
    """Return the seconds of a command that runs a Python that does nothing."""
    sandbox = E2B(**options).Sandbox.create("base", timeout=120)
    try:
        found: list[float] = []
        for _ in range(4):
            began = time.perf_counter()
            sandbox.commands.run("python3 -c pass")
            found.append(time.perf_counter() - began)
        return statistics.median(found)
    finally:
        sandbox.kill()


def measure(options: dict[str, str], sandbox: E2BSandbox, rounds: int) -> Samples:
    """Measure everything, so many times, in turns."""
    took, samples = Took(), Samples(list)
    runner = CodeRunner([took.tool], sandbox=sandbox, limits=Limits(calls=CALLS))
    here = CodeRunner([took.tool], sandbox=FakeSandbox(), limits=Limits(calls=CALLS))

    def ran(by: CodeRunner, program: str) -> float:
        outcome = by.run(program)
        expect(outcome.status, "completed", outcome.text)
        return took.each()

    async def aran(by: CodeRunner, program: str) -> float:
        outcome = await by.arun(program)
        expect(outcome.status, "completed", outcome.text)
        return took.each()

    def empty() -> float:
        began = time.perf_counter()
        outcome = runner.run("1 + len([])")
        expect(outcome.value, 1, outcome.text)
        return time.perf_counter() - began

    short = PROGRAM.format(CALLS, 0)
    for number in range(rounds + 1):
        found = {
            "echo": asyncio.run(echoes(options, CALLS, 60)),
            "threads": ran(runner, short),
            "loop": asyncio.run(aran(runner, short)),
            "fake threads": ran(here, short),
            "fake loop": asyncio.run(aran(here, short)),
            "sync echo": sync_echoes(options, CALLS, 60),
            "large echo": asyncio.run(echoes(options, 40, LARGE)),
            "large": ran(runner, PROGRAM.format(40, LARGE)),
            "program": statistics.median(empty() for _ in range(4)),
            "command": command(options),
        }
        if number:
            for name, seconds in found.items():
                samples[name].append(seconds)
    return samples


def main() -> None:
    """Measure and print."""
    given = parser("What E2BSandbox adds to the E2B SDK, over the loopback server.").parse_args()
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    with served() as options, E2BSandbox(**options) as sandbox:
        first = time.perf_counter()
        CodeRunner([], sandbox=sandbox).run("1 + len([])")
        made = Fact(name="the first program, its sandbox being made", value=time.perf_counter() - first, unit="s")
        samples = measure(options, sandbox, given.rounds)
    report({"rounds": given.rounds, "calls": CALLS}, rows(TABLE, samples), [made], began=began, as_json=given.json)


if __name__ == "__main__":
    main()
