"""Several calls in one AIMessage: each answer goes to its own id."""

from __future__ import annotations

import threading
from typing import Annotated, Any

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import add_messages
from langgraph.types import Command, RetryPolicy, interrupt
from langgraph_cases import TOOLS, add, answers, asks, call, code, codeact, graph_of, outside, rows
from pydantic import BaseModel

from callgate import SandboxUnavailable
from callgate.testing.fake import FakeSandbox

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Model(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages]


@both_ways
@pytest.mark.parametrize("form", [lambda message: {"messages": [message]}, lambda message: [message]])
def test_several_programs_answer_to_their_own_ids(form: Any, use_async: bool) -> None:
    message = asks(*(code(f"[add(a={n}, b=x) for x in range(3)]", f"c{n}") for n in range(5)))
    told = answers(call(codeact([add]), form(message), outside(), use_async=use_async))
    assert [(one.tool_call_id, one.content) for one in told] == [(f"c{n}", f"[{n},{n + 1},{n + 2}]") for n in range(5)]
    assert [[inner["id"] for inner in one.artifact["calls"]] for one in told] == [
        [f"c{n}/1", f"c{n}/2", f"c{n}/3"] for n in range(5)
    ]


@both_ways
def test_programs_of_one_message_run_beside_one_another(use_async: bool) -> None:
    together = threading.Barrier(2, timeout=30)

    @tool
    def meet() -> str:
        """Wait for the other."""
        together.wait()
        return "met"

    message = asks(code("meet()", "c1"), code("meet()", "c2"))
    told = answers(call(codeact([meet]), [message], outside(), use_async=use_async))
    assert [one.content for one in told] == ['"met"', '"met"']


@both_ways
@pytest.mark.parametrize(
    "form",
    [lambda messages: {"messages": messages}, lambda messages: messages, lambda messages: Model(messages=messages)],
)
def test_plain_calls_and_programs_answer_in_the_order_of_the_calls(form: Any, use_async: bool) -> None:
    message = asks(
        ("add", {"a": 1, "b": 1}, "1"),
        code("add(a=2, b=2)", "2"),
        ("nope", {}, "3"),
        code("1 / 0", "4"),
        ("rows", {"count": 1}, "5"),
    )
    given = form([HumanMessage("hi"), message])
    told = answers(call(codeact([add, rows]), given, outside(), use_async=use_async))
    assert [one.tool_call_id for one in told] == ["1", "2", "3", "4", "5"]
    assert [one.content for one in (*told[:2], told[4])] == ["2", "4", '[{"id": 0, "name": "row 0"}]']
    assert [one.status for one in told] == ["success", "success", "error", "error", "success"]
    assert [one["name"] for one in message.tool_calls] == ["add", "execute_code", "nope", "execute_code", "rows"]


@both_ways
def test_commands_keep_the_place_of_their_call(use_async: bool) -> None:
    message = asks(("remember", {"value": 1}, "1"), code("remember(value=2)", "2"), ("add", {"a": 1, "b": 1}, "3"))
    result = call(codeact(TOOLS), {"messages": [message]}, outside(), use_async=use_async)
    kinds = ["Command" if isinstance(one, Command) else one["messages"][0].tool_call_id for one in result]
    assert kinds == ["Command", "2", "Command", "3"]
    assert result[2].update["last"] == 2


def test_bare_tool_calls_and_programs_go_together() -> None:
    calls = asks(("add", {"a": 1, "b": 1}, "1"), code("add(a=2, b=2)", "2")).tool_calls
    assert [one.content for one in answers(codeact([add]).invoke(calls, outside()))] == ["2", "4"]


def interrupting(done: list[str]) -> list[Any]:
    @tool
    def book(what: str) -> str:
        """Book something."""
        done.append(what)
        return f"booked {what}"

    @tool
    def ask(question: str) -> str:
        """Ask a human."""
        return f"human said {interrupt(question)}"

    @tool
    def ask_twice(question: str) -> str:
        """Ask a human twice."""
        return f"human said {interrupt(question)}, {interrupt(question)}"

    return [book, ask, ask_twice]


@both_ways
def test_a_plain_call_beside_a_program_may_interrupt_and_the_program_runs_once(use_async: bool) -> None:
    done: list[str] = []
    graph = graph_of(codeact(interrupting(done)), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    message = asks(code("book(what='hotel')", "1"), ("ask_twice", {"question": "sure?"}, "2"))
    end = call(graph, {"messages": [message]}, config, use_async=use_async)
    for answer in ("yes", "really"):
        assert [one.value for one in end["__interrupt__"]] == ["sure?"]
        end = call(graph, Command(resume=answer), config, use_async=use_async)
    assert [one.content for one in answers(end)] == ['"booked hotel"', "human said yes, really"]
    assert done == ["hotel"]


def test_a_failing_plain_call_does_not_repeat_the_program_on_a_retry() -> None:
    done: list[str] = []
    book, *_ = interrupting(done)
    tries: list[int] = []

    @tool
    def flaky() -> str:
        """Fail once."""
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("once")
        return "fine"

    from langgraph.graph import START, StateGraph
    from langgraph_cases import State

    builder = StateGraph(State)
    retry = RetryPolicy(initial_interval=0.01, jitter=False)
    builder.add_node("tools", codeact([book, flaky]), retry_policy=retry)
    builder.add_edge(START, "tools")
    message = asks(code("book(what='hotel')", "1"), ("flaky", {}, "2"))
    end = builder.compile().invoke({"messages": [message]})
    assert [one.content for one in answers(end)] == ['"booked hotel"', "fine"]
    assert (done, len(tries)) == (["hotel"], 2)


@both_ways
def test_a_sandbox_that_goes_away_is_raised_to_the_developer(use_async: bool) -> None:
    class Gone(FakeSandbox):
        def start(self, limits: Any) -> Any:
            raise SandboxUnavailable("gone")

    node = codeact([add], sandbox=Gone())
    with pytest.raises(SandboxUnavailable, match="gone"):
        call(node, [asks(code("add(a=1, b=1) + 1"), code("add(a=1, b=1)", "c2"))], outside(), use_async=use_async)


@both_ways
def test_other_control_flow_leaves_the_node(use_async: bool) -> None:
    from langgraph.errors import ParentCommand

    caught: list[str] = []

    @tool
    def leave() -> str:
        """Leave by control flow of the framework."""
        raise ParentCommand(Command(graph=Command.PARENT, goto="elsewhere"))

    @tool
    def note() -> None:
        """Note that the program went on."""
        caught.append("went on")

    program = "try:\n    leave()\nexcept BaseException:\n    pass\nnote()"
    with pytest.raises(ParentCommand):
        call(codeact([leave, note]), [asks(code(program))], outside(), use_async=use_async)
    assert caught == []
