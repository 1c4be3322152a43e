"""Tools that call `interrupt()` themselves, graphs used as tools, and tasks in tools: each call in a scope of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command, interrupt
from langgraph_cases import State, answers, asks, call, code, codeact, graph_of, remember
from pydantic import BaseModel
from typing_extensions import TypedDict

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
CONFIG = {"configurable": {"thread_id": "t"}}
APPROVE = {"type": "approve"}


class World:
    """Tools that ask; and what they did after they were answered."""

    def __init__(self) -> None:
        self.done: list[str] = []

        @tool
        def ask(question: str) -> str:
            """Ask a human."""
            answer = interrupt(question)
            self.done.append(f"{question} {answer}")
            return str(answer)

        @tool
        def ask_twice(question: str) -> list[Any]:
            """Ask a human twice."""
            found = [interrupt(f"{question} 1"), interrupt(f"{question} 2")]
            self.done.append(f"{question} {found}")
            return found

        @tool
        def book(what: str) -> str:
            """Book something."""
            self.done.append(f"book {what}")
            return f"booked {what}"

        self.tools: list[Any] = [ask, ask_twice, book, agent(self.done)]

    def graph(self, saver: Any = None, **options: Any) -> Any:
        return graph_of(codeact(self.tools, **options), checkpointer=saver or InMemorySaver())


class AgentState(TypedDict, total=False):
    topic: str
    seen: str
    told: str


def agent(done: list[str]) -> Any:
    """Return a graph as a tool: it notes, asks, and answers from what its own state kept."""

    def look(state: AgentState) -> AgentState:
        done.append(f"look {state['topic']}")
        return {"seen": f"seen {state['topic']}"}

    def decide(state: AgentState) -> AgentState:
        return {"told": f"{state['seen']}: {interrupt('about ' + state['topic'])}"}

    builder = StateGraph(AgentState)
    builder.add_node("look", look)
    builder.add_node("decide", decide)
    builder.add_edge(START, "look")
    builder.add_edge("look", "decide")
    graph = builder.compile()

    @tool
    def sub_agent(topic: str) -> str:
        """Ask another agent."""
        return graph.invoke({"topic": topic})["told"]

    return sub_agent


def asked(end: Any) -> Any:
    """Return what the one open interrupt asks."""
    (one,) = end["__interrupt__"]
    return one.value


def converse(graph: Any, message: Any, replies: dict[str, Any], *, use_async: bool, by_id: bool = False) -> Any:
    """Answer every question by what it says, and return the end and the questions in their order."""
    end, seen = call(graph, {"messages": [message]}, CONFIG, use_async=use_async), []
    while "__interrupt__" in end:
        question = asked(end)
        seen.append(question if isinstance(question, str) else "approval")
        assert asked(call(graph, None, CONFIG, use_async=use_async)) == question
        reply = replies[seen[-1]]
        resume = {end["__interrupt__"][0].id: reply} if by_id else reply
        end = call(graph, Command(resume=resume), CONFIG, use_async=use_async)
    return end, seen


@both_ways
@pytest.mark.parametrize("by_id", [False, True], ids=["plain", "by id"])
def test_a_program_goes_on_with_the_answer(by_id: bool, use_async: bool) -> None:
    world = World()
    program = """
book(what='hotel')
try:
    told = ask(question='sure?')
except BaseException:
    book(what='caught')
