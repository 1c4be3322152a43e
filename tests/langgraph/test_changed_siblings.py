"""Plain calls that a human had a say in, when the calls beside them change or their tools raise: nothing runs twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from langgraph_cases import State, answers, asks, call, code, codeact, graph_of

from callgate import JournalError, MemoryJournal, SqliteJournal

CONFIG: Any = {"configurable": {"thread_id": "t"}}
PAY, ASK, PROGRAM = ("pay", {"n": 1}, "p"), ("ask", {"question": "sure?"}, "q"), code("1 + 1", "c")


class Crash(BaseException):
    """Nothing in the process goes on after it."""


class Thread:
    """One thread of a graph with a tool that needs a human and one that asks, twice, what is to be done."""

    def __init__(self, *, use_async: bool, journal: Any = None, **named: Any) -> None:
        self.done: list[str] = []
        self.during: Callable[[], None] = lambda: None
        self._use_async = use_async

        @tool
        def pay(n: int) -> str:
            """Pay."""
            self.done.append(f"pay {n}")
            self.during()
            return f"paid {n}"

        @tool
        def ask(question: str) -> str:
            """Ask a human twice."""
            told = f"{interrupt(question)}, {interrupt('really?')}"
            self.done.append(f"ask {told}")
            return told

        self.node = codeact([pay, ask], interrupt_on={"pay": True}, journal=journal, **named)
        self.saver = InMemorySaver()
        self.graph: Any = graph_of(self.node, checkpointer=self.saver)

    def enter(self, given: Any) -> Any:
        return call(self.graph, given, CONFIG, use_async=self._use_async)

    def message(self, *calls: Any) -> dict[str, Any]:
        message = asks(*calls)
        message.id = "m"
        return {"messages": [message]}

    def change(self, *calls: Any) -> Any:
        """Put other calls in the message, and enter it again."""
        self.graph.update_state(CONFIG, self.message(*calls), as_node="__start__")
        return self.enter(None)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def use_async(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(params=["checkpointer", "own journal"])
def thread(request: pytest.FixtureRequest, use_async: bool) -> Thread:
    journal = MemoryJournal() if request.param == "own journal" else None
    return Thread(use_async=use_async, journal=journal, handle_tool_errors=False)


def shown(end: Any) -> Any:
    (one,) = end["__interrupt__"]
    return one.value


def asked(end: Any) -> list[tuple[str, Any, bool]]:
    request = shown(end)
    unknown = [one["unknown"] for one in request["callgate"]["calls"]]
    return [(one["name"], one["args"], two) for one, two in zip(request["action_requests"], unknown, strict=True)]


def decide(*types: str) -> Command[Any]:
    return Command(resume={"decisions": [{"type": one} for one in types]})


# ---- other calls beside it


@pytest.mark.parametrize("rest", [(PAY, PROGRAM), (PAY,), (PROGRAM, PAY)], ids=["same place", "alone", "elsewhere"])
def test_what_was_approved_and_ran_stays_done_when_a_call_beside_it_goes(rest: Any, thread: Thread) -> None:
    thread.enter(thread.message(PAY, ASK, PROGRAM))
    assert shown(thread.enter(decide("approve"))) == "sure?"
    end = thread.change(*rest)
    assert {one.tool_call_id: one.content for one in answers(end)}["p"] == "paid 1"
    assert thread.done == ["pay 1"]


def test_edited_arguments_are_told_of_all_the_same(thread: Thread) -> None:
    thread.enter(thread.message(PAY, ASK))
    edit = {"type": "edit", "edited_action": {"name": "pay", "args": {"n": 5}}}
    thread.enter(Command(resume={"decisions": [edit]}))
    (told,) = answers(thread.change(PAY))
    assert 'It ran with: {"n":5}' in told.content
    assert told.content.endswith("paid 5")
    assert thread.done == ["pay 5"]


def test_another_call_with_its_id_is_another_question(thread: Thread) -> None:
    thread.enter(thread.message(PAY, ASK))
    thread.enter(decide("approve"))
    assert asked(thread.change(("pay", {"n": 2}, "p"))) == [("pay", {"n": 2}, False)]
    assert thread.done == ["pay 1"]


def test_each_of_two_equal_calls_runs_once(thread: Thread) -> None:
    thread.enter(thread.message(PAY, PAY, ASK))
    thread.enter(decide("approve", "approve"))
    assert len(answers(thread.change(PAY, PAY))) == 2
    assert thread.done == ["pay 1", "pay 1"]


@pytest.mark.parametrize("again", [(PAY,), (PAY, PROGRAM)], ids=["alone", "beside a program"])
def test_an_unknown_outcome_stays_unknown(again: Any, thread: Thread) -> None:
    def crash() -> None:
        raise Crash

    thread.during = crash
    thread.enter(thread.message(PAY, ASK))
    with pytest.raises(Crash):
        thread.enter(decide("approve"))
    assert asked(thread.change(*again)) == [("pay", {"n": 1}, True)]
    end = thread.enter(Command(resume={"decisions": [{"type": "done", "value": "by hand"}]}))
    assert answers(end)[0].content == "by hand"
    assert thread.done == ["pay 1"]


def test_a_decision_taken_before_it_ran_beside_others_does_not_run_it_again(thread: Thread) -> None:
    """The message changes and changes back: the first question is there again, and its call has run since."""
    other = ("pay", {"n": 2}, "o")
    assert len(asked(thread.enter(thread.message(PAY, other, ASK)))) == 2
    assert asked(thread.change(PAY, ASK)) == [("pay", {"n": 1}, False)]
    assert shown(thread.enter(decide("approve"))) == "sure?"
    end = thread.change(PAY, other, ASK)
    assert asked(end) == [("pay", {"n": 2}, False)]
    assert shown(thread.enter(decide("approve"))) == "sure?"
    assert thread.done == ["pay 1", "pay 2"]


def test_answers_a_tool_was_given_stay_its_own(thread: Thread) -> None:
    thread.enter(thread.message(PAY, ASK))
    thread.enter(decide("approve"))
    assert shown(thread.enter(Command(resume="yes"))) == "really?"
    assert shown(thread.change(ASK, PROGRAM)) == "really?"
    assert answers(thread.enter(Command(resume="very")))[0].content == "yes, very"
    assert thread.done == ["pay 1", "ask yes, very"]


def test_no_answer_reaches_a_question_after_the_change_it_was_not_given_to(thread: Thread) -> None:
    thread.enter(thread.message(PAY, ASK))
    thread.enter(decide("approve"))
    thread.graph.update_state(CONFIG, thread.message(PAY, ("ask", {"question": "other?"}, "q")), as_node="__start__")
    assert shown(thread.enter(Command(resume="yes"))) == "other?"
    assert thread.done == ["pay 1"]


def test_nothing_more_is_written_where_nobody_is_asked(use_async: bool) -> None:
    journal = MemoryJournal()
    keys: list[str] = []

    class Watched(MemoryJournal):
        def append(self, key: str, position: int, lines: Any) -> None:
            keys.append(key)
            journal.append(key, position, lines)

        async def aappend(self, key: str, position: int, lines: Any) -> None:
            self.append(key, position, lines)

        def read(self, key: str) -> list[str]:
            return journal.read(key)

        async def aread(self, key: str) -> list[str]:
            return journal.read(key)

    @tool
    def note(n: int) -> int:
        """Note."""
        return n

    graph = graph_of(codeact([note], journal=Watched()), checkpointer=InMemorySaver())
    message = asks(("note", {"n": 1}, "a"), PROGRAM, ("note", {"n": 2}, "b"))
    assert len(answers(call(graph, {"messages": [message]}, CONFIG, use_async=use_async))) == 3
    assert keys
    assert all('"action"' in key for key in keys)


def test_a_journal_of_a_call_without_its_last_lines_is_refused(use_async: bool, tmp_path: Any) -> None:
    journal = SqliteJournal(tmp_path / "j")
    thread = Thread(use_async=use_async, journal=journal)

    def crash() -> None:
        raise Crash

    thread.during = crash
    thread.enter(thread.message(PAY))
    with pytest.raises(Crash):
        thread.enter(decide("approve"))
    assert asked(thread.enter(None)) == [("pay", {"n": 1}, True)]
    journal.close()
    rows = sqlite3.connect(tmp_path / "j")
    with rows:
        assert rows.execute("DELETE FROM callgate_journal WHERE key LIKE '%\"plain\"%'").rowcount == 1
    rows.close()
    with pytest.raises(JournalError, match="lines were taken away"):
        thread.enter(decide("run again"))
    journal.close()
    assert thread.done == ["pay 1"]


# ---- its tool raises


def fail() -> None:
    raise ConnectionError("host 10.0.0.1")


@pytest.mark.parametrize("rest", [None, (PAY,)], ids=["same calls", "other calls"])
def test_an_approved_call_that_raised_is_asked_about_anew(rest: Any, thread: Thread) -> None:
    thread.during = fail
    thread.enter(thread.message(PAY, PROGRAM))
    with pytest.raises(ConnectionError):
        thread.enter(decide("approve"))
    end = thread.enter(None) if rest is None else thread.change(*rest)
    assert asked(end) == [("pay", {"n": 1}, False)]
    text = shown(end)["action_requests"][0]["description"]
    assert "it ran before and raised ConnectionError" in text
    assert "10.0.0.1" not in text
    assert thread.done == ["pay 1"]
    thread.during = lambda: None
    assert answers(thread.enter(decide("approve")))[0].content == "paid 1"
    assert thread.done == ["pay 1", "pay 1"]


def test_it_may_be_rejected_then(thread: Thread) -> None:
    thread.during = fail
    thread.enter(thread.message(PAY))
    with pytest.raises(ConnectionError):
        thread.enter(decide("approve"))
    thread.enter(None)
    assert "rejected" in answers(thread.enter(decide("reject")))[0].content
    assert thread.done == ["pay 1"]


def test_a_retry_policy_asks_too(use_async: bool) -> None:
    thread = Thread(use_async=use_async, handle_tool_errors=False)
    builder = StateGraph(State)
    builder.add_node("tools", thread.node, retry_policy=RetryPolicy(initial_interval=0.01, jitter=False))
    builder.add_edge(START, "tools")
    thread.graph = builder.compile(checkpointer=thread.saver)
    thread.during = fail
    thread.enter(thread.message(PAY))
    assert asked(thread.enter(decide("approve"))) == [("pay", {"n": 1}, False)]
    assert thread.done == ["pay 1"]


def test_a_read_that_raised_runs_again_unasked(use_async: bool) -> None:
    thread = Thread(use_async=use_async, effects={"pay": "read"}, handle_tool_errors=False)
    thread.during = fail
    thread.enter(thread.message(PAY))
    with pytest.raises(ConnectionError):
        thread.enter(decide("approve"))
    thread.during = lambda: None
    assert answers(thread.enter(None))[0].content == "paid 1"
