"""Tools of real MCP servers, as llama-index-tools-mcp hands them on. `make test` runs these in `.venv-mcp`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from example_runs import run_example
from llama_index.core.workflow import HumanResponseEvent, InputRequiredEvent
from llama_index_cases import agent, answered, program, run
from mcp_cases import ANSWERED, EFFECTS, READS, STUBBORN, STUBS, VALUES, Shop

from callgate import CodeRunner
from callgate.sandboxes.base import Sandbox
from callgate.surface import definition
from callgate.testing import FakeSandbox
from callgate_llama_index import from_llama_index, mcp_tools

_NEEDED = (
    "llama-index-tools-mcp is not installed: it excludes langchain-mcp-adapters, so `make test` has .venv-mcp for it"
)
mcp: Any = pytest.importorskip("llama_index.tools.mcp", reason=_NEEDED)

SANDBOX = FakeSandbox()


@pytest.fixture(autouse=True)
async def clients() -> AsyncIterator[list[Any]]:
    """Close the connections of every BasicMCPClient, which nobody else does."""
    CLIENTS.clear()
    yield CLIENTS
    for one in CLIENTS:
        await one.http_client.aclose()


CLIENTS: list[Any] = []


def basic(shop: Shop) -> Any:
    http = shop.transport == "http"
    one = mcp.BasicMCPClient(shop.url) if http else mcp.BasicMCPClient(shop.command[0], args=shop.command[1:])
    CLIENTS.append(one)
    return one


def specs(**shops: Shop) -> dict[str, Any]:
    return {name: mcp.McpToolSpec(basic(one)) for name, one in shops.items()}


async def told(tools: Any, code: str, answer: Any = lambda event: None) -> Any:
    one = agent(tools, program(code), "done", sandbox=SANDBOX)
    await run(one, answer)
    return json.loads(answered(one))


async def test_programs_are_given_values_and_errors_over_one_session(shop: Shop) -> None:
    async with mcp_tools(specs(shop=shop)) as tools:
        *values, error = await told(tools, VALUES)
        assert (values, error) == (ANSWERED, "Error executing tool refund")
        assert await told(tools, "refund(id=2)") == "refunded 2"
    assert (shop.sessions, shop.done) == (1, ["refund -1", "label 1", "refund 2"])


async def test_a_client_of_mcp_itself_has_one_session_too(lasting: Shop) -> None:
    from mcp import Client

    lasting.forget()
    for mode, sessions in (("legacy", 1), ("auto", 0)):  # newer servers need no session
        lasting.forget()
        async with mcp_tools({"shop": mcp.McpToolSpec(Client(lasting.url, mode=mode))}) as tools:
            assert await told(tools, "[order(id=n)['id'] for n in range(3)]") == [0, 1, 2]
        assert lasting.sessions == sessions


async def test_a_tool_spec_alone_has_a_session_for_each_call(lasting: Shop) -> None:
    lasting.forget()
    tools = await mcp.McpToolSpec(basic(lasting)).to_tool_list_async()
    await told(tools, "[order(id=n) for n in range(3)]")
    assert lasting.sessions == 1 + 3  # one to list them


@pytest.mark.parametrize("mortal", ["http"], indirect=True)
async def test_tools_of_other_making_are_asked_about_too(mortal: Shop) -> None:
    tools = await mcp.McpToolSpec(basic(mortal)).to_tool_list_async()
    paused = await CodeRunner(from_llama_index(tools), sandbox=SANDBOX).arun(STUBBORN)
    assert ([one.unknown for one in paused.waiting], mortal.done) == ([True], ["refund 13"])


async def test_stubs_and_effects_are_what_the_server_says(lasting: Shop) -> None:
    async with mcp_tools(specs(shop=lasting)) as tools:
        runner = CodeRunner(from_llama_index(tools), sandbox=SANDBOX)
        described = str(definition(runner.catalogue)["description"])
        assert [one for one in STUBS if one not in described] == []
        assert {one.name: one.effect for one in runner.catalogue} == EFFECTS
        distrusted = {one.name: one.effect for one in from_llama_index(tools, effects={"order": "write"})}
        assert distrusted == {**EFFECTS, "order": "write"}


async def test_two_servers_with_clashing_names_are_both_reached(tmp_path: Path, lasting: Shop) -> None:
    lasting.forget()
    left, right = Shop(tmp_path, "stdio"), lasting
    async with mcp_tools(specs(left=left, right=right)) as tools:
        code = "[left_refund(id=1), right_refund(id=2), call_tool('right_refund', id=3)]"
        assert await told(tools, code) == ["refunded 1", "refunded 2", "refunded 3"]
        effects = {one.name: one.effect for one in from_llama_index(tools)}
    assert (effects["left_order"], effects["right_refund"]) == ("read", "write")
    assert (left.done, right.done) == (["refund 1"], ["refund 2", "refund 3"])
    assert (left.sessions, right.sessions) == (1, 1)


async def test_a_write_the_server_dies_in_is_asked_about_and_not_repeated(mortal: Shop) -> None:
    asked = list[InputRequiredEvent]()

    def bank(event: InputRequiredEvent) -> HumanResponseEvent:
        asked.append(event)
        return HumanResponseEvent(id=event.id, decisions=[{"type": "done", "value": "refunded, the bank says"}])

    async with mcp_tools(specs(shop=mortal)) as tools:
        assert await told(tools, STUBBORN, bank) == "refunded, the bank says"
    assert [event.prefix.startswith("It is unknown whether this call happened") for event in asked] == [True]
    assert 'refund {"id": 13}' in asked[0].prefix.splitlines()
    if mortal.transport == "stdio":  # there, each session starts a server anyway
        return
    mortal.come_back()
    async with mcp_tools(specs(shop=mortal)) as tools:
        assert await told(tools, "refund(id=5)") == "refunded 5"
    assert mortal.done == ["refund 13", "refund 5"]


@pytest.mark.parametrize("mortal", ["stdio"], indirect=True)
async def test_a_read_the_server_dies_in_is_an_error_of_the_program(mortal: Shop) -> None:
    async with mcp_tools(specs(shop=mortal)) as tools:
        assert await told(tools, READS) == [
            "the MCP server shop went away in the middle of the call",
            "the MCP server shop is gone, and this session with it",
        ]


def test_the_example_runs(jail: Sandbox) -> None:
    assert run_example("mcp_llama_index.py") == "They cost 150.0.\n"
