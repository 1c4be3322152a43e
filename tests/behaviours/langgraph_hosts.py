"""Graphs of LangGraph, and the adapter that is a node of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import json
import operator
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import aiosqlite
from behaviours.host import Asked, Called, Given, Host, Life, Ran, Setup, Told, Turn
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolArg, InjectedToolCallId, ToolException, tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime, tools_condition
from langgraph.types import Command
from typing_extensions import TypedDict

from callgate.testing import ScriptedChatModel
from callgate_langgraph import CodeActNode

__all__ = ["GraphHost", "NodeHost", "made_for", "wrappers"]

_NO_SYNC = "PRAGMA synchronous=OFF"
"""Here processes die, and no machines."""

_STATUS = {"started": "began", "done": "done", "failed": "failed"}


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    account: str
    seen: Annotated[list[str], operator.add]


def told_of(turns: Sequence[Turn]) -> list[Any]:
    """Return what the model says."""
    said, number = list[Any](), 1
    for turn in turns:
        if isinstance(turn, str):
            said.append(AIMessage(turn))
        elif callable(turn):
            said.append(lambda messages, _, turn=turn, at=number: _message([turn(str(messages[-1].content))], at))
            number += 1
        else:
            said.append(_message(turn, number))
            number += len(turn)
    return said


def _message(calls: Sequence[Called], first: int) -> AIMessage:
    made = [
        {"name": name, "args": arguments, "id": f"call-{at}", "type": "tool_call"}
        for at, (name, arguments) in enumerate(calls, first)
    ]
    return AIMessage("", tool_calls=made)


def made(given: Given) -> Any:
    """Return a tool of LangChain."""
    function = given.function
    if given.updates:
        return tool(_updating(function))
    for name, source in given.injected.items():
        if isinstance(source, tuple):
            function = _defaulting(function, name, source[1])
        else:
            function.__annotations__[name] = Annotated[str, _SOURCES[source](name)]
    return tool(function)


known = functools.cache(made)

_SOURCES: dict[str, Callable[[str], Any]] = {"state": InjectedState, "call id": lambda name: InjectedToolCallId()}


def _defaulting(function: Callable[..., Any], name: str, value: Any) -> Callable[..., Any]:
    """Return a function with a parameter that only the host sets, and that is one value where it does not."""

    def given(**arguments: Any) -> Any:
        return function(**{name: value, **arguments})

    kind = Annotated[str, InjectedToolArg]
    parameters = dict(inspect.signature(function).parameters)
    parameters[name] = parameters[name].replace(annotation=kind, default=value)
    given.__name__, given.__doc__ = function.__name__, function.__doc__
    given.__annotations__ = {**function.__annotations__, name: kind}
    given.__signature__ = inspect.signature(function).replace(parameters=list(parameters.values()))
    return given


def _updating(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that answers with a Command, which changes the state."""

    def rename(name: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        text, update = function(name)
        return Command(update={**update, "messages": [ToolMessage(text, tool_call_id=str(runtime.tool_call_id))]})

    rename.__doc__ = function.__doc__
    return rename


def wrappers(tell: Callable[[str, str], None]) -> dict[str, Any]:
    """Return the user's own around tool calls, for both ways."""

    def wrap(request: Any, handler: Any) -> Any:
        tell(request.tool_call["name"], request.tool_call["id"])
        return handler(request)

    async def awrap(request: Any, handler: Any) -> Any:
        tell(request.tool_call["name"], request.tool_call["id"])
        return await handler(request)

    return {"wrap_tool_call": wrap, "awrap_tool_call": awrap}


def made_for(setup: Setup) -> list[Any]:
    """Return the tools of an agent."""
    return [made(one) if setup.anew else known(one) for one in setup.tools]


class Callbacks(BaseCallbackHandler):
    """What LangChain tells of the calls of programs: `astream_events` and traces are made of it."""

    run_inline = True

    def __init__(self) -> None:
        self.told: list[Told] = []
        self._calls: dict[Any, tuple[str, str]] = {}

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, **kwargs: Any) -> None:
        if "/" in (call := str(kwargs.get("tool_call_id"))):
            self._calls[run_id] = serialized["name"], call
            self._tell("began", run_id)

    def on_tool_end(self, output: Any, *, run_id: Any, **kwargs: Any) -> None:
        self._tell("done", run_id)

    def on_tool_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        self._tell("failed", run_id)

    def _tell(self, what: Any, run_id: Any) -> None:
        if run_id in self._calls:
            name, call = self._calls[run_id]
            self.told.append(Told(what=what, tool=name, id=call))


