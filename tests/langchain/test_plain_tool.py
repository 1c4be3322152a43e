"""execute_code as a plain LangChain tool."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_agents import SANDBOX, code_act, go, model_of, told
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt
from langgraph_cases import add, asks, code, whole_state

from callgate import Limits, MemoryJournal, UsageError
from callgate_langchain import code_tool

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


@tool
def price(item: str) -> float:
    """Return what an item costs."""
    return 10.0 * len(item)


def made(tools: Any = (price, add), **settings: Any) -> BaseTool:
    return code_tool(tools, sandbox=SANDBOX, **settings)


def answer(one: BaseTool, program: str, *, use_async: bool) -> Any:
    given: Any = {"name": one.name, "args": {"code": program}, "id": "c1", "type": "tool_call"}
    return asyncio.run(one.ainvoke(given)) if use_async else one.invoke(given)


@both_ways
def test_it_answers_with_the_outcome_and_leaves_the_rest_in_the_artifact(use_async: bool) -> None:
    said = answer(made(), "print('hi')\nadd(a=1, b=2) * price(item='tea')", use_async=use_async)
    assert (said.name, said.content) == ("execute_code", "hi\nValue: 90.0")
    assert said.artifact["status"] == "completed"
    assert [one["tool"] for one in said.artifact["calls"]] == ["add", "price"]
    assert len(said.artifact["journal"]) > 4


@both_ways
def test_it_lists_its_tools_and_takes_one_argument(use_async: bool) -> None:
    one = made()
    assert one.name == "execute_code"
    assert "price(item: str) -> float" in one.description
    assert list(one.args) == ["code"]


@both_ways
def test_no_program_catches_the_question_of_a_tool(use_async: bool) -> None:
    @tool
    def ask(question: str) -> str:
        """Ask a human."""
        return interrupt(question)

    program = "try:\n    said = ask(question='sure?')\nexcept Exception:\n    said = 'swallowed'\nsaid"
    agent = create_agent(model_of(asks(code(program))), [made([ask])], checkpointer=InMemorySaver())
    (text,) = told(go(agent, use_async=use_async))
    assert "ask leaves its node or asks a human (interrupt): use callgate_langgraph.CodeActNode" in text
    assert "swallowed" not in text


@both_ways
def test_limits_and_failures_are_the_outcomes(use_async: bool) -> None:
    limited = answer(made(limits=Limits(calls=1)), "[price(item='a'), price(item='b')]", use_async=use_async)
    assert limited.artifact["status"] in ("failed", "limited")
    failed = answer(made(), "1 / 0", use_async=use_async)
    assert failed.artifact["status"] == "failed"
    assert "ZeroDivisionError" in failed.content


def test_what_needs_a_graph_says_so() -> None:
    said = answer(made([whole_state]), "whole_state()", use_async=False)
    assert "use callgate_langgraph.CodeActNode" in said.content


def test_runs_are_kept_where_the_user_says() -> None:
    journal = MemoryJournal()
    said = answer(made(journal=journal), "add(a=1, b=2)", use_async=False)
    assert said.content == "3"
    with pytest.raises(UsageError, match="effects names refund"):
        made(effects={"refund": "read"})


@both_ways
def test_an_agent_uses_it_like_any_tool(use_async: bool) -> None:
    agent = create_agent(model_of(asks(code("add(a=1, b=2)"))), [made()])
    assert told(go(agent, use_async=use_async)) == ["3"]


def test_beside_the_middleware_its_name_is_taken() -> None:
    with pytest.raises(UsageError, match="which is the code action's own name"):
        create_agent(model_of(), [made()], middleware=[code_act()])
