"""Every limit ends as `limited`, with its name, in time, and the next program runs as ever. In the real jail."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from local.harness import descendants, eventually

from callgate import CodeRunner, LimitExceeded, Limits, MemoryJournal, SandboxUnavailable, tool
from callgate.driver import Clock
from callgate.sandboxes import LocalSandbox
from callgate.sandboxes.channel import SocketGuest

GRACE = 0.5
"""Seconds after its limit within which a program has to be over."""

ATTEMPTS = 5
"""How often a program may be late on a machine that is busy with something else."""

SO_FAR = "print('so far')\nrows(n=2)\n"

SPINNING = """
import ctypes
libc = ctypes.CDLL(None)
lock, thread = ctypes.c_int(), ctypes.c_ulong()
libc.pthread_spin_init(ctypes.byref(lock), 0)
libc.pthread_spin_lock(ctypes.byref(lock))
for _ in range({threads}):
    libc.pthread_create(ctypes.byref(thread), None, libc.pthread_spin_lock, ctypes.byref(lock))
"""
"""Threads of C code that keep processors busy without Python."""


@tool(effect="read")
def rows(n: int = 3) -> list[int]:
    """Return numbers."""
    return list(range(n))


@tool(effect="read")
def large() -> str:
    """Return more than a frame of 1 MiB."""
    return "x" * (2 << 20)


over = [threading.Event()]
"""The last one is set when the running test is over."""


@pytest.fixture(autouse=True)
def _release_tools():
    over.append(threading.Event())
    yield
    over.pop().set()


@tool(effect="read")
def slow() -> int:
    """Take longer than any program."""
    over[-1].wait(60)
    return 1


@tool(effect="read")
async def asleep() -> int:
    """Take longer than any program, on an event loop."""
    mine = over[-1]
    while not mine.is_set():
        await asyncio.sleep(0.02)
    return 1


TOOLS = [rows, large, slow, asleep]


class Watched:
    """A sandbox that remembers its last guest."""

    def __init__(self, sandbox):
        self.name, self.level, self._sandbox = sandbox.name, sandbox.level, sandbox

    def start(self, limits):
        self.guest = self._sandbox.start(limits)
        return self.guest

    async def astart(self, limits):
        self.guest = await self._sandbox.astart(limits)
        return self.guest


@pytest.fixture
def watched(jail):
    return Watched(jail)


@pytest.fixture(params=["run", "arun"])
def run(request, watched):
    """Run a program on threads, and on an event loop."""

    def go(program, limits, sandbox=watched, **options):
        runner = CodeRunner(TOOLS, sandbox=sandbox, limits=limits, **options)
        return runner.run(program) if request.param == "run" else asyncio.run(runner.arun(program))

    return go


@pytest.fixture
def ends(run, watched):
    """Say that a program ends by a limit, in time, with what it had printed and called, and harms no other."""

    def check(program, limits, limit, seconds=None, used=None):
        for attempt in range(ATTEMPTS):
            began = time.monotonic()
            outcome = run(SO_FAR + program, limits)
            took = time.monotonic() - began
            if used is not None:
                used.append(watched.guest.cpu_seconds())
            assert (outcome.status, outcome.limit, outcome.ran) == ("limited", limit, True), outcome.text
            assert outcome.stdout.startswith("so far\n")
            assert [(call.tool, call.status) for call in outcome.calls][:1] == [("rows", "done")]
            assert f"limit {limit}" in outcome.text
            assert "rows(n=2) -> [0,1]" in outcome.text
            assert outcome.journal.entries()[-1]["limit"] == limit
            if seconds is None or took < seconds + GRACE:
                break
            assert attempt < ATTEMPTS - 1, f"it took {took:.2f} s"
        assert run("6 * 7", limits).value == 42
        return outcome

    return check


# ---- wall clock


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("while True: pass", id="a busy loop"),
        pytest.param("sum(range(10 ** 13))", id="a long call in C"),
        pytest.param("import re\nre.match('(a+)+$', 'a' * 64 + 'b')", id="a pattern that never ends"),
        pytest.param("import time\ntime.sleep(60)", id="time.sleep"),
        pytest.param("import asyncio\nasyncio.run(asyncio.sleep(60))", id="asyncio.sleep"),
        pytest.param("import ctypes\nctypes.CDLL(None).sleep(60)", id="sleep in C"),
        pytest.param("import os\nos.read(os.pipe()[0], 1)", id="a read that blocks"),
        pytest.param(
            "import signal\nfor n in set(signal.valid_signals()) - {9, 19}:\n"
            "    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\nwhile True: pass",
            id="ignored signals",
        ),
        pytest.param("try:\n    while True: pass\nfinally:\n    while True: pass", id="finally"),
        pytest.param("while True:\n    try:\n        while True: pass\n    except BaseException: pass", id="except"),
        pytest.param(
            "import threading\nfor _ in range(4): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
            id="threads",
        ),
        pytest.param("class A:\n    def __del__(self):\n        while True: pass\nA()", id="a finaliser"),
        pytest.param(
            "class A:\n    def __repr__(self):\n        while True: pass\n    model_dump = 1\nA()", id="a repr"
        ),
        pytest.param("slow()", id="a tool"),
        pytest.param("asleep()", id="a tool on the loop"),
        pytest.param("call_tools([('slow', {}), ('asleep', {})])", id="tools side by side"),
        pytest.param("try: slow()\nexcept BaseException: pass\nwhile True: pass", id="a tool that is caught"),
    ],
)
def test_seconds(ends, program):
    ends(program, Limits(seconds=0.7, cpu_seconds=20), "seconds", 0.7)


def test_what_a_killed_program_printed_is_not_lost(run):
    program = "for n in range(50): print('line', n)\nwhile True: pass"
    outcome = run(program, Limits(seconds=0.5))
    assert outcome.stdout == "".join(f"line {n}\n" for n in range(50))


def test_of_much_output_a_killed_program_takes_little_along(run):
    program = "for n in range(4000): print('line', n)\nwhile True: pass"
    outcome = run(program, Limits(seconds=1))
    assert outcome.stdout.startswith("line 0\nline 1\n")
    assert len("".join(f"line {n}\n" for n in range(4000))) * 63 / 64 - 20 < len(outcome.stdout)


def test_what_was_flushed_is_not_lost(run):
    outcome = run("print('wait ', end='', flush=True)\nwhile True: pass", Limits(seconds=0.5))
    assert outcome.stdout == "wait "


# ---- processor time


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("while True: pass", id="Python"),
        pytest.param(SPINNING.format(threads=1) + "libc.sleep(60)", id="one thread"),
        pytest.param(SPINNING.format(threads=6) + "libc.sleep(60)", id="six threads"),
        pytest.param(SPINNING.format(threads=2) + "slow()", id="beside a tool"),
    ],
)
def test_cpu_seconds(ends, program):
    """In time means here: by the processor time that was used, which passes slowly on a busy machine."""
    used = []

    for _ in range(ATTEMPTS):
        ends(program, Limits(seconds=60, cpu_seconds=0.6), "cpu_seconds", used=used)
        if used[-1] < 0.6 + GRACE:
            return
    raise AssertionError(used)


def test_a_look_at_a_guest_that_is_gone_hides_nothing_of_what_it_used(monkeypatch):
    """Its end is heard after the look: what it can have used until then is known all the same."""
    now, gone = [100.0], []

    def cpu():
        if gone:
            raise ProcessLookupError
        return 0.1

    monkeypatch.setattr("callgate.sandboxes.channel.CORES", 3)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    ours, theirs = socket.socketpair()
    with theirs:
        guest = SocketGuest(ours, kill=lambda: None, cpu=cpu, lost=lambda: False)
        gate = SimpleNamespace(stop=lambda limit: [limit], wake_at=math.inf)
        clock = Clock(SimpleNamespace(guest=guest, limits=Limits(cpu_seconds=6), gate=gate))
        assert not clock.spent()
        gone.append(True)
        now[0] += 10
        assert clock.look() == ["cpu_seconds"]
        now[0] += 10  # it is long gone: nothing is added
        assert clock.spent()
        assert guest.cpu_seconds() == pytest.approx(30.1)
        guest.kill()
        assert guest.cpu_seconds() == pytest.approx(30.1)


class Late(MemoryJournal):
    """A journal that is not done with a line before the guest is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.guests = 0

    def append(self, key, position, lines):
        super().append(key, position, lines)
        if any('"e":"done"' in line and '"n":1' in line for line in lines):
            eventually(lambda: len(descendants()) < self.guests, 60)

    async def aappend(self, key, position, lines):
        self.append(key, position, lines)  # holds up the whole loop


