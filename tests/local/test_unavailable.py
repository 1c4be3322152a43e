"""Where something is missing, nothing runs that is weaker than was asked for, and the error says what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from errno import EINVAL, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM
from pathlib import Path

import pytest
from local.docker import DOCKER, Host, on, without

from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox, cures
from callgate.sandboxes.local import establish as module
from callgate.sandboxes.local.inside.syscalls import AUDIT_ARCH, MACHINE, number
from callgate.sandboxes.local.policy import JailPolicy, jail_policy

PROGRAM = """
from callgate.errors import SandboxUnavailable
from callgate.limits import Limits
from callgate.sandboxes.local import LocalSandbox
found = []
with LocalSandbox(**{arguments}) as sandbox:
    for attempt in (sandbox.check, lambda: sandbox.start(Limits()).kill()):
        try:
            found.append(repr(attempt()))
        except SandboxUnavailable as error:
            found.append([error.missing, error.reasons, error.cure, str(error)])
print(json.dumps(found))
"""


def attempted(host: Host, *, root: bool = False, python: str | None = None, **arguments: object) -> list:
    return on(host, PROGRAM.replace("{arguments}", repr(arguments)), root=root, python=python)


@pytest.mark.parametrize(
    ("refused", "errno", "missing"),
    [
        ("unshare", EPERM, "user namespaces"),
        ("unshare", ENOSPC, "user namespaces"),
        ("mount", EPERM, "mount namespaces"),
        ("pivot_root", EPERM, "mount namespaces"),
        ("mount_setattr", ENOSYS, "mount namespaces"),
        ("setns", EPERM, "pid namespaces"),
        ("landlock_create_ruleset", ENOSYS, "Landlock"),
        ("landlock_create_ruleset", EOPNOTSUPP, "Landlock"),
        ("landlock_add_rule", EINVAL, "Landlock"),
        ("landlock_restrict_self", EPERM, "Landlock"),
        ("seccomp", EINVAL, "seccomp"),
    ],
)
def test_a_missing_layer_is_named_where_it_is_needed(refused: str, errno: int, missing: str) -> None:
    first, second = attempted(Host(filter=without(refused, errno=errno)), floor="L3")
    names, (reason,), cure, text = first
    assert names == [missing]
    assert os.strerror(errno) in reason
    assert cure
    assert cure in text
    assert second == first


@pytest.mark.parametrize("root", [False, True], ids=["ordinary user", "root"])
@pytest.mark.parametrize("refused", ["unshare", "setns", "landlock_restrict_self"])
def test_a_missing_layer_is_gone_without_where_the_floor_allows(refused: str, root: bool) -> None:
    assert attempted(Host(filter=without(refused, errno=EPERM)), root=root) == ["'L2'", "None"]


@pytest.mark.parametrize(
    ("refused", "errno", "missing", "cure"),
    [
        ("capset", EPERM, "dropped capabilities", "seccomp profile"),
        ("prlimit64", EPERM, "resource limits", "limits"),
        ("pidfd_open", ENOSYS, "a fork server", ""),
    ],
)
def test_what_no_jail_can_do_without_is_named(refused: str, errno: int, missing: str, cure: str) -> None:
    first = attempted(Host(filter=without(refused, errno=errno)), floor="L0")[0]
    assert first[0] == [missing]
    assert cure in first[2]


def test_a_filter_is_missing_at_every_floor_but_the_last() -> None:
    host = Host(filter=without("seccomp", errno=EINVAL))
    assert attempted(host, floor="L1")[0][0] == ["seccomp"]
    assert attempted(host, floor="L0")[0] == "'L0'"


def test_addresses_may_stay_random() -> None:
    host = Host(filter=without("personality", errno=EPERM))
    program = PROGRAM.replace("sandbox.check,", "lambda: sandbox.fixed_addresses,").replace("{arguments}", "{}")
    assert on(host, program) == ["False", "None"]


def test_an_interpreter_in_somebodys_home_is_named_with_what_makes_it_needed() -> None:
    """In a container root becomes nobody, who cannot reach what lies below root's home."""
    own = getattr(sys, "_base_executable", None) or sys.executable
    if os.getuid() != 0 or not any(parent.stat().st_mode & 0o005 != 0o005 for parent in Path(own).resolve().parents):
        pytest.skip("the interpreter of these tests can be read by everybody")
    names, _, cure, text = attempted(DOCKER, root=True, python=own)[0]
    assert names == ["user namespaces", "a readable interpreter"]
    assert 'LocalSandbox(python="' in cure
    assert "unshare, setns, mount" in cure
    assert cure in text


