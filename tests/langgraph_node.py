"""A graph around a CodeActNode, for lives that are cut off: its tools write down what they do."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send, interrupt
from typing_extensions import TypedDict

from callgate.testing.fake import FakeSandbox
from callgate_langgraph import CodeActNode

if TYPE_CHECKING:
    from langgraph_durable import Life

__all__ = ["SHAPES", "answers_of", "effects_of", "graph_of"]

SHAPES = ("node", "node sub", "node send", "agent")

SANDBOX = FakeSandbox()

PROGRAM = """
def attempt(n):
    for _ in range(3):
        try:
            return flaky(n=n)
        except ToolFailed:
            pass

first = [look(n=n) for n in range(2)]
a, b, c = call_tools([("book", {{"n": {0} + 1}}), ("pay", {{"n": {0} + 2}}), ("look", {{"n": {0} + 3}})])
d = attempt({0} + 4)
e, f = call_tools([("ask", {{"n": {0} + 5}}), ("book", {{"n": {0} + 6}})])
g = pay(n={0} + 7)
h = book(n={0} + 8)
last = look(n=3)
[a, b, c, d, e, f, g, h]
"""
"""Twelve calls, of which the sixth and seventh are attempts at one thing: reads, writes beside one another, a write that fails once, two approvals, a tool that asks."""


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    answers: dict[str, Any]
    note: str


def effects_of(actions: int) -> list[str]:
    """Return what has happened once everything is over, sorted."""
    done = ["pay 91 for 91", "ask 92 told 92"]
    for at in range(actions):
        first = 10 * at
        for name, n in (("book", 1), ("flaky", 4), ("book", 6), ("book", 8)):
            done.append(f"{name} {first + n}")
        done += [f"pay {first + n} for {first + n}" for n in (2, 7)]
        done += [f"flaky {first + 4} fails", f"ask {first + 5} told {first + 5}"]
    return sorted(done)


def answers_of(actions: int) -> list[str]:
    """Return the last lines of what the model is told in the end, in the order of the calls."""
    values = ([10 * at + n for n in range(1, 9)] for at in range(actions))
    return [*(json.dumps(one, separators=(",", ":")) for one in values), "91", "92"]


def _tools(life: Life) -> list[BaseTool]:
    def effect(text: str) -> None:
        life.die_if("before", text)
        life.note(text)
        life.die_if("after", text)
        life.moment()

    @tool
    def look(n: int) -> int:
        """Look."""
        return n

    @tool
    def book(n: int) -> int:
        """Book."""
        effect(f"book {n}")
        return n

    @tool
    def pay(n: int, to: str = "nobody") -> int:
        """Pay."""
        effect(f"pay {n} {to}")
        return n

    @tool
    def flaky(n: int) -> int:
        """Fail once."""
        if f"flaky {n} fails" not in life.noted():
            effect(f"flaky {n} fails")
            raise ConnectionError("once")
        effect(f"flaky {n}")
        return n

    @tool
    def ask(n: int) -> int:
        """Ask somebody."""
        told = interrupt({"ask": n})
        # A task of its own that only its tool asked about is LangGraph's: that repeats it, so the tool has to look.
        if life.shape != "agent" or n != 92 or f"ask {n} {told}" not in life.noted():
            effect(f"ask {n} {told}")
        return n

    return [look, book, pay, flaky, ask]


def _calls_of(life: Life) -> AIMessage:
    """Return what the model asks for, once."""
    life.note("model")
    stem = uuid.uuid4().hex[:8]
    calls = [("execute_code", {"code": PROGRAM.format(10 * at)}, f"{at}-{stem}") for at in range(life.actions)]
    calls += [("pay", {"n": 91}, f"8-{stem}"), ("ask", {"n": 92}, f"9-{stem}")]
    made = [{"name": name, "args": args, "id": one, "type": "tool_call"} for name, args, one in calls]
    return AIMessage("", tool_calls=made)


def _told(messages: list[Any]) -> dict[str, Any]:
    return {one.tool_call_id: one.content.splitlines()[-1] for one in messages if isinstance(one, ToolMessage)}


def _agent_of(life: Life, saver: Any) -> Any:
    """Build an agent of LangChain's that does the same, its calls each in a task of its own."""
    from langchain.agents import AgentState, create_agent
    from langchain.agents.middleware import AgentMiddleware

    from callgate.testing import ScriptedChatModel
    from callgate_langchain import CodeActMiddleware

    class Kept(AgentState[Any], total=False):
        answers: dict[str, Any]
        note: str

    class Frame(AgentMiddleware):
        def before_agent(self, state: Any, runtime: Any) -> Any:
            return {"messages": [HumanMessage("go")]}

        def after_agent(self, state: Any, runtime: Any) -> Any:
            return {"answers": _told(state["messages"])}

    def turn(messages: list[Any], _: Any) -> AIMessage:
        return AIMessage("done") if _told(messages) else _calls_of(life)

    code_act = CodeActMiddleware(
        sandbox=SANDBOX,
        mode="mixed",
        effects={"look": "read"},
        interrupt_on={"pay": True},
        require_durable=life.require_durable,
    )
    model = ScriptedChatModel(turns=[turn, turn])
    return create_agent(model, _tools(life), middleware=[code_act, Frame()], state_schema=Kept, checkpointer=saver)


def graph_of(life: Life, saver: Any) -> Any:
    """Build the graph of a life's shape."""
    if life.shape == "agent":
        return _agent_of(life, saver)

    def model(_: Any) -> Any:
        return {"messages": [_calls_of(life)]}

    def tell(state: State) -> Any:
        return {"answers": _told(state["messages"])}

    node = CodeActNode(
        _tools(life),
        sandbox=SANDBOX,
        mode="code",
        effects={"look": "read"},
        interrupt_on={"pay": True},
        require_durable=life.require_durable,
        handle_tool_errors=True,
    )
    builder: Any = StateGraph(State)
    builder.add_node("model", model)
    builder.add_node("tell", tell)
    builder.add_edge(START, "model")
    builder.add_edge("tools", "tell")
    tools: Any = node
    if life.shape == "node sub":
        inner: Any = StateGraph(State)
        inner.add_node("tools", node)
        inner.add_edge(START, "tools")
        tools = inner.compile()
    builder.add_node("tools", tools)
    if life.shape == "node send":

        def fan(state: State) -> Any:
            message: Any = state["messages"][-1]
            given = {"__type": "tool_call_with_context", "state": state}
            return [Send("tools", {**given, "tool_call": one}) for one in message.tool_calls]

        builder.add_conditional_edges("model", fan, ["tools"])
    else:
        builder.add_edge("model", "tools")
    return builder.compile(checkpointer=saver)