def test_a_guest_that_the_kernel_ended_for_its_processor_time_is_limited_too(run):
    """The host is held up until the kernel's own limit has struck; then it finds a guest that is gone."""
    with LocalSandbox(spares=0) as sandbox:
        try:
            sandbox.check()
        except SandboxUnavailable as error:
            pytest.skip(f"this host cannot isolate programs: {error}")
        sandbox.start(Limits()).kill()
        journal = Late()
        journal.guests = len(descendants()) + 1
        program = SO_FAR + SPINNING.format(threads=2) + "rows(n=2)\nlibc.sleep(60)"
        outcome = run(program, Limits(seconds=60, cpu_seconds=1), sandbox, journal=journal)
    assert (outcome.status, outcome.limit) == ("limited", "cpu_seconds"), outcome.text
    assert outcome.stdout == "so far\n"


# ---- memory


MEMORY = Limits(memory_mb=96, seconds=30)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("x = bytearray(1 << 30)", id="at once"),
        pytest.param("x = []\nwhile True: x.append(bytearray(1 << 20))", id="piece by piece"),
        pytest.param("x = []\nwhile True: x.append(object())", id="small objects"),
        pytest.param("def f():\n    x = []\n    while True: x.append([])\nf()", id="in a function"),
        pytest.param("x = {}\nwhile True: x[len(x)] = str(len(x))", id="a dict"),
        pytest.param("x = 'x'\nwhile True: x += x", id="a string"),
        pytest.param("x = 1\nwhile True: x <<= 1 << 28", id="an integer"),
        pytest.param(
            "import threading\nt = threading.Thread(target=bytearray, args=(1 << 40,))\nt.start()\nt.join()\n"
            "while True: pass",
            id="in a thread",
        ),
        pytest.param("import _thread, time\n_thread.start_new_thread(bytearray, (1 << 40,))\ntime.sleep(99)", id="raw"),
        pytest.param(
            "import threading\ndef f():\n    x = []\n    while True: x.append([])\n"
            "t = threading.Thread(target=f)\nt.start()\nt.join()",
            id="piece by piece in a thread",
        ),
        pytest.param(
            "from concurrent.futures import ThreadPoolExecutor as P\nwith P(2) as p: p.submit(bytearray, 1 << 40).result()",
            id="in a pool",
        ),
        pytest.param(
            "import asyncio\nasync def main():\n    async with asyncio.TaskGroup() as group:\n"
            "        group.create_task(asyncio.to_thread(bytearray, 1 << 40))\nasyncio.run(main())",
            id="in a group of tasks",
        ),
        pytest.param("x = [['x' * 1000] * 1000] * 200\nx", id="in the conversion of the value"),
        pytest.param("rows(n='x' * (40 << 20))", id="in the arguments of a call"),
        pytest.param("class ArrayMemoryError(MemoryError): pass\nraise ArrayMemoryError('8 GiB')", id="a subclass"),
        pytest.param("import mmap\nmmap.mmap(-1, 1 << 40)", id="mmap"),
        pytest.param("try: bytearray(1 << 40)\nexcept MemoryError as e: raise ValueError('no') from e", id="a cause"),
    ],
)
def test_memory(ends, program):
    ends(program, MEMORY, "memory_mb")


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("try: bytearray(1 << 40)\nexcept MemoryError: x = 'on'", id="at once"),
        pytest.param(
            "x = []\ntry:\n    while True: x.append(bytearray(1 << 20))\nexcept MemoryError:\n    x = 'on'", id="all"
        ),
        pytest.param(
            "import threading\ndef f():\n    try: bytearray(1 << 40)\n    except MemoryError: pass\n"
            "t = threading.Thread(target=f)\nt.start()\nt.join()\nx = 'on'",
            id="in a thread",
        ),
        pytest.param("try: rows(n='x' * (40 << 20))\nexcept MemoryError: rows(n=1)\nx = 'on'", id="in a call"),
    ],
)
def test_a_memory_error_that_is_caught_lets_the_program_go_on(run, program):
    outcome = run(f"{program}\nprint(len(rows(n=3)))\nx + ''", MEMORY)
    assert (outcome.status, outcome.value, outcome.stdout) == ("completed", "on", "3\n"), outcome.text


