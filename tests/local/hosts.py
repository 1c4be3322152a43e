"""Host processes of many kinds: `python hosts.py <kind>` is one, and prints what a test wants to know as JSON."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from local.harness import converse, descendants, order

from callgate import CodeRunner, Limits
from callgate.sandboxes import LocalSandbox

PROGRAM = "import os\n[{number} * 2, os.getpid()]"


def doubled(runner: CodeRunner, number: int) -> int:
    """Run a program on a thread's own behalf."""
    outcome = runner.run(PROGRAM.format(number=number))
    assert outcome.status == "completed", outcome.text
    return outcome.value[0]


async def adoubled(runner: CodeRunner, number: int) -> int:
    """Run a program on a loop."""
    outcome = await runner.arun(PROGRAM.format(number=number))
    assert outcome.status == "completed", outcome.text
    return outcome.value[0]


def prefork() -> dict[str, Any]:
    """Fork workers after the parent has used the sandbox, as gunicorn --preload and Celery do."""
    with LocalSandbox() as sandbox:
        runner = CodeRunner([], sandbox=sandbox)
        found = [doubled(runner, 0)]
        guest = sandbox.start(Limits())  # alive while the workers come and go
        workers = [_fork(lambda n=n: _work(runner, sandbox, n)) for n in range(3)]
        told = [json.loads(out.read()) for _, out in workers]
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in workers]
        for _, out in workers:
            out.close()
        guest.send(order("40 + 2"), 10)
        found += [converse(guest).value, doubled(runner, 9)]
        guest.kill()
        jailed = {pid for worker in told for pid in worker["jailed"]} | descendants()
        return {"parent": found, "workers": [worker["found"] for worker in told], "ends": ends, "jailed": [*jailed]}


def _work(runner: CodeRunner, sandbox: LocalSandbox, number: int) -> dict[str, Any]:
    found = [doubled(runner, 10 * number + n) for n in range(3)]
    found.append(asyncio.run(adoubled(runner, 10 * number + 3)))
    told = {"found": found, "jailed": [*descendants()]}
    if number == 1:
        sandbox.close()
    return told


def _fork(work: Callable[[], dict[str, Any]]) -> tuple[int, Any]:
    """Run work in a forked child, and return it with what it tells."""
    out, into = os.pipe()
    pid = os.fork()
    if pid:
        os.close(into)
        return pid, os.fdopen(out)
    code = 1
    try:
        os.close(out)
        told = work()
        os.write(into, json.dumps(told).encode())
        os.close(into)
        code = 0
    finally:
        os._exit(code)


def in_children(method: str) -> dict[str, Any]:
    """Use the shared sandbox here and in children that multiprocessing starts."""
    found = [_shared(1)]
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        found += pool.map(_shared, range(2, 6))
        pool.close()
        pool.join()
    child = context.Process(target=_shared, args=(1,))
    child.start()
    child.join()
    return {"found": [*found, _shared(6)], "end": child.exitcode, "jailed": [*descendants()]}


def _shared(number: int) -> int:
    return doubled(CodeRunner([]), number)


def crowd() -> dict[str, Any]:
    """Use one sandbox from four event loops in threads, four plain threads and a loop here, all at once."""
    found = list[int]()

    async def many(runner: CodeRunner, first: int) -> None:
        found.extend(await asyncio.gather(*(adoubled(runner, first + n) for n in range(6))))

    with LocalSandbox(guests=8) as sandbox:
        runner = CodeRunner([], sandbox=sandbox)
        threads = [threading.Thread(target=lambda n=n: asyncio.run(many(runner, 10 * n))) for n in range(4)]
        threads += [threading.Thread(target=lambda n=n: found.append(doubled(runner, 10 * n))) for n in range(4, 8)]
        for thread in threads:
            thread.start()
        asyncio.run(many(runner, 80))
        for thread in threads:
            thread.join()
        jailed = [*descendants()]
    return {"found": sorted(found), "jailed": jailed, "left": [*descendants()]}


def killed() -> dict[str, Any]:
    """Be killed with spares, a busy guest and a forked worker that has its own."""
    sandbox = LocalSandbox()
    runner = CodeRunner([], sandbox=sandbox)
    doubled(runner, 1)
    guest = sandbox.start(Limits())
    guest.send(order("while True: pass"), 10)
    worker, out = _fork(lambda: {"jailed": [*descendants()]} if doubled(runner, 2) else {})
    jailed = json.loads(out.read())["jailed"]
    os.waitpid(worker, 0)
    _tell({"jailed": [*jailed, *descendants()]})
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what))
    sys.stdout.flush()


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "prefork": prefork,
    "fork": lambda: in_children("fork"),
    "forkserver": lambda: in_children("forkserver"),
    "spawn": lambda: in_children("spawn"),
    "crowd": crowd,
    "killed": killed,
}

if __name__ == "__main__":
    _tell(KINDS[sys.argv[1]]())
