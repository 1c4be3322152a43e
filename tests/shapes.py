"""Shapes of programs, and what their ends must be whatever happened on the way.

Tools: `get`, `slow`, `price` and `flaky` (which fails now and then) read what they are given, `count` and `status` read
the world. `put`, `label`, `reserve`, `progress`, `cancel`, `undo`, `ticket` (a new number at each call) and `charge`
(which fails now and then) write. `order`, `pay` and `deploy` wait for a human who approves, `ask` for one who rejects
some arguments, by `rejected`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

READS = ("get", "slow", "price", "flaky", "count", "status")
WRITES = ("put", "label", "reserve", "progress", "cancel", "undo", "ticket", "charge")
GATED = ("order", "pay", "deploy", "ask")

PRELUDE = (
    "import asyncio, collections, concurrent.futures as futures, contextlib, os, queue, random, threading, time, uuid\n"
)


def rejected(tool: str, arguments: dict[str, Any]) -> bool:
    """Say what the human thinks: it depends on the arguments, so that a decision that went astray shows."""
    text = json.dumps(arguments, sort_keys=True)
    return tool == "ask" and int(hashlib.sha256(text.encode()).hexdigest(), 16) % 3 == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A program, and what must hold for its value and for what it wrote."""

    program: str
    holds: Callable[[Any, Any], object] = lambda value, world: True
    fails: bool = False
    """Whether the program raises."""
    warns: bool = False
    """Whether its reads may differ."""
    addresses: bool = False
    """Whether it depends on the addresses of objects."""
    busy: bool = False
    """Whether it asks again and again while it waits, which takes a turn of the host each time: tools are quick then."""
    impossible: bool = False
    """Whether its writes depend on what no replay repeats."""


def shape(program: str, holds: Callable[[Any, Any], object] = lambda value, world: True, **kind: bool) -> Shape:
    return Shape(program=PRELUDE + program.lstrip("\n"), holds=holds, **kind)


def numbers(count: int) -> list[int]:
    return list(range(count))


