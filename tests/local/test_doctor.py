"""`callgate doctor`: what it says, in which form, and with which exit status."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import callgate
from callgate import cli
from callgate.errors import SandboxLost
from callgate.sandboxes.local import LocalSandbox, trial
from callgate.sandboxes.local import establish as module
from callgate.sandboxes.local.proof import PROPERTIES


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = cli.main(["doctor", *arguments])
    told = capsys.readouterr()
    assert told.err == ""
    return status, told.out


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status, told = doctor(capsys, "--json", *arguments)
    return status, json.loads(told)


def test_a_person_reads_every_property(full: LocalSandbox, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = doctor(capsys)
    lines = told.splitlines()
    assert status == 0
    assert lines[0] == "level        L3, at or above the floor L2"
    assert "interpreter  " in told
    assert re.search(
        r"^layers       namespaces, Landlock \(version \d+\), seccomp, resource limits$", told, re.MULTILINE
    )
    for name in PROPERTIES:
        assert re.search(rf"^{re.escape(name)} +yes +\w", told, re.MULTILINE)
    assert "missing" not in told
    assert all(len(line) <= 120 and line == line.rstrip() for line in lines)


def test_a_program_reads_stable_keys(full: LocalSandbox, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = report(capsys)
    assert status == 0
    assert list(found) == [
        *("level", "floor", "ok", "layers", "landlock", "fixed_addresses", "python", "interpreter", "host"),
        *("properties", "missing"),
    ]
    assert (found["level"], found["floor"], found["ok"]) == ("L3", "L2", True)
    assert found["layers"] == ["namespaces", "Landlock", "seccomp"]
    assert found["landlock"] >= 1
    assert found["python"] == "{}.{}.{}".format(*sys.version_info)
    assert set(found["host"]) == {"system", "release", "machine"}
    assert [each["name"] for each in found["properties"]] == list(PROPERTIES)
    assert all(set(each) == {"name", "held", "layers", "broken"} for each in found["properties"])
    assert all(each["held"] and each["layers"] and not each["broken"] for each in found["properties"])
    assert found["missing"] == []


def test_every_key_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor", "--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    for field in dataclasses.fields(cli.Findings):
        assert re.search(rf"^  {field.name} +\S", told, re.MULTILINE)
    assert "0 at or above the floor, 1 below it, 2" in told


def test_it_always_proves_anew(
    full: LocalSandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = trial.prove
    monkeypatch.setattr(trial, "prove", lambda *arguments: made.append(1) or real(*arguments))
    assert report(capsys)[0] == report(capsys)[0] == 0
    assert len(made) == 2


def test_what_is_broken_is_named(
    full: LocalSandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {name: [] for name in PROPERTIES} | {"files.read": ["open a file"], "disk": [f"way {n}" for n in range(40)]}
    monkeypatch.setattr(trial, "prove", lambda *_: found)
    status, told = doctor(capsys)
    assert status == 1
    assert told.startswith("level        L1, BELOW the floor L2\n")
    assert re.search(r"^files.read +NO +namespaces, Landlock\n +broken: open a file$", told, re.MULTILINE)
    assert max(map(len, told.splitlines())) <= 120
    assert doctor(capsys, "--floor", "L1")[0] == 0
    status, told = report(capsys)
    assert (status, told["level"], told["ok"]) == (1, "L1", False)
    assert told["properties"][0] == {
        "name": "files.read",
        "held": False,
        "layers": ["namespaces", "Landlock"],
        "broken": ["open a file"],
    }


def test_what_is_missing_comes_with_its_cure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
    status, told = doctor(capsys)
    assert status == 1
    assert told.startswith("level        none, BELOW the floor L2\n")
    assert "missing on this host\n  Linux: this is Darwin\n      Run this on Linux" in told
    assert "WSL 2" in told
    status, found = report(capsys, "--floor", "L0")
    assert (status, found["level"], found["ok"], found["layers"], found["python"]) == (1, None, False, [], None)
    assert [each["name"] for each in found["properties"]] == list(PROPERTIES)
    assert not any(each["held"] for each in found["properties"])
    assert [each["name"] for each in found["missing"]] == ["Linux"]
    assert set(found["missing"][0]) == {"name", "reason", "cure"}


def test_a_server_that_is_lost_is_no_sandbox(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        raise SandboxLost("the fork server ended")

    monkeypatch.setattr(module, "ForkServer", lost)
    status, told = doctor(capsys)
    assert status == 1
    assert "a sandbox: the fork server ended" in told


@pytest.mark.parametrize(
    "arguments",
    [[], ["physician"], ["doctor", "--floor", "L4"], ["doctor", "now"], ["doctor", "--python", "/nowhere/python"]],
    ids=" ".join,
)
def test_wrong_usage_is_told_apart(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "usage: callgate" in told.err


def test_the_package_is_a_command(full: LocalSandbox) -> None:
    path = os.pathsep.join([str(Path(callgate.__file__).parent.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "callgate", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["level"] == "L3"
