"""Tools of real MCP servers, as langchain-mcp-adapters hands them on."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from example_runs import run_example
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from mcp_cases import ANSWERED, EFFECTS, READS, STUBBORN, STUBS, VALUES, Shop

from callgate import CodeRunner
from callgate.sandboxes.base import Sandbox
from callgate.surface import definition
from callgate.testing import FakeSandbox
from callgate_langchain import from_langchain, mcp_tools
from callgate_langgraph import CodeActNode

adapters: Any = pytest.importorskip("langchain_mcp_adapters.client", reason="langchain-mcp-adapters is not installed")

SANDBOX = FakeSandbox()


def client(**shops: Shop) -> Any:
    return adapters.MultiServerMCPClient({name: connection(one) for name, one in shops.items()})


def connection(shop: Shop, seconds: float | None = None) -> dict[str, Any]:
    if shop.transport == "stdio":
        return {"transport": "stdio", "command": shop.command[0], "args": shop.command[1:]}
    kept = {"session_kwargs": {"read_timeout_seconds": timedelta(seconds=seconds)}} if seconds is not None else {}
    return {"transport": "http", "url": shop.url, **kept}


def graph(tools: Any, *, saver: Any = None) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", CodeActNode(tools, mode="code", sandbox=SANDBOX))
    builder.add_edge(START, "tools")
    return builder.compile(checkpointer=saver)


def asks(code: str) -> dict[str, Any]:
    call = {"name": "execute_code", "args": {"code": code}, "id": "c", "type": "tool_call"}
    return {"messages": [AIMessage("", tool_calls=[call], id="m")]}


def told(state: Any) -> Any:
    return json.loads(state["messages"][-1].text)


async def test_programs_are_given_values_and_errors_over_one_session(shop: Shop) -> None:
    async with mcp_tools(client(shop=shop)) as tools:
        *values, error = told(await graph(tools).ainvoke(asks(VALUES)))
        assert (values, error) == (ANSWERED, "Error executing tool refund: no such order")
        assert told(await graph(tools).ainvoke(asks("refund(id=2)"))) == "refunded 2"
    assert (shop.sessions, shop.done) == (1, ["refund -1", "label 1", "refund 2"])


async def test_get_tools_has_a_session_for_each_call(lasting: Shop) -> None:
    lasting.forget()
    tools = await client(shop=lasting).get_tools()
    await graph(tools).ainvoke(asks("[order(id=n) for n in range(3)]"))
    assert lasting.sessions == 1 + 3  # one to list them


async def test_tools_of_other_making_are_asked_about_too(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "stdio")
    runner = CodeRunner(from_langchain(await client(shop=shop).get_tools()), sandbox=SANDBOX)
    paused = await runner.arun(STUBBORN)
    assert ([one.unknown for one in paused.waiting], shop.done) == ([True], ["refund 13"])


async def test_stubs_and_effects_are_what_the_server_says(lasting: Shop) -> None:
    async with mcp_tools(client(shop=lasting)) as tools:
        runner = CodeRunner(from_langchain(tools), sandbox=SANDBOX)
        described = str(definition(runner.catalogue)["description"])
        assert [one for one in STUBS if one not in described] == []
        assert {one.name: one.effect for one in runner.catalogue} == EFFECTS
        distrusted = {one.name: one.effect for one in from_langchain(tools, effects={"order": "write"})}
        assert distrusted == {**EFFECTS, "order": "write"}


async def test_two_servers_with_clashing_names_are_both_reached(tmp_path: Path, lasting: Shop) -> None:
    lasting.forget()
    left, right = Shop(tmp_path, "stdio"), lasting
    async with mcp_tools(client(left=left, right=right)) as tools:
        program = "[left_refund(id=1), right_refund(id=2), call_tool('right_refund', id=3)]"
        assert told(await graph(tools).ainvoke(asks(program))) == ["refunded 1", "refunded 2", "refunded 3"]
    assert (left.done, right.done) == (["refund 1"], ["refund 2", "refund 3"])
    assert (left.sessions, right.sessions) == (1, 1)


async def test_a_write_the_server_dies_in_is_asked_about_and_not_repeated(mortal: Shop) -> None:
    given, saver = adapters.MultiServerMCPClient({"shop": connection(mortal, 2.5)}), InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    async with mcp_tools(given) as tools:
        paused = await graph(tools, saver=saver).ainvoke(asks(STUBBORN), config)
    asked = paused["__interrupt__"][0].value
    assert [one["unknown"] for one in asked["callgate"]["calls"]] == [True]
    assert [one["name"] for one in asked["action_requests"]] == ["refund"]
    mortal.come_back()
    decided = {"decisions": [{"type": "done", "value": "refunded, the bank says"}]}
    async with mcp_tools(given) as tools:
        state = await graph(tools, saver=saver).ainvoke(Command(resume=decided), config)
        assert told(state) == "refunded, the bank says"
        assert told(await graph(tools).ainvoke(asks("refund(id=5)"))) == "refunded 5"
    assert mortal.done == ["refund 13", "refund 5"]


@pytest.mark.parametrize("mortal", ["stdio"], indirect=True)
async def test_a_read_the_server_dies_in_is_an_error_of_the_program(mortal: Shop) -> None:
    async with mcp_tools(client(shop=mortal)) as tools:
        assert told(await graph(tools).ainvoke(asks(READS))) == [
            "the MCP server shop went away in the middle of the call",
            "the MCP server shop is gone, and this session with it",
        ]


async def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/mcp"
        given = adapters.MultiServerMCPClient({"shop": {"transport": "http", "url": url}})
        with pytest.raises(ExceptionGroup) as raised:
            async with mcp_tools(given):
                raise AssertionError("there is no session")
    assert [type(one).__name__ for one in raised.value.exceptions] == ["ConnectError"]


def test_the_example_runs(jail: Sandbox) -> None:
    assert run_example("mcp_langchain.py") == "They cost 150.0.\n"