def test_what_is_raised_after_a_memory_error_was_caught_is_the_programs_own(run):
    outcome = run("try: bytearray(1 << 40)\nexcept MemoryError: {}['fallback']", MEMORY)
    assert (outcome.status, outcome.error.type) == ("failed", "KeyError")


def test_numpys_own_error_is_memory_too():
    pytest.importorskip("numpy", reason="needs numpy on this host")
    with LocalSandbox(packages=["numpy"], spares=0) as sandbox:
        try:
            sandbox.check()
        except SandboxUnavailable as error:
            pytest.skip(f"this host cannot isolate programs: {error}")
        program = "import numpy\nnumpy.zeros((1 << 20, 1 << 14))"
        outcome = CodeRunner([], sandbox=sandbox, limits=Limits(memory_mb=1024)).run(program)
    assert (outcome.status, outcome.limit) == ("limited", "memory_mb"), outcome.text
    assert "Unable to allocate 128. GiB" in outcome.text


# ---- files


DISK = Limits(disk_mb=4, seconds=30)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("with open('/tmp/x', 'wb') as f:\n    while True: f.write(bytes(1 << 16))", id="in /tmp"),
        pytest.param("with open('/out/x', 'wb') as f:\n    while True: f.write(bytes(1 << 16))", id="in /out"),
        pytest.param(
            "for n in range(8): open(('/tmp/', '/out/')[n % 2] + str(n), 'wb').write(bytes(1 << 20))", id="in both"
        ),
        pytest.param("n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/{n}', 'w').close()", id="too many"),
        pytest.param("with open('/tmp/x', 'wb') as f: f.truncate(1 << 40)", id="too large a file"),
        pytest.param("import os\nos.posix_fallocate(os.open('/tmp/x', os.O_CREAT | os.O_RDWR), 0, 8 << 20)", id="room"),
        pytest.param("import pathlib\npathlib.Path('/out/x').write_bytes(bytes(9 << 20))", id="pathlib"),
        pytest.param(
            "import shutil\nopen('/tmp/x', 'wb').write(bytes(3 << 20))\nshutil.copy('/tmp/x', '/out/y')", id="shutil"
        ),
        pytest.param(
            "import zipfile\nwith zipfile.ZipFile('/out/x.zip', 'w') as z: z.writestr('a', bytes(8 << 20))", id="zipfile"
        ),
        pytest.param(
            "import sqlite3\ndb = sqlite3.connect('/tmp/db')\ndb.execute('create table t (x)')\n"
            "for n in range(99): db.execute('insert into t values (zeroblob(100000))')\ndb.commit()",
            id="sqlite3",
        ),
        pytest.param(
            "import pathlib, threading\n"
            "t = threading.Thread(target=pathlib.Path('/tmp/x').write_bytes, args=(bytes(9 << 20),))\n"
            "t.start()\nt.join()\nwhile True: pass",
            id="in a thread",
        ),
        pytest.param(
            "try: open('/tmp/x', 'wb').write(bytes(9 << 20))\nexcept OSError as e: raise RuntimeError('save') from e",
            id="a cause",
        ),
    ],
)  # fmt: skip
def test_disk(ends, program):
    ends(program, DISK, "disk_mb")


