"""Another version of the program goes on with a paused node run: its tools, or what is asked about, have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from langgraph_cases import answers, asks, code, codeact, graph_of
from langgraph_lives import Lives

from callgate_langgraph import batch

CONFIG = {"configurable": {"thread_id": "t"}}
PROGRAM = "a = book(n=1)\nb = pay(n=2)\n[a, b]"


class Service:
    """One thread, entered by different versions of the same service."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []
        self.saver = InMemorySaver()

        @tool
        def book(n: int) -> int:
            """Book."""
            self.done.append(("book", n))
            return n

        @tool
        def pay(n: int) -> int:
            """Pay."""
            self.done.append(("pay", n))
            return n

        @tool("pay")
        def pay_abroad(n: int, currency: str = "EUR") -> int:
            """Pay."""
            self.done.append((f"pay {currency}", n))
            return n

        self.book, self.pay, self.pay_abroad = book, pay, pay_abroad

    def enter(self, given: Any, *tools: BaseTool, gated: tuple[str, ...] = ("pay",)) -> Any:
        node = codeact(list(tools), interrupt_on=dict.fromkeys(gated, True))
        return graph_of(node, checkpointer=self.saver).invoke(given, CONFIG)

    def pause(self, *calls: Any) -> None:
        assert "__interrupt__" in self.enter({"messages": [asks(*calls)]}, self.book, self.pay)


def approve(count: int = 1) -> Command[Any]:
    return Command(resume={"decisions": [{"type": "approve"}] * count})


@pytest.mark.parametrize("call", [code(PROGRAM), ("pay", {"n": 2}, "p")], ids=["program", "plain"])
def test_an_approval_holds_for_the_tool_that_was_shown(call: Any) -> None:
    service = Service()
    service.pause(call)
    asked = service.enter(approve(), service.book, service.pay_abroad)["__interrupt__"][0].value
    assert [one["args"] for one in asked["action_requests"]] == [{"n": 2}]
    assert ("pay EUR", 2) not in service.done
    assert "__interrupt__" not in service.enter(approve(), service.book, service.pay_abroad)
    assert [one for one in service.done if one[0] != "book"] == [("pay EUR", 2)]
    assert service.done.count(("book", 1)) <= 1


def test_so_does_one_that_waits_for_a_later_pause() -> None:
    service = Service()
    service.pause(code("pay(n=1)\npay(n=2)"), ("pay", {"n": 9}, "p"))
    asked = service.enter(approve(2), service.book, service.pay)["__interrupt__"][0].value
    assert [one["args"] for one in asked["action_requests"]] == [{"n": 2}]
    asked = service.enter(approve(), service.book, service.pay_abroad)["__interrupt__"][0].value
    assert [one["args"] for one in asked["action_requests"]] == [{"n": 2}, {"n": 9}]
    service.enter(approve(2), service.book, service.pay_abroad)
    assert service.done == [("pay", 1), ("pay EUR", 2), ("pay EUR", 9)]


@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
def test_so_does_one_that_a_crash_kept_from_its_program(gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*anything: Any, **named: Any) -> None:
        raise SystemExit

    service = Service()
    service.pause(code(PROGRAM), code("1 + 1", "other"))
    with monkeypatch.context() as patched:
        patched.setattr(batch, "clear_stale_resume", crash)
        with pytest.raises(SystemExit):
            service.enter(approve(), service.book, service.pay)
    if gone:
        end = service.enter(None, service.book, gated=())
        assert "there is no tool 'pay'" in answers(end)[0].content
    else:
        asked = service.enter(None, service.book, service.pay_abroad)["__interrupt__"][0].value
        assert [one["args"] for one in asked["action_requests"]] == [{"n": 2}]
        end = service.enter(approve(), service.book, service.pay_abroad)
    assert answers(end)[1].content == "2"
    assert service.done == [("book", 1), *([] if gone else [("pay EUR", 2)])]


