"""Calls that wait for a human: one interrupt per node run, in LangChain's form, answered per call."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command, Send, interrupt
from langgraph_cases import State, answers, asks, call, code, codeact, graph_of, outside
from langgraph_savers import open_saver

from callgate import JournalError, Limits, MemoryJournal, SqliteJournal, UsageError
from callgate_langgraph import CodeActNode

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
CONFIG = {"configurable": {"thread_id": "t"}}


class World:
    """Tools that note what they do."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []

        @tool
        def refund(order: int, amount: float = 1.0) -> str:
            """Pay money back."""
            self.done.append(("refund", (order, amount)))
            return f"refunded {amount} for {order}"

        @tool
        def mail(to: str, text: str = "hi") -> str:
            """Send a mail."""
            self.done.append(("mail", (to, text)))
            return f"mailed {to}"

        @tool
        def orders(user: str) -> list[int]:
            """List a user's orders."""
            self.done.append(("orders", user))
            return [1, 2]

        self.tools = [refund, mail, orders]

    def node(self, **arguments: Any) -> CodeActNode:
        given = {"effects": {"orders": "read"}, "interrupt_on": {"refund": True, "mail": True}}
        return codeact(self.tools, **{**given, **arguments})

    def graph(self, **arguments: Any) -> Any:
        return graph_of(self.node(**arguments), checkpointer=InMemorySaver())


def paused(end: Any) -> Any:
    """Return what is asked."""
    (one,) = end["__interrupt__"]
    return one.value


def decide(*decisions: Any) -> Command[Any]:
    """Answer as an approval screen does."""
    return Command(resume={"decisions": [{"type": one} if isinstance(one, str) else one for one in decisions]})


def edit(name: str, **args: Any) -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": name, "args": args}}


# ---- the request


@both_ways
def test_a_waiting_call_is_asked_for_in_langchain_s_form(use_async: bool) -> None:
    world = World()
    program = "refund(order=7, amount=5)"
    asked = paused(call(world.graph(), {"messages": [asks(code(program))]}, CONFIG, use_async=use_async))
    (action,), (review,) = asked["action_requests"], asked["review_configs"]
    assert (action["name"], action["args"]) == ("refund", {"order": 7, "amount": 5})
    assert review == {"action_name": "refund", "allowed_decisions": ["approve", "edit", "reject", "respond"]}
    assert action["description"] == (
        'Tool execution requires approval\n\nTool: refund\nArgs: {"amount": 5, "order": 7}'
        f"\n\nCalled by a program:\n{program}"
    )
    more = asked["callgate"]
    assert more["programs"] == {"c1": program}
    assert more["calls"] == [{"id": "c1/1", "arguments": '{"amount":5,"order":7}', "unknown": False, "code": True}]
    assert len(more["journals"]["c1"]) == 64
    assert world.done == []


@both_ways
def test_all_calls_of_all_programs_and_plain_calls_wait_in_one_interrupt(use_async: bool) -> None:
    world = World()
    graph = world.graph()
    message = asks(
        code("call_tools([('refund', {'order': n}) for n in (1, 2)])", "a"),
        ("mail", {"to": "x"}, "b"),
        code("print(orders(user='u'))\nmail(to='y')", "c"),
        ("orders", {"user": "v"}, "d"),
    )
    asked = paused(call(graph, {"messages": [message]}, CONFIG, use_async=use_async))
    assert [(one["name"], one["args"]) for one in asked["action_requests"]] == [
        ("refund", {"order": 1}),
        ("refund", {"order": 2}),
        ("mail", {"to": "x"}),
        ("mail", {"to": "y"}),
    ]
    assert [one["id"] for one in asked["callgate"]["calls"]] == ["a/1", "a/2", "b", "c/2"]
    assert "same program" in asked["action_requests"][1]["description"]
    assert world.done == [("orders", "u")]
    end = call(graph, decide("approve", "reject", "approve", "approve"), CONFIG, use_async=use_async)
    told = answers(end)
    assert [one.tool_call_id for one in told] == ["a", "b", "c", "d"]
    assert [one.status for one in told] == ["error", "success", "success", "success"]
    assert "ApprovalRejected" in told[0].content
    assert told[2].content == '[1, 2]\nValue: "mailed y"'
    assert sorted(world.done, key=repr) == [
        ("mail", ("x", "hi")),
        ("mail", ("y", "hi")),
        ("orders", "u"),
        ("orders", "v"),
        ("refund", (1, 1.0)),
    ]


