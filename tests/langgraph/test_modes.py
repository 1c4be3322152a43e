"""Which surface the model is shown, and what it is bound with."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import tools_condition
from langgraph_cases import SANDBOX, TOOLS, State, add, answers, asks, call, code, codeact, outside

from callgate import Journal, MemoryJournal, SandboxUnavailable, SqliteJournal, UsageError
from callgate.errors import SandboxLost
from callgate.testing.fake import FakeSandbox
from callgate.testing.models import ScriptedChatModel
from callgate_langgraph import CodeActNode, SandboxWarning

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Missing(FakeSandbox):
    """A sandbox this host does not have."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.checks = 0
        self.error = error or SandboxUnavailable("no namespaces", missing=["user namespaces"], cure="enable them")

    def check(self) -> None:
        self.checks += 1
        raise self.error


def node_of(**arguments: Any) -> CodeActNode:
    return CodeActNode(TOOLS, **{"sandbox": SANDBOX, **arguments})


def configured(**configurable: Any) -> Any:
    return {"configurable": configurable}


def test_auto_shows_code_where_it_is_shorter() -> None:
    assert node_of().surface({}).kind == "code"
    assert CodeActNode([add], sandbox=SANDBOX).surface({}).kind == "json"
    assert CodeActNode([], sandbox=SANDBOX).surface({}).kind == "json"


@pytest.mark.parametrize("mode", ["json", "code", "mixed"])
def test_a_mode_is_what_the_model_is_shown(mode: str) -> None:
    assert node_of(mode=mode).surface({}).kind == mode


def test_the_toggle_of_an_invocation_goes_before_routes_and_those_before_the_mode() -> None:
    node = node_of(mode="json", routes={"analytics": "code"})
    assert node.surface(configured()).kind == "json"
    assert node.surface(configured(route="analytics")).kind == "code"
    assert node.surface(configured(route="other")).kind == "json"
    assert node.surface(configured(route="analytics", callgate_mode="json")).kind == "json"
    assert node.surface(configured(callgate_mode="code")).kind == "code"


@pytest.mark.parametrize("route", [5, ["analytics"], {"analytics": "code"}])
def test_a_route_is_a_name_where_there_are_routes(route: Any) -> None:
    told = "give the name of a route, or None"
    with pytest.raises(UsageError, match=told):
        node_of(routes={"analytics": "code"}).surface(configured(route=route))
    with pytest.raises(UsageError, match=told):
        node_of(route=lambda state, config: route).surface({})
    assert node_of(mode="mixed").surface(configured(route=route)).kind == "mixed"  # it means nothing to this node


