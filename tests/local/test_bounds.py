"""How much one guest may use, and what the next one finds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydantic
import pytest
from local.harness import NOBODY, Server, descendants, eventually, open_python, order, run, value

from callgate.limits import Limits
from callgate.sandboxes.local import LocalSandbox

SMALL = Limits(memory_mb=512, disk_mb=8)
THREADS = 100


def test_memory_ends_in_a_memory_error(either: Server) -> None:
    result = run(either, "x = []\nwhile True: x.append(bytearray(1 << 24))", SMALL)
    assert result.error is not None
    assert result.error["type"] == "MemoryError"


def test_memory_above_the_limit_is_not_mapped(either: Server) -> None:
    program = "try:\n    bytearray(600 << 20)\n    found = 'had'\nexcept MemoryError:\n    found = 'refused'\nfound"
    assert value(either, program, SMALL) == "refused"
    assert value(either, program, Limits(memory_mb=2048)) == "had"


def test_the_disk_is_full_at_its_limit(sandbox: LocalSandbox) -> None:
    program = """
import errno, os
written = 0
try:
    with open("/tmp/big", "wb", buffering=0) as file:
        while True:
            written += file.write(bytes(1 << 16))
except OSError as e:
    found = errno.errorcode[e.errno]
[found, written >> 20]
"""
    free = shutil.disk_usage("/dev/shm").used
    assert value(sandbox, program, SMALL) in (["ENOSPC", 8], ["ENOSPC", 7])
    assert shutil.disk_usage("/dev/shm").used <= free + (1 << 20)


def test_files_of_both_directories_count_together(sandbox: LocalSandbox) -> None:
    program = """
import errno, os
def fill(path):
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while True: written += file.write(bytes(1 << 16))
    except OSError as e:
        return [errno.errorcode[e.errno], written >> 20]
with open("/tmp/half", "wb") as file: file.write(bytes(4 << 20))
found = [fill("/out/rest"), fill("/tmp/more")]
os.unlink("/out/rest")
[*found, fill("/tmp/again")[1] >= 3, os.listdir("/out"), os.stat("/tmp").st_dev == os.stat("/out").st_dev]
"""
    found = value(sandbox, program, SMALL)
    assert found[0] in (["ENOSPC", 3], ["ENOSPC", 4])
    assert found[1:] == [["ENOSPC", 0], True, [], True]


@pytest.mark.parametrize("place", ["/tmp", "/out"])
def test_own_directories_are_used_freely(sandbox: LocalSandbox, place: str) -> None:
    program = f"""
import os, shutil
os.makedirs("{place}/a/b")
open("{place}/a/b/x", "w").write("x")
os.rename("{place}/a/b/x", "{place}/y")
os.symlink("y", "{place}/z")
os.link("{place}/y", "{place}/h")
os.truncate("{place}/y", 5)
shutil.rmtree("{place}/a")
[sorted(os.listdir("{place}")), os.stat("{place}/z").st_size, os.stat("{place}/h").st_nlink, oct(os.stat("{place}").st_mode)]
"""
    assert value(sandbox, program) == [["h", "y", "z"], 5, 2, "0o40700"]
    assert value(sandbox, f"import os\nos.listdir('{place}')") == []


def test_many_files_do_not_pass_the_limit(sandbox: LocalSandbox) -> None:
    program = """
import errno
total = 0
try:
    for n in range(10_000):
        with open(f"/tmp/{n}", "wb") as file:
            total += file.write(bytes(1 << 14))
except OSError as e:
    found = errno.errorcode[e.errno]
[found, total <= 8 << 20]
"""
    assert value(sandbox, program, SMALL) == ["ENOSPC", True]


def test_a_sparse_giant_is_refused(sandbox: LocalSandbox) -> None:
    program = """
import errno
try:
    with open("/tmp/x", "wb") as file: file.truncate(1 << 40)
except OSError as e:
    found = errno.errorcode[e.errno]
found
"""
    assert value(sandbox, program, SMALL) == "EFBIG"


def test_threads_of_the_kernel_are_bounded(either: Server, mode: dict[str, Any]) -> None:
    # Not through threading, which the guest bounds itself: tiny threads that sleep, as native code could make them.
    program = """
import ctypes, resource
libc = ctypes.CDLL(None, use_errno=True)
attributes = ctypes.create_string_buffer(256)
libc.pthread_attr_init(attributes)
libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 16))
identity, started = ctypes.c_ulong(), 0
while started < 2000 and libc.pthread_create(ctypes.byref(identity), attributes, libc.pause, None) == 0:
    started += 1
[started, resource.getrlimit(resource.RLIMIT_NPROC)[0]]
"""
    started, limit = value(either, program, Limits(threads=THREADS))
    assert THREADS < started < limit  # and more is left to those that libraries start
    assert limit == THREADS + 33 or (mode and limit <= THREADS + 256 + threads_of_the_host())


def test_a_guest_is_the_first_to_go_where_memory_runs_out(either: Server) -> None:
    guest = either.start(Limits())
    try:
        assert Path(f"/proc/{guest.pid}/oom_score_adj").read_text() == "1000\n"
        assert Path("/proc/self/oom_score_adj").read_text() != "1000\n"
    finally:
        guest.kill()


def threads_of_the_host() -> int:
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def test_threads_of_one_guest_do_not_count_for_another(sandbox: LocalSandbox) -> None:
    bomb = """
