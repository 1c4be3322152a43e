"""A node over tools of several sources."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState
from langgraph.types import Command
from langgraph_cases import add, answers, asks, call, code, codeact, graph_of

from callgate import UsageError
from callgate.testing.models import ScriptedChatModel

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def find_in(place: str) -> Any:
    @tool
    def find(what: str, state: Annotated[Any, InjectedState]) -> str:
        """Find things."""
        return f"{what} in {place}, message {len(state['messages'])}"

    return find


def sources() -> dict[str, list[Any]]:
    return {"shop": [find_in("shop"), add], "stock": [find_in("stock")]}


NAMES = ["shop_find", "add", "stock_find"]


def test_both_surfaces_have_the_same_names() -> None:
    model = ScriptedChatModel(turns=[AIMessage("done"), AIMessage("done")])
    bound = codeact(sources()).bind_model(model)  # type: ignore[arg-type]
    for mode in ("json", "code"):
        bound.invoke("hi", {"configurable": {"callgate_mode": mode}})
    assert model.tools_seen() == [NAMES, ["execute_code"]]
    description = model.seen[1][1][0]["function"]["description"]
    assert all(f"def {name}(" in description for name in NAMES)


@both_ways
def test_plain_calls_and_programs_reach_the_tool_of_the_source(use_async: bool) -> None:
    node = graph_of(codeact(sources()))  # type: ignore[arg-type]
    message = asks(("shop_find", {"what": "tea"}, "1"), ("find", {"what": "tea"}, "2"), code("stock_find(what='tea')"))
    plain, unknown, ran = answers(call(node, {"messages": [message]}, None, use_async=use_async))
    assert (plain.content, plain.name) == ("tea in shop, message 1", "shop_find")
    assert unknown.status == "error"
    assert ran.content == '"tea in stock, message 1"'


@both_ways
def test_rules_hold_for_the_names_that_are_shown(use_async: bool) -> None:
    with pytest.raises(UsageError, match="interrupt_on names 'find'"):
        codeact(sources(), interrupt_on={"find": True})  # type: ignore[arg-type]
    graph = graph_of(codeact(sources(), interrupt_on={"stock_find": True}), checkpointer=InMemorySaver())  # type: ignore[arg-type]
    config = {"configurable": {"thread_id": "t"}}
    message = asks(code("[shop_find(what='a'), stock_find(what='b')]"))
    paused = call(graph, {"messages": [message]}, config, use_async=use_async)
    request = paused["__interrupt__"][0].value
    assert [one["name"] for one in request["action_requests"]] == ["stock_find"]
    done = call(graph, Command(resume={"decisions": [{"type": "approve"}]}), config, use_async=use_async)
    assert answers(done)[0].content == '["a in shop, message 1","b in stock, message 1"]'
