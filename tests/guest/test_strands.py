"""Threads, pools, queues and asyncio on the baton."""

from __future__ import annotations

from typing import Any

import pytest
from guest.harness import run

from callgate.limits import Limits

PROGRAMS: list[tuple[str, str, Any, float]] = [
    (
        "threads",
        """
import threading
out = []
def work(i):
    out.append((i, f(i)))
threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
for t in threads: t.start()
for t in threads: t.join()
out""",
        [[i, i] for i in range(5)],
        0.01,
    ),
    (
        "pool map",
        """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as pool:
    r = list(pool.map(f, range(6)))
r""",
        list(range(6)),
        0.02,
    ),
    (
        "as_completed",
        """
from concurrent.futures import ThreadPoolExecutor, as_completed
with ThreadPoolExecutor() as pool:
    futures = {pool.submit(tool, n): n for n, tool in enumerate([slow, f, g])}
    r = [futures[done] for done in as_completed(futures)]
r""",
        [1, 2, 0],
        5.0,
    ),
    (
        "queue",
        """
import queue, threading
q, out = queue.Queue(2), []
def consume():
    while (item := q.get()) is not None:
        out.append(f(item))
        q.task_done()
t = threading.Thread(target=consume); t.start()
for i in range(4): q.put(i)
q.join(); q.put(None); t.join()
out""",
        [0, 1, 2, 3],
        0.04,
    ),
    (
        "condition and timeout",
        """
import threading
c, seen = threading.Condition(), []
def waiter():
    with c:
        seen.append(c.wait(timeout=1)); seen.append(c.wait(timeout=1))
t = threading.Thread(target=waiter); t.start()
f(1)
with c: c.notify()
t.join()
seen""",
        [True, False],
        1.01,
    ),
    (
        "timer",
        """
import threading
out = []
t = threading.Timer(2, out.append, [1]); t.start(); late = threading.Timer(9, out.append, [2]); late.start()
t.join(); late.cancel(); late.join()
out""",
        [1],
        2.0,
    ),
    (
        "gather",
        """
import asyncio
async def main():
    return await asyncio.gather(f(1), g(2), f(3))
asyncio.run(main())""",
        [1, 2, 3],
        0.02,
    ),
    (
        "task group",
        """
import asyncio
async def main():
    async with asyncio.TaskGroup() as tg:
        tasks = [tg.create_task(f(i)) for i in range(3)]
    return [t.result() for t in tasks]
asyncio.run(main())""",
        [0, 1, 2],
        0.01,
    ),
    (
        "timeout",
        """
import asyncio
async def main():
    try:
        async with asyncio.timeout(1):
            await slow(1)
    except TimeoutError:
        return 'late'
asyncio.run(main())""",
        "late",
        1.0,
    ),
    (
        "to_thread",
        """
import asyncio
async def main():
    return await asyncio.gather(*(asyncio.to_thread(f, i) for i in range(4)))
asyncio.run(main())""",
        [0, 1, 2, 3],
        0.01,
    ),
    (
        "asyncio.as_completed",
        """
import asyncio
async def main():
    return [await done for done in asyncio.as_completed([slow('s'), f('f'), g('g')])]
asyncio.run(main())""",
        ["f", "g", "s"],
        5.0,
    ),
    (
        "run_coroutine_threadsafe",
        """
import asyncio, threading
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
future = asyncio.run_coroutine_threadsafe(acall_tool('f', x=1), loop)
future.result(timeout=5)""",
        1,
        0.01,
    ),
    (
        "two loops in two threads",
        """
import asyncio, threading
out = []
async def work(tool, n):
    await asyncio.sleep(n); out.append(await tool(n))
def run(*args): asyncio.run(work(*args))
ts = [threading.Thread(target=lambda n=n: asyncio.run(one(n))) for n in (2, 1)]
async def one(n):
    await asyncio.sleep(n)
    out.append(await f(n))
[t.start() for t in ts]; [t.join() for t in ts]
out""",
        [1, 2],
        2.01,
    ),
    ("event loop by hand", "import asyncio\nasyncio.new_event_loop().run_until_complete(f(1))", 1, 0.01),
    ("top-level await", "a = await f(1)\nawait g(a)", 1, 0.03),
    (
        "sleeps begun together need one timer",
        """
import asyncio
async def main():
    await asyncio.gather(*[asyncio.sleep(1) for _ in range(200)])
asyncio.run(main())
1""",
        1,
        1.0,
    ),
    ("sched", "import sched\ns = sched.scheduler(); out = []\ns.enter(3, 1, out.append, (1,)); s.run()\nout", [1], 3.0),
    (
        "select is a sleep",
        "import select, time\nt = time.monotonic(); select.select([], [], [], 2)\nround(time.monotonic() - t, 3)",
        2.0,
        2.0,
    ),
    (
        "select on a pipe between threads",
        """
import os, select, threading
r, w = os.pipe()
def late(): f(1); os.write(w, b'x')
threading.Thread(target=late).start()
ready = select.select([r], [], [], 9)[0] == [r]
[ready, os.read(r, 1).decode()]""",
        [True, "x"],
        0.011,
    ),
]


