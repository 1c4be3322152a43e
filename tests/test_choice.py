"""Which sandbox a name or a list stands for."""

from __future__ import annotations

import pytest

from callgate import CodeRunner, SandboxUnavailable, UsageError
from callgate.limits import Limits
from callgate.sandboxes import Guest
from callgate.sandboxes.auto import AutoSandbox
from callgate.sandboxes.shared import resolve_sandbox, shared_local_sandbox
from callgate.testing import FakeSandbox


class Missing:
    """A sandbox that cannot be had."""

    name = "missing"
    level = "none"

    def __init__(self) -> None:
        self.asked = 0

    def check(self) -> str:
        self.asked += 1
        raise SandboxUnavailable("there is no moon", missing=["moon"], cure="build one")

    def start(self, limits: Limits) -> Guest:
        raise AssertionError

    async def astart(self, limits: Limits) -> Guest:
        raise AssertionError

    def close(self) -> None:
        """Nothing."""


def test_names_stand_for_shared_sandboxes() -> None:
    assert resolve_sandbox("local") is resolve_sandbox("local") is shared_local_sandbox()
    assert resolve_sandbox("e2b") is resolve_sandbox("e2b")
    assert resolve_sandbox("e2b").name == "e2b"


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match='"local", "e2b", "auto"'):
        resolve_sandbox("cloud")  # type: ignore[arg-type]


def test_the_first_that_can_be_had_is_taken_and_recorded() -> None:
    missing = Missing()
    with_both = CodeRunner([], sandbox=[missing, FakeSandbox()])
    outcomes = [with_both.run("1 + len([])") for _ in range(2)]
    assert [one.value for one in outcomes] == [1, 1]
    assert outcomes[0].journal.header["sandbox"] == "fake"
    assert missing.asked == 1


def test_the_choice_says_why() -> None:
    chosen = AutoSandbox([Missing(), FakeSandbox()])
    assert chosen.reason == "fake: there is no moon"
    assert AutoSandbox([FakeSandbox()]).reason == "fake, the first that can be had"


def test_auto_never_means_a_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2B_API_KEY", "e2b_0")
    with pytest.raises(SandboxUnavailable, match=r"no moon; programs and their data go to E2B only where it is listed"):
        AutoSandbox([Missing()]).check()
    auto = resolve_sandbox("auto")
    assert isinstance(auto, AutoSandbox)
    assert [one.name for one in auto.candidates] == ["local"]


def test_where_none_can_be_had_each_says_what_it_lacks() -> None:
    with pytest.raises(SandboxUnavailable, match="no moon; there is no moon") as refused:
        AutoSandbox([Missing(), Missing()]).check()
    assert refused.value.missing == ("moon", "moon")


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        resolve_sandbox([])


def test_e2b_without_its_sdk_or_key_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("E2B_API_KEY", raising=False)
    with pytest.raises(SandboxUnavailable, match=r"callgate\[e2b\]|E2B_API_KEY"):
        CodeRunner([], sandbox="e2b").run("1 + len([])")
