"""CodeActMiddleware: an agent of create_agent writes programs; in json mode it is the agent it was."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import AgentMiddleware, ToolErrorMiddleware, ToolRetryMiddleware, wrap_model_call
from langchain.agents.structured_output import ToolStrategy
from langchain_agents import CONFIG, GO, Noting, agent_of, code_act, go, model_of, told
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph_cases import (
    TOOLS,
    add,
    asks,
    broken,
    call_id,
    code,
    from_store,
    hand_over,
    of_runtime,
    recall,
    refusing,
    remember,
    rows,
    several,
    whole_state,
)
from pydantic import BaseModel

from callgate import UsageError
from callgate.history import SurfaceKind
from callgate.router import Facts, Surface
from callgate.testing import FakeSandbox, ScriptedChatModel

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Choosing:
    """A router that chooses one surface after the other."""

    def __init__(self, *kinds: SurfaceKind) -> None:
        self.kinds, self.facts = list(kinds), list[Facts]()

    def choose(self, facts: Facts) -> Surface:
        self.facts.append(facts)
        kind = self.kinds.pop(0)
        return Surface(kind=kind if kind in facts.definitions else "json", reason=f"{kind}: it is its turn")


def record(message: AIMessage) -> Any:
    return message.response_metadata.get("callgate")


def surfaces(state: Any) -> list[str | None]:
    return [(record(one) or {}).get("surface") for one in state["messages"] if isinstance(one, AIMessage)]


# ---- programs


@both_ways
def test_a_program_calls_the_agents_tools_and_is_given_raw_values(use_async: bool) -> None:
    model = model_of(asks(code("found = rows(count=3)\nadd(a=len(found), b=found[2]['id'])")))
    state = go(agent_of(model, [add, rows]), use_async=use_async)
    assert told(state) == ["5"]
    assert model.tools_seen() == [["execute_code"], ["execute_code"]]
    assert surfaces(state) == ["code", "code"]


@both_ways
def test_what_a_tool_is_given_is_what_a_plain_call_is_given(use_async: bool) -> None:
    store = InMemoryStore()
    store.put(("things",), "k", {"v": 1})
    program = "[whole_state(), call_id(), of_runtime(x=1), from_store(key='k')]"
    agent = agent_of(
        model_of(asks(code(program))), [whole_state, call_id, of_runtime, from_store], agent={"store": store}
    )
    state = go(agent, use_async=use_async)
    tools = '["call_id","from_store","of_runtime","whole_state"]'
    assert told(state) == [f'[2,"c1/2",{{"id":"c1/3","thread":"t","tools":{tools},"x":1}},{{"v":1}}]']


@both_ways
def test_what_tools_raise_a_program_catches_without_private_detail(use_async: bool) -> None:
    program = "for one in (lambda: broken(secret='s'), refusing):\n    try:\n        one()\n    except ToolFailed as e:\n        print(e)"
    (text,) = told(go(agent_of(model_of(asks(code(program))), [broken, refusing]), use_async=use_async))
    assert "no rows left" in text
    assert "/home/me" not in text


@both_ways
def test_middleware_inside_sees_every_call_of_a_program_and_not_the_program(use_async: bool) -> None:
    noting = Noting()
    model = model_of(asks(code("add(a=1, b=2)\nrows(count=1)"), ("add", {"a": 1, "b": 1}, "p1")))
    go(agent_of(model, [add, rows], noting, mode="mixed"), use_async=use_async)
    assert sorted(noting.seen) == [("add", "c1/1"), ("add", "p1"), ("rows", "c1/2")]


@both_ways
def test_a_retry_repeats_only_the_call_that_failed(use_async: bool) -> None:
    ran: list[int] = []

    @tool
    def flaky(n: int) -> int:
        """Fail twice."""
        ran.append(n)
        if ran.count(2) in (1, 2) and n == 2:
            raise TimeoutError("busy")
        return n

    retry = ToolRetryMiddleware(max_retries=3, initial_delay=0, jitter=False)
    state = go(agent_of(model_of(asks(code("[flaky(n=1), flaky(n=2)]"))), [flaky], retry), use_async=use_async)
    assert told(state) == ["[1,2]"]
    assert ran == [1, 2, 2, 2]


@both_ways
def test_what_a_middleware_says_of_an_error_the_program_reads(use_async: bool) -> None:
    program = "try:\n    broken(secret='s')\nexcept ToolFailed as e:\n    print(e)"
    middleware = ToolErrorMiddleware(lambda raised, _: f"told: {type(raised).__name__}")
    state = go(agent_of(model_of(asks(code(program))), [broken], middleware), use_async=use_async)
    assert "told: ValueError" in told(state)[0]


@both_ways
def test_a_middleware_may_answer_in_the_place_of_a_tool(use_async: bool) -> None:
    class Answering(AgentMiddleware):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return ToolMessage("7", tool_call_id=request.tool_call["id"])

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return ToolMessage("8", tool_call_id=request.tool_call["id"])

    state = go(agent_of(model_of(asks(code("add(a=1, b=2)"))), [add], Answering()), use_async=use_async)
    assert told(state) == ['"8"' if use_async else '"7"']


@both_ways
def test_the_tools_of_other_middleware_are_tools_of_programs(use_async: bool) -> None:
    class Bringing(AgentMiddleware):
        tools = [add]  # noqa: RUF012 - as LangChain has it

    state = go(agent_of(model_of(asks(code("add(a=1, b=2)"))), [rows], Bringing()), use_async=use_async)
    assert told(state) == ["3"]


def test_a_tool_keeps_what_it_writes_to_itself() -> None:
    from langchain_core.tools import BaseTool

    class Counting(BaseTool):
        name: str = "count"
        description: str = "Count."
        calls: int = 0

        def _run(self) -> int:
            self.calls += 1
            return self.calls

    counting = Counting()
    assert told(go(agent_of(model_of(asks(code("[count(), count()]"))), [counting]), use_async=False)) == ["[1,2]"]
    assert counting.calls == 2


def test_what_a_program_calls_is_no_answer_of_the_agent() -> None:
    final = tool(return_direct=True)(add.func)
    model = model_of(asks(code("add(a=1, b=2)")))
    state = go(agent_of(model, [final]), use_async=False)
    assert told(state) == ["3"]
    assert state["messages"][-1].content == "done"


@both_ways
def test_an_agent_is_a_part_of_another_graph(use_async: bool) -> None:
    agent = agent_of(model_of(asks(code("add(a=1, b=2)"))), [add], agent={"name": "adder"})
    builder: Any = StateGraph(AgentState)
    builder.add_node("adder", agent)
    builder.add_edge(START, "adder")
    assert told(go(builder.compile(checkpointer=InMemorySaver()), use_async=use_async)) == ["3"]


# ---- Commands


class Kept(AgentState[Any]):
    last: Any
    total: Annotated[int, lambda left, right: (left or 0) + right]
    log: Annotated[list[str], lambda left, right: [*(left or []), *right]]


@both_ways
def test_updates_of_tools_are_seen_by_later_calls_and_become_the_agents(use_async: bool) -> None:
    program = "remember(value=2)\nremember(value=3)\nseveral()\nrecall()"
    agent = agent_of(model_of(asks(code(program))), [remember, recall, several], agent={"state_schema": Kept})
    state = go(agent, use_async=use_async)
    kept = {"last": 3, "total": 5, "log": ["remember 2", "remember 3", "several"]}
    assert {key: state[key] for key in kept} == kept
    assert '"total":5' in told(state)[0]
    assert [one.tool_call_id for one in state["messages"] if isinstance(one, ToolMessage)] == ["c1"]


@both_ways
def test_a_program_hands_over_to_another_agent(use_async: bool) -> None:
    agent = agent_of(model_of(asks(code("hand_over(agent='other')"))), [hand_over])
    builder: Any = StateGraph(AgentState)
    builder.add_node("one", agent, destinations=("other",))
    builder.add_node("other", lambda state: {"messages": [AIMessage("other here")]})
    builder.add_edge(START, "one")
    state = go(builder.compile(checkpointer=InMemorySaver()), use_async=use_async)
    assert [one.type for one in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert told(state) == ['"over to other"']
    assert state["messages"][-1].content == "other here"


@both_ways
def test_structured_output_is_asked_for_beside_code(use_async: bool) -> None:
    class Sum(BaseModel):
        """The sum."""

        value: int

    model = ScriptedChatModel(turns=[asks(code("add(a=1, b=2)")), asks(("Sum", {"value": 3}, "s1"))])
    state = go(agent_of(model, [add], agent={"response_format": ToolStrategy(Sum)}), use_async=use_async)
    assert model.tools_seen() == [["execute_code", "Sum"]] * 2
    assert state["structured_response"] == Sum(value=3)
    assert surfaces(state) == ["code", "code"]


# ---- json


def plain_text(message: Any) -> dict[str, Any]:
    fields = message.model_dump()
    return {key: value for key, value in fields.items() if key != "id" or value == "go"}


JSON_TURNS = (
    asks(("add", {"a": 1, "b": 2}, "p1"), ("remember", {"value": 3}, "p2")),
    asks(("nowhere", {}, "p3"), ("add", {"a": "x", "b": 2}, "p4"), ("of_runtime", {"x": 1}, "p5")),
    asks(code("add(a=1, b=2)", "p6")),
    asks(("rows", {"count": 2}, "p7"), ("several", {}, "p8")),
)


@both_ways
def test_in_json_mode_nothing_about_the_agent_changes(use_async: bool) -> None:
    agent = {"state_schema": Kept, "system_prompt": "be brief", "checkpointer": InMemorySaver()}
    noting, alone = Noting(), Noting()
    ours, theirs = model_of(*JSON_TURNS), model_of(*JSON_TURNS)
    with_it = create_agent(ours, TOOLS, middleware=[code_act(mode="json"), noting], **agent)
    agent["checkpointer"] = InMemorySaver()
    without = create_agent(theirs, TOOLS, middleware=[alone], **agent)
    one, other = go(with_it, use_async=use_async), go(without, use_async=use_async)
    assert list(map(plain_text, one["messages"])) == list(map(plain_text, other["messages"]))
    assert len(one["messages"]) == 14
    assert {key: one[key] for key in ("last", "total", "log")} == {key: other[key] for key in ("last", "total", "log")}
    assert ours.tools_seen() == theirs.tools_seen()
    assert [list(map(plain_text, messages)) for messages, _ in ours.seen] == [
        list(map(plain_text, messages)) for messages, _ in theirs.seen
    ]
    assert sorted(noting.seen) == sorted(alone.seen)


def test_a_raising_tool_raises_as_without_the_middleware() -> None:
    turns = asks(("broken", {"secret": "s"}, "p1"))
    for middleware in ([], [code_act(mode="json")], [code_act()]):
        with pytest.raises(ValueError, match="cannot open"):
            go(create_agent(model_of(turns), [broken], middleware=middleware), use_async=False)


def test_the_toggle_and_the_route_set_the_surface_of_a_run() -> None:
    turns = [AIMessage("one")]
    for configurable, shown in (
        ({}, ["execute_code"]),
        ({"callgate_mode": "json"}, ["add"]),
        ({"callgate_mode": "mixed"}, ["add", "execute_code"]),
        ({"route": "billing"}, ["add"]),
    ):
        model = model_of(*turns)
        agent = agent_of(model, [add], routes={"billing": "json"})
        go(agent, config={"configurable": configurable}, use_async=False)
        assert model.tools_seen() == [shown]


@both_ways
def test_programs_of_a_route_run_in_its_sandbox(use_async: bool) -> None:
    class Cloud(FakeSandbox):
        name = "cloud"

    events: list[Any] = []
    agent = agent_of(
        model_of(asks(code("x = add(a=3, b=4)\nx + 1"))),
        [add],
        sandboxes={"analytics": Cloud()},
        on_event=events.append,
    )
    assert told(go(agent, config={"configurable": {"route": "analytics"}}, use_async=use_async)) == ["8"]
    assert [one["sandbox"] for one in events if one["type"] == "callgate.sandbox"] == ["cloud"]


# ---- what the router says


@both_ways
def test_the_router_is_asked_each_turn_and_the_message_says_what_it_chose(use_async: bool) -> None:
    router, events = Choosing("json", "code", "mixed"), list[Any]()
    model = model_of(asks(("add", {"a": 1, "b": 2}, "p1")), asks(code("add(a=3, b=4)")))
    agent = agent_of(model, [add], mode="auto", router=router, on_event=events.append)
    state = go(agent, use_async=use_async)
    assert surfaces(state) == ["json", "code", "mixed"]
    assert model.tools_seen() == [["add"], ["execute_code"], ["add", "execute_code"]]
    assert told(state) == ["3", "7"]
    assert [message.surface for message in router.facts[2].messages if message.role == "assistant"] == ["json", "code"]
    assert [one["surface"] for one in events if one["type"] == "callgate.surface"] == ["json", "code", "mixed"]


def test_the_custom_stream_is_told_of_the_surface_and_of_calls() -> None:
    agent = agent_of(model_of(asks(code("add(a=3, b=4)"))), [add])
    told_of = [one["type"] for one in agent.stream(GO, CONFIG, stream_mode="custom")]
    assert told_of[0] == "callgate.surface"
    assert "callgate.call" in told_of


def test_a_model_that_writes_no_code_is_shown_json_in_auto_alone() -> None:
    for mode, shown in (("auto", ["add"]), ("code", ["execute_code"])):
        model, router = model_of(), Choosing("code")
        go(agent_of(model, [add], mode=mode, writes_code=False, router=router), use_async=False)
        assert model.tools_seen() == [shown]


@pytest.mark.parametrize("mode", ["code", "mixed"])
def test_a_turn_on_which_tools_are_hidden_is_json(mode: str) -> None:
    @wrap_model_call
    def hiding(request: Any, handler: Any) -> Any:
        return handler(request.override(tools=[one for one in request.tools if one.name != "rows"]))

    model = model_of(asks(code("rows(count=1)")))
    agent = create_agent(model, [add, rows], middleware=[hiding, code_act(mode=mode)])
    state = go(agent, use_async=False)
    assert model.tools_seen() == [["add"], ["add"]]
    assert told(state) == ["Error: execute_code is not a valid tool, try one of [add, rows]."]  # it wrote one anyway
    assert record(state["messages"][1])["reason"] == "json: other middleware hides rows on this turn"


def test_tools_of_a_provider_are_always_shown() -> None:
    search = {"type": "function", "function": {"name": "web_search", "description": "", "parameters": {}}}
    for mode, shown in (("code", ["execute_code", "web_search"]), ("mixed", ["add", "web_search", "execute_code"])):
        model = model_of()
        go(agent_of(model, [add, search], mode=mode), use_async=False)
        assert model.tools_seen() == [shown]


def test_a_tool_choice_that_code_cannot_follow_is_followed_in_json() -> None:
    @wrap_model_call
    def choosing(request: Any, handler: Any) -> Any:
        return handler(request.override(tool_choice="add"))

    model = model_of()
    go(create_agent(model, [add], middleware=[choosing, code_act()]), use_async=False)
    assert model.tools_seen() == [["add"]]


@both_ways
def test_a_tool_for_programs_only_is_not_shown_and_not_called_plainly(use_async: bool) -> None:
    only_code = tool(extras={"allowed_callers": ["code_execution_20260120"]})(add.func)
    model = model_of(asks(("add", {"a": 1, "b": 2}, "p1"), ("rows", {"count": 1}, "p2")))
    state = go(agent_of(model, [only_code, rows], mode="json"), use_async=use_async)
    assert model.tools_seen()[0] == ["rows"]
    assert "only a program may call it" in told(state)[0]


# ---- what it costs


def test_the_ledger_counts_each_program_once() -> None:
    middleware = code_act()
    model = model_of(asks(code("add(a=1, b=2)", "c1"), code("add(a=3, b=4)", "c2")))
    go(create_agent(model, [add], middleware=[middleware]), use_async=False)
    assert middleware.ledger.total.actions == 2


def test_without_an_agent_it_says_what_to_do() -> None:
    class Request:
        runtime = tool_call = state = None

    with pytest.raises(UsageError, match="give it to langchain"):
        code_act().wrap_tool_call(Request(), lambda _: None)  # type: ignore[arg-type]
