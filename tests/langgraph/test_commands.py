"""State updates and gotos of inner calls become part of what the node returns."""

from __future__ import annotations

import dataclasses
import operator
import threading
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, Send
from langgraph_cases import (
    TOOLS,
    State,
    add,
    answers,
    asks,
    call,
    code,
    codeact,
    graph_of,
    list_update,
    outside,
    recall,
    remember,
)
from pydantic import BaseModel

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Model(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages]
    last: Any = None
    total: Annotated[int, operator.add] = 0
    log: Annotated[list[str], operator.add] = []


@dataclasses.dataclass
class Data:
    messages: Annotated[list[AnyMessage], add_messages]
    last: Any = None
    total: Annotated[int, operator.add] = 0
    log: Annotated[list[str], operator.add] = dataclasses.field(default_factory=list)


def partnerless(messages: list[AnyMessage]) -> list[str]:
    """Return the ids of ToolMessages that no AIMessage asked for."""
    asked = {one["id"] for message in messages if isinstance(message, AIMessage) for one in message.tool_calls}
    return [one.tool_call_id for one in answers(messages) if one.tool_call_id not in asked]


@both_ways
@pytest.mark.parametrize("state", [State, Model, Data])
def test_updates_reach_the_state_and_later_calls_of_the_program(state: Any, use_async: bool) -> None:
    program = "remember(value=1)\nseen = recall()\nremember(value=2)\n[seen, recall()]"
    given = {"messages": [asks(code(program))], "last": 0, "total": 10, "log": ["given"]}
    end = call(graph_of(codeact(TOOLS), state), given, None, use_async=use_async)
    calls = answers(end)[0].artifact["calls"]
    assert calls[1]["value"] == {"last": 1, "total": 11, "log": ["given", "remember 1"]}
    assert calls[3]["value"] == {"last": 2, "total": 13, "log": ["given", "remember 1", "remember 2"]}
    assert (end["last"], end["total"], end["log"]) == (2, 13, ["given", "remember 1", "remember 2"])
    assert partnerless(end["messages"]) == []
    assert [type(one) for one in end["messages"]] == [AIMessage, ToolMessage]


