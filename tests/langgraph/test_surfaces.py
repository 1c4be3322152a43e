"""What is chosen for a model, where that is recorded and told, and what runs of what the model then asks for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import tools_condition
from langgraph_cases import SANDBOX, TOOLS, State, add, answers, asks, call, code, codeact, echo, outside

from callgate import AutoRouter, Facts, SandboxUnavailable, Surface, UsageError
from callgate.testing.fake import FakeSandbox
from callgate.testing.models import ScriptedChatModel
from callgate_langgraph import CodeActNode, SandboxWarning

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Missing(FakeSandbox):
    """A sandbox this host does not have."""

    def check(self) -> None:
        raise SandboxUnavailable("no namespaces", missing=["user namespaces"], cure="enable them")


class Fixed:
    """A router that says one thing, and remembers what it was asked."""

    def __init__(self, kind: Any = "mixed") -> None:
        self.kind = kind
        self.asked: list[Facts] = []

    def choose(self, facts: Facts) -> Surface:
        self.asked.append(facts)
        return Surface(kind=self.kind, reason="because")


def node_of(tools: Any = TOOLS, **arguments: Any) -> CodeActNode:
    return CodeActNode(tools, **{"sandbox": SANDBOX, **arguments})


def configured(**configurable: Any) -> Any:
    return {"configurable": configurable}


def record(message: AIMessage) -> tuple[str, str]:
    found = message.response_metadata["callgate"]
    return found["surface"], found["reason"]


def bound(node: CodeActNode, *turns: Any, **arguments: Any) -> tuple[Any, ScriptedChatModel]:
    model = ScriptedChatModel(turns=list(turns))
    return node.bind_model(model, **arguments), model


@both_ways
def test_a_message_says_what_its_model_was_shown_and_why(use_async: bool) -> None:
    own = AIMessage("done", response_metadata={"model": "m"})
    model, _ = bound(node_of(), own, own, own)
    surface, reason = record(call(model, "hi", {}, use_async=use_async))
    assert surface == "code"
    assert reason.startswith("code: the tools take ")
    message = call(model, "hi", configured(callgate_mode="mixed"), use_async=use_async)
    assert record(message) == ("mixed", "mixed: set by callgate_mode")
    assert message.response_metadata["model"] == "m"
    assert own.response_metadata == {"model": "m"}


@both_ways
@pytest.mark.parametrize("mode", ["auto", "json"])
@pytest.mark.parametrize("given", [HumanMessage("hi"), None, 5], ids=["a message", "nothing", "a number"])
def test_what_is_no_input_the_model_itself_refuses(given: Any, mode: str, use_async: bool) -> None:
    model, _ = bound(node_of(mode=mode), AIMessage("done"))
    with pytest.raises(ValueError, match="Invalid input type"):
        call(model, given, {}, use_async=use_async)


def test_a_reason_names_who_set_it() -> None:
    node = node_of(mode="json", routes={"deep": "code", "free": "auto"})
    assert node.surface({}) == Surface(kind="json", reason="json: set by mode=")
    assert node.surface(configured(route="deep")).reason == "code: set for the route 'deep'"
    assert node.surface(configured(route="free")).reason.startswith("code: the tools take")


class Streaming(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


@both_ways
def test_one_chunk_of_a_stream_has_the_record(use_async: bool) -> None:
    model = node_of(mode="code").bind_model(Streaming(messages=iter([AIMessage("one two three")])))

    async def collected() -> list[Any]:
        return [one async for one in model.astream("hi")]

    chunks = asyncio.run(collected()) if use_async else list(model.stream("hi"))
    assert ["callgate" in one.response_metadata for one in chunks] == [True, *[False] * (len(chunks) - 1)]
    whole = chunks[0]
    for one in chunks[1:]:
        whole += one
    assert isinstance(whole, AIMessageChunk)
    assert (whole.content, record(whole)) == ("one two three", ("code", "code: set by mode="))


def graph_of(node: CodeActNode, model: Any, **compile_with: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile(**compile_with)


def events(chunks: Any) -> list[tuple[str, str | None]]:
    return [(one["surface"], one["route"]) for one in chunks if one["type"] == "callgate.surface"]


def test_a_surface_is_told_when_it_is_chosen_and_when_it_changes() -> None:
    told: list[Any] = []
    node = node_of(on_event=told.append)
    say = AIMessage("done")
    model, _ = bound(node, asks(code("add(a=1, b=2)")), say, say, say, say)
    graph = graph_of(node, model, checkpointer=InMemorySaver())
    thread = {"thread_id": "t"}
    given = {"messages": [HumanMessage("hi")]}

    def stream(**configurable: Any) -> list[tuple[str, str | None]]:
        return events(graph.stream(given, configured(**thread, **configurable), stream_mode="custom"))

    assert stream() == [("code", None)]
    assert stream() == []
    assert stream(callgate_mode="json", route="r") == [("json", "r")]
    assert stream() == []
    assert events(told) == [("code", None), ("json", "r")]
    assert [one["reason"] for one in told if one["type"] == "callgate.surface"][1] == "json: set by callgate_mode"


def test_outside_a_graph_on_event_is_told() -> None:
    told: list[Any] = []
    model, _ = bound(node_of(on_event=told.append), AIMessage("done"))
    model.invoke("hi")
    assert events(told) == [("code", None)]


def test_a_thread_keeps_what_it_was_shown_also_on_another_worker() -> None:
    first = node_of([add], mode="auto")
    said: list[Any] = [HumanMessage("hi")]
    model, _ = bound(first, AIMessage("done"))
    said.append(model.invoke(said, configured(callgate_mode="code")))
    said.append(HumanMessage("more"))
    for node in (first, node_of([add])):
        assert node.surface({}).kind == "json"
        assert node.surface({}, {"messages": said}).kind == "code"
        assert node.surface({}, said) == node.surface({}, {"messages": said})
        again, shown = bound(node, AIMessage("done"), AIMessage("done"))
        assert record(again.invoke(said))[0] == "code"
        assert record(again.invoke(ChatPromptValue(messages=said)))[0] == "code"
        assert shown.tools_seen() == [["execute_code"]] * 2


def test_what_another_node_was_shown_is_not_kept() -> None:
    other, _ = bound(node_of(mode="code"), AIMessage("done"))
    said = [HumanMessage("hi"), other.invoke("hi"), HumanMessage("more")]
    assert node_of([add]).surface({}, said).kind == "json"
    told: list[Any] = []
    model, _ = bound(node_of([add], on_event=told.append, mode="code"), AIMessage("done"))
    model.invoke(said)
    assert events(told) == [("code", None)]


@both_ways
def test_a_thread_is_switched_once_when_its_turns_show_that_it_pays(use_async: bool) -> None:
    @tool
    def look(n: int) -> str:
        """Look at one."""
        return "x" * 400

    def next_turn(messages: list[Any], tools: list[Any]) -> AIMessage:
        done = [one.name for one in messages[[one.type for one in messages].index("human") :]]
        asked = len(messages) - max(at for at, one in enumerate(messages) if isinstance(one, HumanMessage)) - 1
        if "execute_code" in [one["function"]["name"] for one in tools]:
            return AIMessage("done") if asked else asks(code("len([look(n=n) for n in range(12)])", f"c{len(done)}"))
        return AIMessage("done") if asked >= 24 else asks(("look", {"n": asked}, f"p{len(messages)}"))

    node = node_of([look])
    model, _ = bound(node, *[next_turn] * 200)
    graph = graph_of(node, model, checkpointer=InMemorySaver())
    config = {**configured(thread_id="t"), "recursion_limit": 60}
    shown = []
    for _ in range(6):
        end = call(graph, {"messages": [HumanMessage("all?")]}, config, use_async=use_async)
        shown.append(record(end["messages"][-1])[0])
    assert shown[0] == "json"
    assert shown[-1] == "mixed"
    assert shown == sorted(shown)  # one switch
    within = [record(one)[0] for one in end["messages"] if isinstance(one, AIMessage)]
    assert within == sorted(within)
    assert "as many turns again would cost" in next(
        record(one)[1] for one in end["messages"] if isinstance(one, AIMessage) and record(one)[0] == "mixed"
    )
    assert end["messages"][-2].content == "12"


def test_a_router_is_given_the_facts_and_its_word_is_shown() -> None:
    router = Fixed("mixed")
    node = node_of([add, echo], router=router)
    model, seen = bound(node, AIMessage("done"), AIMessage("done"))
    message = model.invoke([SystemMessage("be kind"), HumanMessage("hi")], configured(route="r"))
    assert record(message) == ("mixed", "because")
    assert seen.tools_seen() == [["add", "echo", "execute_code"]]
    (facts,) = router.asked
    assert [(one.role, one.text) for one in facts.messages] == [("system", "be kind"), ("user", "hi")]
    assert (facts.route, facts.excluded) == ("r", {})
    assert facts.definitions["json"] < facts.definitions["mixed"]
    assert set(facts.definitions) == {"json", "code", "mixed"}
    model.invoke("hi", configured(callgate_mode="json"))
    assert len(router.asked) == 1


def test_a_route_told_by_a_function_is_a_fact() -> None:
    router = Fixed("json")
    node = node_of(router=router, route=lambda state, config: state["last"])
    node.surface({}, {"last": "numbers"})
    assert router.asked[0].route == "numbers"


@pytest.mark.parametrize("word", ["fast", "mixed"])
def test_a_router_may_only_choose_what_can_be_shown(word: str) -> None:
    with pytest.warns(SandboxWarning):
        node = node_of(router=Fixed(word), sandbox=Missing())
    with pytest.raises(UsageError, match="give a Surface of json"):
        node.surface({})


def test_without_a_sandbox_the_reason_says_so() -> None:
    with pytest.warns(SandboxWarning):
        node = node_of(sandbox=Missing())
    assert node.surface({}) == Surface(kind="json", reason="json: this host cannot run programs")


@pytest.mark.parametrize("mode", ["auto", "code"])
def test_a_model_that_writes_no_code_is_shown_plain_tools_unless_code_is_set(mode: str) -> None:
    model, seen = bound(node_of(mode=mode), AIMessage("done"), writes_code=False)
    surface, reason = record(model.invoke("hi"))
    assert surface == ("json" if mode == "auto" else "code")
    if mode == "auto":
        assert reason == "json: the model is bound as one that writes no code"
        assert seen.tools_seen() == [[one.name for one in TOOLS]]


@tool(extras={"allowed_callers": ["programmatic"]})
def by_program() -> str:
    """Only for programs."""
    return "by a program"


def test_tools_for_programs_only_rule_plain_tools_out() -> None:
    router = Fixed("mixed")
    node = node_of([add, by_program], router=router)
    node.surface({})
    assert router.asked[0].excluded == {"json": "only programs may call by_program"}
    assert node_of([add, by_program]).surface({}).kind in ("code", "mixed")
    model, seen = bound(node, AIMessage("a"), AIMessage("b"), AIMessage("c"))
    for mode in ("json", "code", "mixed"):
        model.invoke("hi", configured(callgate_mode=mode))
    assert seen.tools_seen() == [["add"], ["execute_code"], ["add", "execute_code"]]
    with pytest.warns(SandboxWarning):
        alone = node_of([add, by_program], sandbox=Missing())
    assert alone.surface({}).kind == "json"
    plain, _ = bound(node_of([add, by_program]), AIMessage("done"), writes_code=False)
    assert record(plain.invoke("hi"))[0] == "json"


@pytest.mark.parametrize("mode", ["code", "auto"])
def test_a_tool_choice_that_code_does_not_show_is_recorded_as_json(mode: str) -> None:
    model, seen = bound(node_of(mode=mode), AIMessage("done"), tool_choice="add")
    surface, reason = record(model.invoke("hi"))
    if mode == "code":
        assert (surface, reason) == ("json", "json: tool_choice names add")
    else:
        assert surface in ("json", "mixed")
    assert "add" in seen.tools_seen()[0]


@both_ways
def test_on_the_mixed_surface_programs_and_plain_calls_run(use_async: bool) -> None:
    node = node_of(mode="mixed")
    message = asks(code("add(a=1, b=2) * 2"), ("add", {"a": 4, "b": 5}, "p"))
    assert [one.content for one in answers(call(node, [message], outside(), use_async=use_async))] == ["6", "9"]


@both_ways
def test_on_the_code_surface_a_plain_call_runs_all_the_same(use_async: bool) -> None:
    message = asks(("add", {"a": 4, "b": 5}, "p"))
    assert answers(call(codeact([add]), [message], outside(), use_async=use_async))[0].content == "9"


def shown(message: AIMessage, kind: str) -> AIMessage:
    return message.model_copy(update={"response_metadata": {"callgate": {"surface": kind, "reason": "r"}}})


@both_ways
@pytest.mark.parametrize("kind", ["json", "code", "mixed"])
def test_a_program_runs_where_its_model_was_shown_that_it_may_write_one(kind: str, use_async: bool) -> None:
    for tools in (TOOLS, [add]):  # code, and json, for a new thread
        message = shown(asks(code("add(a=1, b=2) * 2")), kind)
        (answer,) = answers(call(node_of(tools), {"messages": [message]}, outside(), use_async=use_async))
        ran = answer.content == "6"
        assert ran == (kind != "json")
        assert ran or "execute_code is not a valid tool" in answer.content


def test_what_is_set_goes_before_the_record() -> None:
    node = node_of()
    refused = node.invoke([shown(asks(code("1 + 1")), "code")], outside(callgate_mode="json"))
    assert "not a valid tool" in refused[0].content
    ran = node.invoke([shown(asks(code("1 + 1")), "json")], outside(callgate_mode="mixed"))
    assert ran[0].content == "2"


def test_a_program_from_elsewhere_is_no_tool_on_a_host_without_a_sandbox() -> None:
    with pytest.warns(SandboxWarning):
        node = node_of(sandbox=Missing())
    (answer,) = node.invoke([shown(asks(code("1 + 1")), "code")], outside())
    assert isinstance(answer, ToolMessage)
    assert "not a valid tool" in answer.content


def test_a_program_without_a_record_runs_where_code_would_be_shown() -> None:
    assert node_of().invoke([asks(code("1 + 1"))], outside())[0].content == "2"
    assert "not a valid tool" in node_of([add]).invoke([asks(code("1 + 1"))], outside())[0].content


@both_ways
def test_a_program_without_a_record_runs_where_the_messages_before_it_show_code(use_async: bool) -> None:
    class ByMessages:
        def choose(self, facts: Facts) -> Surface:
            return Surface(kind="code" if len(facts.messages) == 1 else "json", reason="because")

    node = node_of(router=ByMessages())
    model, _ = bound(node, asks(code("add(a=1, b=2)")))

    def say(state: Any) -> Any:
        said = model.invoke(state["messages"])
        return {"messages": [AIMessage(said.content, tool_calls=said.tool_calls)]}  # the record is lost

    builder: Any = StateGraph(State)
    builder.add_node("model", say)
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    (answer,) = answers(call(builder.compile(), {"messages": [HumanMessage("hi")]}, {}, use_async=use_async))
    assert answer.content == "3"


def test_the_default_router_goes_by_tokens() -> None:
    node = node_of(router=AutoRouter())
    assert node.surface({}) == node_of().surface({})
