"""The whole way, in the jail of this machine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import tools_condition
from langgraph_cases import TOOLS, State, add, answers, asks, call, code, graph_of, outside, rows

from callgate.testing.models import ScriptedChatModel
from callgate_langgraph import CodeActNode

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


@both_ways
def test_an_agent_answers_by_a_program(jail: Any, use_async: bool) -> None:
    node = CodeActNode(TOOLS, sandbox=jail)
    program = "total = sum(row['id'] for row in rows(count=100))\nremember(value=total)\nprint(total)"
    script = [asks(code(program)), lambda messages, tools: AIMessage(messages[-1].content)]
    llm = node.bind_model(ScriptedChatModel(turns=script))
    builder = StateGraph(State)
    builder.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    end = call(graph, {"messages": [HumanMessage("sum?")]}, config, use_async=use_async)
    assert (end["messages"][-1].content, end["last"]) == ("4950", 4950)


@both_ways
def test_several_programs_share_the_jail(jail: Any, use_async: bool) -> None:
    node = CodeActNode([add], sandbox=jail, mode="code")
    message = asks(*(code(f"add(a={n}, b=1) * 1", f"c{n}") for n in range(4)), ("add", {"a": 9, "b": 9}, "plain"))
    end = call(graph_of(node), {"messages": [message]}, None, use_async=use_async)
    assert [one.content for one in answers(end)] == ["1", "2", "3", "4", "18"]


def test_many_calls_of_an_async_program(jail: Any) -> None:
    node = CodeActNode([rows], sandbox=jail, mode="code")
    program = "import asyncio\nasync def main():\n    return [len(r) for r in await asyncio.gather(*[rows(count=n) for n in range(20)])]\nasyncio.run(main())"
    told = asyncio.run(node.ainvoke([asks(code(program))], outside()))
    assert told[0].content == str(list(range(20))).replace(" ", "")


def test_a_failing_program_tells_its_line(jail: Any) -> None:
    node = CodeActNode([add], sandbox=jail, mode="code")
    told = node.invoke([asks(code("x = add(a=1, b=2)\n\nx['y']"))], outside())[0]
    assert told.status == "error"
    assert "line 3: TypeError" in told.content
    assert "add(a=1, b=2) -> 3" in told.content
