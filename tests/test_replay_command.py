"""`callgate replay`: what it says, in which form, and with which exit status."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import callgate
from callgate import CodeRunner, Journal, SqliteJournal, cli, replay_command, tool

KEY = b"k" * 32


@tool(effect="read")
def get(x: int) -> int:
    return x


@tool
def put(x: int) -> int:
    return x


@tool(effect="read")
def large() -> str:
    return "x" * 300_000


@tool(effect="read", record="digest")
def secret() -> str:
    return "s"


TOOLS = [get, put, large, secret]


@pytest.fixture
def command(sandbox, capsys, monkeypatch):
    """Run `callgate replay` in the sandbox of the tests."""
    monkeypatch.setattr(replay_command, "LocalSandbox", lambda **options: contextlib.nullcontext(sandbox))

    def run(*arguments):
        status = cli.main(["replay", *map(str, arguments)])
        told = capsys.readouterr()
        assert told.err == ""
        return status, told.out

    return run


@pytest.fixture
def recorded(sandbox, tmp_path):
    """Record programs into one SqliteJournal, by id."""
    path = tmp_path / "journal.db"
    store = SqliteJournal(path)

    def record(key=None, **programs):
        runner = CodeRunner(TOOLS, sandbox=sandbox, journal=store, journal_key=key, interrupt_on={"put": True})
        outcomes = {name: runner.run(program, id=name) for name, program in programs.items()}
        for name, outcome in outcomes.items():
            if outcome.waiting and name != "paused":
                outcomes[name] = runner.resume(name, {one.id: "approve" for one in outcome.waiting})
        return outcomes

    record.path, record.store = path, store
    yield record
    store.close()


def changed(journal, old, new):
    """Return a journal that says something else and holds together."""
    chained = Journal()
    for line in journal.lines:
        chained.add_text(line.rpartition(',"prev":"')[0].replace(old, new))
    return chained


def test_all_actions_of_a_store_in_the_order_they_began(command, recorded):
    recorded(b="get(x=1)\nput(x=2)", paused="put(x=3)", a="len(large())")
    recorded.store.append("callgate-notes", 0, ['{"what":"an adapter notes"}'])
    status, told = command(recorded.path)
    assert status == 0
    assert told.splitlines() == ["same            b", "not ended       paused", "same            a"]


def test_the_named_actions_alone(command, recorded):
    recorded(a="get(x=1)", b="get(x=2)")
    assert command(recorded.path, "b", "b") == (0, "same            b\n")


def test_a_journal_as_it_is_exported(command, recorded, tmp_path):
    outcome = recorded(a="x = get(x=1)\nprint(x)\nput(x=x)\nprint('over')")["a"]
    path = tmp_path / "run.jsonl"
    path.write_text(outcome.journal.text())
    assert command(path) == (0, "same            a\n")
    path.write_text("\n".join(outcome.journal.lines))
    assert command(path) == (0, "same            a\n")
    path.write_text("\n".join(outcome.journal.lines[:3]))
    assert command(path) == (0, "not ended       a\n")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (r"put(x=x)", r"put(x=9)", 3, "did not ask again for put (a/2); nothing was executed"),
        (r"print(x)", r"{}['no']", 2, "but raised KeyError in line 2"),
        (r"print('over')", r"get(x=5)", None, "get (a/3) was called and is not in the journal"),
        (r"print('over')", r"1 / 0", 4, 'status: recorded "completed", now "failed"'),
        (r"print('over')", r"print('b')", None, "output: recorded"),
    ],
)
def test_where_an_action_left_its_record(command, recorded, tmp_path, old, new, line, said):
    outcome = recorded(a="x = get(x=1)\nprint(x)\nput(x=x)\nprint('over')")["a"]
    path = tmp_path / "run.jsonl"
    path.write_text(changed(outcome.journal, old, new).text())
    status, told = command(path)
    assert status == 1
    assert told.startswith("diverged        a" + (f", line {line}: {new}\n" if line else "\n"))
    assert said in told


def test_a_program_reads_stable_keys(command, recorded):
    outcomes = recorded(a="get(x=1)", b="x = get(x=1)\nput(x=x)")
    lines = changed(outcomes["b"].journal, r"put(x=x)", r"put(x=9)").lines
    recorded.store.append("c", 0, lines)
    status, told = command(recorded.path, "a", "c", "--json")
    assert status == 1
    assert json.loads(told) == {
        "ok": False,
        "actions": [
            {"key": "a", "action": "a", "status": "same", "differences": [], "line": None, "source": None},
            {
                "key": "c",
                "action": "b",
                "status": "diverged",
                "differences": ["the program did not ask again for put (b/2); nothing was executed"],
                "line": 2,
                "source": "put(x=9)",
            },
        ],
    }


def test_what_cannot_be_replayed_says_why(command, recorded, tmp_path):
    outcomes = recorded(a="len(large())", b="len(secret())", c="get(x=1)")
    path = tmp_path / "run.jsonl"
    for journal, said in (
        (outcomes["a"].journal.text(), "kept beside it"),
        (outcomes["b"].journal.text(), "only digests of what these returned: secret"),
        (outcomes["c"].journal.text().replace('"x":1', '"x":2', 1), "the journal was changed"),
        (Journal().add({"e": "header", "format": 1}, {}), "is not of an action"),
        ("", "an empty journal"),
        ("a letter to my aunt", "the journal was changed"),
    ):
        path.write_text(journal)
        status, told = command(path)
        assert (status, told.startswith("not replayable")) == (2, True)
        assert said in told


def test_sealed_journals_need_their_key(command, recorded, tmp_path):
    recorded(key=KEY, a="get(x=1)\nput(x=2)", b="len(large())")
    status, told = command(recorded.path)
    assert (status, told.count("give the key")) == (2, 2)
    (tmp_path / "key").write_bytes(KEY)
    assert command(recorded.path, "--key-file", tmp_path / "key")[0] == 0
    (tmp_path / "key").write_bytes(KEY[::-1] + b"x")
    assert command(recorded.path, "--key-file", tmp_path / "key")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.db"], "No such file"),
        (["journal.db", "nobody"], "has no action nobody; it has: a"),
        (["run.jsonl", "a"], "holds one action"),
        (["journal.db", "--key-file", "run.jsonl"], "at least 16 bytes"),
        (["other.db"], "no such table"),
    ],
)
def test_wrong_usage(recorded, tmp_path, capsys, arguments, said):
    recorded(a="get(x=1)")
    (tmp_path / "run.jsonl").write_text("short")
    recorded.store.close()
    import sqlite3

    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as caught:
        cli.main(["replay", *(str(tmp_path / one) if "." in one else one for one in arguments)])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_the_file_is_only_read(command, recorded):
    recorded(a="get(x=1)\nput(x=2)")
    recorded.store.close()
    before = recorded.path.read_bytes()
    recorded.path.chmod(0o400)
    assert command(recorded.path)[0] == 0
    assert recorded.path.read_bytes() == before
    assert list(recorded.path.parent.iterdir()) == [recorded.path]


def test_every_key_and_status_is_explained(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["replay", "--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert f"[{{{', '.join(one.name for one in dataclasses.fields(replay_command.Finding))}}}]" in told
    for status in ("same", "diverged", "not ended", "not replayable"):
        assert re.search(rf"^  {status} +\S", told, re.MULTILINE)


def test_the_command_itself(jail, recorded):
    recorded(a="get(x=1)\nput(x=2)")
    path = os.pathsep.join([str(Path(callgate.__file__).parents[1])])
    run = subprocess.run(
        [sys.executable, "-m", "callgate", "replay", str(recorded.path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "same            a\n", "")
