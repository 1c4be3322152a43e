"""Who may call a tool: what each surface shows, and what is refused whoever asks."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from langgraph_cases import SANDBOX, State, add, answers, asks, call, code, codeact, graph_of, outside

from callgate.testing.models import ScriptedChatModel
from callgate_langgraph import CodeActNode

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
vendors = pytest.mark.parametrize("word", ["programmatic", "code_execution_20260120"], ids=["OpenAI", "Anthropic"])

RAN: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def only(name: str, *words: str) -> StructuredTool:
    def run(n: int = 0) -> int:
        RAN.append(name)
        return n

    made = StructuredTool.from_function(run, name=name, description=f"Do {name}.")
    made.extras = {"allowed_callers": list(words)}
    return made


def tools(word: str = "programmatic") -> list[Any]:
    return [add, only("by-hand", "direct"), only("in-code", word), only("both", "direct", word)]


@vendors
def test_a_surface_shows_what_the_model_may_call_on_it(word: str) -> None:
    model = ScriptedChatModel(turns=[AIMessage("done")] * 3)
    bound = codeact(tools(word)).bind_model(model)
    for mode in ("json", "code", "mixed"):
        bound.invoke("hi", {"configurable": {"callgate_mode": mode}})
    plain = ["add", "by-hand", "both"]
    assert model.tools_seen() == [plain, ["execute_code", "by-hand"], [*plain, "execute_code"]]
    code, mixed = (model.seen[at][1][where]["function"]["description"] for at, where in ((1, 0), (2, -1)))
    assert [f"def {name}(" in code for name in ("add", "both", "in_code", "by_hand")] == [True, True, True, False]
    assert [f"def {name}(" in mixed for name in ("add", "both", "in_code", "by_hand")] == [False, False, True, False]
    assert "Not for programs: by-hand." in mixed


@vendors
@both_ways
@pytest.mark.parametrize("mode", ["json", "code", "mixed"])
def test_a_plain_call_of_a_tool_for_programs_says_how_to_call_it_and_runs_nothing(
    mode: str, word: str, use_async: bool
) -> None:
    node = codeact(tools(word), mode=mode)
    message = asks(("in-code", {"n": 1}, "1"), ("add", {"a": 1, "b": 2}, "2"), ("in-code", {"n": 2}, "3"))
    first, second, third = answers(call(node, {"messages": [message]}, outside(), use_async=use_async))
    told = "in-code was not called: only a program may call it; use execute_code, with in_code(...) in its code"
    assert (first.content, first.status, first.name, first.tool_call_id) == (told, "error", "in-code", "1")
    assert (second.content, second.status) == ("3", "success")
    assert (third.content, third.tool_call_id) == (told, "3")
    assert RAN == []


@both_ways
def test_a_refused_call_stands_beside_programs_and_their_tools(use_async: bool) -> None:
    message = asks(("in-code", {}, "1"), code("in_code(n=4) + both(n=5)"), ("by-hand", {"n": 6}, "2"))
    refused, ran, plain = answers(call(codeact(tools()), {"messages": [message]}, outside(), use_async=use_async))
    assert (refused.status, ran.content, plain.content) == ("error", "9", "6")
    assert sorted(RAN) == ["both", "by-hand", "in-code"]


@both_ways
def test_nobody_is_asked_about_a_call_that_is_refused(use_async: bool) -> None:
    node = codeact(tools(), interrupt_on={"in-code": True})
    graph = graph_of(node, checkpointer=InMemorySaver())
    result = call(
        graph, {"messages": [asks(("in-code", {}, "1"))]}, {"configurable": {"thread_id": "t"}}, use_async=use_async
    )
    assert "__interrupt__" not in result
    assert "use execute_code" in answers(result)[0].content
    assert RAN == []


@both_ways
def test_a_call_that_began_under_other_rules_goes_on(use_async: bool) -> None:
    def greet(x: int = 0) -> str:
        """Greet somebody."""
        return f"hello {interrupt('who?')}"

    saver, config = InMemorySaver(), {"configurable": {"thread_id": "t"}}

    def graph(*words: str) -> Any:
        one = StructuredTool.from_function(greet, extras={"allowed_callers": list(words)})
        return graph_of(codeact([one], interrupt_on={"greet": True}), checkpointer=saver)

    call(graph("direct"), {"messages": [asks(("greet", {}, "1"))]}, config, use_async=use_async)
    approve = Command(resume={"decisions": [{"type": "approve"}]})
    asked = call(graph("direct"), approve, config, use_async=use_async)
    assert asked["__interrupt__"][0].value == "who?"
    done = call(graph("programmatic"), Command(resume="you"), config, use_async=use_async)
    assert answers(done)[0].content == "hello you"


@both_ways
def test_calls_sent_one_by_one_are_refused_alike(use_async: bool) -> None:
    builder = StateGraph(State)
    builder.add_node("tools", codeact(tools()))
    builder.add_node("model", lambda state: {"messages": [asks(("in-code", {}, "1"), ("add", {"a": 1, "b": 1}, "2"))]})
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model", lambda state: [Send("tools", [one]) for one in state["messages"][-1].tool_calls], ["tools"]
    )
    result = call(builder.compile(), {"messages": [HumanMessage("hi")]}, None, use_async=use_async)
    assert [one.status for one in answers(result)] == ["error", "success"]
    assert RAN == []


def test_a_tool_that_nobody_may_call_is_neither_shown_nor_called() -> None:
    model = ScriptedChatModel(turns=[AIMessage("done")])
    node = CodeActNode([add, only("idle")], sandbox=SANDBOX, mode="json")
    node.bind_model(model).invoke("hi")
    assert model.tools_seen() == [["add"]]
    answer = answers(node.invoke([asks(("idle", {}, "1"))], outside()))[0]
    assert (answer.content, answer.status) == ("idle was not called: it may not be called at all", "error")
    assert RAN == []


@both_ways
@vendors
def test_a_program_may_not_call_what_only_the_model_may(word: str, use_async: bool) -> None:
    program = "try:\n    call_tool(*['by-hand'])\nexcept NotAllowed as error:\n    print(error)"
    node = codeact(tools(word))
    answer = answers(call(node, {"messages": [asks(code(program))]}, outside(), use_async=use_async))[0]
    assert "by-hand may only be called as a plain tool call, not from code" in answer.content
    assert RAN == []
    written = answers(call(node, {"messages": [asks(code("call_tool('by-hand')"))]}, outside(), use_async=use_async))[0]
    assert written.artifact["status"] == "rejected"
    assert "call it as a plain tool call" in written.content
    assert RAN == []


@both_ways
def test_a_limit_on_calls_does_not_hide_how_a_tool_is_called(use_async: bool) -> None:
    pytest.importorskip("langchain", reason="the extra `dev` has langchain, for its middleware")
    from langchain.agents.middleware import ToolCallLimitMiddleware

    node = codeact(tools(), middleware=[ToolCallLimitMiddleware(run_limit=1)])
    message = asks(("add", {"a": 1, "b": 2}, "1"), ("in-code", {}, "2"))
    added, refused = answers(call(node, {"messages": [message]}, outside(), use_async=use_async))
    assert (added.content, refused.status) == ("3", "error")
    assert "use execute_code" in refused.content
    assert RAN == []
