"""Tools of MCP servers, by langchain-mcp-adapters."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool

from callgate.mcp import held

if TYPE_CHECKING:
    from langchain_mcp_adapters.client import MultiServerMCPClient

__all__ = ["mcp_tools"]


@asynccontextmanager
async def mcp_tools(client: MultiServerMCPClient) -> AsyncGenerator[dict[str, list[BaseTool]]]:
    """Give the tools of a client's servers, by server, over one session with each.

        async with mcp_tools(client) as tools:  # before: tools = await client.get_tools()
            node = CodeActNode(tools)

    `get_tools` opens a session for every call, which a program makes many of: over stdio each is a process. These are
    open until the block ends, so it goes around a run, or around all of them. What the client says of callbacks,
    interceptors and errors holds here, too.

    A call in the middle of which the server goes away has an unknown outcome: if it is a write, a human is asked about
    it. Over HTTP version 1 of `mcp` does not notice: there, give the connection
    `"session_kwargs": {"read_timeout_seconds": timedelta(...)}`.

    Args:
        client: of langchain-mcp-adapters.

    Raises:
        Exception: what a server that cannot be reached makes the client raise.
    """
    from langchain_mcp_adapters.tools import load_mcp_tools  # noqa: PLC0415 - callgate does without it

    tools = dict[str, list[BaseTool]]()
    async with AsyncExitStack() as stack:
        for server in client.connections:
            session: Any = await stack.enter_async_context(held(server, client.session(server)))
            tools[server] = await load_mcp_tools(
                session,
                callbacks=client.callbacks,
                tool_interceptors=client.tool_interceptors,
                server_name=server,
                tool_name_prefix=client.tool_name_prefix,
                handle_tool_errors=client.handle_tool_errors,
            )
        yield tools
