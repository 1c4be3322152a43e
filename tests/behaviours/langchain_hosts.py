"""Agents of LangChain's `create_agent`, and the adapters that are a middleware and a tool of them."""

from __future__ import annotations

from typing import Any

from behaviours.host import Setup
from behaviours.langgraph_hosts import GraphHost, made_for, wrappers
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import AgentMiddleware

from callgate.testing import ScriptedChatModel
from callgate_langchain import CodeActMiddleware, code_tool

__all__ = ["MiddlewareHost", "ToolHost"]


class Account(AgentState[Any], total=False):
    account: str


def around(setup: Setup) -> list[AgentMiddleware[Any, Any, Any]]:
    """Return the user's own around tool calls, as middleware."""
    if setup.wrapper is None:
        return []
    sync, awaited = wrappers(setup.wrapper).values()

    class Wrapping(AgentMiddleware[Any, Any, Any]):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return sync(request, handler)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return await awaited(request, handler)

    return [Wrapping()]


class MiddlewareHost(GraphHost):
    """CodeActMiddleware in an agent of `create_agent`."""

    def build(self, setup: Setup, model: ScriptedChatModel, saver: Any) -> tuple[Any, Any]:
        inside = around(setup)
        own = CodeActMiddleware(sandbox=setup.sandbox, mode=setup.mode, **setup.options)
        middleware = inside if setup.bare else [own, *inside]
        tools = made_for(setup)
        agent = create_agent(model, tools, middleware=middleware, state_schema=Account, checkpointer=saver)
        return agent, own.ledger


class ToolHost(GraphHost):
    """`code_tool` as one of the tools of such an agent."""

    writes = False

    def build(self, setup: Setup, model: ScriptedChatModel, saver: Any) -> tuple[Any, Any]:
        inside = around(setup)
        tools = made_for(setup)
        given = [] if setup.mode == "code" else tools
        if not setup.bare and setup.mode != "json":
            given = [*given, code_tool(tools, sandbox=setup.sandbox, **setup.options)]
        agent = create_agent(model, given, middleware=inside, state_schema=Account, checkpointer=saver)
        return agent, getattr(given[-1], "ledger", None)