def test_what_a_human_reads_shows_every_control_character_and_what_runs_is_exact() -> None:
    world = World()
    graph = world.graph()
    text = "pay\u202etxt\x1b[2K\u200b"
    program = f"mail(to={text!r}, text='\u2066ok')  # \u202e"
    asked = paused(graph.invoke({"messages": [asks(code(program), ("mail", {"to": text}, "p"))]}, CONFIG))
    shown = json.dumps([asked["action_requests"][0]["description"], asked["callgate"]["programs"]], ensure_ascii=False)
    for hidden in "\u202e\u200b\u2066\x1b":
        assert hidden not in shown
        assert hidden not in asked["action_requests"][1]["description"]
    assert asked["action_requests"][0]["args"] == {"to": text, "text": "\u2066ok"}
    graph.invoke(decide("approve", "approve"), CONFIG)
    assert world.done == [("mail", (text, "\u2066ok")), ("mail", (text, "hi"))]


def test_large_integers_reach_the_request_as_text_and_the_tool_as_they_are() -> None:
    world = World()
    graph = world.graph()
    asked = paused(graph.invoke({"messages": [asks(code(f"refund(order={2**70})"))]}, CONFIG))
    assert asked["action_requests"][0]["args"] == {"order": str(2**70)}
    assert asked["callgate"]["calls"][0]["arguments"] == f'{{"order":{2**70}}}'
    graph.invoke(decide("approve"), CONFIG)
    assert world.done == [("refund", (2**70, 1.0))]


@both_ways
def test_descriptions_and_conditions_are_given_what_langchain_gives_them(use_async: bool) -> None:
    seen: list[Any] = []

    def when(request: ToolCallRequest) -> bool:
        seen.append(request)
        return request.tool_call["args"]["order"] > 1

    def describe(tool_call: Any, state: Any, runtime: Any) -> str:
        seen.append((tool_call, state, runtime))
        return f"refund of {tool_call['args']['order']} in {state['last']} \u202e"

    world = World()
    rule = {"allowed_decisions": ["approve", "reject"], "when": when, "description": describe}
    graph = world.graph(
        interrupt_on={"refund": rule, "mail": {"allowed_decisions": ["respond"], "description": "A mail"}}
    )
    message = asks(code("refund(order=1)\nrefund(order=2)\nmail(to='x')"), ("refund", {"order": 3}, "p"))
    end = call(graph, {"messages": [message], "last": "L"}, CONFIG, use_async=use_async)
    asked = paused(end)
    assert [one["description"] for one in asked["action_requests"]] == [
        "refund of 2 in L \\u202e",
        "refund of 3 in L \\u202e",
    ]
    assert world.done == [("refund", (1, 1.0))]
    requests = [one for one in seen if isinstance(one, ToolCallRequest)]
    assert {one.tool_call["id"] for one in requests} == {"c1/1", "c1/2", "p"}
    assert {one.runtime.tool_call_id for one in requests} == {"c1/1", "c1/2", "p"}
    assert all(one.tool.name == "refund" and one.state["last"] == "L" for one in requests)
    asked = paused(call(graph, decide("approve", "reject"), CONFIG, use_async=use_async))
    assert asked["action_requests"] == [{"name": "mail", "args": {"to": "x"}, "description": "A mail"}]
    assert asked["review_configs"] == [{"action_name": "mail", "allowed_decisions": ["respond"]}]


def test_a_condition_or_description_that_raises_asks_all_the_same() -> None:
    world = World()

    def boom(*anything: Any) -> Any:
        raise ValueError("boom")

    graph = world.graph(interrupt_on={"refund": {"when": boom, "description": boom}})
    asked = paused(graph.invoke({"messages": [asks(code("refund(order=1)"), ("refund", {"order": 2}, "p"))]}, CONFIG))
    assert [one["description"].splitlines()[0] for one in asked["action_requests"]] == [
        "Tool execution requires approval"
    ] * 2
    assert world.done == []


def test_false_and_conditions_that_say_no_leave_plain_messages_to_the_toolnode() -> None:
    world = World()
    message = asks(("refund", {"order": 1}, "1"), ("mail", {"to": "x"}, "2"), ("nope", {}, "3"))
    rules = {"refund": {"when": lambda request: False}, "mail": False}
    ours = world.graph(interrupt_on=rules).invoke({"messages": [message]}, CONFIG)
    plain = graph_of(ToolNode(world.tools), checkpointer=InMemorySaver()).invoke({"messages": [message]}, CONFIG)
    assert [one.content for one in answers(ours)] == [one.content for one in answers(plain)]


# ---- answers


