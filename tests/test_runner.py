"""CodeRunner, end to end in a real sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from callgate import (
    CodeRunner,
    JournalError,
    Limits,
    MemoryJournal,
    SandboxUnavailable,
    SqliteJournal,
    ToolFailed,
    UsageError,
    tool,
)
from callgate.outbox import Outbox
from callgate.sandboxes import LocalSandbox

DRIVES = pytest.mark.parametrize(
    "drive",
    [lambda runner, program: runner.run(program), lambda runner, program: asyncio.run(runner.arun(program))],
    ids=["threads", "asyncio"],
)
PAY = "refund(user='u')\nlen(whole)"
PROGRAMS_THAT_LOAD = [
    pytest.param(f"for _ in range(12): whole = load_value(handle)\n{PAY}", id="one by one"),
    pytest.param(f"whole = call_tools([('load_value', {{'handle': handle}})] * 12)[3]\n{PAY}", id="at once"),
]


@tool(effect="read")
def rows(n: int = 3) -> list[dict[str, int]]:
    """Return n rows."""
    return [{"id": index, "total": index * 10} for index in range(n)]


@tool(effect="read")
async def later(x: int) -> int:
    """Return x after a while."""
    await asyncio.sleep(0.02)
    return x


@tool(effect="read")
def blocking(x: int) -> int:
    """Return x after 20 ms."""
    time.sleep(0.02)
    return x


@tool
def refund(user: str, amount: float = 1.0) -> str:
    """Refund an amount."""
    return f"refunded {amount} to {user}"


@tool(effect="read")
def broken(x: int = 0) -> int:
    """Fail for no reason."""
    raise ToolFailed(f"no row {x}")


@tool(effect="read")
def leaky() -> int:
    """Raise with a secret."""
    raise ValueError("password=hunter2")


TOOLS = [rows, later, blocking, refund, broken, leaky]


@pytest.fixture
def runner(sandbox):
    return CodeRunner(TOOLS, sandbox=sandbox)


@pytest.fixture(params=["run", "arun"])
def run(request, runner):
    """Run a program on threads, and on an event loop."""
    if request.param == "run":
        return runner.run
    return lambda *args, **kwargs: asyncio.run(runner.arun(*args, **kwargs))


def test_only_what_it_shows_comes_back(run):
    outcome = run("data = rows(n=200)\nlen(data)")
    assert outcome.text == "200"


def test_a_failing_program_names_its_line_the_exception_and_the_calls_made(run):
    outcome = run("refund(user='u1')\nx = {}\nx['missing']")
    assert (outcome.status, outcome.error.type, outcome.error.line) == ("failed", "KeyError", 3)
    assert outcome.text == (
        "The program failed in line 3: KeyError: 'missing'\n"
        "    3 | x['missing']\n"
        "Calls already made, not undone:\n"
        '  refund(user="u1") -> "refunded 1.0 to u1"'
    )


def test_a_rejected_program_runs_nothing(run):
    outcome = run("refund(user='u1')\nrefundd(user='u2')\n")
    assert (outcome.status, outcome.ran, outcome.calls) == ("rejected", False, ())
    assert "line 2" in outcome.text


def test_a_tools_own_exception_is_told_by_type_only(run, caplog):
    outcome = run("x = 1\nleaky()")
    assert "ValueError" in outcome.text
    assert "hunter2" not in outcome.text + outcome.journal.text()
    assert "hunter2" in caplog.text


def test_what_is_too_large_to_show_is_cut_and_can_be_loaded(run):
    outcome = run("data = rows(n=5000)\ndata")
    assert outcome.value[-1] == {"id": 4999, "total": 49990}
    (cut,) = outcome.truncated
    assert len(outcome.text) < 9000
    assert (cut.part, cut.total > 100_000) == ("value", True)
    assert "more items" in outcome.text
    assert f"{cut.total:,}" in outcome.text
    again = run(f"whole = load_value({cut.handle!r})\nlen(whole)")
    assert again.value == 5000


def test_output_too_large_to_show_is_cut_alike(run):
    outcome = run("for i in range(3000): print('line', i)")
    (cut,) = outcome.truncated
    assert (cut.part, len(outcome.text) < 9000) == ("stdout", True)
    assert run(f"t = load_value({cut.handle!r})\nt.count('line')").value == 3000


@pytest.mark.parametrize("program", PROGRAMS_THAT_LOAD)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "asyncio"])
def test_a_kept_value_is_held_once_however_often_it_is_loaded(sandbox, tmp_path, asynchronous, program):
    store = SqliteJournal(tmp_path / "journal.db")  # each read of it is a text of its own
    runner = CodeRunner([rows, refund], sandbox=sandbox, journal=store, interrupt_on={"refund": True})
    drive = [lambda *given, **more: asyncio.run(runner.arun(*given, **more)), runner.run][not asynchronous]
    answer = [lambda *given: asyncio.run(runner.aresume(*given)), runner.resume][not asynchronous]
    (cut,) = drive("data = rows(n=12_000)\ndata").truncated
    outcome = drive(f"handle = {cut.handle!r}\n{program}", id="many")
    assert held_of(outcome) == 1
    again = answer("many", {outcome.waiting[0].id: "approve"})
    assert again.value == 12_000
    assert held_of(again) == 1


@DRIVES
def test_many_kept_values_do_not_fill_the_host(sandbox, tmp_path, drive):
    store = SqliteJournal(tmp_path / "journal.db")
    runner = CodeRunner([rows], sandbox=sandbox, journal=store, limits=Limits(frame_mb=2))
    handles = [drive(runner, f"'{n}' * 900_000").truncated[0].handle for n in range(4)]
    outcome = drive(
        runner,
        f"""
