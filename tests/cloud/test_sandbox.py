"""E2BSandbox against the loopback server: what programs and their hosts see."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import threading
from pathlib import Path

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from cloud.waiting import told, until

from callgate import CodeRunner, LimitExceeded, Limits, SandboxUnavailable, Tool, UsageError, tool
from callgate.sandboxes.base import Sandbox
from callgate.sandboxes.e2b import E2BSandbox
from callgate.sandboxes.e2b.machine import Machine
from callgate.testing.e2b import LoopbackE2B


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(effect="read")
def echo(value: str) -> str:
    """Give back."""
    return value


LOOP = "total = 0\nfor i in range(20):\n    total = call_tool('add', a=total, b=i)\nprint('done')\ntotal"


def test_it_is_a_sandbox(shared: E2BSandbox) -> None:
    typed: Sandbox = shared
    assert isinstance(typed, Sandbox)
    assert typed.name == "e2b"


def test_a_program_calls_tools(shared: E2BSandbox) -> None:
    outcome = CodeRunner([add], sandbox=shared).run(LOOP)
    assert (outcome.status, outcome.value, outcome.stdout) == ("completed", 190, "done\n")
    assert outcome.journal.header["sandbox"] == "e2b"


async def test_a_program_calls_tools_on_a_loop(shared: E2BSandbox) -> None:
    outcome = await CodeRunner([add], sandbox=shared).arun(LOOP)
    assert (outcome.status, outcome.value) == ("completed", 190)


def test_a_sandbox_serves_one_loop_after_another(shared: E2BSandbox) -> None:
    runner = CodeRunner([add], sandbox=shared)
    assert [asyncio.run(runner.arun(LOOP)).value for _ in range(2)] == [190, 190]


def test_parallel_calls_and_threads_work(shared: E2BSandbox) -> None:
    program = "[r for r in call_tools([('add', {'a': i, 'b': 1}) for i in range(10)])]"
    assert CodeRunner([add], sandbox=shared).run(program).value == list(range(1, 11))


@pytest.mark.parametrize("size", [1, 65_536, 300_000, 3_000_000])
def test_values_of_any_size_pass_both_ways(shared: E2BSandbox, size: int) -> None:
    outcome = CodeRunner([echo], sandbox=shared).run(f"v = call_tool('echo', value='x' * {size})\nlen(v)")
    assert (outcome.status, outcome.value) == ("completed", size)


def test_an_error_names_the_programs_own_line(shared: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=shared).run("x = 1\nx / 0")
    assert outcome.status == "failed"
    assert (told(outcome).type, told(outcome).line) == ("ZeroDivisionError", 2)


def test_files_come_back(shared: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=shared).run("open('/out/a.txt', 'w').write('x' * 400_000)\nNone")
    assert [(one.name, one.size) for one in outcome.artifacts] == [("a.txt", 400_000)]


def test_nothing_of_a_program_is_left_for_the_next(shared: E2BSandbox) -> None:
    runner = CodeRunner([], sandbox=shared)
    runner.run("import os\nopen('/out/a', 'w').close(); open('b', 'w').close(); os.environ['C'] = '1'\nNone")
    found = runner.run("import os\n[os.listdir('/out'), os.listdir('.'), 'C' in os.environ]")
    assert found.value == [[], [], False]


def test_nothing_of_the_host_is_in_the_environment(shared: E2BSandbox) -> None:
    found = CodeRunner([], sandbox=shared).run("import os\nsorted(os.environ)")
    assert set(found.value) == {"HOME", "LANG", "PATH", "TZ", "USER"}


def test_a_program_dies_at_its_time(shared: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=shared, limits=Limits(seconds=1)).run("while True: pass")
    assert (outcome.status, outcome.limit) == ("limited", "seconds")


def test_a_program_dies_at_its_processor_time(shared: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=shared, limits=Limits(seconds=20, cpu_seconds=0.5)).run("while True: pass")
    assert (outcome.status, outcome.limit) == ("limited", "cpu_seconds")


def test_a_program_cannot_have_all_memory(shared: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=shared, limits=Limits(memory_mb=64)).run("x = bytearray(1 << 28)\nlen(x)")
    assert told(outcome).type == "MemoryError"


def test_a_process_that_dies_is_not_a_lost_sandbox(shared: E2BSandbox) -> None:
    outcome = CodeRunner([], sandbox=shared).run("import ctypes\nctypes.string_at(0)")
    assert outcome.status == "failed"
    assert told(outcome).type == "ProcessDied"


def test_an_approval_ends_the_guest_and_another_goes_on(shared: E2BSandbox) -> None:
    calls: list[int] = []

    @tool(effect="write")
    def refund(n: int) -> int:
        """Pay back."""
        calls.append(n)
        return n

    runner = CodeRunner([add, refund], sandbox=shared, interrupt_on={"refund": True})
    paused = runner.run("a = call_tool('add', a=1, b=2)\ncall_tool('refund', n=a) + 1", id="one")
    assert paused.status == "paused"
    done = runner.resume("one", {paused.waiting[0].id: "approve"})
    assert (done.status, done.value, calls) == ("completed", 4, [3])


def test_programs_run_beside_one_another_and_wait_for_a_seat(server: LoopbackE2B) -> None:
    meeting = threading.Barrier(2, timeout=20)

    def meet() -> int:
        return meeting.wait()

    together = Tool(name="meet", description="Meet.", invoke=lambda _: meet(), effect="read")
    with E2BSandbox(**server.options, guests=2) as sandbox:
        runner = CodeRunner([together], sandbox=sandbox)
        results: list[str] = []
        threads = [
            threading.Thread(target=lambda: results.append(runner.run("call_tool('meet')\nNone").status))
            for _ in range(2)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert results == ["completed"] * 2
        assert server.made == 1
        held = [sandbox.start(Limits()) for _ in range(2)]
        with pytest.raises(LimitExceeded) as full:
            sandbox.start(Limits(seconds=0.1))
        assert full.value.limit == "guests"
        for one in held:
            one.kill()


def test_the_sandbox_is_made_late_marked_and_without_internet(server: LoopbackE2B) -> None:
    with E2BSandbox(**server.options, template="mine", timeout=120, envs={"A": "b"}, metadata={"team": "x"}) as sandbox:
        assert server.made == 0
        CodeRunner([], sandbox=sandbox).run("1 + len([])")
        (told,) = server.sandboxes()
        assert told["metadata"] == {"team": "x", "callgate": "1"}
        assert told["templateID"] == "mine"
        order = told["order"]
        assert (order["allow_internet_access"], order["timeout"], order["envVars"]) == (False, 120, {"A": "b"})
        assert order["autoPause"] is False
    assert server.sandboxes() == []


def test_network_rules_are_passed_on(server: LoopbackE2B) -> None:
    rules = {"allow_out": ["10.0.0.1"], "deny_out": ["0.0.0.0/0"]}
    with E2BSandbox(**server.options, network=rules) as sandbox:
        CodeRunner([], sandbox=sandbox).run("1 + len([])")
        assert server.sandboxes()[0]["order"]["network"]["allowOut"] == ["10.0.0.1"]


def test_a_program_takes_two_streams_and_no_request_per_call(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    runner = CodeRunner([add], sandbox=sandbox)
    runner.run(LOOP)
    before = len(server.requests)
    runner.run(LOOP)
    assert server.requests[before:] == ["POST /process.Process/Start", "POST /process.Process/StreamInput"]
    assert server.made == 1


@pytest.mark.parametrize(("idle", "state"), [("end", None), ("pause", "paused")])
def test_an_idle_sandbox_is_ended_or_paused(server: LoopbackE2B, idle: str, state: str | None) -> None:
    with E2BSandbox(**server.options, idle=idle, idle_seconds=0.1) as sandbox:  # type: ignore[arg-type]
        runner = CodeRunner([add], sandbox=sandbox)
        runner.run(LOOP)
        until(lambda: [one["state"] for one in server.sandboxes()] == ([state] if state else []))
        assert runner.run(LOOP).value == 190
        assert server.made == (1 if state else 2)
    assert server.sandboxes() == []


def test_nobody_waits_for_the_end_of_an_idle_sandbox(server: LoopbackE2B, monkeypatch: pytest.MonkeyPatch) -> None:
    ending, go_on = threading.Event(), threading.Event()
    end, in_time = Machine.end, list[bool]()

    async def slowly(machine: Machine) -> None:
        machine.gone = True
        ending.set()
        in_time.append(await asyncio.to_thread(go_on.wait, 10))
        await end(machine)

    monkeypatch.setattr(Machine, "end", slowly)
    with E2BSandbox(**server.options, idle_seconds=0.1) as sandbox:
        runner = CodeRunner([add], sandbox=sandbox)
        runner.run(LOOP)
        assert ending.wait(20)
        try:
            assert runner.run(LOOP).value == 190
        finally:
            go_on.set()
    assert in_time[0], "the next program was made to wait"
    assert server.made == 2
    assert server.sandboxes() == []


def test_a_sandbox_in_use_is_kept(server: LoopbackE2B) -> None:
    def asked() -> bool:
        return any(one.endswith("/timeout") for one in server.requests)

    slow = Tool(name="slow", description="Wait.", invoke=lambda _: until(asked), effect="read")
    with E2BSandbox(**server.options, timeout=5) as sandbox:
        assert CodeRunner([slow], sandbox=sandbox).run("call_tool('slow')\n'kept'").value == "kept"


def test_cancelling_ends_the_guest(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    async def scene() -> None:
        entered = asyncio.Event()

        @tool(effect="read")
        async def wait() -> None:
            """Wait."""
            entered.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(CodeRunner([wait], sandbox=sandbox).arun("call_tool('wait')\n1"))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    until(lambda: server.processes() == 1)  # what relays are forked from


async def test_cancelling_a_start_leaves_no_guest(server: LoopbackE2B, sandbox: E2BSandbox) -> None:
    server.faults.latency = 0.2
    task = asyncio.create_task(sandbox.astart(Limits()))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.faults.latency = 0
    await asyncio.to_thread(sandbox.close)
    assert server.sandboxes() == []


def test_closing_ends_what_runs(server: LoopbackE2B) -> None:
    sandbox = E2BSandbox(**server.options)
    guest = sandbox.start(Limits())
    sandbox.close()
    assert server.sandboxes() == []
    assert guest.receive(5) == b""
    with pytest.raises(UsageError, match="closed"):
        sandbox.start(Limits())


def test_a_forgotten_sandbox_is_ended(server: LoopbackE2B) -> None:
    sandbox = E2BSandbox(**server.options)
    sandbox.start(Limits()).kill()
    del sandbox
    gc.collect()
    until(lambda: server.sandboxes() == [])


def test_nothing_is_left(nothing_left: None) -> None:
    with LoopbackE2B() as server, E2BSandbox(**server.options) as sandbox:
        runner = CodeRunner([add, echo], sandbox=sandbox)
        runner.run(LOOP)
        asyncio.run(runner.arun("call_tool('echo', value='x' * 300_000)\nNone"))
        until(lambda: server.processes() == 1)  # what relays are forked from
        home = Path(server.sandboxes()[0]["home"])
        assert list((home / "callgate-exchange").iterdir()) == []
        assert list((home / "tmp").iterdir()) == []


def test_without_a_key_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("E2B_API_KEY", raising=False)
    with pytest.raises(SandboxUnavailable, match="E2B_API_KEY"):
        E2BSandbox().start(Limits())


def test_a_wrong_key_is_named(server: LoopbackE2B) -> None:
    with (
        E2BSandbox(**{**server.options, "api_key": "e2b_0"}) as sandbox,
        pytest.raises(SandboxUnavailable, match="API key"),
    ):
        sandbox.start(Limits())


def test_a_full_account_is_a_limit(server: LoopbackE2B) -> None:
    server.faults.fail("/v2/sandboxes", 429, times=10, headers={"Should-Retry": "false"})
    with E2BSandbox(**server.options) as sandbox:
        outcome = CodeRunner([], sandbox=sandbox).run("1 + len([])")
    assert (outcome.status, outcome.limit, outcome.ran) == ("limited", "guests", False)


@pytest.mark.parametrize(
    "wrong", [{"idle": "keep"}, {"timeout": 0}, {"guests": 0}, {"packages": "pandas"}], ids=lambda one: next(iter(one))
)
def test_wrong_arguments_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        E2BSandbox(**wrong)  # type: ignore[arg-type]


def stand_in_for_pip(folder: Path, program: str) -> None:
    """Make what `python3 -m pip` runs where PYTHONPATH names the folder: nothing is downloaded by a test."""
    (folder / "pip").mkdir()
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(program)


def test_packages_are_installed_before_the_internet_is_shut(server: LoopbackE2B, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    stand_in_for_pip(tmp_path, f"import sys\nopen({str(asked)!r}, 'w').write(' '.join(sys.argv[1:]))")
    wanted = {"packages": ["numpy", "pandas>=2"], "envs": {"PYTHONPATH": str(tmp_path)}}
    with E2BSandbox(**server.options, **wanted) as sandbox:  # type: ignore[arg-type]
        sandbox.start(Limits()).kill()
        order = server.sandboxes()[0]["order"]
    assert asked.read_text().endswith("-- numpy pandas>=2")
    assert order["allow_internet_access"] is True
    assert order["network"] == {"denyOut": ["0.0.0.0/0"]}


def test_packages_that_cannot_be_installed_are_named(server: LoopbackE2B, tmp_path: Path) -> None:
    stand_in_for_pip(tmp_path, "raise SystemExit('no such thing')")
    with (
        E2BSandbox(**server.options, packages=["nothing"], envs={"PYTHONPATH": str(tmp_path)}) as sandbox,
        pytest.raises(SandboxUnavailable, match="no such thing") as refused,
    ):
        sandbox.start(Limits())
    assert refused.value.missing == ("nothing",)
    assert server.sandboxes() == []


@pytest.mark.parametrize("version", ["1.11.0", "2.61.0"])
def test_an_sdk_that_is_too_old_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"e2b": version}.__getitem__)
    with pytest.raises(SandboxUnavailable, match=rf"version {version} .* too old: pip install 'callgate\[e2b\]'"):
        CodeRunner([add], sandbox=E2BSandbox(api_key="k")).run(LOOP)
