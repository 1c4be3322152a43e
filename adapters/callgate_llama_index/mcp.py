"""Tools of MCP servers, by llama-index-tools-mcp."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from llama_index.core.tools import BaseTool
from llama_index.core.tools.tool_spec.base import BaseToolSpec

from callgate.mcp import effect_of, held, unwrapped
from callgate_llama_index.declared import declare

__all__ = ["mcp_tools"]


@asynccontextmanager
async def mcp_tools(specs: Mapping[str, BaseToolSpec]) -> AsyncGenerator[dict[str, list[BaseTool]]]:
    """Give the tools of MCP servers, by server, over one session with each.

        async with mcp_tools({"shop": McpToolSpec(BasicMCPClient(url))}) as tools:
            agent = CallgateAgent(tools=tools, llm=llm)

    A BasicMCPClient opens a session for every call, which a program makes many of: over stdio each is a process. These
    are open until the block ends, so it goes around a run, or around all of them. What the servers say of results and
    effects, which a McpToolSpec drops, is known of these tools: `effects` overrides what a server claims there.

    A call in the middle of which the server goes away has an unknown outcome: if it is a write, a human is asked about
    it.

    Args:
        specs: by server: McpToolSpecs of a BasicMCPClient, or of an `mcp.Client` that is not open yet.

    Raises:
        Exception: what a server that cannot be reached makes its client raise.
    """
    tools = dict[str, list[BaseTool]]()
    async with AsyncExitStack() as stack:
        for server, spec in specs.items():
            session = await stack.enter_async_context(held(server, _opened(spec)))
            tools[server] = await _tools(spec, session)
        yield tools


def _opened(spec: Any) -> Any:
    """Return what opens a session: a BasicMCPClient has it under a private name only, for each of its own calls."""
    client = spec.client
    return client._run_session() if hasattr(client, "_run_session") else client


async def _tools(spec: Any, session: Any) -> list[BaseTool]:
    twin = copy.copy(spec)
    twin.client = session
    described = {one.name: one for one in await twin.fetch_tools()}
    tools: list[BaseTool] = await twin.to_tool_list_async()
    for tool in tools:
        if (told := described.get(tool.metadata.get_name())) is not None:  # a resource has none
            hints = told.annotations
            declare(
                tool,
                effect=effect_of(
                    read_only=getattr(hints, "read_only_hint", None), idempotent=getattr(hints, "idempotent_hint", None)
                ),
                output_schema=unwrapped(told.output_schema) if told.output_schema is not None else None,
            )
    return tools
