"""The journals that every change has to be able to replay: `make journals` records them, by real runs in the jail.

They stand for the journals that users have. A change that cannot replay them breaks those, too: it needs a new
`callgate.journal.FORMAT`, and is no reason to record them anew.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from callgate import CodeRunner, JournalError, MemoryJournal, Outcome, ToolFailed, tool
from callgate.codec import encode
from callgate.sandboxes.base import Sandbox

JOURNALS = Path(__file__).with_name("journals")
KEY = bytes(range(32))
"""Of the sealed one. It protects nothing."""
LARGE = [{"row": row, "text": "x" * 60} for row in range(4_000)]


@tool(effect="read")
def get(x: int) -> dict[str, int]:
    """Return x."""
    return {"x": x}


@tool
def put(x: object, by: str = "") -> dict[str, object]:
    """Write x."""
    return {"x": x, "by": by}


@tool
def order(x: object) -> object:
    """Write x, once somebody approved it."""
    return x


@tool(effect="read")
def large() -> list[dict[str, object]]:
    """Return more than stands in an entry."""
    return LARGE


@tool(effect="read", record="digest")
def chart(patient: int) -> str:
    """Return what no journal may hold."""
    return f"patient {patient} is well"


@tool
def declined(x: int) -> None:
    """Fail."""
    raise ToolFailed(f"card {x} was declined")


@tool(reconcile=lambda call: {"type": "done", "value": f"paid {call.arguments['amount']}"})
def pay(amount: int) -> str:
    """Pay, and be cut off by a crash."""
    return f"paid {amount}"


TOOLS = [get, put, order, large, chart, declined, pay]
PROGRAMS = {
    "threads": """
from concurrent.futures import ThreadPoolExecutor, as_completed
import queue, threading, time
with ThreadPoolExecutor(4) as pool:
    rows = [done.result()['x'] for done in as_completed([pool.submit(get, x=x) for x in range(6)])]
tasks, written, lock = queue.Queue(), [], threading.Lock()
def work(name):
    while (x := tasks.get()) is not None:
        made = put(x=x, by=name)
        with lock: written.append(made['x'])
        time.sleep(0.01)
threads = [threading.Thread(target=work, args=(name,)) for name in 'ab']
for one in threads: one.start()
for x in rows: tasks.put(x)
for one in threads: tasks.put(None)
for one in threads: one.join()
sorted(written)
""",
    "async": """
import asyncio
async def step(x):
    await asyncio.sleep(0.005 * x)
    return (await get(x=x))['x']
async def slow(x):
    await asyncio.sleep(30)
async def main():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step(x)) for x in range(5)]
    try: await asyncio.wait_for(slow(1), 0.02)
    except TimeoutError: late = True
    first, others = await asyncio.wait([asyncio.create_task(step(x)) for x in (9, 1)], return_when='FIRST_COMPLETED')
    for one in others: one.cancel()
    return [task.result() for task in tasks], late, [one.result() for one in first]
found = await main()
await put(x=found[0])
found
""",
    "timers": """
import threading, time
beats, stop = [], threading.Event()
def beat():
    while not stop.wait(0.03):
        beats.append(put(x=len(beats), by='timer')['x'])
threading.Thread(target=beat, daemon=True).start()
fired = []
timer = threading.Timer(0.05, fired.append, [1]); timer.start()
began = time.monotonic()
time.sleep(0.1); get(x=1); time.sleep(0.05)
stop.set(); timer.join()
[len(beats), fired, time.monotonic() - began]
""",
    "chance": """
import datetime, random, secrets, time, uuid
key = [random.random(), str(uuid.uuid4()), secrets.token_hex(4), time.time(), str(datetime.datetime.now())]
put(x=key)
put(x=sorted({f'name {n}' for n in range(5)}, key=hash))
random.shuffle(key)
key == list(dict.fromkeys(key)), [n for n in {f's{n}' for n in range(9)}]
""",
    "approvals": """
rows = call_tools([('get', {'x': 1}), ('order', {'x': [1]}), ('order', {'x': [2]}), ('put', {'x': 3})])
try: order(x='refused')
except ApprovalRejected as e: print(e)
[rows, order(x='edited')]
""",
    "failures": """
for attempt in range(3):
    try: declined(x=attempt); break
    except ToolFailed as e: print(e)
call_tools([('get', {'x': 1}), ('put', {'x': 2})])
def settle(rows):
    return rows['missing']
settle({})
""",
    "large results": """
rows = large()
sizes = [len(row['text']) for row in rows]
print('\\n'.join(str(row['row']) for row in rows))
put(x=sum(sizes))
rows[:300]
""",
    "files": """
import csv, json, pathlib
rows = [get(x=x) for x in range(4)]
with open('/out/rows.csv', 'w', newline='') as file:
    writer = csv.DictWriter(file, ['x']); writer.writeheader(); writer.writerows(rows)
pathlib.Path('/out/deep').mkdir()
pathlib.Path('/out/deep/rows.json').write_text(json.dumps(rows))
""",
    "digest": """
notes = call_tools([('chart', {'patient': n}) for n in range(3)])
put(x=[len(note) for note in notes])
order(x=sum(map(len, notes)))
""",
    "a crash": """
a = get(x=1)['x']
paid = pay(amount=a + 4)
put(x=paid)
""",
    "sealed": "a = get(x=5)['x']\norder(x=a)",
}


class Dying(MemoryJournal):
    """Loses what comes after `pay` was started, once."""

    died = False

    def append(self, key: str, position: int, lines) -> None:  # type: ignore[no-untyped-def]
        if not self.died and any('"e":"done"' in line and '"tool":"pay"' in line for line in lines):
            self.died = True
            raise JournalError("the process died")
        super().append(key, position, lines)


def record(name: str, sandbox: Sandbox) -> Outcome:
    """Run a program to its end, through everything that a human and a crash do to it."""
    key = KEY if name == "sealed" else None
    runner = CodeRunner(TOOLS, sandbox=sandbox, interrupt_on={"order": True}, journal=Dying(), journal_key=key)
    try:
        outcome = runner.run(PROGRAMS[name], id=name)
    except JournalError:
        outcome = runner.resume(name)
    while outcome.status == "paused":
        decisions = {one.id: decision(one.tool, one.arguments["x"]) for one in outcome.waiting}
        outcome = runner.resume(name, decisions)
    return outcome


def decision(tool: str, x: object) -> object:
    """Decide as somebody did when it was recorded."""
    if x == "refused":
        return {"type": "reject", "message": "not this one"}
    if x == "edited":
        return {"type": "edit", "edited_action": {"name": tool, "args": {"x": "better"}}}
    return "approve"


def kept(handle: str) -> str | None:
    """Return the text of a large result, by its handle."""
    text = encode(LARGE)
    return text if hashlib.sha256(text.encode()).hexdigest().startswith(handle) else None


def path_of(name: str) -> Path:
    """Return where a journal is."""
    return JOURNALS / f"{name.replace(' ', '_')}.jsonl"


if __name__ == "__main__":
    from callgate.sandboxes import LocalSandbox

    with LocalSandbox() as sandbox:
        for name in PROGRAMS:
            outcome = record(name, sandbox)
            path_of(name).write_text(outcome.journal.text(), encoding="utf-8")
            print(f"{path_of(name).name:20} {outcome.status:10} {len(outcome.journal):3} lines")  # noqa: T201