found = []
for handle in {handles * 2!r}:
    try:
        found.append(len(load_value(handle)))
    except ToolFailed as error:
        found.append(str(error))
found
""",
    )
    assert outcome.value[:2] == outcome.value[4:6] == [900_000] * 2
    for text in (*outcome.value[2:4], *outcome.value[6:]):
        assert "has loaded 1,800,004 bytes of kept values and may load 2,097,152 in all" in text


def held_of(outcome):
    """Return how many texts the results of load_value are; each of them was given."""
    results = [call.result for call in outcome.calls if call.tool == "load_value"]
    assert len(results) == 12
    assert {len(text) > 262_144 for text in results} == {True}
    return len(set(map(id, results)))


@DRIVES
@pytest.mark.parametrize("error", [MemoryError, RecursionError, JournalError, OSError])
@pytest.mark.timeout(30)
def test_an_end_that_cannot_be_stored_is_raised(sandbox, drive, error):
    class Full(MemoryJournal):
        def append(self, key, position, lines):
            if any('"e":"ended"' in line for line in lines):
                raise error("full")
            super().append(key, position, lines)

        async def aappend(self, key, position, lines):
            self.append(key, position, lines)

    with pytest.raises(error, match="full"):
        drive(CodeRunner([rows], sandbox=sandbox, journal=Full()), "1 + 1")


@DRIVES
@pytest.mark.parametrize("error", [MemoryError, RecursionError, OverflowError])
@pytest.mark.timeout(30)
def test_an_end_that_cannot_be_written_down_gives_way_to_a_plain_one_or_is_raised(sandbox, drive, error, monkeypatch):
    failures = []
    record = Outbox.record_end

    def record_end(self, *given):
        if len(failures) < most:
            failures.append(given)
            raise error("too much")
        record(self, *given)

    monkeypatch.setattr(Outbox, "record_end", record_end)
    runner, most = CodeRunner([rows], sandbox=sandbox), 1
    outcome = drive(runner, "1 + 1")
    assert (outcome.status, outcome.error.type, outcome.value) == ("failed", "ProtocolError", None)
    assert '"e":"ended"' in outcome.journal.lines[-1]
    failures, most = [], 9
    with pytest.raises(error, match="too much"):
        drive(runner, "1 + 1")


def test_kept_values_do_not_cross_threads(runner):
    outcome = runner.run("data = rows(n=5000)\ndata", thread="one")
    program = f"x = load_value({outcome.truncated[0].handle!r})\nlen(x)"
    assert runner.run(program, thread="one").status == "completed"
    assert runner.run(program, thread="two").status == "failed"


def test_the_caller_may_refuse_a_call_before_anybody_is_asked(sandbox, caplog):
    def admit(call):
        if call.arguments.get("n") == 3:
            raise KeyError("secret")
        return "no more today" if call.arguments.get("n") == 2 else None

    done = []

    @tool
    def put(n: int) -> int:
        done.append(n)
        return n

    runner = CodeRunner(
        [put], sandbox=sandbox, admit=admit, interrupt_on={"put": {"when": lambda call: call.arguments["n"] != 1}}
    )
    program = (
        "for n in (1, 2, 3):\n    try:\n        put(n=n)\n    except LimitExceeded as error:\n        print(error)"
    )
    outcome = runner.run(program)
    assert (outcome.status, done) == ("completed", [1])
    assert outcome.stdout == "no more today\nput may not be called now\n"
    assert "admit raised" in caplog.text


def test_a_used_id_is_refused(run):
    run("rows()", id="once-1")
    with pytest.raises(UsageError, match="already used"):
        run("rows()", id="once-1")


def test_inner_ids_begin_with_the_actions_id(run):
    outcome = run("rows()\nrows(n=1)\n0", id="call_7")
    assert [call.id for call in outcome.calls] == ["call_7/1", "call_7/2"]


def test_events_tell_what_happens_as_it_happens(sandbox):
    seen = []
    runner = CodeRunner(TOOLS, sandbox=sandbox, on_event=seen.append)
    runner.run("rows(n=1)\ntry: broken()\nexcept ToolFailed: pass", id="e")
    assert [(event["id"], event["tool"], event["status"]) for event in seen] == [
        ("e/1", "rows", "started"),
        ("e/1", "rows", "done"),
        ("e/2", "broken", "started"),
        ("e/2", "broken", "failed"),
    ]


def test_a_listener_that_raises_is_ignored(sandbox, caplog):
    def listen(event):
        raise RuntimeError("no")

    assert CodeRunner(TOOLS, sandbox=sandbox, on_event=listen).run("x = rows()\n1").status == "completed"
    assert "on_event raised" in caplog.text


async def test_cancelling_kills_the_guest_and_stops_the_tools(sandbox):
    started, stopped = asyncio.Event(), asyncio.Event()

    async def hang(call_or_tool, call):
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise

    spareless = LocalSandbox(spares=0) if sandbox.name == "local" else sandbox
    (await spareless.astart(Limits())).kill()
    tasks, files = asyncio.all_tasks(), _open_files()
    watched, journal = _Watched(spareless), MemoryJournal()
    runner = CodeRunner(TOOLS, sandbox=watched, journal=journal)
    task = asyncio.create_task(runner.arun("import os\nx = rows()\nx", id="c", invoke=hang))
    await asyncio.wait_for(started.wait(), 30)
    os.kill(watched.guest.pid, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(stopped.wait(), 30)
    await _until(lambda: not _lives(watched.guest.pid) and asyncio.all_tasks() == tasks and _open_files() <= files)
    lines = journal.read("c")
    assert [json.loads(line)["e"] for line in lines] == ["header"]
    if spareless is not sandbox:
        spareless.close()


async def test_cancelling_a_busy_program_kills_its_guest(sandbox):
    watched = _Watched(sandbox)
    task = asyncio.create_task(CodeRunner(TOOLS, sandbox=watched).arun("while True: pass"))
    await _until(lambda: watched.guest is not None and watched.guest.cpu_seconds() > 0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(lambda: not _lives(watched.guest.pid))


class _Watched:
    """A sandbox that remembers its last guest."""

    guest = None

    def __init__(self, sandbox):
        self.name, self.level, self._sandbox = sandbox.name, sandbox.level, sandbox

    async def astart(self, limits):
        self.guest = await self._sandbox.astart(limits)
        return self.guest


def _lives(pid):
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _open_files():
    return len(list(Path("/dev/fd").iterdir()))


async def _until(holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


def test_a_tool_still_running_at_the_end_is_journalled_when_it_returns(sandbox, tmp_path):
    release, journal = threading.Event(), SqliteJournal(tmp_path / "j.db")

    def invoke(one, call):
        release.wait(30)
        return "late"

    runner = CodeRunner(TOOLS, sandbox=sandbox, limits=Limits(seconds=0.5), journal=journal)
    outcome = runner.run("x = refund(user='u')\nx", id="late", invoke=invoke)
    assert (outcome.limit, outcome.calls[0].status) == ("seconds", "started")
    release.set()
    deadline = time.monotonic() + 30
    while "undelivered" not in journal.read("late")[-1] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert '"undelivered":true' in journal.read("late")[-1]


def test_a_usage_error_of_a_tool_ends_the_action(run):
    def invoke(one, call):
        raise UsageError("this tool interrupts; use mode json")

    async def ainvoke(one, call):
        invoke(one, call)

    outcome = run(
        "try:\n    refund(user='u')\nexcept Exception:\n    print('swallowed')", invoke=_either(run, invoke, ainvoke)
    )
    assert (outcome.status, outcome.stdout) == ("failed", "")
    assert "mode json" in outcome.text


def _either(run, sync, twin):
    return sync if getattr(run, "__name__", "") == "run" else twin


def test_an_unavailable_sandbox_is_an_error_and_nothing_weaker_is_tried():
    class Missing:
        name, level = "missing", "none"

        def start(self, limits):
            raise SandboxUnavailable("no namespaces here", missing=["user namespaces"])

    with pytest.raises(SandboxUnavailable, match="no namespaces"):
        CodeRunner(TOOLS, sandbox=Missing()).run("for i in range(2): rows(n=i)")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"sandbox": "cloud"}, "sandbox"),
        ({"interrupt_on": {"nope": True}}, "nope"),
        ({"interrupt_on": {"refund": {"allowed_decisions": ["maybe"]}}}, "allowed_decisions"),
        ({"interrupt_on": {"refund": {"alowed": []}}}, "interrupt_on"),
        ({"interrupt_on": {"refund": {"when": asyncio.sleep}}}, "plain functions"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(arguments, complaint):
    with pytest.raises(UsageError, match=complaint):
        CodeRunner(TOOLS, **arguments)


# ---- pausing and resuming


PROGRAM = """
users = [r['id'] for r in rows(n=3)]
done = []
for user in users:
    done.append(refund(user=f'u{user}', amount=user + 0.5))