@both_ways
def test_each_kind_of_answer_to_calls_of_programs(use_async: bool) -> None:
    world = World()
    graph = world.graph()
    program = (
        "def attempt(order):\n"
        "    try:\n        return refund(order=order)\n    except Refused as error:\n        return str(error)\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n    found = list(pool.map(attempt, range(4)))\nfound"
    )
    asked = paused(call(graph, {"messages": [asks(code(program))]}, CONFIG, use_async=use_async))
    assert [one["args"] for one in asked["action_requests"]] == [{"order": n} for n in range(4)]
    given = ["approve", edit("refund", order=10, amount=2.5), {"type": "reject", "message": "too much"}]
    end = call(graph, decide(*given, {"type": "respond", "message": "done by hand"}), CONFIG, use_async=use_async)
    (told,) = answers(end)
    found = json.loads(told.content)
    assert found[:2] == ["refunded 1.0 for 0", "refunded 2.5 for 10"]
    assert "too much" in found[2]
    assert found[3] == "done by hand"
    assert sorted(world.done) == [("refund", (0, 1.0)), ("refund", (10, 2.5))]
    assert told.artifact["calls"][1]["arguments"] == {"order": 10, "amount": 2.5}


@both_ways
def test_each_kind_of_answer_to_plain_calls(use_async: bool) -> None:
    world = World()
    graph = world.graph()
    message = asks(*(("refund", {"order": n}, f"p{n}") for n in range(5)), ("orders", {"user": "u"}, "free"))
    asked = paused(call(graph, {"messages": [message]}, CONFIG, use_async=use_async))
    assert [one["args"] for one in asked["action_requests"]] == [{"order": n} for n in range(5)]
    assert "program" not in asked["action_requests"][0]["description"]
    assert world.done == []
    given = ["approve", edit("refund", order=10), "reject", {"type": "reject", "message": "no"}]
    end = call(graph, decide(*given, {"type": "respond", "message": "by hand"}), CONFIG, use_async=use_async)
    told = answers(end)
    assert [one.tool_call_id for one in told] == [*(f"p{n}" for n in range(5)), "free"]
    assert told[0].content == "refunded 1.0 for 0"
    assert told[1].content.startswith("Note: a human changed the arguments")
    assert told[1].content.endswith('{"order":10}\n\nrefunded 1.0 for 10')
    assert told[2].content == (
        "User rejected the tool call for `refund` with id p2. The tool was not executed. "
        "Do not retry this tool call unless the user explicitly requests it."
    )
    assert told[3].content == "User rejected the tool call for `refund` with reason: no"
    assert told[4].content == "by hand"
    assert [one.status for one in told] == ["success", "success", "error", "error", "success", "success"]
    assert sorted(world.done, key=repr) == [("orders", "u"), ("refund", (0, 1.0)), ("refund", (10, 1.0))]


