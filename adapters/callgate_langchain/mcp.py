"""Tools of MCP servers, by langchain-mcp-adapters."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any, Protocol

from langchain_core.tools import BaseTool

from callgate.mcp import held

__all__ = ["McpClient", "mcp_tools"]


class McpClient(Protocol):
    """What is needed of a `MultiServerMCPClient`: callgate does without the package."""

    connections: Any
    callbacks: Any
    tool_interceptors: Any
    tool_name_prefix: bool
    handle_tool_errors: bool

    def session(self, server_name: str) -> AbstractAsyncContextManager[Any]:
        """Open a session with a server."""
        ...


@asynccontextmanager
async def mcp_tools(client: McpClient) -> AsyncGenerator[dict[str, list[BaseTool]]]:
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
        client: a MultiServerMCPClient of langchain-mcp-adapters.

    Raises:
        Exception: what a server that cannot be reached makes the client raise.
    """
    load: Any = import_module("langchain_mcp_adapters.tools").load_mcp_tools
    tools = dict[str, list[BaseTool]]()
    async with AsyncExitStack() as stack:
        for server in client.connections:
            session = await stack.enter_async_context(held(server, client.session(server)))
            tools[server] = await load(
                session,
                callbacks=client.callbacks,
                tool_interceptors=client.tool_interceptors,
                server_name=server,
                tool_name_prefix=client.tool_name_prefix,
                handle_tool_errors=client.handle_tool_errors,
            )
        yield tools