done
"""


@pytest.fixture(params=["resume", "aresume"])
def gated(request, sandbox, tmp_path):
    """A runner with an approval, and how to run and resume with it."""
    calls = []

    def invoke(one, call):
        calls.append(call.arguments)
        return one.invoke(call)

    async def ainvoke(one, call):
        return invoke(one, call)

    runner = CodeRunner(
        TOOLS, sandbox=sandbox, interrupt_on={"refund": True}, journal=SqliteJournal(tmp_path / "journal.db")
    )
    if request.param == "resume":
        return calls, lambda *a, **k: runner.run(*a, invoke=invoke, **k), lambda *a: runner.resume(*a, invoke=invoke)

    def run(*a, **k):
        return asyncio.run(runner.arun(*a, invoke=ainvoke, **k))

    return calls, run, lambda *a: asyncio.run(runner.aresume(*a, invoke=ainvoke))


def test_approvals_one_after_the_other_repeat_nothing(gated):
    calls, run, resume = gated
    outcome = run(PROGRAM, id="a")
    for n in range(3):
        assert outcome.status == "paused"
        assert [one.arguments["user"] for one in outcome.waiting] == [f"u{n}"]
        outcome = resume("a", {outcome.waiting[0].id: "approve"})
    assert (outcome.status, len(outcome.value)) == ("completed", 3)
    assert [call.get("user", "rows") for call in calls] == ["rows", "u0", "u1", "u2"]


def test_parallel_approvals_are_asked_at_once_and_answered_by_id(gated):
    calls, run, resume = gated
    outcome = run("r = call_tools([('refund', {'user': u}) for u in 'abc'])\nr", id="p")
    by_user = {one.arguments["user"]: one.id for one in outcome.waiting}
    edited = {"type": "edit", "edited_action": {"name": "refund", "args": {"user": "z"}}}
    outcome = resume("p", {by_user["b"]: edited, by_user["c"]: {"type": "respond", "message": "no need"}})
    assert [one.id for one in outcome.waiting] == [by_user["a"]]
    outcome = resume("p", {by_user["a"]: "approve"})
    assert outcome.value == ["refunded 1.0 to a", "refunded 1.0 to z", "no need"]
    assert sorted(call["user"] for call in calls) == ["a", "z"]


def test_the_program_cannot_swallow_a_pause(gated):
    _, run, resume = gated
    program = "try:\n    x = refund(user='u')\nexcept BaseException as e:\n    x = repr(e)\nx"
    outcome = run(program, id="s")
    assert outcome.status == "paused"
    assert resume("s", {"s/1": {"type": "reject", "message": "no"}}).value.startswith("ApprovalRejected(")


@pytest.mark.parametrize(
    ("decisions", "complaint"),
    [
        ({"d/9": "approve"}, "d/9"),
        ({"d/1": "maybe"}, "maybe"),
        ({"d/1": {"type": "edit"}}, "edited_action"),
        ({"d/1": {"type": "edit", "edited_action": {"name": "rows", "args": {}}}}, "not the tool"),
        ({"d/1": {"type": "edit", "edited_action": {"name": "refund", "args": {"usr": 1}}}}, "usr"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_and_changes_nothing(gated, decisions, complaint):
    _, run, resume = gated
    run("x = refund(user='u')\nx", id="d")
    with pytest.raises(UsageError, match=complaint):
        resume("d", decisions)
    assert resume("d", {"d/1": "approve"}).status == "completed"


def test_an_action_that_is_over_or_unknown_cannot_be_resumed(gated):
    _, run, resume = gated
    run("rows()", id="over")
    with pytest.raises(UsageError, match="over"):
        resume("over")
    with pytest.raises(UsageError, match="no action"):
        resume("nowhere")


CRASH = """
import os, sys
from callgate import CodeRunner, SqliteJournal, tool
from callgate.testing.fake import FakeSandbox

