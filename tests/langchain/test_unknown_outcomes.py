"""LangChain tools that do not know whether a call happened."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool

from callgate import OutcomeUnknown
from callgate.testing import FakeSandbox
from callgate_langchain import code_tool

SANDBOX = FakeSandbox()

PROGRAM = """\
for _ in range(3):
    try:
        send(to="ana")
    except BaseException as error:
        print(type(error))
"""

CALL: Any = {"name": "execute_code", "args": {"code": PROGRAM}, "id": "c", "type": "tool_call"}

LOST = (
    'It is unknown how the program went on: it was cut off in send(to="ana"), which may have happened. '
    "Look before you repeat anything."
)


def sending(done: list[str]) -> BaseTool:
    @tool
    def send(to: str) -> str:
        """Send something."""
        done.append(to)
        raise OutcomeUnknown("the connection was lost")

    return send


def graph(done: list[str], **options: Any) -> Any:
    pytest.importorskip("langgraph", reason="langgraph is not installed")
    from langgraph.graph import START, MessagesState, StateGraph

    from callgate_langgraph import CodeActNode

    saver = options.pop("saver", None)
    builder = StateGraph(MessagesState)
    builder.add_node("tools", CodeActNode([sending(done)], mode="code", sandbox=SANDBOX, **options))
    builder.add_edge(START, "tools")
    return builder.compile(checkpointer=saver)


def invoked(one: Any, given: Any, config: Any, *, awaited: bool) -> Any:
    return asyncio.run(one.ainvoke(given, config)) if awaited else one.invoke(given, config)


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_without_a_graph_the_action_is_lost(awaited: bool) -> None:
    done: list[str] = []
    message = invoked(code_tool([sending(done)], sandbox=SANDBOX), CALL, None, awaited=awaited)
    assert (message.text, message.artifact["status"], done) == (LOST, "lost", ["ana"])


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_without_a_checkpointer_the_action_is_lost(awaited: bool) -> None:
    done: list[str] = []
    state = invoked(graph(done), {"messages": [AIMessage("", tool_calls=[CALL])]}, None, awaited=awaited)
    message = state["messages"][-1]
    assert (message.text, message.artifact["status"], done) == (LOST, "lost", ["ana"])


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_error_handling_of_the_user_hides_nothing(awaited: bool) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    done: list[str] = []
    one = graph(done, handle_tool_errors=True, saver=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    paused = invoked(one, {"messages": [AIMessage("", tool_calls=[CALL], id="m")]}, config, awaited=awaited)
    assert [call["unknown"] for call in paused["__interrupt__"][0].value["callgate"]["calls"]] == [True]
    answers = {"decisions": [{"type": "failed", "message": "it never left"}]}
    paused = invoked(one, Command(resume=answers), config, awaited=awaited)
    assert done == ["ana", "ana"]  # the program, told that it failed, tried again: another call, and another question
    assert json.loads(paused["__interrupt__"][0].value["callgate"]["calls"][0]["arguments"]) == {"to": "ana"}
