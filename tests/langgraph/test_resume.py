"""A node run that is entered again, in another process, repeats nothing and loses nothing."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.types import Command
from langgraph_cases import asks, code
from langgraph_lives import CONFIG, KINDS, Lives

APPROVE = {"type": "approve"}


def decide(*decisions: Any) -> Command[Any]:
    return Command(resume={"decisions": [{"type": one} if isinstance(one, str) else one for one in decisions]})


def asked(end: Any) -> list[Any]:
    """Return what is asked, as tool and arguments."""
    (request,) = end["asked"]
    return [(one["name"], one["args"]) for one in request["action_requests"]]


_turns = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with every journal; `make test` does with one of them in turn."""
    if "lives" in metafunc.fixturenames:
        kinds, turn = [*KINDS, "own journal"], next(_turns)
        marks = [() if n == turn % len(kinds) else pytest.mark.soak for n in range(len(kinds))]
        cases = [pytest.param(kind, marks=mark) for kind, mark in zip(kinds, marks, strict=True)]
        metafunc.parametrize("lives", cases, indirect=True)


@pytest.fixture
def lives(request: pytest.FixtureRequest, tmp_path: Path) -> Lives:
    if request.param == "own journal":
        return Lives("sqlite", tmp_path, own_journal=True)
    return Lives(request.param, tmp_path)


def test_each_pause_is_answered_in_a_new_process(lives: Lives) -> None:
    program = "for order in orders(user='u'):\n    print(refund(order=order))"
    end = lives.invoke({"messages": [asks(code(program, "a"), code("refund(order=9)", "b"))]})
    assert asked(end) == [("refund", {"order": 1}), ("refund", {"order": 9})]
    end = lives.invoke(decide("approve", {"type": "edit", "edited_action": {"name": "refund", "args": {"order": 8}}}))
    assert asked(end) == [("refund", {"order": 2})]
    assert lives.invoke(None)["asked"] == end["asked"]
    end = lives.invoke(decide("approve"))
    assert asked(end) == [("refund", {"order": 3})]
    end = lives.invoke(decide({"type": "respond", "message": "later"}))
    assert end["answers"] == [
        ("a", "success", "refunded 1\nrefunded 2\nlater\n".strip()),
        ("b", "success", '"refunded 8"'),
    ]
    assert lives.ledger()[0] == "orders u"
    assert sorted(lives.ledger()[1:]) == ["refund 1 1.0", "refund 2 1.0", "refund 8 1.0"]


def test_a_finished_program_is_the_same_in_every_later_process(lives: Lives) -> None:
    program = "print('shown')\nremember(value=1)\nmail(to='x')\n{'rows': list(range(5))}"
    message = asks(code(program, "a"), code("refund(order=1)", "b"), code("1 / 0", "c"))
    lives.invoke({"messages": [message]})
    assert lives.ledger() == ["remember 1", "mail x"]
    rebuilt = lives.invoke(decide("approve"))
    alone = Lives(lives.kind, lives.folder / "alone", **lives.options)
    alone.folder.mkdir()
    direct = alone.invoke({"messages": [asks(code(program, "a"), code("1 / 0", "c"))]})
    assert [one for one in rebuilt["answers"] if one[0] != "b"] == direct["answers"]
    told = [one for one in rebuilt["artifacts"] if one["calls"] == [] or one["calls"][0]["tool"] != "refund"]
    skip = ("journal_head", "journal_key")
    assert [{key: one[key] for key in one if key not in skip} for one in told] == [
        {key: one[key] for key in one if key not in skip} for one in direct["artifacts"]
    ]
    assert (rebuilt["last"], rebuilt["total"], rebuilt["log"]) == (1, 1, ["remember 1"])
    assert lives.ledger() == ["remember 1", "mail x", "refund 1 1.0"]