@both_ways
def test_the_answer_comes_before_further_messages_of_a_tool(use_async: bool) -> None:
    @tool
    def say(text: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Say something after the answer."""
        answer = ToolMessage("said", tool_call_id=str(runtime.tool_call_id))
        return Command(update={"messages": [answer, HumanMessage(text)]})

    message = asks(code("say(text='one')\nsay(text='two')"))
    end = call(graph_of(codeact([say])), {"messages": [message]}, None, use_async=use_async)
    assert [type(one).__name__ for one in end["messages"]] == [
        "AIMessage",
        "ToolMessage",
        "HumanMessage",
        "HumanMessage",
    ]
    assert [one.content for one in end["messages"][2:]] == ["one", "two"]


def test_later_calls_see_messages_that_earlier_ones_added() -> None:
    @tool
    def say(text: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Say something after the answer."""
        answer = ToolMessage("said", tool_call_id=str(runtime.tool_call_id))
        return Command(update={"messages": [answer, HumanMessage(text)]})

    node = codeact([say, *TOOLS])
    result = node.invoke({"messages": [asks(code("say(text='one')\nwhole_state()"))]}, outside())
    assert answers(result)[0].content == "2"


def test_all_messages_may_be_removed() -> None:
    @tool
    def forget(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Remove all messages."""
        return Command(update={"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)], "last": "forgot"})

    end = graph_of(codeact([forget, *TOOLS])).invoke({"messages": [asks(code("forget()\nprint(recall())"))]})
    assert (end["messages"], end["last"]) == ([], "forgot")


@both_ways
def test_gotos_and_sends_are_followed(use_async: bool) -> None:
    builder = StateGraph(State)
    builder.add_node("tools", codeact(TOOLS), destinations=("first", "second"))
    builder.add_node("first", lambda state: {"log": ["first"]})
    builder.add_node("second", lambda state: {"log": ["second", *state.get("log", [])]})
    builder.add_edge(START, "tools")
    message = asks(code("go_to(node='first')\nsend_to(node='second')"))
    end = call(builder.compile(), {"messages": [message]}, None, use_async=use_async)
    assert sorted(end["log"]) == ["first", "second", "sent second"]
    assert partnerless(end["messages"]) == []


@both_ways
@pytest.mark.parametrize("name", ["hand_over", "parent_sends"])
def test_a_parent_graph_gets_the_answer_of_the_program(name: str, use_async: bool) -> None:
    inner = StateGraph(State)
    inner.add_node("tools", codeact(TOOLS))
    inner.add_edge(START, "tools")
    outer = StateGraph(State)
    outer.add_node("team", inner.compile(), destinations=("bob",))
    outer.add_node("bob", lambda state: {"log": [f"bob saw {len(state['messages'])}"]})
    outer.add_edge(START, "team")
    outer.add_edge("bob", END)
    message = asks(code(f"add(a=1, b=2)\n{name}(agent='bob')"))
    message.id = "m"
    end = call(outer.compile(), {"messages": [message]}, None, use_async=use_async)
    assert end["log"] == ["bob saw 2"]
    assert partnerless(end["messages"]) == []
    if name == "hand_over":
        assert answers(end)[0].tool_call_id == "c1"


def test_sends_to_the_parent_are_merged_as_in_toolnode() -> None:
    program = "parent_sends(agent='a')\nadd(a=1, b=2)\nparent_sends(agent='b')"
    result = codeact(TOOLS).invoke({"messages": [asks(code(program))]}, outside())
    assert [type(one) for one in result] == [dict, Command]
    assert [send.node for send in result[1].goto] == ["a", "b"]
    assert all(isinstance(send, Send) and partnerless(send.arg["messages"]) == [] for send in result[1].goto)


@both_ways
def test_several_outputs_of_one_tool_are_lifted(use_async: bool) -> None:
    end = call(graph_of(codeact(TOOLS)), {"messages": [asks(code("several()"))]}, None, use_async=use_async)
    assert end["log"] == ["several"]
    assert [one.tool_call_id for one in answers(end)] == ["c1"]


def test_updates_of_parallel_calls_come_in_the_order_of_the_calls() -> None:
    second_is_done = threading.Event()

    @tool
    def log(text: str, runtime: ToolRuntime[Any, Any]) -> list[Command[Any] | ToolMessage]:
        """Write two updates; the first call ends last."""
        if text == "first":
            second_is_done.wait(20)
        else:
            second_is_done.set()
        answer = ToolMessage(text, tool_call_id=str(runtime.tool_call_id))
        return [Command(update={"log": [text], "last": text}), Command(update={"log": [f"{text} too"]}), answer]

    program = "call_tools([('log', {'text': 'first'}), ('log', {'text': 'second'})])"
    end = graph_of(codeact([log])).invoke({"messages": [asks(code(program))]})
    assert (end["log"], end["last"]) == (["first", "first too", "second", "second too"], "second")


def test_a_command_with_nothing_else_leaves_only_the_answer() -> None:
    @tool
    def bare(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Answer by a Command."""
        return Command(update={"messages": [ToolMessage("bare", tool_call_id=str(runtime.tool_call_id))]})

    result = codeact([bare]).invoke({"messages": [asks(code("bare()"))]}, outside())
    assert list(result) == ["messages"]
    assert [one.content for one in result["messages"]] == ['"bare"']


def test_messages_in_dict_form_are_lifted() -> None:
    @tool
    def as_dict(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Answer in dict form."""
        answer = {"role": "tool", "content": "dict", "tool_call_id": runtime.tool_call_id}
        return Command(update={"messages": [answer], "last": 1})

    result = codeact([as_dict, recall]).invoke({"messages": [asks(code("[as_dict(), recall()['last']]"))]}, outside())
    assert answers(result)[0].content == '["dict",1]'
    assert result[1] == Command(update={"last": 1})


def test_updates_of_a_failing_program_are_kept() -> None:
    end = graph_of(codeact(TOOLS)).invoke({"messages": [asks(code("remember(value=1)\n1 / 0"))]})
    assert (end["last"], answers(end)[0].status) == (1, "error")


def test_an_invalid_command_is_an_error_of_its_tool() -> None:
    @tool
    def unanswered() -> Command[Any]:
        """Give no answer."""
        return Command(update={"last": 1})

    end = graph_of(codeact([unanswered])).invoke({"messages": [asks(code("unanswered()"))]})
    assert "ValueError" in answers(end)[0].content
    assert "last" not in end


@both_ways
def test_a_list_state_takes_list_commands(use_async: bool) -> None:
    @tool
    def count(runtime: ToolRuntime[Any, Any]) -> int:
        """Count the messages."""
        return len(runtime.state)

    node = codeact([list_update, count])
    message = asks(code("before = count()\nlist_update(text='more')\n[before, count()]"))
    result = call(node, [HumanMessage("hi"), message], outside(), use_async=use_async)
    assert answers(result)[0].content == "[2,3]"
    assert [type(one) for one in result] == [list, Command]
    assert [one.content for one in result[1].update] == ["more"]


def test_a_graph_whose_state_is_a_list_works() -> None:
    graph = graph_of(codeact([list_update, add]), Annotated[list[AnyMessage], add_messages])
    end = graph.invoke([asks(code("list_update(text='more')\nadd(a=1, b=2)"))])
    assert [one.content for one in end] == ["", "3", "more"]


def test_a_tool_call_with_context_has_its_state() -> None:
    asked = asks(code("remember(value=1)\nrecall()")).tool_calls[0]
    given = {"__type": "tool_call_with_context", "tool_call": asked, "state": {"messages": [], "last": 0}}
    result = codeact([remember, recall]).invoke(given, outside())
    assert '"last":1' in answers(result)[0].content
    assert result[1].update == {"last": 1, "total": 1, "log": ["remember 1"]}


@both_ways
def test_a_bare_tool_call_reads_the_state_of_the_graph(use_async: bool) -> None:
    builder = StateGraph(State)
    builder.add_node("model", lambda state: {"last": "seen", "total": 5})
    builder.add_node("tools", codeact(TOOLS))
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model", lambda state: [Send("tools", [one]) for one in state["messages"][-1].tool_calls], ["tools"]
    )
    message = asks(code("remember(value=1)\nrecall()"), code("recall()", "c2"))
    end = call(builder.compile(), {"messages": [message]}, None, use_async=use_async)
    first, second = sorted(answers(end), key=lambda one: one.tool_call_id)
    assert first.artifact["calls"][1]["value"] == {"last": 1, "total": 6, "log": ["remember 1"]}
    assert second.artifact["calls"][0]["value"]["last"] == "seen"
    assert (end["last"], end["total"]) == (1, 6)


class Opaque:
    """What only pickle stores."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque)

    def __hash__(self) -> int:
        return 0


@both_ways
def test_values_reach_the_state_as_with_toolnode_whatever_the_checkpointer_makes_of_them(use_async: bool) -> None:
    @tool
    def put(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Write values that JSON does not have."""
        return Command(
            update={"last": [(1, 2), Opaque()], "messages": [ToolMessage("", tool_call_id=str(runtime.tool_call_id))]}
        )

    saver = InMemorySaver(serde=JsonPlusSerializer(pickle_fallback=True))
    config = {"configurable": {"thread_id": "t"}}
    graph = graph_of(codeact([put, add], interrupt_on={"add": True}), checkpointer=saver)
    end = call(graph, {"messages": [asks(code("put()\n1"))]}, config, use_async=use_async)
    assert answers(end)[0].artifact["status"] == "completed"
    assert end["last"] == [(1, 2), Opaque()]
    call(graph, {"messages": [asks(code("put()\nadd(a=1, b=2)", "c2"))], "last": None}, config, use_async=use_async)
    resume: Command[Any] = Command(resume={"decisions": [{"type": "approve"}]})
    assert call(graph, resume, config, use_async=use_async)["last"][1] == Opaque()