def test_one_changed_tool_uses_up_none_of_the_decisions() -> None:
    service = Service()
    gated = ("pay", "book")
    message = asks(code("book(n=1)"), ("pay", {"n": 2}, "p"))
    service.enter({"messages": [message]}, service.book, service.pay, gated=gated)
    asked = service.enter(approve(2), service.book, service.pay_abroad, gated=gated)["__interrupt__"][0].value
    assert [one["name"] for one in asked["action_requests"]] == ["book", "pay"]
    assert service.done == []


@pytest.mark.parametrize("program", [PROGRAM, "pay(n=2)"], ids=["program", "direct"])
def test_a_program_is_told_that_a_tool_it_waits_for_is_gone(program: str) -> None:
    service = Service()
    service.pause(code(program))
    (told,) = answers(service.enter(approve(), service.book, gated=()))
    assert "UnknownTool: there is no tool 'pay'" in told.content
    assert ("pay", 2) not in service.done


def test_a_plain_call_whose_tool_is_gone_is_answered_as_the_toolnode_does() -> None:
    service = Service()
    service.pause(("pay", {"n": 2}, "p"))
    (told,) = answers(service.enter(approve(), service.book, gated=()))
    assert told.content == "Error: pay is not a valid tool, try one of [book]."


def test_a_call_that_has_run_is_answered_from_the_journal_though_its_tool_is_gone() -> None:
    service = Service()
    service.pause(code(PROGRAM))
    (told,) = answers(service.enter(approve(), service.pay))
    assert told.content == "[1,2]"
    assert service.done == [("book", 1), ("pay", 2)]


def test_a_call_that_has_run_is_not_asked_for_when_its_tool_is_gated_now() -> None:
    service = Service()
    service.pause(code(PROGRAM))
    (told,) = answers(service.enter(approve(), service.book, service.pay, gated=("pay", "book")))
    assert told.content == "[1,2]"
    assert service.done == [("book", 1), ("pay", 2)]


@pytest.mark.parametrize("given", ["reject", "edit"])
def test_a_decision_about_a_plain_call_counts_though_nobody_would_be_asked_now(given: str) -> None:
    service = Service()
    service.pause(("pay", {"n": 2}, "p"))
    decision: dict[str, Any] = {"type": given}
    if given == "edit":
        decision["edited_action"] = {"name": "pay", "args": {"n": 3}}
    service.enter(Command(resume={"decisions": [decision]}), service.book, service.pay, gated=())
    assert service.done == ([("pay", 3)] if given == "edit" else [])


@pytest.mark.parametrize("call", [code("refund(order=1)\nmail(to='x')"), ("refund", {"order": 1}, "p")])
def test_an_unknown_outcome_of_a_tool_that_is_gone_can_be_told_and_not_run_again(call: Any, tmp_path: Path) -> None:
    lives = Lives("sqlite", tmp_path)
    lives.invoke({"messages": [asks(call)]})
    lives.flag("after-refund")
    assert lives.invoke(approve()) is None
    asked = lives.invoke(None, without="refund")["asked"][0]
    assert asked["review_configs"] == [{"action_name": "refund", "allowed_decisions": ["done", "failed"]}]
    again = lives.invoke(Command(resume={"decisions": [{"type": "run again"}]}), without="refund")["asked"][0]
    assert "decide one of done, failed" in again["callgate"]["error"]
    told = Command(resume={"decisions": [{"type": "done", "value": "refunded by hand"}]})
    end = lives.invoke(told, without="refund")
    assert end["asked"] == []
    assert [one for one in lives.ledger() if one.startswith("refund")] == ["refund 1 1.0"]
    assert end["answers"][0][1:] == (("success", '"mail x"') if "code" in call[1] else ("success", "refunded by hand"))


def test_interrupts_of_tools_that_are_gone(tmp_path: Path) -> None:
    lives = Lives("sqlite", tmp_path)
    lives.invoke({"messages": [asks(code("ask(question='q')"), ("ask", {"question": "r"}, "p"))]})
    end = lives.invoke(Command(resume="yes"), without="ask")
    while end["asked"]:
        end = lives.invoke(Command(resume="yes"), without="ask")
    assert "there is no tool 'ask'" in end["answers"][0][2]
    assert "ask is not a valid tool" in end["answers"][1][2]
