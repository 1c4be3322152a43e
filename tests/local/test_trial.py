"""What a canary shows: it succeeds where there is no jail, and is not believed where it only says so."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local.docker import NOBODY, SYSTEM_PYTHON

from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox, lure, trial
from callgate.sandboxes.local.canary.attempts import ATTEMPTS
from callgate.sandboxes.local.canary.outside import CHANGES
from callgate.sandboxes.local.forkserver import ForkServer
from callgate.sandboxes.local.lure import Lure
from callgate.sandboxes.local.policy import jail_policy
from callgate.sandboxes.local.proof import PROPERTIES, judge


@pytest.fixture
def server(full: LocalSandbox) -> Iterator[ForkServer]:
    server = ForkServer(jail_policy())
    yield server
    server.close()


# The canary succeeds where there is no jail: each attempt, as an ordinary user or as root.

UNSEEN = {("files.metadata", name) for name in ATTEMPTS["files.metadata"]} | {("files.write", "leave files")}
"""What only the host sees."""
MAY_BE_ABSENT = {
    *("acct", "delete_module", "finit_module", "init_module", "kexec_file_load", "kexec_load", "add_key", "keyctl"),
    *("request_key", "bpf", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_secret"),
    *(
        "quotactl",
        "quotactl_fd",
        "fanotify_init",
        "name_to_handle_at",
        "open_by_handle_at",
        "kcmp",
        "swapoff",
        "swapon",
    ),
    *("socket of family alg", "socket of family vsock", "socket of family packet", "migrate_pages", "move_pages"),
    *("mbind", "set_mempolicy", "perf_event_open", "syslog", "fchmodat2", "process_madvise", "process_mrelease"),
}
"""Kernels are built without them, or a host closes them to everybody."""
NOT_WITHOUT_ROOT = {
    *("open the library to write", "make a file beside the library", "kill the parent", "have a capability"),
    *("acct", "fsmount", "fsopen", "fspick", "landlock_restrict_self", "move_mount", "pivot_root", "reboot"),
    *("setdomainname", "setgroups", "sethostname", "trace", "read memory", "change memory", "take a descriptor"),
}


def unjailed(program: str, *, root: bool = False) -> Any:
    head, _, call = program.rpartition("callgate_guest.attempts.report")
    text = f"{head}import json; print(json.dumps(callgate_guest.attempts.report{call.strip()}))"
    switch: dict[str, Any] = {} if root or os.getuid() != 0 else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-I", "-S", "-c", text],
        env={"SECRET": "x"}, cwd="/", capture_output=True, text=True, timeout=60, **switch,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_a_jail_every_attempt_succeeds_and_the_host_sees_it() -> None:
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"no {SYSTEM_PYTHON}")
    succeeded: set[tuple[str, str]] = set()
    for root in (False, True) if os.getuid() == 0 else (False,):
        with Lure(str(SYSTEM_PYTHON)) as laid:
            bait = laid.bait()
            said = unjailed(trial.canary_program(bait), root=root)
            assert laid.seen() == {
                "files.write": ["change a file", "change a directory", "leave a file"],
                "files.metadata": ["change what is known of a file"],
                "network": [f"be heard by {name}" for name in laid.listeners],
                "signals": ["end a process"],
            }
        assert not [left for place in ("/tmp", "/usr", "/") for left in Path(place).glob(f"callgate-{bait['token']}*")]
        succeeded |= {
            (promise, name) for promise, told in said["attempts"].items() for name, result in told.items() if result
        }
    every = {(promise, name) for promise, attempts in ATTEMPTS.items() for name in attempts}
    failed = {name for _, name in every - UNSEEN - succeeded} - MAY_BE_ABSENT
    assert failed - ({"reach TCP over IPv6"} if not bait["tcp6"] else set()) <= (
        set() if os.getuid() == 0 else NOT_WITHOUT_ROOT
    )


def test_what_was_killed_is_seen_before_it_has_ended() -> None:
    for _ in range(30):
        with Lure(sys.executable) as laid:
            pid = laid.bait()["pid"]
            assert laid.seen()["signals"] == []
            os.kill(pid, signal.SIGKILL)
            assert laid.seen()["signals"] == ["end a process"]


def test_without_a_jail_every_change_of_metadata_shows() -> None:
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"no {SYSTEM_PYTHON}")
    changed: dict[str, bool] = {}
    with Lure(str(SYSTEM_PYTHON)) as laid:
        program = trial.canary_program(laid.bait())
        for name in CHANGES:
            only = program.replace(
                "callgate_guest.attempts.report(",
                "[attempts.pop(name) for attempts in callgate_guest.attempts.ATTEMPTS.values()"
                f" for name in list(attempts) if name != {name!r}]\ncallgate_guest.attempts.report(",
            ).replace("import callgate_guest\n[", "import callgate_guest, callgate_guest.attempts\n[")
            before = laid.look()
            unjailed(only, root=True)
            changed[name] = laid.look() != before
    if not changed["change a mode by a path"]:
        del changed["change a mode by a path"]  # a kernel before 6.6 has no fchmodat2
    assert all(changed.values()), changed


# A guest that does not say so has proven nothing.


@pytest.mark.parametrize(
    "program",
    [
        "None",
        "{}",
        "[True]",
        "'held'",
        "raise SystemExit",
        "raise MemoryError",
        "import ctypes; ctypes.string_at(8)",
        "import os; os.write(3, b'\\xff' * 100)",
        "import os; os.close(3)",
    ],
)
def test_silence_proves_nothing(server: ForkServer, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(trial, "canary_program", lambda bait: program)
    found = trial.prove(server, jail_policy())
    assert all(found[name][:1] == ["the canary gave no answer"] for name in PROPERTIES)
    assert judge(server.layers, server.landlock, found).level == "L0"


def test_a_guest_that_never_ends_proves_nothing(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "canary_program", lambda bait: "while True: pass")
    monkeypatch.setattr(trial, "SECONDS", 0.3)
    assert trial.prove(server, jail_policy())["files.read"] == ["the canary gave no answer"]


@pytest.mark.parametrize("result", ["True", "None", "0", "'False'"])
def test_an_attempt_has_failed_only_if_that_is_said(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    told = {promise: dict.fromkeys(attempts, False) for promise, attempts in ATTEMPTS.items()}
    program = (
        f"told = {told!r}\ntold['network']['reach TCP'] = {result}\ntold['disk']['one more'] = False\n"
        "{'attempts': told, 'variables': ['SHELL=' + 'x' * 20, 'PATH=/usr/bin']}"
    )
    monkeypatch.setattr(trial, "canary_program", lambda bait: program)
    found = trial.prove(server, jail_policy())
    assert {name: attempts for name, attempts in found.items() if attempts} == {
        "network": ["reach TCP"],
        "disk": ["the canary gave no answer"],
    }


def test_the_host_believes_its_own_eyes(full: LocalSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary that breaks out of a jail without walls, and denies it."""
    told = {promise: dict.fromkeys(attempts, False) for promise, attempts in ATTEMPTS.items()}
    real = trial.canary_program
    denial = {"attempts": told, "variables": []}
    monkeypatch.setattr(trial, "canary_program", lambda bait: f"{real(bait)}\n{denial!r}")
    python = SYSTEM_PYTHON if os.getuid() == 0 else Path(sys.executable)
    policy = dataclasses.replace(jail_policy(python=python), layers=frozenset())
    try:
        server = ForkServer(policy)
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    try:
        found = trial.prove(server, policy)
    finally:
        server.close()
    assert {name for name, attempts in found.items() if attempts} == {
        *("files.write", "files.metadata", "network", "signals", "kernel_surface"),
    }
    assert "be without a filter" in found["kernel_surface"]
    assert judge(policy.layers, 0, found).level == "L0"