def test_a_route_may_be_told_by_a_function() -> None:
    seen: list[Any] = []

    def route(state: Any, config: Any) -> str:
        seen.append(state)
        return "analytics" if state["last"] == "numbers" else "other"

    node = node_of(mode="json", routes={"analytics": "code"}, route=route)
    assert node.surface({}, {"last": "numbers"}).kind == "code"
    assert node.surface({}, {"last": "words"}).kind == "json"
    assert seen == [{"last": "numbers"}, {"last": "words"}]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"mode": "fast"}, "mode 'fast'"),
        ({"routes": {"a": "quick"}}, "mode 'quick'"),
        ({"interrupt_on": {"nope": True}}, "interrupt_on names 'nope'"),
        ({"interrupt_on": {"add": {"allowed_decisions": ["agree"]}}}, "allowed_decisions are of"),
        ({"journal": "journal.sqlite"}, "SqliteJournal"),
        ({"effects": {"nope": "read"}}, "effects names nope"),
        ({"effects": {"add": "bad"}}, "effect is one of"),
        ({"sandbox": "docker"}, "sandbox='docker'"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        node_of(**arguments)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_given_journal_keeps_the_actions(kind: str, tmp_path: Any) -> None:
    journal = MemoryJournal() if kind == "memory" else SqliteJournal(tmp_path / "journal")
    answer = answers(codeact([add], journal=journal).invoke([asks(code("add(a=1, b=2)"))], outside()))[0]
    kept = Journal(journal.read(answer.artifact["journal_key"]))
    assert kept.head == answer.artifact["journal_head"]
    assert "journal" not in answer.artifact
    if isinstance(journal, SqliteJournal):
        journal.close()


def test_a_tool_called_execute_code_is_refused() -> None:
    @tool
    def execute_code(code: str) -> str:
        """Clash."""
        return code

    with pytest.raises(UsageError, match="rename it"):
        node_of().__class__([execute_code], sandbox=SANDBOX)


def test_an_unknown_toggle_is_refused() -> None:
    node = node_of()
    with pytest.raises(UsageError, match="'quick'"):
        node.surface(configured(callgate_mode="quick"))
    with pytest.raises(UsageError, match="'quick'"):
        node.invoke([asks(code("1"))], outside(callgate_mode="quick"))


def test_without_a_sandbox_auto_stays_json_with_one_warning() -> None:
    sandbox = Missing()
    with pytest.warns(SandboxWarning, match=r"no namespaces \(enable them\)") as warned:
        node = node_of(sandbox=sandbox)
    assert node.surface({}).kind == "json"  # a second warning would be an error
    assert node.surface(configured(callgate_mode="auto")).kind == "json"
    node.invoke([asks(("add", {"a": 1, "b": 2}, "1"))], outside())
    assert len(warned) == 1
    assert sandbox.checks == 1
    assert issubclass(SandboxWarning, RuntimeWarning)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("arguments", [{"mode": "code"}, {"mode": "mixed"}, {"mode": "json", "routes": {"a": "code"}}])
@pytest.mark.parametrize("error", [None, SandboxLost("ended")])
def test_without_a_sandbox_code_raises_when_the_node_is_built(arguments: Any, error: Any) -> None:
    with pytest.raises(SandboxUnavailable):
        node_of(sandbox=Missing(error), **arguments)


def test_without_a_sandbox_a_toggle_to_code_raises() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        node = node_of(sandbox=Missing(), mode="json")
    with pytest.raises(SandboxUnavailable):
        node.surface(configured(callgate_mode="code"))
    with pytest.raises(SandboxUnavailable):
        node.invoke([asks(code("1"))], outside(callgate_mode="code"))


def test_a_node_in_json_mode_never_starts_the_sandbox() -> None:
    sandbox = Missing()
    node = node_of(sandbox=sandbox, mode="json")
    node.bind_model(ScriptedChatModel(turns=[]))
    node.invoke([asks(("add", {"a": 1, "b": 2}, "1"))], outside())
    assert sandbox.checks == 0


def say(text: str = "done") -> AIMessage:
    return AIMessage(text)


@both_ways
def test_the_model_is_bound_with_the_tools_of_each_call(use_async: bool) -> None:
    model = ScriptedChatModel(turns=[say(), say(), say()])
    bound = node_of(mode="code").bind_model(model)
    for config in ({}, configured(callgate_mode="json"), configured(callgate_mode="code")):
        call(bound, [HumanMessage("hi")], config, use_async=use_async)
    names = [one.name for one in TOOLS]
    assert model.tools_seen() == [["execute_code"], names, ["execute_code"]]
    definition = model.seen[0][1][0]["function"]
    assert definition["parameters"]["required"] == ["code"]
    assert "def add(a: int, b: int) -> int" in definition["description"]


def test_plain_tools_are_shown_exactly_as_bind_tools_shows_them() -> None:
    ours, theirs = ScriptedChatModel(turns=[say()]), ScriptedChatModel(turns=[say()])
    node_of(mode="json").bind_model(ours).invoke("hi")
    theirs.bind_tools(TOOLS).invoke("hi")
    assert ours.seen[0][1] == theirs.seen[0][1]


def test_tools_only_the_model_may_call_stay_plain_beside_code() -> None:
    @tool(extras={"allowed_callers": ["direct"]})
    def by_hand() -> str:
        """Only by hand."""
        return "by hand"

    model = ScriptedChatModel(turns=[say()])
    node = codeact([add, by_hand])
    node.bind_model(model).invoke("hi")
    assert model.tools_seen() == [["execute_code", "by_hand"]]
    assert answers(node.invoke([asks(("by_hand", {}, "1"))], outside()))[0].content == "by hand"


CHOICES = ["add", {"type": "function", "function": {"name": "add"}}, {"type": "tool", "name": "add"}]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_tool_choice_of_a_plain_tool_is_bound_plain(choice: Any) -> None:
    model = ScriptedChatModel(turns=[say()])
    node_of(mode="code").bind_model(model, tool_choice=choice).invoke("hi")
    assert "add" in model.tools_seen()[0]


@pytest.mark.parametrize("choice", ["any", "required", "auto", None, "execute_code"])
def test_other_tool_choices_are_passed_on(choice: Any) -> None:
    seen: list[Any] = []

    class Watching(ScriptedChatModel):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            seen.append(kwargs.get("tool_choice"))
            return super()._generate(messages, stop, run_manager, **kwargs)

    bound = node_of(mode="code").bind_model(Watching(turns=[say(), say()]), tool_choice=choice)
    bound.invoke("hi")
    bound.invoke("hi", configured(callgate_mode="json"))
    assert seen == [choice, None if choice == "execute_code" else choice]


class Streaming(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def test_the_bound_model_streams() -> None:
    bound = node_of(mode="code").bind_model(Streaming(messages=iter([say("one two three")])))
    assert [one.content for one in bound.stream("hi") if one.content.strip()] == ["one", "two", "three"]


def test_the_bound_model_streams_async() -> None:
    async def chunks() -> list[Any]:
        bound = node_of(mode="code").bind_model(Streaming(messages=iter([say("one two three")])))
        return [one.content async for one in bound.astream("hi") if one.content.strip()]

    assert asyncio.run(chunks()) == ["one", "two", "three"]


def test_the_bound_model_works_in_batches() -> None:
    model = ScriptedChatModel(turns=[say("a"), say("a")])
    bound = node_of(mode="code").bind_model(model)
    assert [one.content for one in bound.batch(["hi", "ho"], configured(callgate_mode="json"))] == ["a", "a"]
    assert len(model.tools_seen()[0]) == len(TOOLS)


def agent(node: CodeActNode, model: Any, *, pass_config: bool) -> Any:
    """Return the graph of the two-line swap."""
    llm = node.bind_model(model)
    builder = StateGraph(State)
    if pass_config:
        builder.add_node("model", lambda state, config: {"messages": [llm.invoke(state["messages"], config)]})
    else:
        builder.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


@pytest.mark.parametrize("pass_config", [True, False])
@both_ways
def test_the_two_line_swap(pass_config: bool, use_async: bool) -> None:
    node = node_of(routes={"plain": "json"})
    script = [asks(code("sum(row['id'] for row in rows(count=4))")), lambda messages, tools: say(messages[-1].content)]
    model = ScriptedChatModel(turns=script)
    end = call(
        agent(node, model, pass_config=pass_config), {"messages": [HumanMessage("sum?")]}, {}, use_async=use_async
    )
    assert end["messages"][-1].content == "6"
    assert model.tools_seen() == [["execute_code"], ["execute_code"]]

    script = [asks(("rows", {"count": 1}, "1")), lambda messages, tools: say(messages[-1].content)]
    model = ScriptedChatModel(turns=script)
    config = configured(route="plain")
    end = call(
        agent(node, model, pass_config=pass_config), {"messages": [HumanMessage("?")]}, config, use_async=use_async
    )
    assert end["messages"][-1].content == '[{"id": 0, "name": "row 0"}]'
    assert len(model.tools_seen()[0]) == len(TOOLS)


def test_model_and_tools_agree_on_a_route_told_by_the_state() -> None:
    node = node_of(mode="json", routes={"deep": "code"}, route=lambda state, config: state.get("last"))
    model = ScriptedChatModel(turns=[asks(code("add(a=1, b=2)")), say()])
    end = agent(node, model, pass_config=False).invoke({"messages": [HumanMessage("hi")], "last": "deep"})
    assert model.tools_seen()[0] == ["execute_code"]
    assert answers(end)[0].content == "3"


@pytest.mark.parametrize("mode", ["code", "mixed"])
def test_all_that_is_said_of_arguments_is_shown_on_demand(mode: str) -> None:
    @tool(parse_docstring=True, extras={"allowed_callers": ["programmatic"]})
    def find(city: str) -> int:
        """Find.

        Args:
            city: The name of the city.
        """
        return len(city)

    shown: list[str] = []
    for prose in ("needed", "all"):
        model = ScriptedChatModel(turns=[say()])
        CodeActNode([find], sandbox=SANDBOX, mode=mode, argument_prose=prose).bind_model(model).invoke("hi")  # type: ignore[arg-type]
        shown.append(model.seen[0][1][-1]["function"]["description"].splitlines()[-1])
    assert shown == [
        "def find(city: str) -> int: Find.",
        "def find(city: str) -> int: Find. (city: The name of the city)",
    ]
    with pytest.raises(UsageError, match='give "needed" or "all"'):
        node_of(argument_prose="some")
