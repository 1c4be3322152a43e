"""Lives of an action: real guests in simulated time, killed at random lines, paused, resumed and decided about.

Whatever happens on the way, each write happens once, gated calls run only as approved, answers and decisions reach
the calls they belong to, and the end is what an undisturbed run would have given.
"""

from __future__ import annotations

import random

import pytest
from simulated import HEADER_WALL, Killed, Life, World, tool_of

from callgate.limits import Limits
from callgate.sandboxes.base import EndFrame, RestFrame, frame
from callgate.sandboxes.frames import Frames
from callgate.steps import End

SHAPES = {
    "sequence": "a = get(x=1)\nb = put(x=a['x'] + 1)\nc = put(x=b['x'] + 1)\norder(x=c['x'])['x']",
    "threads then gated": (
        "from concurrent.futures import ThreadPoolExecutor, as_completed\n"
        "with ThreadPoolExecutor(3) as pool:\n"
        "    rows = [f.result() for f in as_completed([pool.submit(get, x=i) for i in range(3)])]\n"
        "order(x=[r['x'] for r in rows])['x']"
    ),
    "random keys": "import uuid\nk = str(uuid.uuid4())\nput(x=k)\norder(x=k)['x'] == k",
    "branch on time": (
        "import time\nt = time.time()\nget(x=1)\nslow = time.time() - t > 0.1\nif slow: put(x='slow')\norder(x=slow)['x'] == slow"
    ),
    "heartbeat": (
        "import threading\nstop = threading.Event()\nbeats = []\ndef beat():\n"
        "    while not stop.is_set():\n        put(x=len(beats)); beats.append(1); stop.wait(0.1)\n"
        "t = threading.Thread(target=beat, daemon=True); t.start()\nget(x=1)\nstop.set(); t.join()\norder(x=len(beats))['x'] == len(beats)"
    ),
    "gather": (
        "import asyncio\nasync def one(i):\n    r = await get(x=i)\n    return (await put(x=r['x'] * 10))['x']\n"
        "await asyncio.gather(*[one(i) for i in range(4)])"
    ),
    "gated siblings": "r = call_tools([('order', {'x': i}) for i in range(3)] + [('put', {'x': 9})])\n[one['x'] for one in r]",
    "timeout around a gated call": (
        "import asyncio\nasync def main():\n    try: return (await asyncio.wait_for(order(x=1), 4))['x']\n"
        "    except TimeoutError: return 'late'\nasyncio.run(main())"
    ),
    "workers on a queue": (
        "import queue, threading\nq, done = queue.Queue(), []\ndef work():\n    while (i := q.get()) is not None: done.append(put(x=i)['x'])\n"
        "ts = [threading.Thread(target=work) for _ in range(2)]\n[t.start() for t in ts]\nfor i in range(5): q.put(get(x=i)['x'])\n"
        "for _ in ts: q.put(None)\n[t.join() for t in ts]\norder(x=sorted(done))['x']"
    ),
    "swallow everything": "seen = []\nfor i in range(3):\n    try: seen.append(order(x=i)['x'])\n    except BaseException: seen.append(None)\nseen",
    "task group": (
        "import asyncio\nasync def main():\n    async with asyncio.TaskGroup() as group:\n"
        "        tasks = [group.create_task(order(x=i)) for i in range(2)]\n        tasks.append(group.create_task(put(x=5)))\n"
        "    return [t.result()['x'] for t in tasks]\nasyncio.run(main())"
    ),
    "sets and hashes": "names = {f'n{i}' for i in range(9)}\nfirst = [n for n in names][:3]\nfor n in first: put(x=n)\norder(x=first)['x'] == first",
}


class Laboratory:
    """One program, its world, and chance."""

    def __init__(self, sandbox, source, seed):
        self.sandbox, self.source, self.chance = sandbox, source, random.Random(f"{source}{seed}")
        choices = (0.001, 0.02, 0.05, 0.3, 1.5)
        self.world = World(
            tools=[tool_of("get", "read"), tool_of("put"), tool_of("order")],
            interrupt_on={"order": True},
            latency=lambda call: self.chance.choice(choices),
            limits=Limits(seconds=600),
        )

    def guest(self):
        """A real guest as the generator the simulated driver wants."""
        limits = self.world.limits
        bounds = {"output_kb": limits.output_kb, "frame_mb": limits.frame_mb, "threads": limits.threads}
        tools = {one.name: {"tool": one.name, "params": []} for one in self.world.tools}
        run = {"program": self.source, "seed": 5, "wall": HEADER_WALL, "tools": tools, "limits": bounds}
        guest, frames = self.sandbox.start(limits), Frames(limits.frame_mb)
        try:
            event = {"run": run}
            while True:
                guest.send(frame(event), 10)
                got = []
                while not got or not isinstance(got[-1], RestFrame | EndFrame):
                    data = guest.receive(30)
                    assert data, f"the guest died or hangs: {got}"
                    got += frames.feed(data)
                event = yield got
        finally:
            guest.kill()

    def live(self):
        """Run to the end through kills and pauses; return the end and the life."""
        life = Life(self.world)
        while True:
            kill_after = len(life.lines) + self.chance.randint(1, 6) if self.chance.random() < 0.5 else None
            try:
                last = life.go(self.guest, kill_after=kill_after)
            except Killed:
                self.settle_what_ran(life)
                if life.entries("ended"):
                    return None, life
                continue
            if isinstance(last, End):
                return last, life
            life.decide(self.decide(last, life))

    def settle_what_ran(self, life):
        """Tools running when the host dies take effect or not, as chance has it."""
        for _, _, start in life.passes[-1]._running:
            if self.chance.random() < 0.5:
                self.world.done.append((start.call.tool, start.call.arguments))

    def decide(self, pause, life):
        """A human: approves everything in some order, leaves some for later, and knows what happened."""
        decisions = {}
        for one in self.chance.sample(pause.waiting, len(pause.waiting)):
            if decisions and self.chance.random() < 0.2:
                continue
            if not one.unknown:
                decisions[one.id] = "approve"
                continue
            happened = self.world.done.count((one.tool, one.arguments))
            value = {"tool": one.tool, **one.arguments}
            known = recorded(life, one.tool, one.arguments)
            decisions[one.id] = {"type": "done", "value": value} if happened > known else "run again"
        return decisions


def recorded(life, tool, arguments):
    """Count the executions of equal calls that the journal knows of."""
    keys = {entry["key"] for entry in life.entries() if entry.get("args") == arguments}
    return sum(entry["tool"] == tool and entry["key"] in keys for entry in life.entries("done"))


def check(sandbox, name, seed):
    laboratory = Laboratory(sandbox, SHAPES[name], seed)
    last, life = laboratory.live()
    if last is not None:
        assert last.status == "completed", last.error
    writes = [(tool, str(arguments)) for tool, arguments in laboratory.world.done if tool != "get"]
    assert len(writes) == sum(entry["tool"] != "get" for entry in life.entries("done")), "a write was doubled or lost"
    assert len(set(writes)) == len(writes)
    approved = {entry["call"] for entry in life.entries("decision")}
    assert all(entry["call"] in approved for entry in life.entries("started") if entry["tool"] == "order")
    return len(life.passes)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_lives(sandbox, name, seed):
    check(sandbox, name, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SHAPES)
def test_many_lives(sandbox, name):
    passes = sum(check(sandbox, name, seed) for seed in range(100, 300))
    assert passes > 400
