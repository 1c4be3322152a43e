"""`node.ledger`: each code action once, beside what a JSON loop really would have cost."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send
from langgraph_cases import State, add, answers, asks, call, code, codeact, echo, graph_of, outside, rows
from pricing import count, price

from callgate import Ledger, SqliteJournal
from callgate.costs import PER_CALL, Tokens
from callgate.counterfactual import Account
from callgate.testing.models import ScriptedChatModel
from callgate_langchain.history import history_of

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


@tool
def find(user: str) -> list[str]:
    """Find the orders of a user."""
    return [f"order-{user}-{number}" for number in (1, 2)]


@tool
def total(order: str) -> dict[str, Any]:
    """Return what an order comes to."""
    return {"order": order, "total": 12.5, "größe": "L"}


TOOLS = [find, total]
ASKED = [SystemMessage("Be brief."), HumanMessage("What do the orders of u1 come to?")]
PROGRAM = "sum(total(order=one)['total'] for one in find(user='u1'))"


def loop(model: Any, tools: Any, **compile_with: Any) -> Any:
    """Return a graph of a model and its tools."""
    builder: Any = StateGraph(State)
    builder.add_node("model", lambda state, config: {"messages": [model.invoke(state["messages"], config)]})
    builder.add_node("tools", tools)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile(**compile_with)


def defined(*tools: Any) -> int:
    return sum(count(json.dumps(convert_to_openai_tool(one), ensure_ascii=False)) for one in tools)


def as_code(node: Any) -> int:
    return defined(*node._surfaces.shown["code"])


def in_json(*turns: AIMessage) -> list[AnyMessage]:
    """Return the messages of a JSON loop in which the model says this."""
    model = ScriptedChatModel(turns=list(turns))
    return loop(model.bind_tools(TOOLS), ToolNode(TOOLS)).invoke({"messages": ASKED})["messages"]


def priced(messages: list[Any], definitions: int) -> Tokens:
    """Price messages up to the request that reads the last result, without what that writes."""
    told = list(history_of(messages))
    if told[-1].role == "assistant":
        told.pop()
    return price(told, [definitions] * (1 + sum(one.role == "assistant" for one in told)))


@both_ways
def test_an_action_is_counted_beside_what_a_json_loop_costs(use_async: bool) -> None:
    node = codeact(TOOLS)
    model = ScriptedChatModel(turns=[asks(code(PROGRAM), content="I look."), AIMessage("25")])
    config = {"configurable": {"thread_id": "t", "route": "analytics"}}
    graph = loop(node.bind_model(model), node, checkpointer=InMemorySaver())
    messages = call(graph, {"messages": ASKED}, config, use_async=use_async)["messages"]
    account = node.ledger.total
    assert account.code == priced(messages, as_code(node))

    orders = [("total", {"order": f"order-u1-{number}"}, f"o{number}") for number in (1, 2)]
    first = asks(("find", {"user": "u1"}, "f"), content="I look.")
    sequence = in_json(first, asks(orders[0]), asks(orders[1]), AIMessage("25"))
    parallel = in_json(first, asks(*orders), AIMessage("25"))
    assert account.sequential == priced(sequence, defined(*TOOLS))
    assert account.parallel == priced(parallel, defined(*TOOLS))
    assert account.parallel_defined == priced(parallel, as_code(node))
    assert (account.actions, account.calls, account.requests) == (1, 3, 1)
    assert (account.requests_sequential, account.requests_parallel) == (3, 2)
    assert dict(node.ledger.routes) == {"analytics": account}
    assert dict(node.ledger.threads) == {"t": account}


@both_ways
def test_a_thread_goes_on_and_adds_up(use_async: bool) -> None:
    usage: Any = {
        "input_tokens": 500,
        "output_tokens": 20,
        "total_tokens": 520,
        "input_token_details": {"cache_read": 100},
    }
    second = asks(code("total(order='order-u1-2')", "c2"))
    second.usage_metadata = usage
    model = ScriptedChatModel(turns=[asks(code(PROGRAM)), AIMessage("25"), second, AIMessage("12.5")])
    node = codeact(TOOLS)
    graph = loop(node.bind_model(model), node, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    for asked in (ASKED, [HumanMessage("And the second alone?")]):
        messages = call(graph, {"messages": asked}, config, use_async=use_async)["messages"]
    account = node.ledger.total
    assert account.code == priced(messages, as_code(node))
    assert account.requests == 3
    assert (account.billed, account.billed_requests) == (Tokens(new=400, repeated=100, output=20), 1)
    assert [one.id for one in node.ledger.recent] == ["c1", "c2"]


def test_without_a_thread_the_actions_of_a_run_belong_together() -> None:
    model = ScriptedChatModel(turns=[asks(code(PROGRAM)), asks(code("find(user='u2')", "c2")), AIMessage("25")])
    node = codeact(TOOLS)
    loop(node.bind_model(model), node).invoke({"messages": ASKED})
    orders = [("total", {"order": f"order-u1-{number}"}, f"o{number}") for number in (1, 2)]
    said = in_json(
        asks(("find", {"user": "u1"}, "f")), asks(*orders), asks(("find", {"user": "u2"}, "g")), AIMessage("25")
    )
    assert node.ledger.total.parallel == priced(said, defined(*TOOLS))
    assert node.ledger.threads == {}
    assert set(node.ledger.routes) == {""}


def test_tools_only_programs_may_call_are_part_of_what_a_json_loop_would_be_shown() -> None:
    @tool(extras={"allowed_callers": ["code_execution_20260120"]})
    def hidden(text: str) -> str:
        """Only for programs."""
        return text

    node = codeact([find, hidden])
    node.invoke({"messages": [*ASKED, asks(code("hidden(text='a')"))]}, outside(thread_id="t"))
    request = [*ASKED, asks(("hidden", {"text": "a"}, "h"))]
    plain_way = [*history_of(request), *history_of([HumanMessage("a")])]
    assert node.ledger.total.sequential == price(plain_way, [defined(find, hidden)] * 2)


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        (asks(code("nope(")), 0),
        (asks(("execute_code", {}, "c1")), 0),
        (asks(code("find(user='u1')\n1 / 0")), 1),
    ],
    ids=["rejected", "no code", "failed"],
)
def test_programs_that_fail_are_counted(message: AIMessage, calls: int) -> None:
    node = codeact(TOOLS)
    (answer,) = answers(node.invoke({"messages": [*ASKED, message]}, outside(thread_id="t")))
    account = node.ledger.total
    assert (account.actions, account.calls, account.requests_parallel) == (1, calls, calls)
    assert account.code.new == priced([*ASKED, message, answer], as_code(node)).new


# ---- a node run that is entered again


@both_ways
def test_an_action_that_waits_for_a_human_is_counted_when_it_is_over(use_async: bool) -> None:
    node = codeact(TOOLS, interrupt_on={"total": True})
    graph = graph_of(node, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    waits, over = code("total(order='a1b2')", "c1"), code("find(user='u1')", "c2")
    call(graph, {"messages": [*ASKED, asks(waits, over)]}, config, use_async=use_async)
    assert node.ledger.total == Account()
    call(graph, Command(resume={"decisions": [{"type": "approve"}]}), config, use_async=use_async)
    assert [one.id for one in node.ledger.recent] == ["c1", "c2"]
    account = node.ledger.total
    assert (account.actions, account.calls, account.requests) == (2, 2, 1)


@both_ways
def test_an_action_is_counted_once_when_a_call_beside_it_fails_first(use_async: bool) -> None:
    fails = [True]

    @tool
    def flaky() -> str:
        """Fail once."""
        if fails:
            fails.pop()
            raise ConnectionError("once")
        return "fine"

    node = codeact([*TOOLS, flaky], handle_tool_errors=False)
    graph = graph_of(node, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    with pytest.raises(ConnectionError):
        call(graph, {"messages": [*ASKED, asks(code(PROGRAM), ("flaky", {}, "p"))]}, config, use_async=use_async)
    call(graph, None, config, use_async=use_async)
    assert [one.id for one in node.ledger.recent] == ["c1"]
    assert node.ledger.total.calls == 3


def test_a_program_that_left_files_is_counted_when_the_run_is_entered_again() -> None:
    program = f"open('/out/a.txt', 'w').write('x')\n{PROGRAM}"
    node = codeact([*TOOLS, add], interrupt_on={"add": True})
    graph = graph_of(node, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    graph.invoke({"messages": [*ASKED, asks(code(program), ("add", {"a": 1, "b": 2}, "p"))]}, config)
    (answer, _) = answers(graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config))
    assert [one["name"] for one in answer.artifact["artifacts"]] == ["a.txt"]
    assert [(one.id, one.account.calls) for one in node.ledger.recent] == [("c1", 3)]


def test_an_action_that_is_answered_from_its_journal_is_not_counted_again(tmp_path: Any) -> None:
    """As after a crash between the node's return and its checkpoint."""
    journal = SqliteJournal(tmp_path / "journal")
    node = codeact(TOOLS, journal=journal)
    asking = asks(code(PROGRAM))
    asking.id = "m1"
    first, again = (node.invoke({"messages": [*ASKED, asking]}, outside(thread_id="t")) for _ in range(2))
    assert answers(first)[0].content == answers(again)[0].content
    assert node.ledger.total.actions == 1
    other = codeact(TOOLS, journal=journal)
    other.invoke({"messages": [*ASKED, asking]}, outside(thread_id="t"))
    assert other.ledger.total == node.ledger.total
    journal.close()