@pytest.mark.parametrize(
    ("program", "value", "seconds"), [one[1:] for one in PROGRAMS], ids=[one[0] for one in PROGRAMS]
)
def test_strands(program: str, value: Any, seconds: float) -> None:
    result = run(program)
    assert result.error is None, result.error
    assert result.value == value
    assert result.seconds == pytest.approx(seconds, abs=0.004)


def test_two_hundred_sleeps_are_one_rest() -> None:
    result = run("import asyncio\nawait asyncio.gather(*[asyncio.sleep(1) for _ in range(200)])")
    assert result.rests == [1.0]


BUSY = {
    "Event.is_set": "e = threading.Event()\ndef w(): f(1); e.set()\nstart(w)\nwhile not e.is_set(): pass\n1",
    "Future.done": "p = ThreadPoolExecutor(1)\nx = p.submit(f, 1)\nwhile not x.done(): pass\nx.result()",
    "sleep(0)": "d = []\ndef w(): d.append(f(1))\nstart(w)\nwhile not d: time.sleep(0)\n1",
    "get_nowait": """
q = queue.Queue()
def w(): q.put(f(1))
start(w)
while True:
    try:
        r = q.get_nowait(); break
    except queue.Empty: pass
r""",
    "lock.locked": "l = threading.Lock(); l.acquire()\ndef w(): f(1); l.release()\nstart(w)\nwhile l.locked(): pass\n1",
    "try-lock": "l = threading.Lock()\nl.acquire()\ndef w(): f(1); l.release()\nstart(w)\nwhile not l.acquire(0): 0\n1",
    "is_alive": "t = start(lambda: f(1))\nwhile t.is_alive(): pass\n1",
    "the clock and a variable": "d = []\ndef w(): d.append(f(1))\nstart(w)\nwhile not d: time.monotonic()\n1",
    "asyncio.sleep(0)": """
async def main():
    t = asyncio.create_task(f(1))
    while not t.done(): await asyncio.sleep(0)
    return t.result()
asyncio.run(main())""",
    "time.time": "end = time.time() + 0.5\nwhile time.time() < end: pass\n1",
    "loop.time": """
async def main():
    loop = asyncio.get_running_loop(); end = loop.time() + 0.2
    while loop.time() < end: pass
    return 1
asyncio.run(main())""",
    "loop.time and sleep(0)": """
async def main():
    loop = asyncio.get_running_loop(); end = loop.time() + 0.2
    loop.call_later(9, print)
    while loop.time() < end: await asyncio.sleep(0)
    return 1
asyncio.run(main())""",
    "qsize": "q = queue.SimpleQueue()\nstart(lambda: q.put(f(1)))\nwhile not q.qsize(): pass\nq.get()",
}


@pytest.mark.parametrize("loop", BUSY.values(), ids=list(BUSY))
def test_a_busy_wait_ends(loop: str) -> None:
    imports = "import asyncio, queue, threading, time\nfrom concurrent.futures import ThreadPoolExecutor\n"
    start = "def start(work):\n    t = threading.Thread(target=work); t.start(); return t\n"
    result = run(imports + start + loop)
    assert (result.error, result.value) == (None, 1)


@pytest.mark.parametrize(
    "program",
    [
        "import threading\nthreading.Event().wait()",
        "import threading\nl = threading.Lock()\nl.acquire(); l.acquire()",
        "import queue\nqueue.Queue().get()",
        "import asyncio\nasyncio.run(asyncio.Event().wait())",
        "import threading\nthreading.Thread(target=threading.Event().wait).start()",
    ],
)
def test_a_deadlock_is_a_rest_without_a_timer(program: str) -> None:
    result = run(program)
    assert result.deadlock
    assert result.rests[-1] is None


def test_an_error_beside_threads_that_never_end_is_told_all_the_same() -> None:
    result = run("import threading\nthreading.Thread(target=threading.Event().wait).start()\n1/0")
    assert result.error is not None
    assert result.error["type"] == "ZeroDivisionError"