@pytest.mark.parametrize(
    "program",
    [
        "try: open('/tmp/x', 'wb', buffering=0).write(bytes(9 << 20)) < 5 << 20 or 1 / 0\nexcept OSError: pass",
        "try:\n    with open('/tmp/x', 'wb') as f: f.truncate(1 << 40)\nexcept OSError: pass",
    ],
)
def test_a_full_disk_that_is_caught_lets_the_program_go_on(run, program):
    outcome = run(f"import os\n{program}\nos.remove('/tmp/x')\nopen('/out/y', 'w').write('on')", DISK)
    assert (outcome.status, outcome.value) == ("completed", 2), outcome.text
    assert [one.name for one in outcome.artifacts] == ["y"]


# ---- threads


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            "import threading, time\nfor _ in range(99): threading.Thread(target=time.sleep, args=(60,)).start()",
            id="threading",
        ),
        pytest.param(
            "import _thread, time\nfor _ in range(99): _thread.start_new_thread(time.sleep, (60,))", id="_thread"
        ),
        pytest.param(
            "import time\nfrom concurrent.futures import ThreadPoolExecutor as P\n"
            "p = P(99)\nfor _ in range(99): p.submit(time.sleep, 60)",
            id="a pool",
        ),
        pytest.param(
            "import threading, time\ndef f():\n    for _ in range(99): threading.Thread(target=time.sleep, args=(9,)).start()\n"
            "t = threading.Thread(target=f)\nt.start()\nt.join()",
            id="in a thread",
        ),
    ],
)
def test_threads(ends, program):
    outcome = ends(program, Limits(threads=20, seconds=30), "threads")
    assert "can't start new thread: the limit is 20 threads" in outcome.text