UNFIT = {
    "no dict": "yes",
    "a decision alone": {"type": "approve"},
    "too few": {"decisions": [{"type": "approve"}]},
    "too many": {"decisions": [{"type": "approve"}] * 3},
    "no list": {"decisions": {"c1/1": "approve"}},
    "unknown": {"decisions": [{"type": "approve"}, {"type": "agree"}]},
    "not allowed": {"decisions": [{"type": "approve"}, {"type": "respond", "message": "x"}]},
    "an edit without args": {"decisions": [{"type": "approve"}, {"type": "edit"}]},
    "another tool": {"decisions": [{"type": "approve"}, edit("orders", user="u")]},
    "an unknown argument": {"decisions": [{"type": "approve"}, edit("mail", to="x", cc="y")]},
    "a missing argument": {"decisions": [{"type": "approve"}, edit("mail", text="x")]},
    "a wrong type": {"decisions": [{"type": "approve"}, edit("mail", to=["x"])]},
    "not JSON": {"decisions": [{"type": "approve"}, edit("mail", to=float("nan"))]},
    "an outcome": {"decisions": [{"type": "approve"}, {"type": "run again"}]},
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("plain", [False, True], ids=["programs", "plain"])
@both_ways
def test_an_answer_that_does_not_fit_uses_nothing_up(name: str, plain: bool, use_async: bool) -> None:
    world = World()
    rule = {"allowed_decisions": ["approve", "edit", "reject"]}
    graph = world.graph(interrupt_on={"refund": True, "mail": rule})
    if plain:
        message = asks(("refund", {"order": 1}, "p1"), ("mail", {"to": "m"}, "p2"))
    else:
        message = asks(code("refund(order=1)", "p1"), code("mail(to='m')", "p2"))
    first = paused(call(graph, {"messages": [message]}, CONFIG, use_async=use_async))
    asked = paused(call(graph, Command(resume=UNFIT[name]), CONFIG, use_async=use_async))
    error = asked["callgate"]["error"]
    assert error
    assert asked["action_requests"][0]["description"] == (
        f"The answer before was not used: {error}\n\n{first['action_requests'][0]['description']}"
    )
    assert asked["action_requests"][1] == first["action_requests"][1]
    assert asked["review_configs"] == first["review_configs"]
    assert paused(call(graph, None, CONFIG, use_async=use_async))["callgate"]["error"] == error
    assert world.done == []
    end = call(graph, decide("approve", edit("mail", to="n")), CONFIG, use_async=use_async)
    assert "__interrupt__" not in end
    assert sorted(world.done) == [("mail", ("n", "hi")), ("refund", (1, 1.0))]


def test_respond_needs_its_message() -> None:
    world = World()
    graph = world.graph()
    graph.invoke({"messages": [asks(code("refund(order=1)"))]}, CONFIG)
    assert "message" in paused(graph.invoke(decide("respond"), CONFIG))["callgate"]["error"]


@both_ways
def test_answers_by_interrupt_id(use_async: bool) -> None:
    world = World()
    graph = world.graph()
    end = call(graph, {"messages": [asks(code("refund(order=1)\nmail(to='x')"))]}, CONFIG, use_async=use_async)
    for _ in range(2):
        (one,) = end["__interrupt__"]
        end = call(graph, Command(resume={one.id: {"decisions": [{"type": "approve"}]}}), CONFIG, use_async=use_async)
    assert answers(end)[0].content == '"mailed x"'
    assert world.done == [("refund", (1, 1.0)), ("mail", ("x", "hi"))]


@both_ways
def test_pauses_one_after_the_other_take_each_its_own_answer(use_async: bool) -> None:
    world = World()
    graph = world.graph()
    message = asks(
        code("for n in range(3):\n    try:\n        refund(order=n)\n    except Refused:\n        pass", "a"),
        code("mail(to='x')\nmail(to='y')", "b"),
    )
    end = call(graph, {"messages": [message]}, CONFIG, use_async=use_async)
    seen = []
    for decisions in (["approve", "approve"], ["reject", edit("mail", to="z")], ["approve"]):
        seen.append([one["args"] for one in paused(end)["action_requests"]])
        again = call(graph, None, CONFIG, use_async=use_async)
        assert paused(again) == paused(end)
        end = call(graph, decide(*decisions), CONFIG, use_async=use_async)
    assert seen == [[{"order": 0}, {"to": "x"}], [{"order": 1}, {"to": "y"}], [{"order": 2}]]
    assert "__interrupt__" not in end
    assert sorted(world.done, key=repr) == [
        ("mail", ("x", "hi")),
        ("mail", ("z", "hi")),
        ("refund", (0, 1.0)),
        ("refund", (2, 1.0)),
    ]


@both_ways
def test_an_old_answer_never_answers_the_next_question(use_async: bool) -> None:
    """`Command(resume=...)` stays stored in LangGraph and would answer every later question of the node run."""
    world = World()
    graph = world.graph()
    call(graph, {"messages": [asks(code("refund(order=1)\nrefund(order=2)"))]}, CONFIG, use_async=use_async)
    asked = paused(call(graph, decide("approve"), CONFIG, use_async=use_async))
    for _ in range(3):
        assert paused(call(graph, None, CONFIG, use_async=use_async)) == asked
    assert world.done == [("refund", (1, 1.0))]


def test_a_question_withdrawn_by_the_program_is_not_asked_again() -> None:
    world = World()
    graph = world.graph()
    program = """
import asyncio
async def main():
    slow = asyncio.create_task(acall_tool('refund', order=1))
    first = await acall_tool('mail', to='x')
    slow.cancel()
    return await acall_tool('mail', to=first)
await main()
"""
    asked = paused(graph.invoke({"messages": [asks(code(program))]}, CONFIG))
    assert [one["name"] for one in asked["action_requests"]] == ["mail", "refund"]
    rule = {"type": "respond", "message": "nobody hears this"}
    asked = paused(graph.invoke(decide("approve", rule), CONFIG))
    assert [one["args"] for one in asked["action_requests"]] == [{"to": "mailed x"}]


def test_pending_approvals_are_bounded() -> None:
    world = World()
    graph = world.graph(limits=Limits(pending_approvals=3))
    program = "call_tools([('refund', {'order': n}) for n in range(5)])"
    asked = paused(graph.invoke({"messages": [asks(code(program))]}, CONFIG))
    assert len(asked["action_requests"]) == 3


# ---- around it


def test_without_a_checkpointer_the_developer_is_told() -> None:
    world = World()
    with pytest.raises(UsageError, match="no checkpointer to wait in"):
        graph_of(world.node()).invoke({"messages": [asks(code("refund(order=1)"))]})
    with pytest.raises(UsageError, match="no checkpointer to wait in"):
        world.node().invoke([asks(("refund", {"order": 1}, "p"))], outside())
    assert world.done == []


@both_ways
def test_a_resume_needs_no_mode(use_async: bool) -> None:
    """What was begun as code goes on as code, whatever the mode of the invocation that resumes it."""
    world = World()
    graph = world.graph(mode="json")
    asked = {"configurable": {"thread_id": "t", "callgate_mode": "code"}}
    call(graph, {"messages": [asks(code("refund(order=1)"))]}, asked, use_async=use_async)
    end = call(graph, decide("approve"), CONFIG, use_async=use_async)
    assert answers(end)[0].content == '"refunded 1.0 for 1"'


@both_ways
def test_on_the_json_surface_plain_calls_are_asked_for_too(use_async: bool) -> None:
    world = World()
    graph = world.graph(mode="json")
    message = asks(("refund", {"order": 1}, "p"), code("refund(order=2)"))
    asked = paused(call(graph, {"messages": [message]}, CONFIG, use_async=use_async))
    assert [one["args"] for one in asked["action_requests"]] == [{"order": 1}]
    told = answers(call(graph, decide("approve"), CONFIG, use_async=use_async))
    assert "not a valid tool" in told[1].content
    assert world.done == [("refund", (1, 1.0))]


def test_calls_fanned_out_by_send_ask_each_for_itself() -> None:
    world = World()
    builder = StateGraph(State)
    builder.add_node("tools", world.node())

    def fan(state: Any) -> list[Send]:
        made = state["messages"][-1].tool_calls
        return [Send("tools", {"__type": "tool_call_with_context", "tool_call": one, "state": state}) for one in made]

    builder.add_conditional_edges(START, fan, ["tools"])
    graph = builder.compile(checkpointer=InMemorySaver())
    message = asks(code("refund(order=1)", "a"), code("refund(order=2)", "b"), ("mail", {"to": "x"}, "c"))
    end = graph.invoke({"messages": [message]}, CONFIG)
    asked = {one.value["action_requests"][0]["args"].get("order", "mail"): one.id for one in end["__interrupt__"]}
    assert set(asked) == {1, 2, "mail"}
    approve, reject = {"decisions": [{"type": "approve"}]}, {"decisions": [{"type": "reject"}]}
    end = graph.invoke(Command(resume={asked[1]: reject, asked[2]: approve, asked["mail"]: approve}), CONFIG)
    assert sorted(world.done) == [("mail", ("x", "hi")), ("refund", (2, 1.0))]
    assert {one.tool_call_id: one.status for one in answers(end)} == {"a": "error", "b": "success", "c": "success"}


@both_ways
def test_in_a_subgraph(use_async: bool) -> None:
    world = World()
    builder = StateGraph(State)
    builder.add_node("inner", graph_of(world.node()))
    builder.add_edge(START, "inner")
    graph = builder.compile(checkpointer=InMemorySaver())
    message = asks(code("refund(order=1)\nrefund(order=2)"), ("mail", {"to": "x"}, "p"))
    asked = paused(call(graph, {"messages": [message]}, CONFIG, use_async=use_async))
    assert len(asked["action_requests"]) == 2
    asked = paused(call(graph, decide("approve", "reject"), CONFIG, use_async=use_async))
    assert [one["args"] for one in asked["action_requests"]] == [{"order": 2}]
    end = call(graph, decide("approve"), CONFIG, use_async=use_async)
    assert [one.status for one in answers(end)] == ["success", "error"]
    assert world.done == [("refund", (1, 1.0)), ("refund", (2, 1.0))]


@both_ways
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_with_a_journal_of_the_user_s_own(kind: str, use_async: bool, tmp_path: Any) -> None:
    world = World()
    journal = MemoryJournal() if kind == "memory" else SqliteJournal(tmp_path / "j")
    saver = InMemorySaver()
    message = asks(code("refund(order=1)\nrefund(order=2)"), ("mail", {"to": "x"}, "p"))
    end = call(
        graph_of(world.node(journal=journal), checkpointer=saver), {"messages": [message]}, CONFIG, use_async=use_async
    )
    for decisions in (["approve", "approve"], ["approve"]):
        assert len(paused(end)["action_requests"]) == len(decisions)
        graph = graph_of(world.node(journal=journal), checkpointer=saver)
        end = call(graph, decide(*decisions), CONFIG, use_async=use_async)
    assert [one.status for one in answers(end)] == ["success", "success"]
    assert world.done == [("refund", (1, 1.0)), ("refund", (2, 1.0)), ("mail", ("x", "hi"))]
    if isinstance(journal, SqliteJournal):
        journal.close()


@both_ways
def test_two_nodes_with_one_journal_run_the_same_message_each_for_itself(use_async: bool) -> None:
    worlds, journal = [World(), World()], MemoryJournal()
    builder = StateGraph(State)
    for name, world in zip("ab", worlds, strict=True):
        builder.add_node(name, world.node(journal=journal))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    graph = builder.compile(checkpointer=InMemorySaver())
    end = call(graph, {"messages": [asks(code("orders(user='u')\nmail(to='x')"))]}, CONFIG, use_async=use_async)
    end = call(graph, decide("approve"), CONFIG, use_async=use_async)
    assert worlds[1].done == [("orders", "u")]
    call(graph, decide("reject"), CONFIG, use_async=use_async)
    assert [len(world.done) for world in worlds] == [2, 1]
    assert paused(end)["action_requests"][0]["name"] == "mail"


def events_of(graph: Any, given: Any) -> list[Any]:
    return [one for one in graph.stream(given, CONFIG, stream_mode="custom") if one["type"] != "callgate.durability"]


def test_streams_tell_what_waits_and_what_a_program_can_reach() -> None:
    world = World()
    told: list[Any] = []
    graph = world.graph(on_event=told.append)
    message = asks(code("orders(user='u')\nrefund(order=1)"), ("mail", {"to": "x"}, "p"))
    events = events_of(graph, {"messages": [message]})
    assert events[0] == {"type": "callgate.reach", "id": "c1", "tools": ["refund"], "any": False}
    assert [(one["id"], one["status"]) for one in events[1:]] == [
        ("c1/1", "started"),
        ("c1/1", "done"),
        ("c1/2", "waiting"),
        ("p", "waiting"),
    ]
    assert [one for one in told if one["type"] != "callgate.durability"] == events
    events = events_of(graph, decide("approve", "reject"))
    assert [(one["id"], one["status"]) for one in events] == [("c1/2", "started"), ("c1/2", "done")]


@pytest.mark.parametrize(
    ("program", "reachable"), [("orders(user='u')", []), ("call_tool('ord' + 'ers', user='u')", ["refund", "mail"])]
)
def test_the_artifact_names_the_gated_tools_a_program_can_reach(program: str, reachable: list[str]) -> None:
    world = World()
    (told,) = answers(world.node().invoke([asks(code(program))], outside()))
    assert told.artifact["reachable"] == reachable


@both_ways
def test_an_approved_call_runs_once_though_another_plain_call_fails(use_async: bool) -> None:
    world = World()
    tries: list[int] = []

    @tool
    def flaky() -> str:
        """Fail once."""
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("once")
        return "fine"

    @tool
    def ask(question: str) -> str:
        """Ask a human."""
        return f"human said {interrupt(question)}"

    node = codeact([*world.tools, flaky, ask], interrupt_on={"refund": True}, handle_tool_errors=False)
    graph = graph_of(node, checkpointer=InMemorySaver())
    message = asks(
        ("refund", {"order": 1}, "p"), ("mail", {"to": "x"}, "q"), ("flaky", {}, "r"), ("ask", {"question": "?"}, "s")
    )
    call(graph, {"messages": [message]}, CONFIG, use_async=use_async)
    with pytest.raises(ConnectionError):
        call(graph, decide("approve"), CONFIG, use_async=use_async)
    assert sorted(world.done) == [("mail", ("x", "hi")), ("refund", (1, 1.0))]
    assert paused(call(graph, None, CONFIG, use_async=use_async)) == "?"
    end = call(graph, Command(resume="yes"), CONFIG, use_async=use_async)
    assert [one.content for one in answers(end)] == [
        "refunded 1.0 for 1",
        "mailed x",
        "fine",
        "human said yes",
    ]
    assert sorted(world.done) == [("mail", ("x", "hi")), ("refund", (1, 1.0))]
    assert len(tries) == 2


def test_long_arguments_and_programs_are_cut_in_descriptions_only() -> None:
    world = World()
    program = f"mail(to={'x' * 9_000!r})"
    asked = paused(world.graph().invoke({"messages": [asks(code(program))]}, CONFIG))
    (action,) = asked["action_requests"]
    assert 8_000 < len(action["description"]) < 8_500
    assert "more characters, all of it is in args" in action["description"]
    assert action["args"] == {"to": "x" * 9_000}
    assert asked["callgate"]["programs"] == {"c1": program}


@pytest.mark.parametrize("saver", [None, InMemorySaver()], ids=["no checkpointer", "InMemorySaver"])
@both_ways
def test_what_a_crash_would_lose_is_told_or_refused(saver: Any, use_async: bool) -> None:
    world, told = World(), list[Any]()
    message = asks(code("orders(user='u')\nrefund(order=1)"))
    graph = graph_of(world.node(interrupt_on=None, on_event=told.append), checkpointer=saver)
    call(graph, {"messages": [message]}, CONFIG, use_async=use_async)
    (event,) = [one for one in told if one["type"] == "callgate.durability"]
    assert (event["holds"], "this process" in event["reason"]) == (False, True)
    assert world.done == [("orders", "u"), ("refund", (1, 1.0))]
    graph = graph_of(world.node(interrupt_on=None, require_durable=True), checkpointer=saver)
    other = {"configurable": {"thread_id": "other"}}
    with pytest.raises((UsageError, JournalError), match="require_durable"):
        call(graph, {"messages": [message]}, other, use_async=use_async)
    assert world.done[2:] == [("orders", "u")]


@both_ways
def test_a_journal_of_the_user_s_own_does_not_make_a_graph_durable(use_async: bool, tmp_path: Any) -> None:
    """A crash is resumed from the graph's checkpoint, wherever the lines are."""
    world, told, journal = World(), list[Any](), SqliteJournal(tmp_path / "j")
    message = asks(code("refund(order=1)"))
    given = {"interrupt_on": None, "journal": journal}
    graph = graph_of(world.node(**given, on_event=told.append), checkpointer=InMemorySaver())
    call(graph, {"messages": [message]}, CONFIG, use_async=use_async)
    (event,) = [one for one in told if one["type"] == "callgate.durability"]
    assert "InMemorySaver" in event["reason"]
    graph = graph_of(world.node(**given, require_durable=True), checkpointer=InMemorySaver())
    with pytest.raises(JournalError, match="Nothing was started"):
        call(graph, {"messages": [message]}, {"configurable": {"thread_id": "other"}}, use_async=use_async)
    assert world.done == [("refund", (1, 1.0))]
    with pytest.raises(UsageError, match="MemoryJournal ends with the process"):
        world.node(journal=MemoryJournal(), require_durable=True)
    journal.close()


@pytest.mark.parametrize("own", [False, True], ids=["checkpointer", "own journal"])
def test_durability_exit_is_told_or_refused(own: bool, tmp_path: Any) -> None:
    world, told = World(), list[Any]()
    message = asks(code("refund(order=1)"))
    given: dict[str, Any] = {"interrupt_on": None, "on_event": told.append}
    if own:
        given["journal"] = SqliteJournal(tmp_path / "j")
    with open_saver("sqlite", str(tmp_path / "saver")) as saver:
        graph = graph_of(world.node(**given), checkpointer=saver)
        graph.invoke({"messages": [message]}, CONFIG, durability="exit")
        (event,) = [one for one in told if one["type"] == "callgate.durability"]
        assert 'durability="exit"' in event["reason"]
        graph = graph_of(world.node(**given, require_durable=True), checkpointer=saver)
        other = {"configurable": {"thread_id": "other"}}
        with pytest.raises(JournalError, match='durability="exit"'):
            graph.invoke({"messages": [message]}, other, durability="exit")
        assert world.done == [("refund", (1, 1.0))]
        graph.invoke({"messages": [message]}, {"configurable": {"thread_id": "third"}}, durability="sync")
    assert len(world.done) == 2
    if own:
        given["journal"].close()


def test_no_stream_and_no_history_shows_the_journal_and_a_deleted_thread_leaves_nothing() -> None:
    world, saver = World(), InMemorySaver()
    graph = graph_of(world.node(), checkpointer=saver)
    modes = ["values", "updates", "tasks", "checkpoints", "debug", "custom", "messages"]
    seen: list[Any] = []
    for given in (
        {"messages": [asks(code("refund(order=1)"), ("mail", {"to": "x"}, "p"))]},
        decide("approve", "approve"),
    ):
        seen += graph.stream(given, CONFIG, stream_mode=modes, subgraphs=True)
    seen += [graph.get_state(CONFIG), *graph.get_state_history(CONFIG)]
    shown, stored = (str(one).replace("\\", "") for one in (seen, list(saver.writes.values())))
    for part in ('"e":"started"', '"e":"asked"', '"e":"answered"', '"prev":'):
        assert part in stored
        assert part not in shown
    saver.delete_thread("t")
    assert not any((saver.storage.get("t"), saver.writes, saver.blobs))


def test_programs_that_only_read_need_no_durability() -> None:
    world = World()
    answer = answers(world.node(require_durable=True).invoke([asks(code("orders(user='u')"))], outside()))[0]
    assert answer.content == "[1,2]"


def test_a_changed_journal_is_refused(tmp_path: Any) -> None:
    world, saver = World(), InMemorySaver()
    journal = SqliteJournal(tmp_path / "j")
    graph = graph_of(world.node(journal=journal), checkpointer=saver)
    graph.invoke({"messages": [asks(code("refund(order=1)"), ("mail", {"to": "x"}, "p"))]}, CONFIG)
    journal.close()
    for kind in ("turn", "action"):
        with sqlite3.connect(tmp_path / "j") as rows:
            found = rows.execute("SELECT key, position, line FROM callgate_journal WHERE key LIKE ?", (f"%{kind}%",))
            key, position, line = found.fetchall()[-1]
            change = "UPDATE callgate_journal SET line = ? WHERE key = ? AND position = ?"
            rows.execute(change, (line.replace('"prev":"', '"prev":"0'), key, position))
        with pytest.raises(JournalError, match="was changed"):
            graph.invoke(decide("approve", "approve"), CONFIG)
        with sqlite3.connect(tmp_path / "j") as rows:
            rows.execute(change, (line, key, position))
    journal.close()
    rows.close()
    assert "__interrupt__" not in graph.invoke(decide("approve", "approve"), CONFIG)
    journal.close()
    assert world.done == [("refund", (1, 1.0)), ("mail", ("x", "hi"))]


def test_a_journal_without_its_last_lines_is_refused(tmp_path: Any) -> None:
    world, saver = World(), InMemorySaver()
    journal = SqliteJournal(tmp_path / "j")
    graph = graph_of(world.node(journal=journal), checkpointer=saver)
    graph.invoke({"messages": [asks(code("orders(user='u')\nrefund(order=1)"))]}, CONFIG)
    journal.close()
    with sqlite3.connect(tmp_path / "j") as rows:
        of_action = "key LIKE '%action\"%' AND key NOT LIKE '%beside'"
        rows.execute(
            f"DELETE FROM callgate_journal WHERE {of_action} AND position = (SELECT max(position) FROM callgate_journal "
            f"WHERE {of_action})"
        )
    rows.close()
    with pytest.raises(JournalError, match="lines were taken away"):
        graph.invoke(decide("approve"), CONFIG)
    journal.close()
    assert world.done == [("orders", "u")]


# ---- time travel


def head(graph: Any) -> Any:
    return graph.get_state(CONFIG).config


@both_ways
@pytest.mark.parametrize("own", [False, True], ids=["checkpointer", "own journal"])
def test_the_head_entered_by_its_id_repeats_nothing(own: bool, use_async: bool, tmp_path: Any) -> None:
    world = World()
    given = {"journal": SqliteJournal(tmp_path / "j")} if own else {}
    graph = graph_of(world.node(interrupt_on={"refund": True}, **given), checkpointer=InMemorySaver())
    message = asks(code("mail(to='x')\nrefund(order=1)\nrefund(order=2)"), ("refund", {"order": 3}, "p"))
    first = paused(call(graph, {"messages": [message]}, CONFIG, use_async=use_async))
    again = paused(call(graph, None, head(graph), use_async=use_async))
    assert again["action_requests"] == first["action_requests"]
    asked = paused(call(graph, decide("approve", "reject"), CONFIG, use_async=use_async))
    assert [one["args"] for one in asked["action_requests"]] == [{"order": 2}]
    assert paused(call(graph, None, head(graph), use_async=use_async))["action_requests"] == asked["action_requests"]
    end = call(graph, decide("approve"), head(graph), use_async=use_async)
    assert [one.status for one in answers(end)] == ["success", "error"]
    assert world.done == [("mail", ("x", "hi")), ("refund", (1, 1.0)), ("refund", (2, 1.0))]
    if own:
        given["journal"].close()


@both_ways
def test_a_question_of_another_branch_is_answered_there_only(use_async: bool) -> None:
    """Going back to a node that had finished runs it as new, and asks anew."""
    world = World()
    graph = world.graph()
    message = asks(code("refund(order=1)\nrefund(order=2)"))
    call(graph, {"messages": [message]}, CONFIG, use_async=use_async)
    before = head(graph)
    call(graph, decide("approve"), CONFIG, use_async=use_async)
    call(graph, decide("approve"), CONFIG, use_async=use_async)
    assert world.done == [("refund", (1, 1.0)), ("refund", (2, 1.0))]
    asked = paused(call(graph, None, before, use_async=use_async))
    assert [one["args"] for one in asked["action_requests"]] == [{"order": 1}]
    assert len(world.done) == 2
    end = call(graph, decide("reject"), CONFIG, use_async=use_async)
    assert "ApprovalRejected" in answers(end)[0].content
    assert len(world.done) == 2