import ctypes, os
libc = ctypes.CDLL(None)
identity = ctypes.c_ulong()
attributes = ctypes.create_string_buffer(256)
libc.pthread_attr_init(attributes)
libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 16))
while libc.pthread_create(ctypes.byref(identity), attributes, libc.pause, None) == 0: pass
os.write(3, b"full")
while True: pass
"""
    guest = sandbox.start(Limits())
    try:
        guest.send(order(bomb), 5)
        assert guest.receive(20) == b"full"
        threads = "import threading\nt = [threading.Thread(target=int) for _ in range(20)]\n[x.start() for x in t]\n"
        assert value(sandbox, threads + "[x.join() for x in t]\nlen(t)") == 20
    finally:
        guest.kill()


def test_an_endless_loop_is_killed_at_once(either: Server) -> None:
    guest = either.start(Limits())
    guest.send(order("import os\nos.write(3, b'on')\nwhile True: pass"), 5)
    assert guest.receive(10) == b"on"
    started = time.monotonic()
    guest.kill()
    assert guest.receive(1) == b""
    assert time.monotonic() - started < 0.5


def test_ignored_signals_do_not_help(either: Server) -> None:
    program = """
import os, signal
for n in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
    try: signal.signal(n, signal.SIG_IGN)
    except OSError: pass
os.write(3, b"on")
while True: pass
"""
    before = descendants(either._process.pid)
    guest = either.start(Limits())
    guest.send(order(program), 5)
    assert guest.receive(10) == b"on"
    (process,) = descendants(either._process.pid) - before
    guest.kill()
    eventually(lambda: process not in descendants(either._process.pid))


def test_the_kernel_ends_a_guest_that_outruns_its_host(either: Server) -> None:
    started = time.monotonic()
    assert run(either, "while True: pass", Limits(cpu_seconds=1)).gone
    assert time.monotonic() - started < 15


def test_processor_time_is_measured(either: Server) -> None:
    guest = either.start(Limits())
    try:
        before = guest.cpu_seconds()
        guest.send(order("import os\nwhile os.times().user < 0.3: pass\nos.write(3, b'done')\nwhile True: pass"), 5)
        assert guest.receive(20) == b"done"
        assert guest.cpu_seconds() - before >= 0.25
    finally:
        guest.kill()
    assert guest.cpu_seconds() >= 0.25


@pytest.mark.parametrize(
    "program",
    [
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.abort()",
        "import ctypes\nctypes.CDLL(None).abort()",
    ],
    ids=["segmentation fault", "os.abort", "abort"],
)
def test_a_crash_is_the_guests_alone(either: Server, program: str) -> None:
    assert run(either, program).gone
    assert value(either, "1 + 1") == 2


AS_AN_ORDINARY_USER = """
import json, os, resource, sys
sys.path[:0] = {path!r}
from callgate.errors import SandboxError
from callgate.limits import Limits
from callgate.sandboxes.local.inside.rlimits import running
from local.harness import Server, descendants, value
from callgate.sandboxes.local.policy import jail_policy
def tried(attempt):
    try: return attempt()
    except SandboxError as error: return [type(error).__name__, *getattr(error, "missing", ())]
def used():
    with Server(policy) as server: return value(server, "1 + 1")
found, policy = [], jail_policy(namespaces={namespaces!r})
_, hard = resource.getrlimit(resource.RLIMIT_NPROC)
"""
STARTING = """
def tried_with(most):
    resource.setrlimit(resource.RLIMIT_NPROC, (most, hard))
    found.append(tried(used))
tried_with(0)
for more in range(8):  # other processes of this user come and go meanwhile
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    tried_with(running() + more)
tried_with(hard)
print(json.dumps(found))
"""
STARTED = """
with Server(policy) as server:
    (process,) = (pid for pid in descendants() if not descendants(pid))
    resource.prlimit(process, resource.RLIMIT_NPROC, (0, hard))
    found += [tried(lambda: server.start(Limits())) for _ in range(3)]
    resource.prlimit(process, resource.RLIMIT_NPROC, (hard, hard))
    found.append(value(server, "1 + 1"))
print(json.dumps(found))
"""


def as_an_ordinary_user(program: str, namespaces: bool) -> Any:
    path = [str(Path(__file__).parent.parent), *sys.path, str(Path(pydantic.__file__).parent.parent)]
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    host = subprocess.run(
        [open_python() or sys.executable, "-B", "-c", AS_AN_ORDINARY_USER.format(path=path, namespaces=namespaces) + program],
        capture_output=True, text=True, cwd="/", timeout=100, **user,
    )  # fmt: skip
    if "Permission" in host.stderr or "ModuleNotFoundError" in host.stderr:
        pytest.skip(f"an ordinary user cannot import the library here: {host.stderr.splitlines()[-1]}")
    assert host.returncode == 0, host.stderr
    return json.loads(host.stdout)


@pytest.mark.parametrize("namespaces", [True, False], ids=["with namespaces", "without namespaces"])
def test_a_server_short_of_processes_says_so(namespaces: bool) -> None:
    found = as_an_ordinary_user(STARTED, namespaces)
    assert found == [["SandboxUnavailable", "a process"]] * 3 + [2]


@pytest.mark.parametrize("namespaces", [True, False], ids=["with namespaces", "without namespaces"])
def test_a_user_short_of_processes_is_told(namespaces: bool) -> None:
    found = as_an_ordinary_user(STARTING, namespaces)
    assert found[0] == ["SandboxUnavailable", "a process"]
    assert found[-1] == 2
    assert [each for each in found if each not in (2, ["SandboxUnavailable", "a process"])] == []
