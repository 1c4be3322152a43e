"""Programs in notebooks, over the loopback server: its kernels are plain Python, and show what E2B's show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("e2b_code_interpreter", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from cloud.conftest import HASTY
from cloud.waiting import told, until

from callgate import CodeRunner, Limits, Outcome, tool
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing.e2b import LoopbackE2B

CHART = """
class Chart:
    def _repr_png_(self): return b"\\x89PNG"
    def _repr_html_(self): return "<b>chart</b>"
    def __repr__(self): return "Chart()"
"""
CALLS = """
total = 0
for n in range(8): total = add(a=total, b=n)
both = call_tools([("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2})])
later = await acall_tool("add", a=total, b=1)
print("said")
[total, both, later, await add(a=later, b=1)]
"""


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.fixture
def notebook(server: LoopbackE2B) -> Iterator[E2BSandbox]:
    with E2BSandbox(**server.options, notebook=True, timing=HASTY) as one:
        yield one


async def ran(sandbox: E2BSandbox, program: str, on_a_loop: bool, limits: Limits | None = None) -> Outcome:
    runner = CodeRunner([add], sandbox=sandbox, limits=limits)
    return await runner.arun(program) if on_a_loop else runner.run(program)


@pytest.mark.parametrize("on_a_loop", [False, True], ids=["threads", "loop"])
async def test_a_program_calls_tools_and_shows_charts(
    server: LoopbackE2B, notebook: E2BSandbox, on_a_loop: bool
) -> None:
    outcome = await ran(notebook, CALLS, on_a_loop)
    assert (outcome.status, outcome.value, outcome.stdout) == ("completed", [28, [2, 4], 29, 30], "said\n")
    shown = await ran(notebook, f"{CHART}\nprint('before')\nChart()", on_a_loop)
    assert (shown.status, shown.value, shown.stdout) == ("completed", "Chart()", "before\n")
    assert [(one.name, one.size) for one in shown.artifacts] == [("result-1.png", 4), ("result-1.html", 12)]
    assert server.sandboxes()[0]["templateID"] == "code-interpreter-v1"


def test_a_program_that_fails_names_its_line(notebook: E2BSandbox) -> None:
    outcome = CodeRunner([add], sandbox=notebook).run("x = add(a=1, b=1)\nx / 0")
    assert outcome.status == "failed"
    assert (told(outcome).type, told(outcome).line) == ("ZeroDivisionError", 2)


def test_each_program_has_a_kernel_of_its_own(server: LoopbackE2B, notebook: E2BSandbox) -> None:
    runner = CodeRunner([add], sandbox=notebook)
    runner.run("import builtins\nbuiltins.left = 1\nNone")
    assert runner.run("import builtins\nhasattr(builtins, 'left')").value is False
    until(lambda: server.contexts() == 0)


def test_a_program_dies_at_its_time_and_its_kernel_with_it(server: LoopbackE2B, notebook: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=notebook, limits=Limits(seconds=1)).run("while True: pass")
    assert (outcome.status, outcome.limit) == ("limited", "seconds")
    until(lambda: server.contexts() == 0)


def test_a_program_waits_for_an_approval_and_goes_on(notebook: E2BSandbox) -> None:
    calls: list[int] = []

    @tool(effect="write")
    def refund(n: int) -> int:
        """Pay back."""
        calls.append(n)
        return n

    runner = CodeRunner([add, refund], sandbox=notebook, interrupt_on={"refund": True})
    paused = runner.run("a = add(a=1, b=2)\nrefund(n=a) + 1", id="one")
    assert paused.status == "paused"
    done = runner.resume("one", {paused.waiting[0].id: "approve"})
    assert (done.status, done.value, calls) == ("completed", 4, [3])


def test_a_program_goes_on_in_a_new_sandbox(server: LoopbackE2B, notebook: E2BSandbox) -> None:
    calls: list[int] = []

    @tool(effect="write")
    def take(n: int) -> int:
        """Take."""
        calls.append(n)
        if n == 3:
            server.lose_sandboxes()
        return n

    outcome = CodeRunner([take], sandbox=notebook).run("total = 0\nfor n in range(6): total += take(n=n)\ntotal")
    assert (outcome.status, outcome.value, calls) == ("completed", 15, list(range(6)))
    assert server.made == 2


def test_a_kernel_that_dies_ends_the_program(notebook: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=notebook).run("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert outcome.status == "failed"
    assert told(outcome).type == "ProcessDied"


SPEAK = """
import os, sys
for name in os.listdir("/proc/self/fd"):
    try: there = os.readlink(f"/proc/self/fd/{name}")
    except OSError: continue
    if there.startswith("socket:"): channel = int(name)
def flood(data):
    while True: os.write(channel, data)
"""


PRINT = """
import os
line = b'{"type":"stdout","timestamp":0,"text":"' + b"x" * 65536 + b'"}\\n'
while True: os.write(1, line)
"""


@pytest.mark.parametrize(
    ("program", "status", "limit"),
    [
        (SPEAK + "os.write(channel, bytes([127, 255, 255, 255]))\nflood(bytes(1 << 16))", "limited", "frame_mb"),
        (SPEAK + "os.write(channel, bytes([0, 0, 0, 8]) + b'{\"end\":}')\nflood(bytes(1 << 16))", "failed", None),
        ("class A:\n  def _repr_html_(self): return 'x' * (1 << 20)\nwhile True: display(A())", "limited", "disk_mb"),
        (PRINT, "limited", "output_kb"),
    ],
    ids=["a frame without end", "more after the end", "results", "output of the kernel's own"],
)
def test_a_notebook_cannot_have_the_hosts_memory(
    notebook: E2BSandbox, program: str, status: str, limit: str | None
) -> None:
    limits = Limits(seconds=20, cpu_seconds=20, disk_mb=4, output_kb=64)
    outcome = CodeRunner([], sandbox=notebook, limits=limits).run(program)
    assert (outcome.status, outcome.limit) == (status, limit), outcome.text