SHAPES = {
    "in sequence": shape(
        """
a = get(x=1); b = put(x=a['x'] + 1); c = put(x=b['x'] + 1)
[a['x'], b['x'], c['x'], order(x=c['x'])['x']]""",
        lambda v, w: v == [1, 2, 3, 3] and w.count("put") == 2 and w.count("order") == 1,
    ),
    "as they complete, then a gated call": shape(
        """
with futures.ThreadPoolExecutor(3) as pool:
    rows = [done.result()['shop'] for done in futures.as_completed([pool.submit(price, shop=n) for n in range(3)])]
order(rows=rows)['rows']""",
        lambda v, w: sorted(v) == numbers(3) and w.arguments("order") == [{"rows": v}],
    ),
    "equal calls in two threads": shape(
        """
def run(name):
    made = ticket(); time.sleep(0.05)
    return [made, label(id=made, name=name)['id']]
with futures.ThreadPoolExecutor(2) as pool: found = list(pool.map(run, 'ab'))
found""",
        lambda v, w: sorted(v) == [[1, 1], [2, 2]] and w.count("label") == 2,
    ),
    "equal calls in two threads, gated after": shape(
        """
def run(name):
    made = ticket()
    return [made, order(id=made, name=name)['name']]
with futures.ThreadPoolExecutor(2) as pool: found = list(pool.map(run, 'ab'))
found""",
        lambda v, w: (
            sorted(one[0] for one in v) == [1, 2]
            and {(one["id"], one["name"]) for one in w.arguments("order")} == {(n, name) for n, name in v}
        ),
    ),
    "a fresh key": shape(
        "key = str(uuid.uuid4())\nreserve(key=key, sku=1)\n[key, pay(amount=5)['amount']]",
        lambda v, w: w.arguments("reserve") == [{"key": v[0], "sku": 1}] and w.count("pay") == 1,
    ),
    "a branch on elapsed time": shape(
        """
began = time.time(); get(x=1)
late = time.time() - began > 0.1
if late: put(late=True)
[late, pay(amount=5)['amount']]""",
        lambda v, w: w.count("put") == v[0] and w.count("pay") == 1,
    ),
    "a heartbeat that writes": shape(
        """
stop, beats = threading.Event(), [0]
def beat():
    while not stop.is_set():
        progress(done=1); beats[0] += 1; stop.wait(0.1)
thread = threading.Thread(target=beat, daemon=True); thread.start()
model = slow(x=1)['x']; stop.set(); thread.join()
deploy(model=model)
beats[0]""",
        lambda v, w: w.count("progress") == v and w.count("deploy") == 1,
    ),
    "a retry loop around a write": shape(
        """
found = None
for attempt in range(5):
    try: found = [attempt, charge(id=7)['id']]; break
    except ToolFailed: time.sleep(0.5 * 2 ** attempt)
found""",
        lambda v, w: w.count("charge") == (1 if v else 0),
    ),
    "a retry loop with jitter and a fresh key": shape(
        """
found = None
for attempt in range(6):
    try: found = charge(key=str(uuid.uuid4()))['key']; break
    except ToolFailed: time.sleep(random.random())
found""",
        lambda v, w: w.arguments("charge") == ([{"key": v}] if v else []),
    ),
    "a retry loop around a rejected call": shape(
        """
refused = 0
for x in range(4):
    for attempt in range(3):
        try: ask(x=x); break
        except ApprovalRejected: refused += 1
refused""",
        lambda v, w: v == 3 * sum(rejected("ask", {"x": x}) for x in range(4)),
    ),
    "flaky reads retried side by side": shape(
        """
def run(x):
    for attempt in range(8):
        try: return flaky(x=x)['x']
        except ToolFailed: time.sleep(0.1 * (attempt + random.random()))
with futures.ThreadPoolExecutor(4) as pool: rows = list(pool.map(run, range(5)))
order(rows=rows)['rows']""",
        lambda v, w: all(one in (n, None) for n, one in enumerate(v)) and w.arguments("order") == [{"rows": v}],
    ),
    "polling beside a gated call": shape(
        """
with futures.ThreadPoolExecutor(2) as pool:
    paid, looks = pool.submit(pay, id=1), 0
    while status(id=1) != 'paid' and looks < 40: looks += 1; time.sleep(0.1)
    found = paid.result()['id']
found""",
        lambda v, w: v == 1 and w.count("pay") == 1,
    ),
    "polling beside a gated call without a sleep": shape(
        """
with futures.ThreadPoolExecutor(2) as pool:
    paid, looks = pool.submit(pay, id=1), 0
    while status(id=1) != 'paid' and looks < 100: looks += 1
    found = paid.result()['id']
found""",
        lambda v, w: v == 1 and w.count("pay") == 1,
    ),
    "gather in gather": shape(
        """
async def leaf(i, j): return (await put(x=(await get(x=10 * i + j))['x']))['x']
async def branch(i): return await asyncio.gather(*[leaf(i, j) for j in range(3)])
async def main(): return await asyncio.gather(*[branch(i) for i in range(3)])
await main()""",
        lambda v, w: v == [[10 * i + j for j in range(3)] for i in range(3)] and w.count("put") == 9,
    ),
    "asyncio.as_completed, whose order is written": shape(
        """
async def one(n): return (await price(shop=n))['shop']
async def main():
    seen = []
    for done in asyncio.as_completed([one(n) for n in range(4)]):
        seen.append(await done); await put(seen=list(seen))
    return [seen, (await order(seen=seen))['seen']]
await main()""",
        lambda v, w: v[0] == v[1] and w.count("put") == 4 and w.count("order") == 1,
    ),
    "producer and consumers of an asyncio.Queue": shape(
        """
async def main():
    tasks, out = asyncio.Queue(3), []
    async def produce():
        for x in range(8): await tasks.put((await get(x=x))['x'])
        for _ in range(3): await tasks.put(None)
    async def consume(name):
        while (x := await tasks.get()) is not None:
            await put(x=x, by=name); out.append(x)
    await asyncio.gather(produce(), *[consume(name) for name in 'abc'])
    return sorted(out)
await main()""",
        lambda v, w: v == numbers(8) and sorted(one["x"] for one in w.arguments("put")) == v,
    ),
    "producer and consumers in threads": shape(
        """
tasks, out = queue.Queue(3), []
def consume(name):
    while (x := tasks.get()) is not None:
        put(x=x, by=name); out.append(x)
threads = [threading.Thread(target=consume, args=(name,)) for name in 'abc']
for one in threads: one.start()
for x in range(8): tasks.put(get(x=x)['x'])
for one in threads: tasks.put(None)
for one in threads: one.join()
sorted(out)""",
        lambda v, w: v == numbers(8) and sorted(one["x"] for one in w.arguments("put")) == v,
    ),
    "workers, equal calls and different answers": shape(
        """
tasks, out = queue.Queue(), []
for item in range(6): tasks.put(item)
def work():
    while True:
        try: item = tasks.get_nowait()
        except queue.Empty: return
        made = ticket(); label(id=made, item=item); out.append([item, made])
threads = [threading.Thread(target=work) for _ in range(3)]
for one in threads: one.start()
for one in threads: one.join()
order(pairs=sorted(out))['pairs']""",
        lambda v, w: w.count("ticket") == 6 and [[one["item"], one["id"]] for one in w.arguments("label", "item")] == v,
    ),
    "a lock and an unsynchronised race": shape(
        """
lock, total, racy = threading.Lock(), [0], [0]
def run(n):
    x = get(x=n)['x']
    seen = racy[0]; time.sleep(0); racy[0] = seen + 1
    with lock:
        before = total[0]; put(x=x, total=before); total[0] = before + x
with futures.ThreadPoolExecutor(4) as pool: list(pool.map(run, range(6)))
put(racy=racy[0])
[total[0], racy[0]]""",
        lambda v, w: v[0] == 15 and w.count("put") == 7,
    ),
    "a semaphore and a barrier": shape(
        """
two, all_three, out = threading.Semaphore(2), threading.Barrier(3), []
def run(n):
    with two: put(x=n)
    out.append(put(x=n, place=all_three.wait())['x'])
threads = [threading.Thread(target=run, args=(n,)) for n in range(3)]
for one in threads: one.start()
for one in threads: one.join()
sorted(out)""",
        lambda v, w: v == numbers(3) and w.count("put") == 6,
    ),
    "a condition": shape(
        """
condition, box, out = threading.Condition(), [], []
def take():
    for _ in range(3):
        with condition:
            while not box: condition.wait()
            x = box.pop(0)
        out.append(put(x=x)['x'])
thread = threading.Thread(target=take); thread.start()
for n in range(3):
    x = get(x=n)['x']
    with condition: box.append(x); condition.notify()
thread.join()
out""",
        lambda v, w: v == numbers(3) and w.count("put") == 3,
    ),
    "wait_for around a read": shape(
        """
async def main():
    try: return [(await asyncio.wait_for(slow(x=1), 0.3))['x'], (await put(x=1))['x']]
    except TimeoutError: return ['late', (await put(late=1))['late'], (await order(x=2))['x']]
await main()""",
        lambda v, w: w.count("put") == 1 and ("late" in w.arguments("put")[0]) == (v[0] == "late"),
    ),
    "wait_for around a write": shape(
        """
async def main():
    try: return [(await asyncio.wait_for(put(x=1), 0.05))['x']]
    except TimeoutError: return ['late', (await cancel(x=1))['x'], (await order(x=2))['x']]
await main()""",
        lambda v, w: (w.count("put") == 1 or v[0] == "late") and w.count("cancel") == (v[0] == "late"),
    ),
    "wait_for around a gated call": shape(
        """
async def main():
    try: return [(await asyncio.wait_for(order(x=1), 20))['x']]
    except TimeoutError: return ['late', (await put(x=1))['x']]
await main()""",
        # No tool takes that long: only a human could be late, and for humans the clock stands still.
        lambda v, w: v == [1] and w.count("order") == 1 and w.count("put") == 0,
    ),
    "a future's timeout, again and again": shape(
        """
pool, late = futures.ThreadPoolExecutor(4), 0
future = pool.submit(slow, x=0)
while True:
    try: model = future.result(timeout=0.2)['x']; break
    except TimeoutError: late += 1; progress(late=late)
deploy(model=model)
late""",
        lambda v, w: w.count("progress") == v and w.count("deploy") == 1,
    ),
    "losers are cancelled": shape(
        """
async def one(n): return (await get(x=n))['x']
async def main():
    tasks = [asyncio.create_task(one(n)) for n in range(4)]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others: task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    first = sorted(task.result() for task in done)
    return [first, (await put(first=first))['first'], (await order(first=first))['first']]
await main()""",
        lambda v, w: v[0] == v[1] == v[2] and w.count("put") == 1,
    ),
    "a TaskGroup with a child that fails": shape(
        """
async def bad(): await get(x=1); raise ValueError('bad')
async def good(n): await get(x=n); return await put(x=n)
async def main():
    try:
        async with asyncio.TaskGroup() as group:
            for n in range(3): group.create_task(good(n))
            group.create_task(bad())
    except* ValueError: pass
    return (await order(x=1))['x']
await main()""",
        lambda v, w: v == 1 and w.count("put") <= 3 and w.count("order") == 1,
    ),
    "a TaskGroup with gated children, some rejected": shape(
        """
async def one(n):
    await get(x=n)
    try: return (await ask(x=n))['x']
    except ApprovalRejected: return 'rejected'
async def main():
    async with asyncio.TaskGroup() as group: tasks = [group.create_task(one(n)) for n in range(6)]
    return [task.result() for task in tasks]
await main()""",
        lambda v, w: v == ["rejected" if rejected("ask", {"x": n}) else n for n in range(6)],
    ),
    "gated siblings, cancelled by a failure": shape(
        """
async def one(n): return (await ask(x=n))['x']
async def main():
    try: return await asyncio.gather(*[one(n) for n in range(4)])
    except ApprovalRejected: return [(await put(x='after'))['x']]
await main()""",
        lambda v, w: v in ([0, 1, 2, 3], ["after"]),
    ),
    "pools in pools": shape(
        """
def run(depth, path):
    if not depth: return [put(path=path)['path']]
    with futures.ThreadPoolExecutor(2) as pool: return sum(pool.map(lambda n: run(depth - 1, path + str(n)), range(2)), [])
run(3, '')""",
        lambda v, w: v == [f"{n:03b}" for n in range(8)] and w.count("put") == 8,
    ),
    "call_tools in threads": shape(
        """
def run(n):
    rows = call_tools([('get', {'x': 10 * n + j}) for j in range(3)] + [('order', {'x': n})])
    return [row['x'] for row in rows]
with futures.ThreadPoolExecutor(3) as pool: found = list(pool.map(run, range(3)))
found""",
        lambda v, w: v == [[10 * n, 10 * n + 1, 10 * n + 2, n] for n in range(3)] and w.count("order") == 3,
    ),
    "generators": shape(
        """
def rows():
    for n in range(5): yield get(x=n)['x']
def odd(given):
    for x in given:
        if x % 2: put(x=x); yield x
found = list(odd(rows()))
order(x=found)['x']""",
        lambda v, w: v == [1, 3] and w.count("put") == 2,
    ),
    "an async generator and a context manager": shape(
        """
@contextlib.asynccontextmanager
async def session():
    made = await ticket()
    try: yield made
    finally: await label(id=made, name='closed')
async def rows():
    for n in range(3): yield await get(x=n)
async def main():
    async with session() as made:
        return [made, [row['x'] async for row in rows()], (await order(x=made))['x']]
await main()""",
        lambda v, w: v == [1, [0, 1, 2], 1] and w.count("label") == 1,
    ),
    "classes": shape(
        """
class Step:
    log = []
    def __init__(self, name): self.name = name
    def __call__(self, x):
        Step.log.append(self.name)
        return put(x=x, step=self.name)['x'] + 1
class Flow:
    def __init__(self, *steps): self.steps = steps
    def run(self, x):
        for step in self.steps: x = step(x)
        return x
last = Flow(Step('a'), Step('b'), Step('c')).run(0)
order(x=last)
[last, Step.log]""",
        lambda v, w: v == [3, ["a", "b", "c"]] and w.count("put") == 3,
    ),
    "sets of strings": shape(
        """
names = set('delta alpha echo bravo charlie'.split())
for name in names: put(x=name)
order(names=list(names))['names']""",
        lambda v, w: [one["x"] for one in w.arguments("put")] == v,
    ),
    "sets of objects": shape(
        """
class Item:
    def __init__(self, n): self.n = n
items = {Item(n) for n in range(12)}
order(x=[put(x=item.n)['x'] for item in items])['x']""",
        lambda v, w: [one["x"] for one in w.arguments("put")] == v and sorted(v) == numbers(12),
        addresses=True,
    ),
    "sets of objects in gather": shape(
        """
class Item:
    def __init__(self, n): self.n = n
async def main():
    return [row['x'] for row in await asyncio.gather(*[put(x=item.n) for item in {Item(n) for n in range(12)}])]
order(x=sorted(await main()))['x']""",
        lambda v, w: v == numbers(12) and w.count("put") == 12,
        addresses=True,
    ),
    "chance": shape(
        """
ids = list(range(20)); random.shuffle(ids); some = random.sample(ids, 3)
for n in some: put(x=n)
order(some=some, key=[random.Random().randrange(1000), os.urandom(4).hex(), os.getpid()])['some']""",
        lambda v, w: [one["x"] for one in w.arguments("put")] == v,
    ),
    "a loop with a deadline": shape(
        """
end, n = time.monotonic() + 2, 0
while time.monotonic() < end:
    progress(n=n); n += 1; time.sleep(0.2)
order(n=n)['n']""",
        lambda v, w: w.count("progress") == v,
    ),
    "two event loops in two threads": shape(
        """
async def main(i): return [row['x'] for row in await asyncio.gather(*[acall_tool('put', x=[i, j]) for j in range(3)])]
with futures.ThreadPoolExecutor(2) as pool: found = list(pool.map(lambda i: asyncio.run(main(i)), range(2)))
order(x=1)
found""",
        lambda v, w: v == [[[i, j] for j in range(3)] for i in range(2)] and w.count("put") == 6,
    ),
    "to_thread and back": shape(
        """
async def main():
    loop = asyncio.get_running_loop()
    def work(n):
        x = call_tool('get', x=n)['x']
        return asyncio.run_coroutine_threadsafe(acall_tool('put', x=x), loop).result()['x']
    return await asyncio.gather(*[asyncio.to_thread(work, n) for n in range(4)])
found = await main()
order(x=found)['x']""",
        lambda v, w: v == numbers(4) and w.count("put") == 4,
    ),
    "callbacks that call tools": shape(
        """
out = []
with futures.ThreadPoolExecutor(3) as pool:
    for n in range(4):
        pool.submit(get, x=n).add_done_callback(lambda done: out.append(put(x=done.result()['x'])['x']))
order(x=sorted(out))['x']""",
        lambda v, w: v == numbers(4) and w.count("put") == 4,
    ),
    "a timer in a race with an answer": shape(
        """
out = []
timer = threading.Timer(0.3, lambda: out.append(put(by='timer')['by'])); timer.start()
slow(x=1); timer.cancel(); timer.join()
order(out=out)['out']""",
        lambda v, w: w.count("put") == len(v),
    ),
    "the newest answer counts": shape(
        """
seen = []
async def refresh(n): seen.append([n, await count()])
async def main():
    tasks = []
    for n in range(5):
        tasks.append(asyncio.create_task(refresh(n))); await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)
    return [(await put(last=seen[-1]))['last'], (await order(seen=seen))['seen'][-1]]
await main()""",
        lambda v, w: v[0] == v[1] and w.count("put") == 1,
    ),
    "what was written is undone after a failure": shape(
        """
written = []
try:
    for n in range(4): put(x=n); written.append(n); charge(id=n)
    end = 'ok'
except ToolFailed:
    for n in reversed(written): undo(x=n)
    end = written
order(end=end)['end']""",
        lambda v, w: w.count("undo") == (0 if v == "ok" else len(v)),
    ),
    "everything is swallowed": shape(
        """
seen = []
for x in range(4):
    try: seen.append(ask(x=x)['x'])
    except BaseException: seen.append(None)
seen""",
        lambda v, w: v == [None if rejected("ask", {"x": x}) else x for x in range(4)],
    ),
    "a busy wait for a future": shape(
        """
pool = futures.ThreadPoolExecutor(2); future = pool.submit(get, x=1); looks = 0
while not future.done(): looks += 1
put(x=future.result()['x'])
order(x=1)['x']""",
        lambda v, w: v == 1 and w.count("put") == 1,
        busy=True,
    ),
    "a busy wait in a loop": shape(
        """
async def main():
    task, looks = asyncio.create_task(acall_tool('get', x=1)), 0
    while not task.done(): looks += 1; await asyncio.sleep(0)
    await put(x=task.result()['x'], looks=looks)
    return (await order(looks=looks))['looks'] == looks
await main()""",
        lambda v, w: v is True and w.count("put") == 1,
        busy=True,
    ),
    "a busy wait for a queue": shape(
        """
answers, out = queue.Queue(), []
threading.Thread(target=lambda: answers.put(get(x=1)['x'])).start()
while not out:
    try: out.append(answers.get_nowait())
    except queue.Empty: pass
put(x=out[0])
order(x=1)['x']""",
        lambda v, w: v == 1 and w.count("put") == 1,
        busy=True,
    ),
    "calls that nobody waits for": shape(
        """
for n in range(3): threading.Thread(target=put, kwargs={'x': n}, daemon=True).start()
get(x=1)['x']""",
        lambda v, w: v == 1 and w.count("put") == 3,
    ),
    "it raises beside a running write": shape(
        """
threading.Thread(target=put, kwargs={'x': 1}, daemon=True).start()
get(x=1)
raise KeyError('late')""",
        lambda v, w: w.count("put") == 1,
        fails=True,
    ),
    "a branch on a read that varies": shape(
        """
before = count()
for x in range(3): put(x=x, before=before)
after = count()
put(after=after)
[before, after, order(after=after)['after']]""",
        lambda v, w: v[1] == v[2] and w.count("put") == 4,
    ),
    "the processor's clock decides a read": shape(
        """
began = time.process_time_ns()
sum(range(20_000))
get(x=77 + (time.process_time_ns() - began) % 2)
put(x=1)
order(x=1)['x']""",
        lambda v, w: v == 1 and w.count("put") == 1,
        warns=True,
    ),
    "the processor's clock in a write": shape(
        "put(x=time.process_time_ns())\norder(x=1)['x']",
        impossible=True,
    ),
    "the processor's time of a thread in the choice of a write": shape(
        "used = time.thread_time_ns()\ncall_tool('put' if used % 2 else 'label', x=used)\norder(x=1)['x']",
        impossible=True,
    ),
}
