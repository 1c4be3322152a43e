"""CPython's own tests of asyncio, queues, sched and threading, upon the patched guest."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from callgate.sandboxes import bundle
from callgate.sandboxes.guest_source import guest_modules

DRIVER = Path(__file__).with_name("upstream_driver.py")

ASYNCIO = [
    f"test.test_asyncio.test_{name}"
    for name in ("queues", "locks", "tasks", "taskgroups", "timeouts", "waitfor", "runners", "threads")
]
QUEUES = ["PyQueueTest", "PyLifoQueueTest", "PyPriorityQueueTest", "PySimpleQueueTest", "FailingPyQueueTest"]
LOCKS = ["LockTests", "PyRLockTests", "EventTests", "ConditionTests", "ConditionAsRLockTests", "SemaphoreTests"]
LOCKS += ["BoundedSemaphoreTests", "BarrierTests", "TimerTests"]

EXCLUDED = {
    "test_task_del_collect": "collects garbage a hundred times in each of eight classes: 15 s that test no patch",
    "test_env_var_debug": "starts a process, which a program cannot",
    "test_interrupt_call_soon": "waits for a KeyboardInterrupt in real time; a host ends programs by killing them",
    "test_interrupt_wait": "waits for a KeyboardInterrupt in real time; a host ends programs by killing them",
    "test_many_threads": "10,000 items through 100 operating system threads: slow; test_strands.py has its shapes",
    "test_many_threads_nonblock": "as test_many_threads",
    "test_many_threads_timeout": "as test_many_threads",
}
"""Upstream tests that are left out, each with its reason."""


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(
    ("modules", "classes", "least"),
    [
        (ASYNCIO, [], 1_000),
        (["test.test_sched"], [], 8),
        (["test.test_queue"], QUEUES, 20),
        (["test.test_threading"], LOCKS, 80),
    ],
    ids=["asyncio", "sched", "queue", "threading"],
)
def test_cpythons_own_tests_pass_upon_the_guest(modules: list[str], classes: list[str], least: int) -> None:
    for module in modules:
        if not is_installed(module):
            pytest.skip(f"this Python is installed without {module}")
    order = {
        "bundle": bundle.source(guest_modules(), ""),
        "modules": modules,
        "classes": classes,
        "excluded": list(EXCLUDED),
    }
    done = subprocess.run(
        [os.path.realpath(sys._base_executable), "-s", "-E", "-B", str(DRIVER)],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == {}
    assert found["ran"] >= least
