"""What is left at E2B, and its end."""

from __future__ import annotations

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

import e2b

from callgate import SandboxUnavailable
from callgate.cli import main
from callgate.sandboxes.e2b.leftovers import end_leftovers, leftovers
from callgate.testing.e2b import LoopbackE2B

MARK = {"callgate": "1"}


@pytest.fixture
def three(server: LoopbackE2B, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A sandbox that is paused, one that runs, and one of somebody else's; the environment leads to their server."""
    for name, value in server.options.items():
        monkeypatch.setenv(f"E2B_{name.upper()}", value)
    made = [e2b.Sandbox.create("base", timeout=60, metadata=marks) for marks in (MARK, MARK, {"team": "other"})]
    made[0].pause()
    return [one.sandbox_id for one in made]


def test_they_are_listed_and_nobody_elses(three: list[str]) -> None:
    assert [(one.id, one.state) for one in leftovers()] == [(three[0], "paused"), (three[1], "running")]


def test_paused_ones_are_ended_and_running_ones_are_not(three: list[str], server: LoopbackE2B) -> None:
    assert [one.id for one in end_leftovers(older_than=0)] == [three[0]]
    assert {one["sandboxID"] for one in server.sandboxes()} == set(three[1:])


def test_young_ones_are_left_alone(three: list[str]) -> None:
    assert end_leftovers(states=("paused", "running"), older_than=3600) == []


def test_nothing_connects(three: list[str], server: LoopbackE2B) -> None:
    before = len(server.requests)
    end_leftovers(states=("paused", "running"), older_than=0)
    assert not [
        one for one in server.requests[before:] if not one.startswith(("GET /v2/sandboxes", "DELETE /sandboxes/"))
    ]


def test_the_doctor_lists_and_ends(three: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--e2b"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("at E2B: 2 sandboxes of callgate\n")
    assert f"{three[0]}  paused, 0.0 hours old, template base" in told
    assert main(["doctor", "--e2b", "--end", "all", "--older", "0"]) == 0
    assert capsys.readouterr().out.endswith("at E2B: 0 sandboxes of callgate\n")


def test_one_that_cannot_be_ended_is_told_and_the_others_are_ended(
    three: list[str], server: LoopbackE2B, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults.fail(f"/sandboxes/{three[0]}", 500, 9, headers={"Should-Retry": "false"})
    assert main(["doctor", "--e2b", "--end", "all", "--older", "0"]) == 1
    assert "could be ended" in capsys.readouterr().err
    assert {one["sandboxID"] for one in server.sandboxes()} == {three[0], three[2]}


def test_without_a_key_the_doctor_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("E2B_API_KEY", raising=False)
    with pytest.raises(SandboxUnavailable):
        leftovers()
    assert main(["doctor", "--e2b"]) == 1
    assert "E2B_API_KEY" in capsys.readouterr().err
