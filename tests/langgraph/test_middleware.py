"""LangChain's middleware around inner calls: what of it holds is tried, what cannot is refused."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_beside import beside
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send
from langgraph_cases import State, answers, asks, call, code, codeact, graph_of
from langgraph_middleware import probes, shipped_classes, table

from callgate import UsageError

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
CONFIG = {"configurable": {"thread_id": "t"}}
UNTIL_REFUSED = """\
got = 0
try:
    while True:
        search(q=str(got))
        got += 1
except LimitExceeded as error:
    print(error)
got"""


class Noting(AgentMiddleware):
    """Notes what passes it."""

    def __init__(self, mark: str, seen: list[str]) -> None:
        super().__init__()
        self.mark, self.seen = mark, seen

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.seen.append(f"{self.mark} {request.tool_call['id']}")
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.seen.append(f"{self.mark} {request.tool_call['id']}")
        return await handler(request)


class Searches:
    def __init__(self) -> None:
        self.done: list[str] = []

        @tool
        def search(q: str) -> str:
            """Search."""
            self.done.append(q)
            return q

        @tool
        def pay(n: int) -> int:
            """Pay."""
            self.done.append(f"pay {n}")
            return n

        self.tools = [search, pay]

    def graph(self, *middleware: Any, **arguments: Any) -> Any:
        node = codeact(self.tools, middleware=middleware, effects={"search": "read"}, **arguments)
        return graph_of(node, checkpointer=InMemorySaver())


def limit(**arguments: Any) -> ToolCallLimitMiddleware[Any, Any]:
    return ToolCallLimitMiddleware(**{"tool_name": "search", **arguments})


def go(graph: Any, *calls: Any, use_async: bool, human: bool = True) -> list[str]:
    messages = [*([HumanMessage("go")] if human else []), asks(*calls)]
    end = call(graph, {"messages": messages}, CONFIG, use_async=use_async)
    return [str(one.content) for one in answers(end)]


# ---- the table


def test_everything_that_langchain_ships_was_tried() -> None:
    tried = {title.split(",")[0] for title in probes()}
    assert not shipped_classes() - tried, "LangChain ships middleware that nobody tried: add a probe"
    in_agents = {"ShellToolMiddleware", *(title.split(" ")[0] for title in beside())}  # that one starts a shell
    assert not shipped_classes() - in_agents, "LangChain ships middleware that nobody tried in an agent: add it"


def test_the_table_says_what_happens() -> None:
    if "interrupt_mode" not in inspect.signature(HumanInTheLoopMiddleware).parameters:
        pytest.skip("the table is of a newer LangChain: this one's HumanInTheLoopMiddleware has no interrupt_mode")
    page = Path(__file__).parents[2] / "adapters" / "MIDDLEWARE.md"
    assert page.read_text() == table(), (
        "make it again: PYTHONPATH=src:adapters:tests python tests/langgraph_middleware.py > adapters/MIDDLEWARE.md"
    )


# ---- wrappers


@both_ways
def test_wrappers_see_inner_calls_from_the_outside_in(use_async: bool) -> None:
    seen: list[str] = []
    graph = Searches().graph(
        Noting("outer", seen),
        Noting("inner", seen),
        wrap_tool_call=lambda request, handler: (seen.append(f"own {request.tool_call['id']}"), handler(request))[1],
    )
    if use_async:
        seen.clear()
    go(graph, code("search(q='a')"), ("search", {"q": "b"}, "p"), use_async=use_async)
    marks = ["outer", "inner"] if use_async else ["own", "outer", "inner"]  # a sync wrapper is sync's alone
    assert seen == [f"{mark} {one}" for one in ("c1/1", "p") for mark in marks]


# ---- limits


@both_ways
def test_calls_of_a_program_count_with_plain_ones(use_async: bool) -> None:
    world = Searches()
    texts = go(
        world.graph(limit(run_limit=3)),
        ("search", {"q": "p"}, "p"),
        code(UNTIL_REFUSED),
        code(UNTIL_REFUSED, "c2"),
        use_async=use_async,
    )
    assert len(world.done) == 3
    assert texts[0] == "p"
    assert sorted(text.splitlines()[-1] for text in texts[1:]) in (["Value: 0", "Value: 2"], ["Value: 1", "Value: 1"])
    assert all("search may be called 3 times for this request, and that is used up" in text for text in texts[1:])


@both_ways
def test_a_plain_call_above_the_limit_is_refused_and_the_others_run(use_async: bool) -> None:
    world = Searches()
    calls = [("search", {"q": str(n)}, f"p{n}") for n in range(4)]
    texts = go(world.graph(limit(run_limit=2)), *calls, ("pay", {"n": 1}, "q"), use_async=use_async)
    assert sorted(world.done) == ["0", "1", "pay 1"]
    assert [text.startswith("search may be called 2 times") for text in texts] == [False, False, True, True, False]


@both_ways
def test_a_request_begins_anew_and_a_thread_goes_on(use_async: bool) -> None:
    world = Searches()
    graph = world.graph(limit(run_limit=2, thread_limit=3))
    go(graph, code(UNTIL_REFUSED), use_async=use_async)
    assert len(world.done) == 2
    go(graph, code(UNTIL_REFUSED, "c2"), use_async=use_async, human=False)
    assert len(world.done) == 2, "the same request"
    go(graph, code(UNTIL_REFUSED, "c3"), use_async=use_async)
    assert len(world.done) == 3, "the same thread"


@both_ways
def test_a_limit_on_all_tools_counts_them_together_and_not_callgate_s_own(use_async: bool) -> None:
    world = Searches()
    program = f"search_tools('pay')\npay(n=1)\n{UNTIL_REFUSED}"
    go(world.graph(limit(tool_name=None, run_limit=3)), code(program), use_async=use_async)
    assert world.done == ["pay 1", "0", "1"]


@both_ways
def test_callgate_s_own_do_not_count_after_a_pause_or_in_a_later_turn_either(use_async: bool) -> None:
    world = Searches()
    graph = world.graph(limit(tool_name=None, thread_limit=3), HumanInTheLoopMiddleware({"pay": True}))
    go(graph, code("search_tools('a')\nsearch_tools('b')\npay(n=1)\nsearch(q='x')", "c1"), use_async=use_async)
    call(graph, Command(resume={"decisions": [{"type": "approve"}]}), CONFIG, use_async=use_async)
    assert world.done == ["pay 1", "x"]
    go(graph, code(UNTIL_REFUSED, "c2"), use_async=use_async)
    assert world.done == ["pay 1", "x", "0"]


def test_programs_with_the_same_id_count_each_for_itself() -> None:
    world = Searches()
    go(world.graph(limit(run_limit=3)), code(UNTIL_REFUSED, "c"), code(f"1\n{UNTIL_REFUSED}", "c"), use_async=False)
    assert len(world.done) == 3


@both_ways
def test_programs_of_one_message_that_are_fanned_out_cannot_be_limited(use_async: bool) -> None:
    world = Searches()
    builder = StateGraph(State)
    builder.add_node("tools", codeact(world.tools, middleware=[limit(run_limit=3)]))

    def fan(state: Any) -> list[Send]:
        given = {"__type": "tool_call_with_context", "state": state}
        return [Send("tools", {**given, "tool_call": one}) for one in state["messages"][-1].tool_calls]

    builder.add_conditional_edges(START, fan, ["tools"])
    graph = builder.compile()
    end = call(graph, {"messages": [asks(code("pay(n=1)"), ("pay", {"n": 2}, "p"))]}, CONFIG, use_async=use_async)
    assert len(answers(end)) == 2
    with pytest.raises(UsageError, match="sent to the node one by one"):
        call(graph, {"messages": [asks(code("pay(n=3)"), code("pay(n=4)", "c2"))]}, CONFIG, use_async=use_async)
    assert sorted(world.done) == ["pay 1", "pay 2"]


@both_ways
def test_a_pause_forgets_no_call(use_async: bool) -> None:
    world = Searches()
    graph = world.graph(limit(run_limit=2), HumanInTheLoopMiddleware({"pay": True}))
    program = f"search(q='first')\npay(n=1)\n{UNTIL_REFUSED}"
    go(graph, code(program), use_async=use_async)
    assert world.done == ["first"]
    call(graph, Command(resume={"decisions": [{"type": "approve"}]}), CONFIG, use_async=use_async)
    assert world.done == ["first", "pay 1", "0"]


@both_ways
def test_nobody_is_asked_about_a_call_above_the_limit(use_async: bool) -> None:
    world = Searches()
    graph = world.graph(limit(run_limit=1), interrupt_on={"search": True})
    end = call(
        graph,
        {"messages": [asks(code("call_tools([('search', {'q': 'a'}), ('search', {'q': 'b'})])"))]},
        CONFIG,
        use_async=use_async,
    )
    (asked,) = end["__interrupt__"]
    assert [one["args"] for one in asked.value["action_requests"]] == [{"q": "a"}]


# ---- refused


@pytest.mark.parametrize(
    ("middleware", "said"),
    [
        ([limit(run_limit=1, exit_behavior="error")], "exit_behavior='continue'"),
        ([limit(tool_name="nosuch", run_limit=1)], "'nosuch', which is no tool here"),
        ([HumanInTheLoopMiddleware({"pay": True}), HumanInTheLoopMiddleware({"pay": True})], "two .* ask about pay"),
        ([HumanInTheLoopMiddleware({"nosuch": True})], "nosuch"),
        (["retry"], "'retry' is no AgentMiddleware"),
        ([ToolRetryMiddleware], "is no AgentMiddleware"),
    ],
)
def test_what_could_not_hold_is_refused(middleware: list[Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        codeact(Searches().tools, middleware=middleware)


def test_all_that_is_refused_is_named_at_once() -> None:
    class After(AgentMiddleware):
        def after_model(self, state: Any, runtime: Any) -> None:
            """Look at the message."""

    class Both(AgentMiddleware):
        async def abefore_model(self, state: Any, runtime: Any) -> None:
            """Look at the messages."""

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request)

    with pytest.raises(UsageError) as caught:
        codeact(Searches().tools, middleware=[After(), Both()])
    assert "After acts in after_model, where" in str(caught.value)
    assert "Both acts in before_model besides wrap_tool_call, where" in str(caught.value)


def test_a_tool_is_asked_for_by_one_rule() -> None:
    with pytest.raises(UsageError, match="both name pay"):
        codeact(Searches().tools, middleware=[HumanInTheLoopMiddleware({"pay": True})], interrupt_on={"pay": True})