def test_threads_that_find_no_memory_for_a_stack_are_a_matter_of_memory(ends):
    program = "import threading, time\nfor _ in range(60): threading.Thread(target=time.sleep, args=(60,)).start()"
    outcome = ends(program, Limits(memory_mb=64, seconds=30), "memory_mb")
    assert "too little memory is left for its stack" in outcome.text


def test_a_thread_that_cannot_start_may_be_caught(run):
    program = """
import threading, time
for n in range(99):
    try: threading.Thread(target=time.sleep, args=(0.1,)).start()
    except RuntimeError: break
n
"""
    assert run(program, Limits(threads=20)).value == 20


# ---- output


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("while True: print('x' * 100)", id="printed"),
        pytest.param("import sys\nwhile True: sys.stderr.write('x' * 1000)", id="on standard error"),
        pytest.param("print('x' * (1 << 24))", id="at once"),
        pytest.param("while True:\n    try: print('x' * 100)\n    except BaseException: pass", id="caught"),
        pytest.param(
            "import threading\ndef f():\n    while True: print('x')\nthreading.Thread(target=f).start()",
            id="in a thread",
        ),
        pytest.param("class A:\n    def __del__(self):\n        while True: print('x')\nA()", id="in a finaliser"),
        pytest.param("import sys\nwhile True: sys.stdout.buffer.write(b'x' * 1000)", id="bytes"),
    ],
)
def test_output(ends, program):
    outcome = ends(program, Limits(output_kb=8, seconds=30), "output_kb")
    assert len(outcome.stdout) == 8 << 10
    assert "printed more than 16 times what is kept of its output; print less" in outcome.text
    assert outcome.truncated[0].total > 16 * 8 << 10


def test_a_flood_tells_its_line(run):
    outcome = run("x = 1\ndef f():\n    while True: print('x')\nf()", Limits(output_kb=1))
    assert (outcome.error.line, outcome.error.trace) == (3, ((4, "<module>"), (3, "f")))


def test_output_that_is_cut_is_no_reason_to_end(run):
    outcome = run("for n in range(1000): print('x' * 100)\n'end'", Limits(output_kb=8))
    assert (outcome.status, outcome.value, len(outcome.stdout)) == ("completed", "end", 8 << 10)
    assert "[The output has 101,000 characters" in outcome.text


# ---- calls and frames


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("for n in range(99): rows(n=n)", id="raised"),
        pytest.param("while True:\n    try: rows()\n    except Exception: pass", id="ignored"),
        pytest.param("call_tools([('rows', {})] * 99)", id="in parallel"),
        pytest.param(
            "try: [rows() for _ in range(9)]\nexcept LimitExceeded as e: raise ValueError from e", id="a cause"
        ),
    ],
)
def test_calls(ends, program):
    outcome = ends(program, Limits(calls=5, seconds=30), "calls")
    assert 1 <= sum(call.status in ("done", "started") for call in outcome.calls) <= 5


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("rows(n='x' * (2 << 20))", id="arguments"),
        pytest.param("large()", id="a result"),
        pytest.param("'x' * (2 << 20)", id="the value"),
        pytest.param(
            "import os\nfor n in range(2, 12):\n"
            "    body = b'{\"call\":%d,\"tool\":\"rows\",\"args\":{\"n\":\"%b\"}}' % (n, b'x' * 1_000_000)\n"
            "    data = len(body).to_bytes(4, 'big') + body\n"
            "    while data: data = data[os.write(3, data):]",
            id="more than eight of them",
        ),
    ],
)  # fmt: skip
def test_frames(run, program):
    outcome = run(SO_FAR + program, Limits(frame_mb=1, seconds=30))
    assert (outcome.status, outcome.limit) == ("limited", "frame_mb"), outcome.text
    assert outcome.stdout == "so far\n"
    assert run("6 * 7", Limits(frame_mb=1)).value == 42


# ---- guests


@pytest.fixture
def crowded():
    """A sandbox for one guest at a time, and what holds its only place."""
    with LocalSandbox(guests=1, spares=0) as sandbox:
        try:
            sandbox.check()
        except SandboxUnavailable as error:
            pytest.skip(f"this host cannot isolate programs: {error}")
        yield sandbox