class GraphLife(Life):
    """A graph over a SQLite file."""

    def __init__(self, host: GraphHost, setup: Setup, model: ScriptedChatModel, path: str, state: Any) -> None:
        self._host, self._setup, self._model, self._path, self._given = host, setup, model, path, state
        self._config: dict[str, Any] = {"configurable": {"thread_id": "t"}}
        self._loop = asyncio.Runner() if host.way == "async" else None
        self._connection: sqlite3.Connection | None = None
        self._exits = contextlib.AsyncExitStack()
        saver = self._loop.run(self._opened()) if self._loop else SqliteSaver(self._connected())
        self._saver: Any = saver
        self.agent, self.ledger = host.build(setup, model, saver)

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, timeout=30)
        connection.execute(_NO_SYNC)
        self._connection = connection
        return connection

    async def _opened(self) -> AsyncSqliteSaver:
        connection = await self._exits.enter_async_context(aiosqlite.connect(self._path, timeout=30))
        await connection.execute(_NO_SYNC)
        return AsyncSqliteSaver(connection)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.run(self._exits.aclose())
            self._loop.close()
        elif self._connection is not None:
            self._connection.close()

    # ---- running

    def go(self, mode: str | None = None) -> Ran:
        given, self._given = self._given, {}
        return self._run({"messages": [HumanMessage("go")], **given}, mode)

    def go_on(self) -> Ran:
        return self._run(None, None)

    def decide(self, *decisions: Any) -> Ran:
        open_ = self._interrupts()
        answers, at = dict[str, Any](), 0
        for one in open_:
            count = len(one.value["action_requests"])
            mine = decisions[at : at + count] if one is not open_[-1] else decisions[at:]
            answers[one.id] = {"decisions": [{"type": d} if isinstance(d, str) else d for d in mine]}
            at += count
        (resume, *more) = answers.values()
        return self._run(Command(resume=answers if more else resume), None)

    def _run(self, input: Any, mode: str | None) -> Ran:
        toggled = {} if mode is None else {"callgate_mode": mode}
        callbacks = Callbacks()
        config = {"configurable": {**self._config["configurable"], **toggled}, "callbacks": [callbacks]}
        before = len(self._model.seen)
        told: Any = {"stream_mode": "custom"}

        async def awaited() -> list[Any]:
            return [one async for one in self.agent.astream(input, config, **told)]

        custom = self._loop.run(awaited()) if self._loop else list(self.agent.stream(input, config, **told))
        if not self._host.writes:
            return self._ran(callbacks.told, asked=len(self._model.seen) > before)
        calls = [one for one in custom if one["type"] == "callgate.call" and one["status"] in _STATUS]
        stream = [Told(what=_STATUS[one["status"]], tool=one["tool"], id=one["id"]) for one in calls]
        return self._ran(stream, asked=len(self._model.seen) > before)

    def _state(self) -> Any:
        return self._loop.run(self.agent.aget_state(self._config)) if self._loop else self.agent.get_state(self._config)

    def _interrupts(self) -> list[Any]:
        return [found for task in self._state().tasks for found in task.interrupts]

    def _ran(self, stream: list[Told], *, asked: bool) -> Ran:
        state = self._state()
        messages = state.values.get("messages", [])
        answers = [one for one in messages if isinstance(one, ToolMessage)]
        read = [one for one in self._model.seen[-1][0] if isinstance(one, ToolMessage)] if asked else []
        interrupts = [found for task in state.tasks for found in task.interrupts]
        said = [one for one in messages if isinstance(one, AIMessage)]
        surfaces = [one.response_metadata["callgate"] for one in said if "callgate" in one.response_metadata]
        return Ran(
            text=None if interrupts or not said else str(said[-1].content),
            answers={one.tool_call_id: str(one.content) for one in read},
            failed={one.tool_call_id for one in answers if one.status == "error"},
            asked=[one for found in interrupts for one in _asked(found.value)],
            questions=len(interrupts),
            stream=stream,
            surfaces=[(one["surface"], one["reason"]) for one in surfaces],
            details={one.tool_call_id: one.artifact for one in answers if isinstance(one.artifact, dict)},
        )

    # ---- another process

    def kept(self) -> tuple[str, int]:
        path = str(self._host.folder / f"{uuid.uuid4().hex}.db")
        with (
            contextlib.closing(sqlite3.connect(self._path, timeout=30)) as now,
            contextlib.closing(sqlite3.connect(path)) as copy,
        ):
            now.backup(copy)
        return path, len(self._model.seen)

    def reborn(self, kept: tuple[str, int]) -> GraphLife:
        path, asked = kept
        del self._model.seen[asked:]
        return GraphLife(self._host, dataclasses.replace(self._setup, anew=True), self._model, path, {})

    # ---- looking at it

    def definitions(self) -> list[list[dict[str, Any]]]:
        return [tools for _, tools in self._model.seen]

    def messages(self) -> str:
        return json.dumps([[one.model_dump(mode="json") for one in messages] for messages, _ in self._model.seen])

    def state(self, key: str) -> Any:
        return self._state().values.get(key)


