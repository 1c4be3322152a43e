"""Who ends when: guests, the fork server, the host, and forked children of the host."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from local.harness import alive, descendants, eventually, order, settled, value

from callgate.errors import SandboxLost, UsageError
from callgate.limits import Limits
from callgate.sandboxes import Sandbox
from callgate.sandboxes.local import LocalSandbox

HOST = """
import sys, time
sys.path[:0] = {path!r}
from callgate.limits import Limits
from callgate.sandboxes.local import LocalSandbox
from local.harness import order
sandbox = LocalSandbox()
guests = [sandbox.start(Limits()) for _ in range(3)]
guests[0].send(order("import os\\nos.write(3, b'on')\\nwhile True: pass"), 5)
assert guests[0].receive(10) == b"on"
{then}
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def own(sandbox: LocalSandbox) -> LocalSandbox:
    """A sandbox to break; closed by the garbage collector at the latest."""
    return LocalSandbox()


def test_it_is_a_sandbox(sandbox: LocalSandbox) -> None:
    assert isinstance(sandbox, Sandbox)
    assert (sandbox.name, sandbox.level) == ("local", "L3")


def test_nothing_starts_before_it_is_used(own: LocalSandbox) -> None:
    before = settled()
    LocalSandbox()
    assert descendants() == before


@pytest.mark.parametrize("then", ["", "import os\nif os.fork() == 0: time.sleep(60)"], ids=["alone", "with a fork"])
def test_a_killed_host_takes_everything_with_it(sandbox: LocalSandbox, then: str) -> None:
    program = HOST.format(path=[*sys.path], then=then)
    host = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == b"up\n"
        eventually(lambda: len(_jailed(host.pid)) == 7)  # the server, its parent, three guests, two spares
        jailed = _jailed(host.pid)
        host.kill()
        killed = time.monotonic()
        eventually(lambda: not any(alive(pid) for pid in jailed))
        assert time.monotonic() - killed < 1.0
    finally:
        os.killpg(host.pid, signal.SIGKILL)
        host.communicate()


def test_a_forked_child_has_a_server_of_its_own(sandbox: LocalSandbox) -> None:
    assert value(sandbox, "1") == 1
    before = settled()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own = value(sandbox, "'child'")
            eventually(lambda: len(descendants()) == 4)  # the server, its parent, two spares
            os.write(into, own.encode())
            sandbox.close()
            code = 0
        finally:
            os._exit(code)
    os.close(into)
    with os.fdopen(out) as answer:
        assert answer.read() == "child"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert value(sandbox, "'parent'") == "parent"
    assert before <= descendants()


@pytest.mark.parametrize("which", ["server", "all"])
def test_a_server_that_dies_loses_its_guests_and_is_replaced(own: LocalSandbox, which: str) -> None:
    with own:
        before = settled()
        own.check()
        server = settled() - before
        guest = own.start(Limits())
        guest.send(order("while True: pass"), 5)
        assert not guest.lost()
        for pid in server if which == "server" else descendants() - before:
            with suppress(ProcessLookupError):  # they end one another
                os.kill(pid, signal.SIGKILL)
        assert guest.receive(10) == b""
        assert guest.lost()
        guest.kill()
        assert value(own, "2") == 2
    assert descendants() <= before


def test_a_server_that_hangs_is_replaced(own: LocalSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.sandboxes.local.guest.START_SECONDS", 0.5)
    with own:
        before = settled()
        own.check()
        for pid in descendants() - before:
            with suppress(ProcessLookupError):  # the guest of the check may just be going
                os.kill(pid, signal.SIGSTOP)
        with pytest.raises(SandboxLost):
            own.start(Limits())
        monkeypatch.undo()
        assert value(own, "2") == 2


def test_a_guest_whose_host_lets_go_ends(sandbox: LocalSandbox) -> None:
    guest = sandbox.start(Limits())
    assert guest.pid in descendants()
    guest.kill()
    eventually(lambda: guest.pid not in descendants())


@pytest.mark.parametrize(
    "programs", [100, pytest.param(2_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])], ids=str
)
def test_descriptors_processes_and_memory_stay_flat(sandbox: LocalSandbox, programs: int) -> None:
    for _ in range(50):
        value(sandbox, "1")
    gc.collect()
    processes, before, size = len(settled()), _descriptors(), _resident_kb()
    for _ in range(programs):
        value(sandbox, "1")
    gc.collect()
    eventually(lambda: len(descendants()) == processes)
    assert _descriptors() == before
    assert _resident_kb() - size < 4096


def test_threads_that_start_it_together_get_one_server(own: LocalSandbox) -> None:
    before = settled()
    with own, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: value(own, str(n)), range(8))) == list(range(8))
        eventually(lambda: len(descendants() - before) == 4)  # the server, its parent, two spares


@pytest.mark.parametrize("spares", [0, 2])
async def test_a_cancelled_start_leaves_no_guest(sandbox: LocalSandbox, spares: int) -> None:
    with LocalSandbox(spares=spares, guests=2) as own:
        value(own, "1")
        before, open_before = len(settled()), _descriptors()
        for delay in (0.0, 0.001, 0.002, 0.004, 0.008):
            task = asyncio.create_task(own.astart(Limits()))
            await asyncio.sleep(delay)
            task.cancel()
            with suppress(asyncio.CancelledError):
                (await task).kill()
        value(own, "1")  # fills up, and has its seat
        eventually(lambda: len(descendants()) == before)
        assert _descriptors() == open_before


def test_close_ends_everything_and_is_final(own: LocalSandbox) -> None:
    before, open_before = settled(), _descriptors()
    guest = own.start(Limits())
    guest.send(order("while True: pass"), 5)
    eventually(lambda: len(descendants() - before) == 5)  # the server, its parent, the guest, two spares
    own.close()
    own.close()
    assert descendants() <= before
    assert guest.receive(5) == b""
    guest.kill()
    assert _descriptors() == open_before
    with pytest.raises(UsageError, match="closed"):
        own.start(Limits())


def test_a_forgotten_sandbox_ends(own: LocalSandbox) -> None:
    before = settled()
    forgotten = LocalSandbox()
    value(forgotten, "1")
    assert descendants() > before
    del forgotten
    gc.collect()
    eventually(lambda: descendants() <= before)


def test_limits_travel_with_each_guest(sandbox: LocalSandbox) -> None:
    program = "import resource as r\n[r.getrlimit(r.RLIMIT_AS)[0] >> 20, r.getrlimit(r.RLIMIT_CPU)[0]]"
    memory, processor = value(sandbox, program, Limits(memory_mb=333, cpu_seconds=2.5))
    assert 333 < memory < 433  # what the server maps comes on top
    assert processor == 4
    assert value(sandbox, program, Limits(memory_mb=444, cpu_seconds=7)) == [memory + 111, 8]


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _resident_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def _jailed(host: int) -> set[int]:
    return {pid for pid in descendants(host) if not _runs_host(pid)}


def _runs_host(pid: int) -> bool:
    try:
        return b"sandbox.start" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
