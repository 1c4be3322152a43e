"""On a host that allows less the jail is as strong as that allows, says so, and never weaker than was asked for."""

from __future__ import annotations

import pytest
from local.docker import DOCKER, NEITHER, NO_LANDLOCK, NO_SECCOMP, UBUNTU, Host, landlock, on

USE = """
from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox
from local.harness import value
program = '''
import os
def tried(path):
    try: return open(path).read()
    except OSError as e: return type(e).__name__
[6 * 7, tried("/etc/passwd"), tried("/proc/1/environ"), sorted(os.environ), os.getuid()]
'''
with LocalSandbox(**{arguments}) as sandbox:
    try:
        level, found = sandbox.check(), value(sandbox, program)
        print(json.dumps([level, sandbox.fixed_addresses, found]))
    except SandboxUnavailable as error:
        print(json.dumps([error.missing, error.reasons, error.cure]))
"""
DOCTOR = """
from callgate import cli
import contextlib, io
told = io.StringIO()
with contextlib.redirect_stdout(told):
    status = cli.main(["doctor", "--json", *{arguments}])
print(json.dumps([status, json.loads(told.getvalue())]))
"""


def use(host: Host, *, root: bool = False, **arguments: object) -> list:
    return on(host, USE.replace("{arguments}", repr(arguments)), root=root)


def doctor(host: Host, *arguments: str, root: bool = False) -> tuple[int, dict]:
    return on(host, DOCTOR.replace("{arguments}", repr(arguments)), root=root)


@pytest.mark.parametrize("root", [False, True], ids=["ordinary user", "root"])
def test_programs_run_in_a_container(root: bool) -> None:
    level, fixed, (answer, passwd, environ, names, user) = use(DOCKER, root=root)
    assert (level, answer, user) == ("L2", 42, 65534)
    assert fixed is False  # Docker refuses the personality without random addresses
    assert (passwd, environ) == ("PermissionError", "PermissionError")
    assert names == ["HOME", "LANG", "PATH", "TZ", "USER"]


@pytest.mark.parametrize("root", [False, True], ids=["ordinary user", "root"])
def test_the_doctor_reports_what_a_container_has(root: bool) -> None:
    status, found = doctor(DOCKER, root=root)
    assert (status, found["level"], found["ok"], found["layers"]) == (0, "L2", True, ["Landlock", "seccomp"])
    assert [each["broken"] for each in found["properties"]] == [[]] * 12
    assert [each["name"] for each in found["missing"]] == ["user namespaces"]
    assert "seccomp profile" in found["missing"][0]["cure"]
    by = {each["name"]: each["layers"] for each in found["properties"]}
    assert by["files.metadata"] == ["seccomp"]
    assert by["files.read"] == by["disk"] == by["environment"] == ["Landlock"]


def test_a_floor_above_what_a_container_has_is_an_error() -> None:
    missing, reasons, cure = use(DOCKER, floor="L3")
    assert missing == ["user namespaces"]
    assert reasons == ["unshare: Operation not permitted"]
    assert "unshare, setns, mount" in cure
    status, found = doctor(DOCKER, "--floor", "L3")
    assert (status, found["level"], found["ok"]) == (1, "L2", False)


def test_ubuntu_makes_user_namespaces_without_power() -> None:
    status, found = doctor(UBUNTU)
    assert (status, found["level"], found["layers"]) == (0, "L2", ["Landlock", "seccomp"])
    assert [each["name"] for each in found["missing"]] == ["user namespaces"]
    assert use(UBUNTU)[0] == "L2"


def test_namespaces_and_a_filter_hold_everything_where_there_is_no_landlock() -> None:
    status, found = doctor(NO_LANDLOCK)
    assert (status, found["level"], found["layers"], found["landlock"]) == (0, "L2", ["namespaces", "seccomp"], 0)
    assert [each["name"] for each in found["missing"]] == ["Landlock"]
    assert not any("Landlock" in each["layers"] for each in found["properties"])
    assert use(NO_LANDLOCK)[:1] == ["L2"]


def test_all_that_is_missing_is_said_at_once() -> None:
    missing, reasons, cure = use(NEITHER)
    assert sorted(missing) == ["Landlock", "user namespaces"]
    assert len(reasons) == 2
    assert "unshare, setns, mount" in cure
    assert "landlock" in cure


def test_a_lower_floor_has_to_be_asked_for() -> None:
    level, _, found = use(NEITHER, floor="L1")
    assert (level, found[0]) == ("L1", 42)
    assert found[1].startswith("root:")  # files are readable at this level, and the doctor says so
    status, report = doctor(NEITHER, "--floor", "L1")
    held = {each["name"]: each["held"] for each in report["properties"]}
    assert (status, report["level"]) == (0, "L1")
    assert not held["files.read"]
    assert all(held[name] for name in ("network", "signals", "processes", "kernel_surface"))
    assert doctor(NEITHER)[0] == 1


def test_without_a_filter_there_is_no_isolation_to_speak_of() -> None:
    missing, _, cure = use(NO_SECCOMP, floor="L1")
    assert missing == ["seccomp"]
    assert "CONFIG_SECCOMP_FILTER" in cure
    assert doctor(NO_SECCOMP)[1]["level"] == "L0"


@pytest.mark.parametrize(
    ("version", "network", "signals"),
    [
        (1, ["seccomp"], ["seccomp"]),
        (2, ["seccomp"], ["seccomp"]),
        (3, ["seccomp"], ["seccomp"]),
        (4, ["Landlock", "seccomp"], ["seccomp"]),
        (6, ["Landlock", "seccomp"], ["Landlock", "seccomp"]),
    ],
)
def test_an_older_landlock_holds_less_and_all_is_held(version: int, network: list[str], signals: list[str]) -> None:
    status, found = doctor(landlock(version), "--no-namespaces")
    assert (status, found["level"], found["landlock"]) == (0, "L2", version)
    by = {each["name"]: each["layers"] for each in found["properties"]}
    assert (by["network"], by["signals"]) == (network, signals)