def test_actions_that_send_fans_out_share_the_request_that_made_them() -> None:
    node = codeact(TOOLS)
    builder: Any = StateGraph(State)
    builder.add_node("tools", node)
    builder.add_node("start", lambda state: {})
    builder.add_edge(START, "start")

    def fan(state: State) -> Any:
        given = {"__type": "tool_call_with_context", "state": state}
        return [Send("tools", {**given, "tool_call": one}) for one in state["messages"][-1].tool_calls]

    builder.add_conditional_edges("start", fan, ["tools"])
    graph = builder.compile(checkpointer=InMemorySaver())
    message = asks(*(code(f"find(user='u{number}')", f"c{number}") for number in range(3)))
    end = graph.invoke({"messages": [*ASKED, message]}, {"configurable": {"thread_id": "t"}})
    account = node.ledger.total
    assert (account.actions, account.requests, account.requests_parallel) == (3, 1, 1)
    assert account.code == priced([*ASKED, message, *answers(end)], as_code(node))


def test_a_thread_of_a_subgraph_is_followed_from_turn_to_turn() -> None:
    read = 0

    class Watched(Ledger):
        def add(self, id: str, messages: Any, **more: Any) -> Any:
            class Told(type(messages)):
                def __getitem__(self, at: Any) -> Any:
                    nonlocal read
                    read += len(range(*at.indices(len(self)))) if isinstance(at, slice) else 1
                    return super().__getitem__(at)

            messages.__class__ = Told
            return super().add(id, messages, **more)

    turns = [(asks(code(f"find(user='u{number}')", f"c{number}")), AIMessage("2")) for number in range(10)]
    node = codeact(TOOLS, ledger=Watched())
    builder: Any = StateGraph(State)
    model = ScriptedChatModel(turns=[one for turn in turns for one in turn])
    builder.add_node("agent", loop(node.bind_model(model), node))
    builder.add_edge(START, "agent")
    graph, needed = builder.compile(checkpointer=InMemorySaver()), []
    for number in range(10):
        before = read
        end = graph.invoke({"messages": [HumanMessage(f"{number}?")]}, {"configurable": {"thread_id": "t"}})
        needed.append(read - before)
    assert node.ledger.total.code == priced(end["messages"], as_code(node))
    assert needed[-1] == needed[1]


def test_what_goes_wrong_in_a_ledger_stays_there(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Ledger):
        def add(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("broken")

    node = codeact([add], ledger=Broken())
    with caplog.at_level(logging.ERROR, "callgate"):
        (answer,) = answers(node.invoke([asks(code("add(a=1, b=2)"))], outside()))
    assert answer.content == "3"
    assert "the ledger could not count a code action" in caplog.text


def test_a_ledger_may_be_shared_and_count_by_its_own_counter() -> None:
    class Words:
        name = "words"

        def count(self, text: str) -> int:
            return len(text.split())

    ledger = Ledger(Words())
    for node in (codeact([add], ledger=ledger), codeact([rows, echo], ledger=ledger, name="more")):
        assert node.ledger is ledger
    message = asks(code("add(a=1, b=2)"))
    codeact([add], ledger=ledger).invoke([HumanMessage("one two three"), message], outside(thread_id="t"))
    plain_way = ledger.total.sequential
    assert plain_way.output == 1 + 4 + PER_CALL  # add, {"a": 1, "b": 2}, and the form of a call
    assert "(words)" in str(ledger)
