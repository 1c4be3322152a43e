"""How much one guest may use, and what the next one finds."""

from __future__ import annotations

import shutil
import time

import pytest
from local.harness import descendants, eventually, order, run, value

from callgate.limits import Limits
from callgate.sandboxes.local import LocalSandbox

SMALL = Limits(memory_mb=512, disk_mb=8)


def test_memory_ends_in_a_memory_error(sandbox: LocalSandbox) -> None:
    result = run(sandbox, "x = []\nwhile True: x.append(bytearray(1 << 24))", SMALL)
    assert result.error is not None
    assert result.error["type"] == "MemoryError"


def test_memory_above_the_limit_is_not_mapped(sandbox: LocalSandbox) -> None:
    program = "try:\n    bytearray(600 << 20)\n    found = 'had'\nexcept MemoryError:\n    found = 'refused'\nfound"
    assert value(sandbox, program, SMALL) == "refused"
    assert value(sandbox, program, Limits(memory_mb=2048)) == "had"


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


def test_threads_of_the_kernel_are_bounded(sandbox: LocalSandbox) -> None:
    # Not through threading, which the guest bounds itself: tiny threads that sleep, as native code could make them.
    program = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
attributes = ctypes.create_string_buffer(256)
libc.pthread_attr_init(attributes)
libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 16))
identity, started = ctypes.c_ulong(), 0
while started < 2000 and libc.pthread_create(ctypes.byref(identity), attributes, libc.pause, None) == 0:
    started += 1
started
"""
    assert 256 <= value(sandbox, program) < 512


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


def test_an_endless_loop_is_killed_at_once(sandbox: LocalSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order("import os\nos.write(3, b'on')\nwhile True: pass"), 5)
    assert guest.receive(10) == b"on"
    started = time.monotonic()
    guest.kill()
    assert guest.receive(1) == b""
    assert time.monotonic() - started < 0.5


def test_ignored_signals_do_not_help(sandbox: LocalSandbox) -> None:
    program = """
import os, signal
for n in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
    try: signal.signal(n, signal.SIG_IGN)
    except OSError: pass
os.write(3, b"on")
while True: pass
"""
    guest = sandbox.start(Limits())
    guest.send(order(program), 5)
    assert guest.receive(10) == b"on"
    before = descendants()
    guest.kill()
    eventually(lambda: len(descendants()) == len(before) - 1)


def test_the_kernel_ends_a_guest_that_outruns_its_host(sandbox: LocalSandbox) -> None:
    started = time.monotonic()
    assert run(sandbox, "while True: pass", Limits(cpu_seconds=1)).gone
    assert time.monotonic() - started < 15


def test_processor_time_is_measured(sandbox: LocalSandbox) -> None:
    guest = sandbox.start(Limits())
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
def test_a_crash_is_the_guests_alone(sandbox: LocalSandbox, program: str) -> None:
    assert run(sandbox, program).gone
    assert value(sandbox, "1 + 1") == 2
