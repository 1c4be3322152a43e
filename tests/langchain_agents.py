"""Agents with a CodeActMiddleware, over a sandbox without isolation, for the tests of LangChain's adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph_savers import aopen_saver, open_saver

from callgate.testing import ScriptedChatModel
from callgate.testing.fake import FakeSandbox
from callgate_langchain import CodeActMiddleware

__all__ = ["CONFIG", "DONE", "GO", "Noting", "Talk", "agent_of", "code_act", "go", "model_of", "told"]

SANDBOX = FakeSandbox()
CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}
GO: dict[str, Any] = {"messages": [HumanMessage("go", id="go")]}
DONE = AIMessage("done")


def code_act(**settings: Any) -> CodeActMiddleware:
    """Return a middleware that shows code."""
    return CodeActMiddleware(**{"sandbox": SANDBOX, "mode": "code", **settings})


def model_of(*turns: Any) -> ScriptedChatModel:
    """Return a model that says these turns and then that it is done."""
    return ScriptedChatModel(turns=[*turns, DONE])


def agent_of(model: Any, tools: Sequence[Any], *middleware: Any, agent: Any = None, **settings: Any) -> Any:
    """Return an agent that writes code, with further middleware inside."""
    return create_agent(model, tools, middleware=[code_act(**settings), *middleware], **(agent or {}))


def go(agent: Any, input: Any = None, config: Any = None, *, use_async: bool) -> Any:
    """Run an agent either way."""
    given = GO if input is None else input
    if use_async:
        return asyncio.run(agent.ainvoke(given, config or CONFIG))
    return agent.invoke(given, config or CONFIG)


def told(state: Any) -> list[str]:
    """Return what the model reads of its calls."""
    return [str(one.content) for one in state["messages"] if isinstance(one, ToolMessage)]


class Noting(AgentMiddleware):
    """Notes the calls that pass it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.seen.append((request.tool_call["name"], request.tool_call["id"]))
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.seen.append((request.tool_call["name"], request.tool_call["id"]))
        return await handler(request)


class Talk:
    """Several runs of one thread, each with an agent and a connection of its own, as after a restart."""

    def __init__(self, build: Any, address: str, *, use_async: bool) -> None:
        self._build, self._address, self._use_async = build, address, use_async

    def say(self, input: Any) -> Any:
        """Run the agent once."""
        if self._use_async:
            return asyncio.run(self._asay(input))
        with open_saver("sqlite", self._address) as saver:
            return self._build(saver).invoke(input, CONFIG)

    async def _asay(self, input: Any) -> Any:
        async with AsyncExitStack() as stack:
            saver = await stack.enter_async_context(aopen_saver("asqlite", self._address))
            return await self._build(saver).ainvoke(input, CONFIG)