def _asked(request: Any) -> list[Asked]:
    """Return the calls of a HITLRequest."""
    callgate = request["callgate"]
    return [
        Asked(
            tool=action["name"],
            arguments=action["args"],
            allowed=tuple(config["allowed_decisions"]),
            id=call["id"],
            unknown=call["unknown"],
            text=action["description"],
            program=callgate["programs"].get(call["id"].rpartition("/")[0]),
        )
        for action, config, call in zip(
            request["action_requests"], request["review_configs"], callgate["calls"], strict=True
        )
    ]


class GraphHost(Host):
    """What the three have in common."""

    refusal = ToolException
    writes = True
    """Whether it writes into the graph's custom stream; LangChain's own tells of tools by callbacks."""

    def life(self, setup: Setup) -> Life:
        path = str(self.folder / f"{uuid.uuid4().hex}.db")
        return GraphLife(self, setup, ScriptedChatModel(turns=told_of(setup.turns)), path, dict(setup.state))

    def build(self, setup: Setup, model: ScriptedChatModel, saver: Any) -> tuple[Any, Any]:
        """Return the graph, and the ledger."""
        raise NotImplementedError

    def when(self, rule: Callable[[str, dict[str, Any]], bool]) -> Callable[[Any], bool]:
        return lambda request: rule(request.tool_call["name"], request.tool_call["args"])


class NodeHost(GraphHost):
    """CodeActNode in a graph of one's own."""

    def build(self, setup: Setup, model: ScriptedChatModel, saver: Any) -> tuple[Any, Any]:
        tools = made_for(setup)
        handled: dict[str, Any] = {"handle_tool_errors": str} if setup.bare else {}
        if setup.wrapper is not None:
            handled |= wrappers(setup.wrapper)
        node: Any = (
            ToolNode(tools)
            if setup.bare
            else CodeActNode(tools, sandbox=setup.sandbox, mode=setup.mode, **handled, **setup.options)
        )
        llm: Any = model.bind_tools(tools) if setup.bare else node.bind_model(model)

        def say(state: State, config: RunnableConfig) -> Any:
            return {"messages": [llm.invoke(state["messages"], config)]}

        async def asay(state: State, config: RunnableConfig) -> Any:
            return {"messages": [await llm.ainvoke(state["messages"], config)]}

        builder: Any = StateGraph(State)
        builder.add_node("model", asay if self.way == "async" else say)
        builder.add_node("tools", node)
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        return builder.compile(checkpointer=saver), getattr(node, "ledger", None)