def test_without_namespaces_the_highest_level_is_out_of_reach() -> None:
    with LocalSandbox(namespaces=False, floor="L3") as sandbox, pytest.raises(SandboxUnavailable) as caught:
        sandbox.check()
    assert "namespaces" in caught.value.missing
    assert "namespaces=False" in caught.value.cure


def test_a_canary_is_not_sent_where_the_floor_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_failed", {})
    monkeypatch.setattr(module, "_proof", lambda *_, **__: pytest.fail("it was"))
    with LocalSandbox(namespaces=False, floor="L3") as sandbox, pytest.raises(SandboxUnavailable):
        sandbox.check()


def test_what_a_host_lacks_is_looked_for_again_only_later(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, now = list[str](), [1000.0]

    def standing(policy: JailPolicy, floor: str, *, anew: bool) -> None:
        tried.append(floor)
        raise cures.unavailable(missing[0], "for a test")

    missing = ["seccomp"]
    monkeypatch.setattr(module, "_failed", {})
    monkeypatch.setattr(module, "_standing", standing)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    policy = jail_policy()

    def attempt(floor: str = "L2", **more: bool) -> str:
        with pytest.raises(SandboxUnavailable) as caught:
            module.establish(policy, floor, **more)
        return str(caught.value)

    first = attempt()
    once = len(tried)
    assert attempt() == first
    assert len(tried) == once
    attempt(anew=True)
    attempt("L3")
    assert len(tried) == 3 * once
    now[0] += module.RETRY_SECONDS
    attempt()
    assert len(tried) == 4 * once
    missing[0] = "a process"  # which is short for a moment
    now[0] += module.RETRY_SECONDS
    attempt()
    attempt()
    assert len(tried) == 4 * once + 2


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


# Cures. What a host shows of itself is given; none of it is read from this one.


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of a host, by path. An empty one is a plain Linux 6.12."""
    files: dict[str, str] = {}
    monkeypatch.setattr(cures, "_read", lambda path: files.get(path, ""))
    monkeypatch.setattr(cures, "_exists", lambda path: path in files)
    monkeypatch.setattr(cures.platform, "system", lambda: "Linux")
    monkeypatch.setattr(cures.platform, "release", lambda: files.get("release", "6.12.0-1-amd64"))
    monkeypatch.setattr(cures.platform, "version", lambda: files.get("version", "#1 SMP"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return files


GVISOR = "#1 SMP Sun Jan 10 15:06:54 PST 2016"
CASES = [
    ("user namespaces", {}, ["Let this user make namespaces", "chroot"]),
    (
        "user namespaces",
        {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
        ["sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0", "userns,", "sudo apparmor_parser -r"],
    ),
    (
        "user namespaces",
        {"/proc/sys/kernel/unprivileged_userns_clone": "0"},
        ["sudo sysctl -w kernel.unprivileged_userns_clone=1"],
    ),
    (
        "user namespaces",
        {"/proc/sys/user/max_user_namespaces": "0", "/proc/sys/user/max_net_namespaces": "0"},
        ["sudo sysctl -w user.max_user_namespaces=10000 user.max_net_namespaces=10000"],
    ),
    ("pid namespaces", {"/.dockerenv": ""}, ["docker run --security-opt seccomp=unconfined", "apparmor=unconfined"]),
    ("mount namespaces", {"/run/.containerenv": ""}, ["podman run --security-opt seccomp=unconfined"]),
    ("user namespaces", {"/proc/1/cgroup": "0::/kubepods/x"}, ["seccompProfile: {type: Unconfined}", "Localhost"]),
    ("user namespaces", {"version": GVISOR}, ["outside of gVisor", "runtimeClassName"]),
    ("Landlock", {"version": GVISOR, "release": "4.19.0-gvisor"}, ["outside of gVisor"]),
    ("mount namespaces", {"release": "5.10.0-28-amd64"}, ["Linux 5.12 or later; this is 5.10"]),
    ("Landlock", {"release": "4.18.0-553.el8"}, ["Linux 5.13 or later; this is 4.18"]),
    ("Landlock", {"release": "5.10.16.3-microsoft-standard-WSL2"}, ["wsl --update", "PowerShell"]),
    (
        "Landlock",
        {"/sys/kernel/security/lsm": "capability,yama,apparmor"},
        ["lsm=landlock,capability,yama,apparmor", "sudo grubby --update-kernel=ALL", "update-grub"],
    ),
    ("Landlock", {"/.dockerenv": ""}, ["23.0", "landlock_restrict_self"]),
    ("Landlock", {}, ["CONFIG_SECURITY_LANDLOCK", "lsm="]),
    ("seccomp", {}, ["CONFIG_SECCOMP_FILTER"]),
    ("a fork server", {"release": "4.14.0"}, ["Linux 5.3 or later"]),
    ("an unprivileged identity", {}, ["docker run --user", "SETUID and SETGID"]),
    ("a temporary directory", {}, ["TMPDIR="]),
    ("a readable interpreter", {}, ["LocalSandbox(python=", "sudo apt install python3."]),
    ("a process", {}, ["ulimit -u", "TasksMax=", "--pids-limit", "LocalSandbox(guests=...)"]),
    ("/proc", {}, ["mount -t proc proc /proc"]),
    ("private files", {}, ["tmpfs", "LocalSandbox(namespaces=False)"]),
    ("a kept promise", {}, ["callgate doctor", "uname -a"]),
    ("dropped capabilities", {}, ["seccomp profile", "remote sandbox"]),
    ("something new", {"release": "weird"}, ["seccomp profile", "remote sandbox"]),
]


@pytest.mark.parametrize(
    ("missing", "files", "wanted"), CASES, ids=[" ".join((name, *files.values()))[:60] for name, files, _ in CASES]
)
def test_the_cure_fits_the_host(
    host: dict[str, str], missing: str, files: dict[str, str], wanted: Sequence[str]
) -> None:
    host.update(files)
    error = cures.unavailable(missing, "refused")
    assert all(part in error.cure for part in wanted)
    assert f"{missing} (refused). {error.cure}" in str(error)
    assert (error.missing, error.reasons) == ((missing,), ("refused",))


def test_kubernetes_is_known_by_its_environment(host: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "seccompProfile" in cures.unavailable("user namespaces", "refused").cure


def test_an_interpreter_that_is_there_is_proposed(host: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cures.sys, "executable", "/nowhere/python")
    path = f"/usr/bin/python3.{sys.version_info.minor}"
    host[path] = ""
    assert cures.unavailable("a readable interpreter", "refused").cure.endswith(f'LocalSandbox(python="{path}").')


def test_several_things_are_one_error(host: dict[str, str]) -> None:
    host["/.dockerenv"] = ""
    parts = [cures.Missing.of(name, "refused") for name in ("user namespaces", "pid namespaces", "Landlock")]
    error = cures.together(parts)
    assert error.missing == ("user namespaces", "pid namespaces", "Landlock")
    assert error.cure.count("docker run") == 1
    assert "landlock_restrict_self" in error.cure
    assert cures.missing_of(error) == parts


def test_the_processor_is_known() -> None:
    if MACHINE not in AUDIT_ARCH:
        pytest.skip(f"{MACHINE} has no table")
    assert number("read") == {"x86_64": 0, "aarch64": 63}[os.uname().machine]