told, ask_twice(question='q'), book(what='flight')
"""
    replies = {"sure?": "yes", "q 1": 1, "q 2": {"b": 2}}
    end, seen = converse(world.graph(), asks(code(program)), replies, use_async=use_async, by_id=by_id)
    assert seen == ["sure?", "q 1", "q 2"]
    assert answers(end)[0].content == '["yes",[1,{"b":2}],"booked flight"]'
    assert world.done == ["book hotel", "sure? yes", "q [1, {'b': 2}]", "book flight"]


@both_ways
@pytest.mark.parametrize("by_id", [False, True], ids=["plain", "by id"])
def test_no_answer_reaches_another_call(by_id: bool, use_async: bool) -> None:
    world = World()
    names = [f"{program}{n}" for program in "ab" for n in range(3)]
    message = asks(
        *(code(f"call_tools([('ask', {{'question': '{one}' + str(n)}}) for n in range(3)])", one) for one in "ab"),
        ("ask", {"question": "plain"}, "p"),
        ("ask_twice", {"question": "twice"}, "q"),
    )
    replies = {name: f"to {name}" for name in [*names, "plain", "twice 1", "twice 2"]}
    end, seen = converse(world.graph(), message, replies, use_async=use_async, by_id=by_id)
    assert seen == [*names, "plain", "twice 1", "twice 2"]
    assert [one.content for one in answers(end)] == [
        '["to a0","to a1","to a2"]',
        '["to b0","to b1","to b2"]',
        "to plain",
        '["to twice 1", "to twice 2"]',
    ]
    assert len(world.done) == 8


@both_ways
def test_approvals_come_first_and_both_hold_for_one_call(use_async: bool) -> None:
    world = World()
    graph = world.graph(interrupt_on={"ask": True, "book": True})
    message = asks(code("ask(question='a')\nbook(what='x')", "1"), code("ask_twice(question='b')", "2"))
    replies = {"approval": {"decisions": [APPROVE]}, "a": "A", "b 1": "B", "b 2": "C"}
    end, seen = converse(graph, message, replies, use_async=use_async)
    assert seen == ["approval", "a", "approval", "b 1", "b 2"]
    assert [one.content for one in answers(end)] == ['"booked x"', '["B","C"]']
    assert world.done == ["a A", "book x", "b ['B', 'C']"]


@both_ways
@pytest.mark.parametrize("by_id", [False, True], ids=["plain", "by id"])
def test_graphs_as_tools_keep_their_own_state(by_id: bool, use_async: bool) -> None:
    world = World()
    program = "first = sub_agent(topic='one')\nbook(what=first)\nfirst, call_tools([('sub_agent', {'topic': t}) for t in ('two', 'three')])"
    message = asks(code(program, "a"), code("sub_agent(topic='four')", "b"), ("sub_agent", {"topic": "five"}, "c"))
    topics = ["one", "two", "three", "four", "five"]
    replies = {f"about {one}": one.upper() for one in topics}
    end, seen = converse(world.graph(), message, replies, use_async=use_async, by_id=by_id)
    assert sorted(seen) == sorted(replies)
    told = {one: f"seen {one}: {one.upper()}" for one in topics}
    assert [one.content for one in answers(end)] == [
        f'["{told["one"]}",["{told["two"]}","{told["three"]}"]]',
        f'"{told["four"]}"',
        told["five"],
    ]
    assert sorted(world.done) == sorted([*(f"look {one}" for one in topics), f"book {told['one']}"])


@both_ways
def test_tasks_in_tools_keep_their_results_when_calls_before_them_are_skipped(use_async: bool) -> None:
    runs: list[str] = []

    @task
    def compute(x: str) -> str:
        runs.append(x)
        return x.upper()

    @task
    async def acompute(x: str) -> str:
        runs.append(x)
        return x.upper()

    @tool
    def work(x: str) -> str:
        """Work in a task, then ask."""
        return f"{compute(x).result()} {interrupt(x)}"

    async def awork(x: str) -> str:
        return f"{await acompute(x)} {interrupt(x)}"

    if use_async:
        work.coroutine = awork
    graph = graph_of(codeact([work]), checkpointer=InMemorySaver())
    program = "[work(x='a'), work(x='b'), *call_tools([('work', {'x': x}) for x in 'cd'])]"
    message = asks(code(program), ("work", {"x": "e"}, "p"))
    end, seen = converse(graph, message, {x: x * 2 for x in "abcde"}, use_async=use_async)
    assert seen == list("abcde")
    assert [one.content for one in answers(end)] == ['["A aa","B bb","C cc","D dd"]', "E ee"]
    assert sorted(runs) == list("abcde")


@both_ways
def test_state_and_injection_are_there_when_a_tool_is_called_again(use_async: bool) -> None:
    @tool
    def tell(state: Annotated[Any, InjectedState]) -> str:
        """Ask with what the state holds."""
        return f"{state['last']} {interrupt('?')}"

    graph = graph_of(codeact([tell, remember]), checkpointer=InMemorySaver())
    message = asks(code("remember(value=7)\ntell()"))
    end, _ = converse(graph, message, {"?": "yes"}, use_async=use_async)
    assert (answers(end)[0].content, end["last"]) == ('"7 yes"', 7)


def test_a_wrapper_may_ask_too() -> None:
    done: list[str] = []

    def wrap(request: Any, handler: Any) -> Any:
        if interrupt({"name": request.tool_call["name"], "id": request.tool_call["id"]}) != "go":
            return ToolMessage("stopped", tool_call_id=request.tool_call["id"], status="error")
        return handler(request)

    @tool
    def act(what: str) -> str:
        """Act."""
        done.append(what)
        return what

    graph = graph_of(codeact([act], wrap_tool_call=wrap), checkpointer=InMemorySaver())
    program = "act(what='a')\ntry:\n    act(what='b')\nexcept ToolFailed as error:\n    told = str(error)\ntold"
    end = graph.invoke({"messages": [asks(code(program))]}, CONFIG)
    assert asked(end) == {"name": "act", "id": "c1/1"}
    end = graph.invoke(Command(resume="go"), CONFIG)
    assert asked(end) == {"name": "act", "id": "c1/2"}
    end = graph.invoke(Command(resume="no"), CONFIG)
    assert (answers(end)[0].content, done) == ('"stopped"', ["a"])


def test_the_schema_of_an_answer_is_passed_on() -> None:
    class Reply(BaseModel):
        choice: Literal["yes", "no"]

    @tool
    def choose() -> str:
        """Ask for a choice."""
        return interrupt("choose", response_schema=Reply).choice

    graph = graph_of(codeact([choose]), checkpointer=InMemorySaver())
    end = graph.invoke({"messages": [asks(code("choose()"))]}, CONFIG)
    (one,) = end["__interrupt__"]
    assert one.response_schema["properties"]["choice"]["enum"] == ["yes", "no"]
    end = graph.invoke(Command(resume={"choice": "no"}), CONFIG)
    assert answers(end)[0].content == '"no"'


def test_in_a_subgraph() -> None:
    world = World()
    around = StateGraph(State)
    around.add_node("inner", graph_of(codeact(world.tools)))
    around.add_edge(START, "inner")
    graph = around.compile(checkpointer=InMemorySaver())
    message = asks(code("book(what='x')\nask(question='a'), sub_agent(topic='b')"))
    end, seen = converse(graph, message, {"a": "A", "about b": "B"}, use_async=False)
    assert seen == ["a", "about b"]
    assert answers(end)[0].content == '["A","seen b: B"]'
    assert world.done == ["book x", "a A", "look b"]


@both_ways
def test_a_program_in_an_agent_called_by_a_program_asks_too(use_async: bool) -> None:
    """Approvals, questions of tools and state of a graph with programs of its own, used as a tool in a program."""
    world = World()
    inner = graph_of(codeact(world.tools, interrupt_on={"book": True}))

    def request(what: str) -> Any:
        return {"messages": [asks(code(f"book(what={what!r})\nask(question={what!r})"))]}

    @tool
    def delegate(what: str) -> str:
        """Let another agent do it."""
        return answers(inner.invoke(request(what)))[0].content

    async def adelegate(what: str) -> str:
        return answers(await inner.ainvoke(request(what)))[0].content

    if use_async:
        delegate.coroutine = adelegate
    graph = graph_of(codeact([delegate, *world.tools]), checkpointer=InMemorySaver())
    message = asks(
        code("book(what='x')\n[delegate(what='a'), delegate(what='b')]", "1"), ("delegate", {"what": "c"}, "2")
    )
    replies = {"approval": {"decisions": [APPROVE]}, "a": "A", "b": "B", "c": "C"}
    end, seen = converse(graph, message, replies, use_async=use_async)
    assert seen == ["approval", "a", "approval", "b", "approval", "c"]
    assert [one.content for one in answers(end)] == ['["\\"A\\"","\\"B\\""]', '"C"']
    assert world.done == ["book x", "book a", "a A", "book b", "b B", "book c", "c C"]


@both_ways
def test_a_function_around_the_node_that_asks_too_meets_its_own_answers(use_async: bool) -> None:
    world = World()
    node = codeact(world.tools, interrupt_on={"book": True})
    told: list[Any] = []

    def around(state: State) -> Any:
        before = interrupt("begin?")
        output = node.invoke(state)
        told.append((before, interrupt("keep?")))
        return output

    graph = graph_of(around, checkpointer=InMemorySaver())
    message = asks(code("book(what='x')\nask(question='a')"))
    replies = {"begin?": "yes", "approval": {"decisions": [APPROVE]}, "a": "A", "keep?": "sure"}
    end, seen = converse(graph, message, replies, use_async=use_async)
    assert seen == ["begin?", "approval", "a", "keep?"]
    assert answers(end)[0].content == '"A"'
    assert (world.done, told) == (["book x", "a A"], [("yes", "sure")])