def test_state_updates_of_earlier_passes_are_seen_later_and_returned_once(lives: Lives) -> None:
    program = "remember(value=1)\nremember(value=2)\nrefund(order=1)\nfirst = recall()\nremember(value=3)\nrefund(order=2)\nfirst, recall()"
    message = asks(code(program, "a"), code("mail(to='x')", "b"))
    lives.invoke({"messages": [message]})
    lives.invoke(decide("approve"))
    end = lives.invoke(decide("approve"))
    seen = '[[2,3,["remember 1","remember 2"]],[3,6,["remember 1","remember 2","remember 3"]]]'
    assert end["answers"] == [("a", "success", seen), ("b", "success", '"mail x"')]
    assert (end["last"], end["total"]) == (3, 6)
    assert end["log"] == ["remember 1", "remember 2", "remember 3"]
    assert lives.ledger().count("remember 1") == 1


def test_plain_calls_beside_finished_ones_repeat_nothing(lives: Lives) -> None:
    lives.flag("fail-flaky")
    message = asks(
        code("mail(to='program')", "a"),
        ("mail", {"to": "plain"}, "b"),
        ("ask", {"question": "one"}, "c"),
        ("remember", {"value": 4}, "d"),
        ("ask", {"question": "two"}, "e"),
        ("refund", {"order": 1}, "f"),
        ("flaky", {}, "g"),
    )
    assert asked(lives.invoke({"messages": [message]})) == [("refund", {"order": 1})]
    assert lives.ledger() == ["mail program"]
    with pytest.raises(AssertionError, match="ConnectionError"):
        lives.invoke(decide("approve"))
    once = {"mail program", "mail plain", "remember 4", "refund 1 1.0"}
    assert lives.invoke(None)["asked"] == ["one"]
    assert lives.invoke(None)["asked"] == ["one"]
    assert lives.invoke(Command(resume="first"))["asked"] == ["two"]
    end = lives.invoke(Command(resume="second"))
    assert [one[2] for one in end["answers"]] == [
        '"mail program"',
        "mail plain",
        "human said first",
        "remembered 4",
        "human said second",
        "refunded 1",
        "fine",
    ]
    assert (end["last"], end["log"]) == (4, ["remember 4"])
    ledger = lives.ledger()
    assert {line: ledger.count(line) for line in once} == dict.fromkeys(once, 1)
    assert sorted(line for line in ledger if line.startswith("ask")) == ["ask one first", "ask two second"]


@pytest.mark.parametrize("moment", ["before-refund", "after-refund"])
@pytest.mark.parametrize("decision", ["done", "failed", "run again"])
def test_a_write_of_which_nobody_knows_is_asked_about_and_never_repeated_unasked(
    moment: str, decision: str, lives: Lives
) -> None:
    lives.flag(moment)
    program = "try:\n    told = refund(order=1)\nexcept ToolFailed as error:\n    told = str(error)\nmail(to=told)"
    message = asks(code(program, "a"), code("mail(to='other')", "b"))
    lives.invoke({"messages": [message]})
    assert lives.invoke(decide("approve")) is None
    end = lives.invoke(None)
    assert asked(end) == [("refund", {"order": 1})]
    (request,) = end["asked"]
    assert request["review_configs"] == [
        {"action_name": "refund", "allowed_decisions": ["done", "failed", "run again"]}
    ]
    assert request["callgate"]["calls"][0]["unknown"] is True
    assert request["action_requests"][0]["description"].startswith("It is unknown whether this call happened")
    wrong = lives.invoke(decide("approve"))
    assert "decide one of done, failed, run again" in wrong["asked"][0]["callgate"]["error"]
    given = {"done": {"type": "done", "value": "it was"}, "failed": {"type": "failed", "message": "it was not"}}
    end = lives.invoke(decide(given.get(decision, decision)))
    told = {"done": "it was", "failed": "it was not", "run again": "refunded 1"}[decision]
    assert end["answers"] == [("a", "success", f'"mail {told}"'), ("b", "success", '"mail other"')]
    runs = (moment == "after-refund") + (decision == "run again")
    assert sorted(lives.ledger()) == sorted(["mail other", f"mail {told}", *["refund 1 1.0"] * runs])