@tool
def charge(n: int) -> int:
    with open(sys.argv[2], "a") as log:
        log.write(f"{n}\\n")
    if n == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return n

runner = CodeRunner([charge], sandbox=FakeSandbox(), journal=SqliteJournal(sys.argv[1]))
if sys.argv[4] == "run":
    runner.run("total = 0\\nfor i in range(4): total += charge(n=i)\\ntotal", id="c")
else:
    outcome = runner.resume("c", {"c/3": {"type": "done", "value": 2}} if sys.argv[4] == "decide" else {})
    print(outcome.status, outcome.value, [one.unknown for one in outcome.waiting])
"""


def test_a_crash_in_the_middle_of_a_write_repeats_nothing(tmp_path):
    script, log, journal = tmp_path / "crash.py", tmp_path / "log", tmp_path / "journal.db"
    script.write_text(CRASH)

    def process(kill_at, what):
        command = [sys.executable, str(script), str(journal), str(log), str(kill_at), what]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)

    assert process(2, "run").returncode == -signal.SIGKILL
    assert process(-1, "look").stdout.split() == ["paused", "None", "[True]"]
    assert process(-1, "decide").stdout.split() == ["completed", "6", "[]"]
    assert log.read_text().split() == ["0", "1", "2", "3"]


# ---- resuming when something else goes wrong


def test_decisions_survive_a_sandbox_that_cannot_start(sandbox, tmp_path):
    class Sometimes:
        name, level, missing = "sometimes", "L0", False

        def start(self, limits):
            if self.missing:
                raise SandboxUnavailable("not today")
            return sandbox.start(limits)

    where = Sometimes()
    runner = CodeRunner([refund], sandbox=where, interrupt_on={"refund": True}, journal=SqliteJournal(tmp_path / "j"))
    runner.run("x = refund(user='u')\nx + '!'", id="f")
    where.missing = True
    with pytest.raises(SandboxUnavailable):
        runner.resume("f", {"f/1": "approve"})
    where.missing = False
    assert runner.resume("f", {"f/1": "approve"}).value == "refunded 1.0 to u!"


@pytest.mark.parametrize("program", ["refund(user='u')", "print(refund(user='u'))"])
def test_a_direct_run_pauses_and_resumes_alike(gated, program):
    calls, run, resume = gated
    assert run(program, id="one").status == "paused"
    assert (
        "refunded 2.0 to u"
        in resume(
            "one", {"one/1": {"type": "edit", "edited_action": {"name": "refund", "args": {"user": "u", "amount": 2}}}}
        ).text
    )
    assert calls == [{"user": "u", "amount": 2}]


def test_of_two_resumes_at_once_one_wins_and_the_write_runs_once(sandbox, tmp_path):
    ran, journal = [], tmp_path / "journal.db"

    def invoke(one, call):
        ran.append(call.arguments)
        time.sleep(0.05)
        return "done"

    def runner():
        return CodeRunner([refund], sandbox=sandbox, interrupt_on={"refund": True}, journal=SqliteJournal(journal))

    runner().run("x = refund(user='u')\nx + '!'", id="two")
    results = []

    def resume(one):
        try:
            results.append(one.resume("two", {"two/1": "approve"}, invoke=invoke).status)
        except (JournalError, UsageError) as error:
            results.append(type(error).__name__)

    threads = [threading.Thread(target=resume, args=(runner(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ran) == 1
    assert "completed" in results


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_whatever_a_tool_raises_is_its_failure(run, raised):
    def invoke(one, call):
        raise raised

    async def ainvoke(one, call):
        raise raised

    program = "r = []\nfor n in range(2):\n    try: rows(n=n)\n    except ToolFailed as e: r.append(str(e))\nr"
    outcome = run(program, invoke=_either(run, invoke, ainvoke))
    assert outcome.status == "completed", outcome.text
    assert [raised.__name__ in text for text in outcome.value] == [True, True]


def test_a_lost_sandbox_ends_as_lost_and_the_action_can_go_on(tmp_path):
    from callgate.testing.fake import FakeSandbox

    sandbox, journal = FakeSandbox(), SqliteJournal(tmp_path / "journal.db")
    runner = CodeRunner([rows, refund], sandbox=sandbox, journal=journal)

    def invoke(one, call):
        if one.name == "rows":
            sandbox.lose()
        return one.invoke(call)

    outcome = runner.run("a = refund(user='u')\nb = rows()\nc = rows(n=1)\nlen(b)", id="l", invoke=invoke)
    assert outcome.status == "lost", outcome.text
    again = CodeRunner([rows, refund], sandbox=FakeSandbox(), journal=journal).resume("l")
    assert (again.status, again.value) == ("completed", 3)
    sandbox.close()


@pytest.mark.parametrize("size", range((1 << 20) - 160, (1 << 20) + 60, 20))
def test_direct_and_sandboxed_values_have_the_same_bound(sandbox, size):
    def text() -> str:
        """Return a long text."""
        return "x" * (size - 2)

    runner = CodeRunner([text], sandbox=sandbox, limits=Limits(frame_mb=1))
    direct, sandboxed = runner.run("text()"), runner.run("y = text()\ny + ''")
    assert (direct.status, direct.error and direct.error.text) == (
        sandboxed.status,
        sandboxed.error and sandboxed.error.text,
    )


@pytest.mark.parametrize(
    "bounds", [{"frame_mb": 0.5}, {"calls": 1.0}, {"seconds": 0}, {"threads": True}, {"seconds": float("inf")}]
)
def test_limits_that_make_no_sense_are_refused(bounds):
    with pytest.raises(UsageError):
        Limits(**bounds)


def test_an_id_that_is_no_text_is_refused(runner):
    with pytest.raises(UsageError):
        runner.run("rows()", id="\ud800")


def test_what_was_dropped_is_not_promised(run):
    outcome = run("print('x' * 200_000)")
    assert "returns the first 65,536" in outcome.text
    assert outcome.truncated[0].total == 200_001


INTERRUPTED = """
import _thread, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
from callgate import CodeRunner, tool
from callgate.testing.fake import FakeSandbox

