"""Where a layer is missing, nothing runs, and the error says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox, cures
from callgate.sandboxes.local import sandbox as module
from callgate.sandboxes.local.inside.syscalls import AUDIT_ARCH, MACHINE, number

HOST = """
import ctypes, json, os, struct, sys
sys.path[:0] = {path!r}
import callgate.sandboxes.local
from callgate.errors import SandboxUnavailable
from callgate.limits import Limits
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0)]
for number in {numbers!r}:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | {errno})]
code.append((0x06, 0, 0, 0x7FFF0000))
text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
libc.prctl(38, 1, 0, 0, 0)
header = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text))
assert libc.prctl(22, 2, header, 0, 0) == 0
sandbox = callgate.sandboxes.local.LocalSandbox()
found = []
for attempt in ({attempts}):
    try:
        found.append(repr(attempt()))
    except SandboxUnavailable as error:
        found.append([list(error.missing), error.cure, str(error)])
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("refused", "errno", "missing", "cure"),
    [
        ("unshare", 1, "user namespaces", ""),
        ("mount", 1, "mount namespaces", ""),
        ("pivot_root", 1, "mount namespaces", ""),
        ("mount_setattr", 38, "mount namespaces", ""),
        ("setns", 1, "pid namespaces", ""),
        ("landlock_create_ruleset", 38, "Landlock", "CONFIG_SECURITY_LANDLOCK"),
        ("landlock_add_rule", 95, "Landlock", "lsm=landlock"),
        ("landlock_restrict_self", 1, "Landlock", "lsm=landlock"),
        ("seccomp", 22, "seccomp", "CONFIG_SECCOMP_FILTER"),
        ("capset", 1, "dropped capabilities", "seccomp profile"),
        ("prlimit64", 1, "resource limits", "limits"),
        ("pidfd_open", 38, "a fork server", ""),
    ],
)
def test_a_missing_layer_is_named(sandbox: LocalSandbox, refused: str, errno: int, missing: str, cure: str) -> None:
    nr = number(refused)
    program = HOST.format(path=[*sys.path], numbers=[nr], errno=errno, attempts="lambda: sandbox.start(Limits()),")
    host = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert host.returncode == 0, host.stderr
    ((found, told, text),) = json.loads(host.stdout)
    assert found == [missing]
    assert cure in told
    assert told in text


def test_addresses_may_stay_random(sandbox: LocalSandbox) -> None:
    program = HOST.format(
        path=[*sys.path],
        numbers=[number("personality")],
        errno=1,
        attempts="lambda: sandbox.fixed_addresses, sandbox.check",
    )
    host = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert host.returncode == 0, host.stderr
    assert json.loads(host.stdout) == ["False", "'L3'"]


def test_other_systems_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailable, match="Linux") as caught:
        LocalSandbox().check()
    assert caught.value.missing == ("Linux",)
    assert "WSL" in caught.value.cure


def test_other_processors_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxUnavailable, match="riscv64") as caught:
        LocalSandbox().check()
    assert caught.value.missing == ("a known processor",)


@pytest.mark.parametrize(
    ("setting", "value", "cure"),
    [
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces"),
        ("/proc/1/cgroup", "0::/kubepods/x", "seccomp profile"),
    ],
)
def test_the_cure_fits_the_host(monkeypatch: pytest.MonkeyPatch, setting: str, value: str, cure: str) -> None:
    monkeypatch.setattr(cures, "_read", lambda path: value if path == setting else "")
    assert cure in cures.unavailable("user namespaces", "refused").cure


def test_a_broken_promise_is_not_accepted(sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.sandboxes.local.probe._PROGRAM", "['files are not read']")
    with LocalSandbox() as own, pytest.raises(SandboxUnavailable, match="files are not read") as caught:
        own.check()
    assert caught.value.missing == ("a kept promise",)


def test_the_processor_is_known() -> None:
    if MACHINE not in AUDIT_ARCH:
        pytest.skip(f"{MACHINE} has no table")
    assert number("read") == {"x86_64": 0, "aarch64": 63}[os.uname().machine]