@pytest.mark.parametrize("decision", ["done", "run again"])
def test_a_plain_call_of_which_nobody_knows_too(decision: str, lives: Lives) -> None:
    lives.flag("after-refund")
    edit = {"type": "edit", "edited_action": {"name": "refund", "args": {"order": 5}}}
    lives.invoke({"messages": [asks(("refund", {"order": 1}, "p"), code("mail(to='x')", "a"))]})
    assert lives.invoke(decide(edit)) is None
    end = lives.invoke(None)
    assert asked(end) == [("refund", {"order": 5})]
    assert end["asked"][0]["callgate"]["calls"][0]["unknown"] is True
    end = lives.invoke(decide({"type": "done", "value": {"paid": 1}} if decision == "done" else decision))
    assert end["answers"][0][2] == '{"paid":1}' if decision == "done" else "refunded 5" in end["answers"][0][2]
    assert sorted(lives.ledger()) == ["mail x", *["refund 5 1.0"] * (1 if decision == "done" else 2)]


def test_updates_of_calls_before_a_kill_are_kept(lives: Lives) -> None:
    lives.flag("in-recall")
    lives.invoke({"messages": [asks(code("remember(value=1)\nrecall()\nremember(value=2)\nrecall()", "a"))]})
    end = lives.invoke(None)
    assert end["answers"] == [("a", "success", '[2,3,["remember 1","remember 2"]]')]
    assert (end["last"], end["total"], end["log"]) == (2, 3, ["remember 1", "remember 2"])
    assert lives.ledger() == ["remember 1", "remember 2"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_pauses_hold_in_every_durability(durability: str, tmp_path: Path) -> None:
    lives = Lives("sqlite", tmp_path, durability=durability)
    end = lives.invoke({"messages": [asks(code("mail(to='x')\nrefund(order=1)\nrefund(order=2)", "a"))]})
    end = lives.invoke(decide("approve"))
    assert asked(end) == [("refund", {"order": 2})]
    assert lives.invoke(None)["asked"] == end["asked"]
    assert lives.invoke(decide("approve"))["answers"] == [("a", "success", '"refunded 2"')]
    assert lives.ledger() == ["mail x", "refund 1 1.0", "refund 2 1.0"]


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_subgraph(kind: str, tmp_path: Path) -> None:
    lives = Lives(kind, tmp_path, nested=True)
    end = lives.invoke({"messages": [asks(code("mail(to='x')\nrefund(order=1)\nrefund(order=2)", "a"))]})
    assert asked(end) == [("refund", {"order": 1})]
    assert asked(lives.invoke(decide("approve"))) == [("refund", {"order": 2})]
    assert lives.invoke(decide("approve"))["answers"] == [("a", "success", '"refunded 2"')]
    assert lives.ledger() == ["mail x", "refund 1 1.0", "refund 2 1.0"]


def test_the_state_may_be_updated_while_a_human_is_asked(lives: Lives) -> None:
    lives.invoke(
        {"messages": [asks(code("mail(to='x')\nrefund(order=1)\nrefund(order=2)", "a"), ("refund", {"order": 3}, "p"))]}
    )
    lives.update(CONFIG, {"last": "changed"}, "__start__")
    end = lives.invoke(None)
    assert asked(end) == [("refund", {"order": 1}), ("refund", {"order": 3})]
    lives.update(CONFIG, {"last": "again"}, "__start__")
    end = lives.invoke(decide("approve", "approve"))
    assert asked(end) == [("refund", {"order": 2})]
    end = lives.invoke(decide("reject"))
    assert [one[1] for one in end["answers"]] == ["error", "success"]
    assert end["last"] == "again"
    assert sorted(lives.ledger()) == ["mail x", "refund 1 1.0", "refund 3 1.0"]


def test_an_answer_to_a_question_that_changed_answers_nothing(lives: Lives) -> None:
    """The program is another one since: what was approved for the old one is not approved for it."""
    first = asks(code("mail(to='x')\nrefund(order=1)", "a"))
    first.id = "m"
    lives.invoke({"messages": [first]})
    second = asks(code("mail(to='y')\nrefund(order=1000)", "a"))
    second.id = "m"
    lives.update(CONFIG, {"messages": [second]}, "__start__")
    end = lives.invoke(decide("approve"))
    assert asked(end) == [("refund", {"order": 1000})]
    end = lives.invoke(decide("reject"))
    assert end["answers"][0][1] == "error"
    assert lives.ledger() == ["mail x", "mail y"]


def test_a_call_taken_out_of_the_message_changes_nothing_for_the_others(lives: Lives) -> None:
    first = asks(code("refund(order=0)", "z"), code("mail(to='x')\nrefund(order=1)", "a"))
    first.id = "m"
    lives.invoke({"messages": [first]})
    second = asks(code("mail(to='x')\nrefund(order=1)", "a"))
    second.id = "m"
    lives.update(CONFIG, {"messages": [second]}, "__start__")
    assert asked(lives.invoke(None)) == [("refund", {"order": 1})]
    assert lives.invoke(decide("approve"))["answers"] == [("a", "success", '"refunded 1"')]
    assert lives.ledger() == ["mail x", "refund 1 1.0"]


def test_a_new_message_in_place_of_an_answer_starts_afresh(lives: Lives) -> None:
    lives.invoke({"messages": [asks(code("refund(order=1)", "a"))]})
    end = lives.invoke({"messages": [HumanMessage("never mind"), asks(code("mail(to='x')", "b"))]})
    assert end["answers"] == [("b", "success", '"mail x"')]
    assert lives.ledger() == ["mail x"]


def test_tools_that_ask_are_answered_in_new_processes(lives: Lives) -> None:
    program = "remember(value=1)\none = ask(question='one')\npaid = refund(order=1)\ntwo = sub_agent(topic='two')\none, paid, two, recall()"
    message = asks(code(program, "a"), ("ask", {"question": "plain"}, "b"))
    assert lives.invoke({"messages": [message]})["asked"] == ["one"]
    assert lives.invoke(None)["asked"] == ["one"]
    assert asked(lives.invoke(Command(resume="first"))) == [("refund", {"order": 1})]
    assert lives.invoke(decide("approve"))["asked"] == ["about two"]
    end = lives.invoke(Command(resume="second"))
    assert end["asked"] == ["plain"]
    end = lives.invoke(Command(resume="third"))
    told = '["human said first","refunded 1","look two: second",[1,1,["remember 1"]]]'
    assert end["answers"] == [("a", "success", told), ("b", "success", "human said third")]
    assert lives.ledger() == ["remember 1", "ask one first", "refund 1 1.0", "look two", "ask plain third"]


def test_a_kill_after_an_answer_was_used(lives: Lives) -> None:
    lives.flag("after-agent")
    lives.invoke({"messages": [asks(code("sub_agent(topic='x')", "a"))]})
    assert lives.invoke(Command(resume="yes")) is None
    end = lives.invoke(None)
    assert asked(end) == [("sub_agent", {"topic": "x"})]
    assert end["asked"][0]["callgate"]["calls"][0]["unknown"] is True
    end = lives.invoke(decide("run again"))
    assert end["answers"] == [("a", "success", '"look x: yes"')]
    assert lives.ledger() == ["look x"]


def test_an_earlier_checkpoint_run_again_with_a_journal_of_one_s_own_repeats_nothing(tmp_path: Path) -> None:
    lives = Lives("sqlite", tmp_path, own_journal=True)
    lives.invoke({"messages": [asks(code("mail(to='x')\nrefund(order=1)", "a"))]})
    end = lives.invoke(decide("approve"))
    again = lives.invoke(None, back=True)
    assert again["answers"] == end["answers"]
    assert lives.ledger() == ["mail x", "refund 1 1.0"]