ran = []

@tool
def step(n: int) -> int:
    ran.append(n)
    if n == 1:
        _thread.interrupt_main()
        time.sleep(0.2)
    return n

runner = CodeRunner([step], sandbox=FakeSandbox())
try:
    runner.run("for n in range(50): step(n=n)", id="k")
except KeyboardInterrupt:
    before = list(ran)
    time.sleep(0.5)
    print(before == ran, ran[:2])
"""


def test_an_interrupted_caller_stops_at_once_and_nothing_starts_afterwards(tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.stdout.strip() == "True [0, 1]", done.stderr


@pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
def test_a_program_may_end_before_the_tools_it_called(use_async: bool) -> None:
    """Its guest is gone then, and what it said at its end counts."""
    from callgate.testing.fake import FakeSandbox

    done: list[int] = []

    @tool
    def slow(n: int) -> int:
        """Take a while."""
        time.sleep(0.05)
        done.append(n)
        return n

    @tool(effect="read")
    def look() -> int:
        """Look."""
        return 0

    program = """
import asyncio
async def main():
    waiting = [asyncio.create_task(acall_tool('slow', n=n)) for n in (1, 2)]
    await acall_tool('look')
    for one in waiting:
        one.cancel()
await main()
'over'
"""
    runner = CodeRunner([slow, look], sandbox=FakeSandbox())
    outcome = asyncio.run(runner.arun(program)) if use_async else runner.run(program)
    assert (outcome.status, outcome.value) == ("completed", "over")
    assert {call.status for call in outcome.calls} == {"done"}
    assert sorted(done) == [1, 2]
