"""Which sandbox a name or a list stands for."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from callgate import CodeRunner, MemoryJournal, Outcome, SandboxUnavailable, UsageError, tool
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


def test_a_forked_child_does_not_wait_for_who_was_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    choosing, go_on = threading.Event(), threading.Event()

    class Slow(FakeSandbox):
        def check(self) -> None:
            choosing.set()
            go_on.wait(20)

    auto = AutoSandbox([Slow()])
    parents = threading.Thread(target=lambda: auto.chosen)
    parents.start()
    assert choosing.wait(20)
    monkeypatch.setattr("os.getpid", lambda: -1)
    choosing.clear()
    childs = threading.Thread(target=lambda: auto.chosen)
    childs.start()
    assert choosing.wait(5)
    go_on.set()
    parents.join()
    childs.join()
    auto.close()


def test_auto_never_means_a_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2B_API_KEY", "e2b_0")
    with pytest.raises(SandboxUnavailable, match=r"no moon; programs and their data go to E2B only where it is listed"):
        AutoSandbox([Missing()]).check()
    auto = resolve_sandbox("auto")
    assert isinstance(auto, AutoSandbox)
    assert [one.name for one in auto.candidates] == ["local"]


def test_who_listed_e2b_is_not_told_to_list_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Missing, "name", "e2b")
    with pytest.raises(SandboxUnavailable, match=r"there is no moon$"):
        resolve_sandbox([Missing()]).start(Limits())


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


# ---- routes, and actions that go on


class Cloud(FakeSandbox):
    """Another kind of sandbox."""

    name = "cloud"
    level = "vm"

    def __init__(self) -> None:
        super().__init__()
        self.started = 0

    def start(self, limits: Limits) -> Any:
        self.started += 1
        return super().start(limits)


@tool
def pay(n: int) -> int:
    """Pay."""
    return n


PAYS = "x = pay(n=1)\nx + 1"

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def run(runner: CodeRunner, program: str = PAYS, *, use_async: bool) -> Outcome:
    return asyncio.run(runner.arun(program, id="a")) if use_async else runner.run(program, id="a")


def go_on(runner: CodeRunner, call: str, *, use_async: bool) -> Outcome:
    decisions = {call: "approve"}
    return asyncio.run(runner.aresume("a", decisions)) if use_async else runner.resume("a", decisions)


@both_ways
def test_programs_of_a_route_run_where_it_says(use_async: bool) -> None:
    events: list[dict[str, Any]] = []
    runner = CodeRunner([pay], sandbox=FakeSandbox(), sandboxes={"analytics": Cloud()}, on_event=events.append)
    headers = [
        run(runner.on(MemoryJournal(), route=route), use_async=use_async).journal.header
        for route in (None, "other", "analytics")
    ]
    assert [(one["sandbox"], one["level"]) for one in headers] == [("fake", "L0"), ("fake", "L0"), ("cloud", "vm")]
    told = [one for one in events if one["type"] == "callgate.sandbox"]
    assert [(one["sandbox"], one["level"], one["route"]) for one in told] == [
        ("fake", "L0", None),
        ("fake", "L0", None),
        ("cloud", "vm", "analytics"),
    ]
    assert [one["reason"] for one in told[1:]] == [
        "fake: the sandbox for all programs",
        "cloud: set for the route 'analytics'",
    ]


def test_a_choice_among_several_is_told_with_its_reason() -> None:
    events: list[dict[str, Any]] = []
    CodeRunner([], sandbox=[Missing(), FakeSandbox()], on_event=events.append).run("len([])", id="a")
    assert [one["reason"] for one in events] == ["fake: there is no moon (the sandbox for all programs)"]


def test_where_there_is_no_choice_nothing_is_told() -> None:
    events: list[dict[str, Any]] = []
    CodeRunner([], sandbox=FakeSandbox(), on_event=events.append).run("len([])")
    assert events == []


@both_ways
@pytest.mark.parametrize("listed", [False, True], ids=["route", "listed"])
def test_an_action_goes_on_in_the_kind_of_sandbox_in_which_it_began(listed: bool, use_async: bool) -> None:
    store, gates = MemoryJournal(), {"pay": True}
    began = CodeRunner([pay], sandbox=Cloud(), interrupt_on=gates, journal=store)
    (waiting,) = run(began, use_async=use_async).waiting
    cloud, events = Cloud(), list[dict[str, Any]]()
    where: Any = (
        {"sandbox": [FakeSandbox(), cloud]} if listed else {"sandbox": FakeSandbox(), "sandboxes": {"a": cloud}}
    )
    later = CodeRunner([pay], **where, interrupt_on=gates, journal=store, on_event=events.append)
    assert go_on(later, waiting.id, use_async=use_async).value == 2
    assert cloud.started == 1
    (told,) = [one for one in events if one["type"] == "callgate.sandbox"]
    assert (told["sandbox"], told["reason"]) == ("cloud", "cloud: the action began in this kind")


@both_ways
def test_an_action_whose_kind_of_sandbox_is_not_given_waits_on(use_async: bool) -> None:
    store, gates = MemoryJournal(), {"pay": True}
    (waiting,) = run(CodeRunner([pay], sandbox=Cloud(), interrupt_on=gates, journal=store), use_async=use_async).waiting
    lines = store.read("a")
    elsewhere = CodeRunner([pay], sandbox=FakeSandbox(), interrupt_on=gates, journal=store)
    with pytest.raises(SandboxUnavailable, match=r"began in the sandbox 'cloud'.*sandbox=\[\.\.\., 'cloud'\]"):
        go_on(elsewhere, waiting.id, use_async=use_async)
    assert store.read("a") == lines
    both = CodeRunner([pay], sandbox=[FakeSandbox(), Cloud()], interrupt_on=gates, journal=store)
    assert go_on(both, waiting.id, use_async=use_async).value == 2


def test_the_one_that_was_chosen_goes_before_others_of_its_kind() -> None:
    store, gates = MemoryJournal(), {"pay": True}
    (waiting,) = CodeRunner([pay], sandbox=Cloud(), interrupt_on=gates, journal=store).run(PAYS, id="a").waiting

    class Refused(Missing):
        name = "cloud"

    cloud = Cloud()
    auto = AutoSandbox([Refused(), cloud])
    assert auto.name == "cloud"
    assert CodeRunner([pay], sandbox=auto, interrupt_on=gates, journal=store).resume("a", {waiting.id: "approve"})
    assert cloud.started == 1


def test_a_sandbox_of_a_route_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"route 'analytics': sandbox='cloud': give"):
        CodeRunner([], sandboxes={"analytics": "cloud"})  # type: ignore[dict-item]