def test_a_variable_of_the_host_is_recognised(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {promise: dict.fromkeys(attempts, False) for promise, attempts in ATTEMPTS.items()}
    monkeypatch.setenv("TOKEN", "a secret of some length")
    monkeypatch.setenv("SHORT", "1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin:/usr/local/bin")
    for variables, broken in [
        (["TOKEN=a secret of some length"], True),
        ([1], True),
        (["TOKEN=another secret of that length", "SHORT=1", "PATH=/usr/bin:/bin:/usr/local/bin"], False),
    ]:
        said = {"attempts": told, "variables": variables}
        monkeypatch.setattr(trial, "canary_program", lambda bait, said=said: repr(said))
        found = trial.prove(server, jail_policy())
        assert found["environment"] == (["have a variable of the host"] if broken else [])


def test_bait_does_not_lie_where_guests_may_read(
    full: LocalSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Lure(sys.executable, [str(tmp_path.parent)]) as laid:
        assert not Path(laid.bait()["folder"]).is_relative_to(tmp_path)
    with pytest.raises(SandboxUnavailable, match="shown to programs"), Lure(sys.executable, ["/"]):
        pass


def test_a_guest_that_is_not_busy_is_not_measured(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "BUSY", "None")
    monkeypatch.setattr(trial, "MEASURED_SECONDS", 5.0)
    found = trial.prove(server, jail_policy())
    assert found["cpu"] == ["run unmeasured"]


def test_a_guest_that_is_gone_before_it_is_looked_at_is_not_measured(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trial._run

    def run_and_end(guest: Any, program: str) -> None:
        run(guest, program)
        if program == trial.BUSY:
            guest.kill()
            patience = time.monotonic() + 10
            while Path(f"/proc/{guest.pid}").exists():
                assert time.monotonic() < patience

    monkeypatch.setattr(trial, "_run", run_and_end)
    assert trial.prove(server, jail_policy())["cpu"] == ["run unmeasured"]


def test_a_guest_that_outlives_its_end_is_seen(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "GONE_SECONDS", 0.05)
    monkeypatch.setattr("signal.pidfd_send_signal", lambda *_: None)
    found = trial.prove(server, jail_policy())
    assert found["lifetime"] == ["outlive its end"]
    assert found["cpu"] == ["outlive its end"]


def test_the_host_has_the_last_word_about_privileges(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Name:\tx\nCapInh:\t0\nCapPrm:\t00000000000000ff\nCapEff:\t0\nCapAmb:\t0\nNoNewPrivs:\t0\nSeccomp:\t0\n"
    monkeypatch.setattr(trial, "status_of", lambda pid: text)
    found = trial.prove(server, jail_policy())
    assert found["kernel_surface"] == [
        "have a capability (CapPrm)",
        "gain a privilege by an exec",
        "be without a filter",
    ]


def test_nothing_of_a_trial_is_left(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    assert not any(trial.prove(server, jail_policy()).values())
    assert not list(tmp_path.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_bait_needs_a_place(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    monkeypatch.setattr(lure, "_TEMPORARY", ())
    with pytest.raises(SandboxUnavailable, match="TMPDIR") as caught:
        trial.prove(server, jail_policy())
    assert caught.value.missing == ("a temporary directory",)