def test_threads_that_are_no_daemons_are_joined_at_the_end() -> None:
    program = """
import threading, time
out = []
def late():
    time.sleep(1); out.append(f(1)); print('late')
threading.Thread(target=late).start()
threading.Thread(target=lambda: time.sleep(99), daemon=True).start()
out
"""
    result = run(program)
    assert (result.value, result.out) == ([1], "late\n")
    assert result.seconds == pytest.approx(1.01, abs=0.001)


def test_idle_pools_do_not_keep_a_program_alive() -> None:
    program = "from concurrent.futures import ThreadPoolExecutor\np = ThreadPoolExecutor(2)\np.submit(f, 1)\n'end'"
    result = run(program)
    assert (result.value, result.deadlock, len(result.calls)) == ("end", False, 1)


def test_tasks_left_behind_are_cancelled_like_asyncio_run_does() -> None:
    program = """
import asyncio
async def stay():
    try:
        await asyncio.sleep(99)
    finally:
        print('cancelled')
task = asyncio.create_task(stay())
await asyncio.sleep(0)
"""
    result = run(program)
    assert (result.error, result.out) == (None, "cancelled\n")


def test_an_answer_to_a_closed_loop_is_dropped() -> None:
    program = """
import asyncio, time
loop = asyncio.new_event_loop()
task = loop.create_task(acall_tool('f', x=1))
loop.run_until_complete(asyncio.sleep(0))
loop.close()
time.sleep(1)
'alive'
"""
    assert run(program).value == "alive"


def test_locks_refuse_what_real_locks_refuse() -> None:
    program = """
import pickle, threading
def refusal(f, *args, **kwargs):
    try: f(*args, **kwargs)
    except Exception as e: return type(e).__name__
lock = threading.Lock()
[refusal(lock.release), refusal(lock.acquire, False, 1), refusal(lock.acquire, timeout=-2),
 refusal(lock.acquire, timeout=1e12), refusal(pickle.dumps, lock), refusal(threading.RLock().release)]
"""
    assert run(program).value == [
        "RuntimeError",
        "ValueError",
        "ValueError",
        "OverflowError",
        "TypeError",
        "RuntimeError",
    ]


def test_a_lock_handed_over_at_the_very_deadline_is_held() -> None:
    program = """
import threading, time
lock, out = threading.Lock(), []
def wait(n):
    if lock.acquire(timeout=1):
        out.append(n); time.sleep(0.5); lock.release()
lock.acquire()
ts = [threading.Thread(target=wait, args=(n,)) for n in range(3)]
def free():
    time.sleep(1); lock.release()
ts.insert(0, threading.Thread(target=free))
[t.start() for t in ts]; [t.join() for t in ts]
[out, lock.locked()]
"""
    assert run(program).value == [[0], False]


def test_the_thread_limit_is_a_clear_error() -> None:
    program = """
import threading
hold = threading.Event()
for n in range(99):
    threading.Thread(target=hold.wait, daemon=True).start()
"""
    result = run(program, limits=Limits(threads=5))
    assert result.error is not None
    assert result.error["text"] == "can't start new thread: the limit is 5 threads"


def test_a_thread_that_ended_makes_room() -> None:
    program = """
import threading
for n in range(20):
    t = threading.Thread(target=f, args=(n,)); t.start(); t.join()
'done'
"""
    assert run(program, limits=Limits(threads=1)).value == "done"


def test_an_error_in_a_thread_is_printed_with_the_programs_own_lines_and_goes_no_further() -> None:
    program = "import threading\ndef work():\n    1/0\nthreading.Thread(target=work, name='w').start()\n'fine'"
    result = run(program)
    assert result.value == "fine"
    assert result.out == (
        "Exception in w:\nTraceback (most recent call last):\n  line 3, in work\nZeroDivisionError: division by zero\n"
    )


def test_sys_exit_in_a_thread_ends_only_the_thread() -> None:
    result = run("import sys, threading\nt = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join()\n'on'")
    assert (result.value, result.out) == ("on", "")


def test_a_finaliser_may_use_locks_and_print() -> None:
    program = """
import gc, threading, time
lock = threading.Lock()
class Loud:
    def __init__(self): self.me = self
    def __del__(self):
        with lock: print('x' * 500)
gc.set_threshold(3)
def churn(n):
    for _ in range(60):
        Loud(); time.sleep(0.001)
ts = [threading.Thread(target=churn, args=(n,)) for n in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
gc.collect()
'alive'
"""
    result = run(program, limits=Limits(output_kb=1024))
    assert (result.error, result.value) == (None, "alive")
    assert result.out.count("x" * 500 + "\n") == 240
