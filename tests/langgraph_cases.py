"""Tools, inputs and graphs that the tests of the LangGraph adapter share."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, ToolException, tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.runtime import Runtime
from langgraph.types import Command, Send
from typing_extensions import TypedDict

from callgate.testing.fake import FakeSandbox
from callgate_langgraph import CodeActNode

SANDBOX = FakeSandbox()


def asks(*calls: tuple[str, dict[str, Any], str], content: str = "") -> AIMessage:
    """Return an AIMessage with tool calls (name, arguments, id)."""
    made = [{"name": name, "args": args, "id": call_id, "type": "tool_call"} for name, args, call_id in calls]
    return AIMessage(content, tool_calls=made)


def code(program: str, id: str = "c1") -> tuple[str, dict[str, Any], str]:
    """Return an execute_code call for `asks`."""
    return ("execute_code", {"code": program}, id)


def outside(**configurable: Any) -> dict[str, Any]:
    """Return a config that lets a node run without a graph, as upstream's own tests have it."""
    return {"configurable": {"__pregel_runtime": Runtime(), **configurable}}


def codeact(tools: list[Any], **arguments: Any) -> CodeActNode:
    """Return a node whose surface is code, over a sandbox without isolation."""
    return CodeActNode(tools, **{"sandbox": SANDBOX, "mode": "code", **arguments})


def call(node: Any, input: Any, config: Any, *, use_async: bool) -> Any:
    """Invoke a node or a graph either way."""
    return asyncio.run(node.ainvoke(input, config)) if use_async else node.invoke(input, config)


def outcome_of(invoke: Callable[[], Any]) -> Any:
    """Return what a call returns, or its exception in a form that compares."""
    try:
        return invoke()
    except Exception as error:
        return type(error), str(error)


def answers(result: Any) -> list[ToolMessage]:
    """Return the ToolMessages of a node's result or a graph's state."""
    if isinstance(result, ToolMessage):
        return [result]
    if isinstance(result, dict):
        return answers(result["messages"])
    return [found for one in result for found in answers(one)] if isinstance(result, list) else []


class State(TypedDict, total=False):
    """The state most graphs here have."""

    messages: Annotated[list[AnyMessage], add_messages]
    last: Any
    total: Annotated[int, operator.add]
    log: Annotated[list[str], operator.add]


def graph_of(node: Any, state: Any = State, *, input_schema: Any = None, **compile_with: Any) -> Any:
    """Return a graph of one node called tools."""
    builder = StateGraph(state)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    builder.add_edge("tools", END)
    return builder.compile(**compile_with)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def rows(count: int) -> list[dict[str, Any]]:
    """Return rows."""
    return [{"id": number, "name": f"row {number}"} for number in range(count)]


@tool
def echo(text: str) -> str:
    """Return a text."""
    return text


@tool
def number_text() -> str:
    """Return a number as text."""
    return "123"


@tool
def nothing() -> None:
    """Return nothing."""


@tool
async def add_async(a: int, b: int) -> int:
    """Add two numbers, awaited."""
    await asyncio.sleep(0)
    return a + b


@tool(response_format="content_and_artifact")
def with_artifact(n: int) -> tuple[str, dict[str, Any]]:
    """Return content and an artifact."""
    return f"got {n}", {"n": n}


@tool(response_format="content_and_artifact")
def structured(n: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Answer as MCP adapters do."""
    return [{"type": "text", "text": f'{{"n": {n}}}'}], {"structured_content": {"result": [n, n]}}


@tool
def broken(secret: str) -> str:
    """Raise with something private."""
    raise ValueError(f"cannot open /home/me/{secret}")


@tool
def refusing() -> str:
    """Raise with a text for the model."""
    raise ToolException("no rows left")


@tool
def own_message(id: Annotated[str, InjectedToolCallId]) -> ToolMessage:
    """Return a message of its own."""
    return ToolMessage("mine", tool_call_id=id, name="own_message")


@tool
def own_error(id: Annotated[str, InjectedToolCallId]) -> ToolMessage:
    """Return an error message of its own."""
    return ToolMessage("went wrong", tool_call_id=id, name="own_error", status="error")


@tool
def whole_state(state: Annotated[Any, InjectedState]) -> int:
    """Count the messages of the state."""
    held = state["messages"] if isinstance(state, dict) else getattr(state, "messages", state)
    return len(held)


@tool
def field_of_state(last: Annotated[Any, InjectedState("last")]) -> Any:
    """Return a field of the state."""
    return last


@tool
def from_store(key: str, store: Annotated[Any, InjectedStore()]) -> Any:
    """Read the graph's store."""
    found = store.get(("things",), key)
    return found.value if found else None


@tool
def call_id(id: Annotated[str, InjectedToolCallId]) -> str:
    """Return the id of the call."""
    return id


@tool
def of_runtime(x: int, runtime: ToolRuntime[Any, Any]) -> dict[str, Any]:
    """Return what the runtime says."""
    return {
        "id": runtime.tool_call_id,
        "thread": runtime.config["configurable"].get("thread_id"),
        "tools": sorted(one.name for one in runtime.tools),
        "x": x,
    }


def _answer(text: str, id: str | None) -> ToolMessage:
    return ToolMessage(text, tool_call_id=str(id))


@tool
def remember(value: int, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write a plain key, a summed key and a log."""
    update = {"last": value, "total": value, "log": [f"remember {value}"]}
    return Command(update={**update, "messages": [_answer(f"remembered {value}", runtime.tool_call_id)]})


@tool
def recall(state: Annotated[Any, InjectedState]) -> dict[str, Any]:
    """Return the keys that remember writes."""
    get = state.get if isinstance(state, dict) else lambda key: getattr(state, key, None)
    return {"last": get("last"), "total": get("total"), "log": get("log")}


@tool
def go_to(node: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Go to another node."""
    return Command(goto=node, update={"messages": [_answer(f"going to {node}", runtime.tool_call_id)]})


@tool
def send_to(node: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Send work to another node."""
    update = {"messages": [_answer(f"sent to {node}", runtime.tool_call_id)]}
    return Command(goto=[Send(node, {"log": [f"sent {node}"]})], update=update)


@tool
def hand_over(agent: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Go to a node of the parent graph, taking the messages along."""
    messages = [*runtime.state["messages"], _answer(f"over to {agent}", runtime.tool_call_id)]
    return Command(goto=agent, graph=Command.PARENT, update={"messages": messages})


@tool
def parent_sends(agent: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Send to a node of the parent graph."""
    messages = [*runtime.state["messages"], _answer(f"over to {agent}", runtime.tool_call_id)]
    return Command(goto=[Send(agent, {"messages": messages})], graph=Command.PARENT)


@tool
def several(runtime: ToolRuntime[Any, Any]) -> list[Command[Any] | ToolMessage]:
    """Return a Command and a message."""
    return [Command(update={"log": ["several"]}), _answer("several done", runtime.tool_call_id)]


@tool
def list_update(text: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Update a state that is a list of messages."""
    return Command(update=[_answer("listed", runtime.tool_call_id), HumanMessage(text, id=text)])


TOOLS: list[BaseTool] = [
    add,
    rows,
    echo,
    number_text,
    nothing,
    with_artifact,
    structured,
    broken,
    refusing,
    own_message,
    own_error,
    whole_state,
    field_of_state,
    call_id,
    of_runtime,
    remember,
    recall,
    go_to,
    send_to,
    hand_over,
    parent_sends,
    several,
]
