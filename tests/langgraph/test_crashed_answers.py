"""A process ends between callgate's rows and LangGraph's own: no answer reaches a question it was not given to."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from langgraph_cases import answers, asks, call, code, codeact, graph_of

from callgate import MemoryJournal
from callgate_langgraph import batch
from callgate_langgraph.interrupts import NodeInterrupts

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
CONFIG = {"configurable": {"thread_id": "t"}}
APPROVED = Command(resume={"decisions": [{"type": "approve"}]})


class Crash(BaseException):
    """Nothing in the process goes on after it."""


class Thread:
    """One thread of a graph whose tools need a human, or ask one, twice in a row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, use_async: bool) -> None:
        self.done: list[str] = []
        self._monkeypatch, self._use_async = monkeypatch, use_async

        @tool
        def pay(n: int) -> int:
            """Pay."""
            self.done.append(f"pay {n}")
            return n

        @tool
        def ask(n: int) -> str:
            """Ask the same question whatever n is."""
            told = interrupt("sure?")
            self.done.append(f"ask {n} {told}")
            return told

        self.graph: Any = graph_of(codeact([pay, ask], interrupt_on={"pay": True}), checkpointer=InMemorySaver())

    def enter(self, given: Any) -> Any:
        return call(self.graph, given, CONFIG, use_async=self._use_async)

    def crash(self, given: Any, where: str) -> None:
        """Enter it and end where an answer was kept ("kept"), or where the next question would be asked ("asks")."""

        def crash(*anything: Any, **named: Any) -> Any:
            if where == "asks" or named.get("heard", True):
                raise Crash

        async def acrash(*anything: Any, **named: Any) -> Any:
            crash(*anything, **named)

        with self._monkeypatch.context() as patched:
            if where == "asks":
                patched.setattr(NodeInterrupts, "first", crash)
            else:
                patched.setattr(batch, "clear_stale_resume", crash)
                patched.setattr(batch, "aclear_stale_resume", acrash)
            with pytest.raises(Crash):
                self.enter(given)


def asked(end: Any) -> Any:
    (one,) = end["__interrupt__"]
    return one.value if isinstance(one.value, str) else one.value["action_requests"][0]["args"]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Thread:
    return Thread(monkeypatch, use_async=request.param)


PAYS = {"messages": [asks(code("pay(n=1)\npay(n=2)"))]}
ASKS = {"messages": [asks(code("ask(n=1)\nask(n=2)"))]}


def test_an_answer_given_again_is_not_taken_for_a_question_nobody_saw(thread: Thread) -> None:
    thread.enter(PAYS)
    thread.crash(APPROVED, "asks")
    assert thread.done == ["pay 1"]
    assert asked(thread.enter(APPROVED)) == {"n": 2}
    assert asked(thread.enter(None)) == {"n": 2}
    assert thread.done == ["pay 1"]
    assert answers(thread.enter(APPROVED))[0].content == "2"
    assert thread.done == ["pay 1", "pay 2"]


def test_an_answer_that_was_kept_and_not_cleared_is_not_taken_for_the_next_question(thread: Thread) -> None:
    thread.enter(PAYS)
    thread.crash(APPROVED, "kept")
    assert thread.done == []
    for _ in range(3):
        assert asked(thread.enter(None)) == {"n": 2}
    assert thread.done == ["pay 1"]
    assert answers(thread.enter(APPROVED))[0].content == "2"


@pytest.mark.parametrize("where", ["kept", "asks"])
def test_nor_where_two_questions_are_the_same(where: str, thread: Thread) -> None:
    thread.enter(ASKS)
    thread.crash(Command(resume="yes"), where)
    if where == "kept":
        thread.crash(None, "asks")
    assert asked(thread.enter(Command(resume="yes"))) == "sure?"
    assert thread.done == ["ask 1 yes"]
    assert answers(thread.enter(Command(resume="no")))[0].content == '"no"'
    assert thread.done == ["ask 1 yes", "ask 2 no"]


def test_answers_by_interrupt_id_reach_their_question_after_a_crash(thread: Thread) -> None:
    (one,) = thread.enter(ASKS)["__interrupt__"]
    thread.crash(Command(resume={one.id: "yes"}), "kept")
    (two,) = thread.enter(None)["__interrupt__"]
    assert two.id != one.id
    assert asked(thread.enter(Command(resume={one.id: "late"}))) == "sure?"
    assert answers(thread.enter(Command(resume={two.id: "no"})))[0].content == '"no"'
    assert thread.done == ["ask 1 yes", "ask 2 no"]


# ---- ids that nobody held yet


class FailsOnce(MemoryJournal):
    """A journal that loses its process in front of one line of an action."""

    def __init__(self, before: str) -> None:
        super().__init__()
        self.before: str | None = before

    def append(self, key: str, position: int, lines: Any) -> None:
        if self.before is not None and "/beside" not in key and any(self.before in line for line in lines):
            self.before = None
            raise ConnectionError("the process is gone")
        super().append(key, position, lines)

    async def aappend(self, key: str, position: int, lines: Any) -> None:
        self.append(key, position, lines)


RACE = """\
import threading, time
answers = {}
def later():
    time.sleep(0.3)
    answers["asks"] = asks_somebody()
thread = threading.Thread(target=later)
thread.start()
slow()
answers["plain"] = plain()
thread.join()
answers"""


@both_ways
def test_a_question_kept_before_a_crash_is_not_taken_for_that_of_a_call_that_has_its_id_now(use_async: bool) -> None:
    """The timer and the answer of `slow` race; which call is the second one differs between the passes."""
    first = threading.Event()

    @tool
    def slow() -> str:
        """Take long the first time."""
        if not first.is_set():
            first.set()
            time.sleep(1.5)
        return "slow"

    @tool
    def asks_somebody() -> str:
        """Ask."""
        return f"heard {interrupt('who?')}"

    @tool
    def plain() -> str:
        """Answer."""
        return "plain"

    effects = {"slow": "read", "asks_somebody": "read", "plain": "read"}
    journal = FailsOnce('"e":"interrupted"')
    node = codeact([slow, asks_somebody, plain], effects=effects, journal=journal)
    graph = graph_of(node, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    with pytest.raises(Exception, match="the process is gone"):
        call(graph, {"messages": [asks(code(RACE))]}, config, use_async=use_async)
    (asked,) = call(graph, None, config, use_async=use_async)["__interrupt__"]
    assert asked.value == "who?"
    end = call(graph, Command(resume="me"), config, use_async=use_async)
    assert '"asks":"heard me"' in answers(end)[0].content
    assert '"plain":"plain"' in answers(end)[0].content
