"""What a proof is remembered by, and what makes it worthless."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from local.docker import NOBODY

from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox, cache, trial
from callgate.sandboxes.local.establish import establish
from callgate.sandboxes.local.forkserver import ForkServer
from callgate.sandboxes.local.policy import LAYERS, JailPolicy, jail_policy
from callgate.sandboxes.local.proof import PROPERTIES

NAME = "0" * 64
NOTHING: dict[str, list[str]] = {name: [] for name in PROPERTIES}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a cache of one's own, in which a proof is kept, and not in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_known", {})
    cache.store(NAME, NOTHING)
    cache._known.clear()
    return tmp_path / "callgate" / "proofs.json"


@pytest.fixture
def proven(full: LocalSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A cache of its own; the list grows with each proof that is really made."""
    made: list[int] = []
    real = trial.prove

    def prove(server: ForkServer, policy: JailPolicy) -> dict[str, list[str]]:
        made.append(1)
        return real(server, policy)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trial, "prove", prove)
    monkeypatch.setattr(cache, "_known", {})
    return made


def level(**arguments: Any) -> str:
    standing = establish(jail_policy(), "L0", **arguments)
    standing.server.close()
    return standing.proof.level


def test_a_proof_is_made_once(proven: list[int], tmp_path: Path) -> None:
    assert level() == level() == "L3"
    assert len(proven) == 1
    file = tmp_path / "callgate" / "proofs.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["proofs.json"]


def test_another_process_finds_it_and_can_make_it_anew(proven: list[int]) -> None:
    first = level()
    cache._known.clear()
    assert level() == first
    assert len(proven) == 1
    assert level(anew=True) == first
    assert len(proven) == 2


def rewritten(file: Path, **changes: Any) -> str:
    return json.dumps(json.loads(file.read_text()) | changes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_text(""),
        lambda file: file.write_text("[" * 100_000),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text("null"),
        lambda file: file.write_text(rewritten(file, format=2)),
        lambda file: file.write_text(rewritten(file, more=1)),
        lambda file: file.write_text(rewritten(file, proofs=[])),
        lambda file: file.write_text(file.read_text().replace('"disk": [], ', "")),
        lambda file: file.write_text(file.read_text().replace('"disk": []', '"disk": 0')),
        lambda file: file.write_text(file.read_text().replace('"disk": []', '"disk": [1]')),
        lambda file: file.write_text(file.read_text() + " " * (1 << 16)),
        lambda file: file.chmod(0o644),
        lambda file: file.chmod(0o620),
        lambda file: file.parent.chmod(0o777),
        lambda file: file.replace(file.with_name("elsewhere")) and file.symlink_to("elsewhere"),
        lambda file: file.unlink() or os.mkfifo(file),
        lambda file: file.unlink() or file.mkdir(),
        lambda file: (
            file.parent.rename(file.parent.with_name("else")) and file.parent.symlink_to(file.parent.with_name("else"))
        ),
    ],
    ids=[
        *("empty", "deep", "no text", "no object", "another format", "another key", "no proofs", "a property less"),
        *("no list", "no text of an attempt", "too large", "readable", "writable", "everybody's directory"),
        *("a link", "a pipe", "a directory", "a link to a directory"),
    ],
)
def test_what_is_wrong_with_the_file_makes_it_worthless(kept: Path, spoil: Any) -> None:
    spoil(kept)
    assert cache.load(NAME) is None


def test_a_file_of_somebody_else_is_worthless(kept: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(kept, NOBODY, NOBODY)
    assert cache.load(NAME) is None
    os.chown(kept, 0, 0)
    os.chown(kept.parent, NOBODY, NOBODY)
    assert cache.load(NAME) is None
    os.chown(kept.parent, 0, 0)
    assert cache.load(NAME) == NOTHING


def test_a_proof_needs_no_place_to_be_kept(proven: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert level() == level() == "L3"
    assert len(proven) == 1
    monkeypatch.setattr(cache, "key", lambda *_: None)
    assert level() == "L3"
    assert len(proven) == 2


def test_a_proof_of_something_broken_is_not_kept(
    proven: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level()
    with monkeypatch.context() as patched:
        patched.setattr(trial, "canary_program", lambda bait: "None")
        with pytest.raises(SandboxUnavailable, match="the canary gave no answer") as caught:
            establish(jail_policy(), "L2", anew=True)
    assert caught.value.missing == ("a kept promise",)
    assert json.loads((tmp_path / "callgate" / "proofs.json").read_text())["proofs"] == {}
    level()
    assert len(proven) == 3


def test_old_proofs_give_way(kept: Path) -> None:
    for n in range(1, 100):
        cache.store(f"{n:064}", NOTHING)
    assert list(json.loads(kept.read_text())["proofs"]) == [f"{n:064}" for n in range(68, 100)]


def test_one_proof_is_forgotten(kept: Path) -> None:
    cache.store("1" * 64, NOTHING)
    cache.forget(NAME)
    assert cache.load(NAME) is None
    assert list(json.loads(kept.read_text())["proofs"]) == ["1" * 64]


def test_a_proof_is_for_one_policy_and_one_landlock(full: LocalSandbox) -> None:
    policy = jail_policy()
    policies = [policy, *(policy.without(layer) for layer in LAYERS)]
    policies.append(dataclasses.replace(policy, preload=("json",)))
    keys = [cache.key(each, landlock) for each in policies for landlock in (4, 7)]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert cache.key(policy, 7) == cache.key(jail_policy(), 7)


def test_a_proof_is_for_one_kind_of_process(full: LocalSandbox) -> None:
    program = (
        "import ctypes, sys; sys.path[:0] = {path!r}\n"
        "from callgate.sandboxes.local import cache, policy\n"
        "{before}\nprint(cache.key(policy.jail_policy(), 7))"
    ).replace("{path!r}", repr(sys.path))

    def key(before: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program.replace("{before}", before)], capture_output=True, text=True, check=True
        ).stdout

    assert key("") == key("")
    assert key("ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)") != key("")
