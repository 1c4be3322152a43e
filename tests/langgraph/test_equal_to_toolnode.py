"""What is no code goes through CodeActNode as if it were a ToolNode."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.store.memory import InMemoryStore
from langgraph.types import Send
from langgraph_cases import (
    SANDBOX,
    TOOLS,
    State,
    add,
    asks,
    broken,
    call,
    codeact,
    echo,
    from_store,
    graph_of,
    list_update,
    outcome_of,
    outside,
    refusing,
)
from pydantic import BaseModel

from callgate_langgraph import CodeActNode

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Model(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages]
    last: Any = None


@dataclasses.dataclass
class Data:
    messages: Annotated[list[AnyMessage], add_messages]
    last: Any = None


ADD = asks(("add", {"a": 1, "b": 2}, "1"), ("echo", {"text": "hi"}, "2"))
TOOL_CALL = {"name": "add", "args": {"a": 1, "b": 2}, "id": "1", "type": "tool_call"}

INPUTS: dict[str, Any] = {
    "dict": {"messages": [HumanMessage("add"), ADD]},
    "dict with a later message": {"messages": [ADD, HumanMessage("well?")]},
    "list": [HumanMessage("add"), ADD],
    "model": Model(messages=[ADD]),
    "dataclass": Data(messages=[ADD]),
    "tool calls": [TOOL_CALL, {**TOOL_CALL, "id": "2"}],
    "with context": {"__type": "tool_call_with_context", "tool_call": TOOL_CALL, "state": {"messages": [ADD]}},
    "no calls": {"messages": [AIMessage("done")]},
    "no AIMessage": {"messages": [HumanMessage("add")]},
    "no messages": {"messages": []},
    "empty list": [],
    "no state": {"other": 1},
    "unknown tool": {"messages": [asks(("nope", {}, "1"))]},
    "wrong arguments": {"messages": [asks(("add", {"a": "x"}, "1"))]},
    "raises": {"messages": [asks(("broken", {"secret": "s"}, "1"))]},
    "raises a ToolException": {"messages": [asks(("refusing", {}, "1"))]},
    "artifact": {"messages": [asks(("with_artifact", {"n": 1}, "1"), ("structured", {"n": 2}, "2"))]},
    "own messages": {"messages": [asks(("own_message", {}, "1"), ("own_error", {}, "2"))]},
    "state": {"messages": [asks(("whole_state", {}, "1"), ("field_of_state", {}, "2"))], "last": {"k": 1}},
    "state missing": {"messages": [asks(("field_of_state", {}, "1"))]},
    "forged state": {"messages": [asks(("field_of_state", {"last": "forged"}, "1"))], "last": "real"},
    "call id": {"messages": [asks(("call_id", {"id": "forged"}, "1"))]},
    "runtime": {"messages": [asks(("of_runtime", {"x": 1}, "1"))]},
    "commands": {"messages": [asks(("remember", {"value": 1}, "1"), ("go_to", {"node": "x"}, "2"))]},
    "sends": {"messages": [asks(("send_to", {"node": "x"}, "1"), ("add", {"a": 1, "b": 1}, "2"))]},
    "parent commands": {
        "messages": [
            asks(
                ("parent_sends", {"agent": "a"}, "1"),
                ("hand_over", {"agent": "b"}, "2"),
                ("parent_sends", {"agent": "c"}, "3"),
            )
        ]
    },
    "several outputs": {"messages": [asks(("several", {}, "1"), ("add", {"a": 1, "b": 1}, "2"))]},
    "dict Command for a list": [asks(("remember", {"value": 1}, "1"))],
}


@both_ways
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("mode", ["json", "code"])
def test_every_input_is_answered_as_by_toolnode(name: str, mode: str, use_async: bool) -> None:
    ours = CodeActNode(TOOLS, sandbox=SANDBOX, mode=mode)
    results = [
        outcome_of(lambda node=node: call(node, INPUTS[name], outside(thread_id="t"), use_async=use_async))
        for node in (ToolNode(TOOLS), ours)
    ]
    assert results[0] == results[1]


def on_value_error(error: ValueError) -> str:
    return f"value: {type(error).__name__}"


def on_either(error: ValueError | KeyError) -> str:
    return "either"


def on_anything(error) -> str:
    return f"any: {error}"


HANDLERS: dict[str, Any] = {
    "True": True,
    "False": False,
    "text": "it failed",
    "type": ValueError,
    "other type": KeyError,
    "tuple": (KeyError, ValueError),
    "typed function": on_value_error,
    "union function": on_either,
    "function": on_anything,
}


@both_ways
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("asked", [("broken", {"secret": "s"}), ("refusing", {}), ("add", {"a": "x"}), ("nope", {})])
def test_every_error_handler_works_as_in_toolnode(handler: str, asked: Any, use_async: bool) -> None:
    tools, given = [add, broken, refusing], {"handle_tool_errors": HANDLERS[handler]}
    results = [
        outcome_of(lambda node=node: call(node, [asks((*asked, "1"))], outside(), use_async=use_async))
        for node in (ToolNode(tools, **given), codeact(tools, **given))
    ]
    assert results[0] == results[1]


def shouting(request: Any, execute: Callable[[Any], Any]) -> Any:
    answer = execute(request.override(tool_call={**request.tool_call, "args": {"text": "HI"}}))
    return answer.model_copy(update={"content": answer.content + "!"})


def failing(request: Any, execute: Callable[[Any], Any]) -> Any:
    raise RuntimeError("the wrapper broke")


def short(request: Any, execute: Callable[[Any], Any]) -> Any:
    return ToolMessage("short", tool_call_id=request.tool_call["id"], name=request.tool_call["name"])


@both_ways
@pytest.mark.parametrize("wrapper", [shouting, failing, short])
@pytest.mark.parametrize("handle", [True, False])
def test_wrappers_work_as_in_toolnode(wrapper: Any, handle: bool, use_async: bool) -> None:
    given = {"wrap_tool_call": wrapper, "handle_tool_errors": handle}
    results = [
        outcome_of(lambda node=node: call(node, [asks(("echo", {"text": "hi"}, "1"))], outside(), use_async=use_async))
        for node in (ToolNode([echo], **given), codeact([echo], **given))
    ]
    assert results[0] == results[1]


def test_an_async_wrapper_works_as_in_toolnode() -> None:
    async def wrapped(request: Any, execute: Any) -> Any:
        answer = await execute(request)
        return answer.model_copy(update={"content": "wrapped " + answer.content})

    results = [
        call(node, [asks(("echo", {"text": "hi"}, "1"))], outside(), use_async=True)
        for node in (ToolNode([echo], awrap_tool_call=wrapped), codeact([echo], awrap_tool_call=wrapped))
    ]
    assert results[0] == results[1]


@both_ways
def test_another_messages_key_works_as_in_toolnode(use_async: bool) -> None:
    results = [
        call(node, {"chat": [ADD]}, outside(), use_async=use_async)
        for node in (ToolNode(TOOLS, messages_key="chat"), codeact(TOOLS, messages_key="chat"))
    ]
    assert results[0] == results[1]
    assert [one.content for one in results[1]["chat"]] == ["3", "hi"]


@both_ways
def test_a_list_of_messages_takes_list_commands_as_in_toolnode(use_async: bool) -> None:
    results = [
        call(node, [asks(("list_update", {"text": "more"}, "1"))], outside(), use_async=use_async)
        for node in (ToolNode([list_update]), codeact([list_update]))
    ]
    assert results[0] == results[1]


@both_ways
@pytest.mark.parametrize("state", [State, Model, Data])
def test_a_graph_ends_in_the_same_state(state: Any, use_async: bool) -> None:
    store = InMemoryStore()
    store.put(("things",), "k", {"v": 1})
    tools = [*TOOLS, from_store]
    message = asks(
        ("from_store", {"key": "k"}, "1"), ("recall", {}, "2"), ("whole_state", {}, "3"), ("of_runtime", {"x": 1}, "4")
    )
    message.id = "m"
    results = [
        call(
            graph_of(node, state, store=store),
            {"messages": [message]},
            {"configurable": {"thread_id": "t"}},
            use_async=use_async,
        )
        for node in (ToolNode(tools), codeact(tools))
    ]
    first, second = ([(one.content, one.tool_call_id) for one in result["messages"][1:]] for result in results)
    assert first == second


@both_ways
def test_sends_of_bare_tool_calls_read_the_state_of_the_graph(use_async: bool) -> None:
    def graph(node: Any) -> Any:
        from langgraph.graph import START, StateGraph

        builder = StateGraph(State)
        builder.add_node("model", lambda state: {"last": "seen"})
        builder.add_node("tools", node)
        builder.add_edge(START, "model")
        builder.add_conditional_edges(
            "model", lambda state: [Send("tools", [one]) for one in state["messages"][-1].tool_calls], ["tools"]
        )
        return builder.compile()

    message = asks(("field_of_state", {}, "1"), ("whole_state", {}, "2"))
    results = [
        call(graph(node), {"messages": [message]}, None, use_async=use_async)
        for node in (ToolNode(TOOLS), codeact(TOOLS))
    ]
    told = [sorted((one.tool_call_id, one.content) for one in result["messages"][1:]) for result in results]
    assert told[0] == told[1] == [("1", "seen"), ("2", "1")]


def test_tools_condition_finds_the_node() -> None:
    assert tools_condition({"messages": [ADD]}) == CodeActNode(TOOLS, sandbox=SANDBOX).get_name()


def test_name_tags_and_tools_are_those_of_toolnode() -> None:
    ours = CodeActNode([add, len_of], sandbox=SANDBOX, name="mine", tags=["a"])
    upstream = ToolNode([add, len_of], name="mine", tags=["a"])
    assert (ours.name, ours.tags, list(ours.tools_by_name)) == (
        upstream.name,
        upstream.tags,
        list(upstream.tools_by_name),
    )


def len_of(text: str) -> int:
    """Return the length of a text."""
    return len(text)


def test_outside_a_graph_it_says_what_toolnode_says() -> None:
    results = [outcome_of(lambda node=node: node.invoke([ADD])) for node in (ToolNode(TOOLS), codeact(TOOLS))]
    assert results[0] == results[1]
    coded = outcome_of(lambda: codeact(TOOLS).invoke([asks(("execute_code", {"code": "1"}, "1"))]))
    assert coded == results[0]


@pytest.mark.parametrize("stream_mode", ["values", "updates", "custom", "tools", "messages"])
def test_streams_are_those_of_toolnode(stream_mode: str) -> None:
    def told(node: Any) -> list[str]:
        message = asks(("echo", {"text": "hi"}, "1"))
        message.id = "m"
        chunks = graph_of(node).stream({"messages": [message]}, stream_mode=stream_mode)
        return [type(chunk).__name__ + str(sorted(chunk) if isinstance(chunk, dict) else "") for chunk in chunks]

    assert told(ToolNode(TOOLS)) == told(codeact(TOOLS))


def test_json_mode_answers_execute_code_as_an_unknown_tool() -> None:
    message = asks(("execute_code", {"code": "1"}, "1"))
    results = [node.invoke([message], outside()) for node in (ToolNode([add]), codeact([add], mode="json"))]
    assert results[0] == results[1]
    assert "try one of [add]" in results[1][0].content