def test_a_program_that_finds_no_place_is_limited_and_nothing_of_it_ran(run, crowded):
    guest = crowded.start(Limits())
    journal = MemoryJournal()
    began = time.monotonic()
    outcome = run("rows()\nx = 1", Limits(seconds=0.3), crowded, journal=journal)
    assert time.monotonic() - began >= 0.3
    guest.kill()
    assert (outcome.status, outcome.limit, outcome.ran, outcome.calls) == ("limited", "guests", False, ())
    assert outcome.text == (
        "The program was not run, the limit guests is used up: 1 programs run already, and none ended within 0.3 s"
    )
    header, ended = journal.read(outcome.id)
    assert '"sandbox":"local"' in header
    assert '"limit":"guests"' in ended
    assert run("6 * 7", Limits(seconds=5), crowded).value == 42


def test_a_place_that_becomes_free_is_taken(run, crowded):
    guest = crowded.start(Limits())
    timer = threading.Timer(0.2, guest.kill)
    timer.start()
    assert run("6 * 7", Limits(seconds=20), crowded).value == 42
    timer.join()


@pytest.mark.parametrize("twin", ["resume", "aresume"])
def test_a_resume_that_finds_no_place_uses_nothing_up(crowded, twin):
    @tool
    def pay(n: int) -> int:
        """Pay."""
        return n

    runner = CodeRunner([pay], sandbox=crowded, limits=Limits(seconds=0.5), interrupt_on={"pay": True})

    def resume():
        decisions = {"p/1": "approve"}
        if twin == "resume":
            return runner.resume("p", decisions)
        return asyncio.run(runner.aresume("p", decisions))

    assert runner.run("for n in [1]: print(pay(n=n))", id="p").status == "paused"
    guest = crowded.start(Limits())
    try:
        with pytest.raises(LimitExceeded) as caught:
            resume()
    finally:
        guest.kill()
    assert caught.value.limit == "guests"
    assert resume().stdout == "1\n"


# ---- depth, recursion and crashes


DEEP = "x = []\nfor _ in range({n}): x = [x]\n"


@pytest.mark.parametrize(
    ("program", "kind", "says"),
    [
        pytest.param("def f(): f()\nf()", "RecursionError", "maximum recursion depth", id="recursion"),
        pytest.param("import json\njson.loads('[' * 100_000)", "RecursionError", "recursion", id="json.loads"),
        pytest.param(DEEP.format(n=100_000) + "import json\njson.dumps(x)", "RecursionError", "recursion", id="dumps"),
        pytest.param(DEEP.format(n=100_000) + "repr(x)", "RecursionError", "recursion", id="repr"),
        pytest.param(DEEP.format(n=150) + "rows(n=x)", "InvalidArguments", "nested deeper than 100", id="arguments"),
        pytest.param("compile('(' * 5000, '', 'eval')", "SyntaxError", "too many nested parentheses", id="compile"),
        pytest.param("import ctypes\nctypes.string_at(0)", "ProcessDied", "died in C code", id="a segfault"),
        pytest.param("import os\nos.abort()", "ProcessDied", "died in C code", id="abort"),
        pytest.param("import ctypes\nctypes.CDLL(None)._exit(3)", "ProcessDied", "died in C code", id="_exit in C"),
        pytest.param(
            DEEP.format(n=300_000) + "import sys\nsys.setrecursionlimit(10 ** 9)\nrepr(x)",
            None,
            "",
            id="a stack that overflows in C",
        ),
        pytest.param("compile('-' * 100_000 + '1', '', 'eval')", None, "", id="a parser that overflows"),
        pytest.param(
            "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n):\n    x = [n] * 1000\n    return f(n + 1)\nf(0)",
            None,
            "",
            id="recursion without a limit",
        ),
    ],
)
def test_what_goes_too_deep_fails_and_says_so(run, program, kind, says):
    outcome = run(SO_FAR + program, Limits(seconds=30))
    assert outcome.status == "failed" if kind else outcome.status in ("failed", "limited"), outcome.text
    assert outcome.error.type == kind or kind is None
    assert says in outcome.text
    assert outcome.stdout == "so far\n"
    assert "rows(n=2) -> [0,1]" in outcome.text
    assert run("6 * 7", Limits(seconds=30)).value == 42


def test_a_value_that_is_too_deep_is_shown_as_text(run):
    outcome = run(DEEP.format(n=150) + "x", Limits())
    assert (outcome.status, outcome.value[:5], outcome.value[-5:]) == ("completed", "[[[[[", "]]]]]")
    outcome = run(DEEP.format(n=100_000) + "x", Limits())
    assert (outcome.status, outcome.value) == ("completed", "<list>")
