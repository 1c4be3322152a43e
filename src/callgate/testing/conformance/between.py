"""Nothing is left over between programs, neither inside for the next one nor on the host."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from callgate.testing.conformance.calls import Counting
from callgate.testing.conformance.capabilities import needs
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once

__all__ = ["Between"]

SOIL = """
import atexit, builtins, json, math, os, random, signal, sys, threading
atexit.register(print, 'left')
math.pi = 3
builtins.secret = 'left'
json.dumps = None
os.environ['LEFT'] = 'left'
sys.path.append('/left')
sys.modules['left'] = math
random.seed(1)
sys.setrecursionlimit(500)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
left = 'left'
os.chdir('/')
import time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""

LOOK = """
import builtins, json, math, os, signal, sys, threading
[math.pi > 3.1, hasattr(builtins, 'secret'), json.dumps is None, 'LEFT' in os.environ, '/left' in sys.path,
 'left' in sys.modules, sys.getrecursionlimit() == 500, signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
 'left' in globals(), threading.active_count()]
"""
SETTLED = 0.1
"""Seconds."""

CLEAN = [True, *[False] * 8, 1]


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; False if it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def settled(count: Callable[[], int]) -> int:
    """Return a number once it has been the same for a while."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < SETTLED:
        time.sleep(0.01)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


def open_files() -> int:
    """Return the number of open descriptors; 0 where the system does not tell."""
    try:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a third of the time
    except OSError:
        return 0


class Between:
    """What one program leaves for another one."""

    def test_a_program_finds_nothing_of_the_one_before(self, case: Case) -> None:
        """Modules, builtins, environment, directories, files, signals and threads are as new."""
        assert case.run(SOIL).status == "completed"
        assert case.value(LOOK) == CLEAN

    @once
    def test_a_program_finds_nothing_of_one_that_was_killed(self, case: Case) -> None:
        """Nor of one that had no time to clean up."""
        program = f"{SOIL}\nwhile True: pass"
        assert case.run(program, limits=case.bounded(seconds=case.brief)).limit == "seconds"
        assert case.value(LOOK) == CLEAN

    @once
    def test_a_program_finds_nothing_of_one_beside_it(self, case: Case) -> None:
        """Two guests that are alive at the same time share neither memory nor files."""
        with case.peer() as peer:
            peer.order(f"{SOIL}\nx = echo(1)\n'over'")
            peer.next_frames()
            assert case.value(LOOK) == CLEAN

    @needs("tmp")
    def test_temporary_files_go_with_their_program(self, case: Case) -> None:
        """What a program writes below /tmp is gone for the next one, and was never the host's."""
        path = Path(f"/tmp/callgate-conformance-{os.getpid()}-{case.way}")  # noqa: S108 - the place that is looked at
        try:
            case.run(f"open({str(path)!r}, 'w').write('left')")
            there = path.exists()
            assert case.value(f"import os\nos.path.exists({str(path)!r})") is False
            assert not there, "it was a file of the host"
        finally:
            path.unlink(missing_ok=True)

    @needs("tmp")
    def test_the_working_directory_is_empty(self, case: Case) -> None:
        """A program begins in a directory of its own, which is empty, whatever ran before."""
        for _ in range(2):
            assert case.value("import os\nfound = os.listdir()\nopen('left', 'w').write('left')\nfound") == []

    def test_randomness_is_fresh(self, case: Case) -> None:
        """Each action has a seed of its own."""
        program = "import random, uuid\n[random.random(), uuid.uuid4().hex]"
        values = [case.value(program) for _ in range(4)]
        assert len({one[0] for one in values}) == len({one[1] for one in values}) == 4

    def test_the_clock_begins_anew(self, case: Case) -> None:
        """Program time begins at 0, and wall time is the host's."""
        for _ in range(2):
            start, wall = case.value("import time\n[time.monotonic(), time.time()]")
            assert 0 <= start < 1
            assert abs(wall - time.time()) < case.patience

    def test_the_host_keeps_nothing_of_programs(self, case: Case) -> None:
        """Descriptors and threads of the host do not grow with the number of programs."""
        counting = Counting()
        runner = case.runner(counting.tool)

        def several() -> None:
            for n in range(8):
                runner.run(f"x = take(n={n})\nx + 0")

        several()
        gc.collect()
        files, threads = open_files(), threading.active_count()
        several()
        gc.collect()
        assert eventually(lambda: open_files() <= files + 4, case.patience), "descriptors grow"
        assert threading.active_count() <= threads + 4, "threads grow"

    @once
    def test_a_loop_keeps_nothing_of_programs(self, case: Case) -> None:
        """No task is left on an event loop when its programs are over."""

        async def main() -> int:
            runner = case.runner(Counting().tool).runner
            await runner.arun("x = take(n=0)\nx + 0")
            before = len(asyncio.all_tasks())
            for n in range(4):
                await runner.arun(f"x = take(n={n})\nx + 0")
            deadline = time.monotonic() + case.patience
            while len(asyncio.all_tasks()) > before and time.monotonic() < deadline:  # noqa: ASYNC110 - none is told
                await asyncio.sleep(0.01)
            return len(asyncio.all_tasks()) - before

        assert asyncio.run(main()) <= 0

    @once
    @needs("leftovers")
    def test_no_guest_is_left(self, case: Case) -> None:
        """Guests of programs that ended, failed, crashed, were killed, or never got one, are soon gone."""
        with case.another() as sandbox:

            def count() -> int:
                return len(case.leftovers(sandbox))

            runner = case.runner(Counting().tool, sandbox=sandbox, limits=case.bounded(seconds=case.brief))
            runner.run("1 + 1")
            idle = settled(count)
            with ExitStack() as stack:  # more than a sandbox keeps waiting
                for _ in range(4):
                    peer = stack.enter_context(case.peer(sandbox=sandbox))
                    peer.order("x = echo(1)\nx")
                    peer.next_frames()
                assert eventually(lambda: count() > idle, case.patience), "`leftovers` does not see guests that run"
            for program in ("1 + 1", "x = take(n=1)\n1 / 0", "import os\nos.abort()", "while True: pass"):
                runner.run(program)
            with case.peer(sandbox=sandbox):
                pass
            assert eventually(lambda: count() <= idle, case.patience), case.leftovers(sandbox)
            sandbox.close()
            assert eventually(lambda: not count(), case.patience), case.leftovers(sandbox)
