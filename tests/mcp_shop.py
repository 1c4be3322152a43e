"""An MCP server, for either major version of `mcp`: over stdio, or over HTTP when it is given a port.

It writes a line into its log for each session that is opened and for each call that has an effect.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel

try:
    from mcp.server import MCPServer
    from mcp.types import ToolAnnotations
except ImportError:  # mcp 1
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.types import ToolAnnotations

LOG, PORT = Path(sys.argv[1]), sys.argv[2:]

app: Any = MCPServer("shop", log_level="CRITICAL")
read = ToolAnnotations(readOnlyHint=True)
again = ToolAnnotations(idempotentHint=True)


class Order(BaseModel):
    id: int
    total: float
    note: str | None = None


def log(line: str) -> None:
    with LOG.open("a") as file:
        file.write(line + "\n")


@app.tool(annotations=read)
def orders(user: str) -> list[Order]:
    """List orders."""
    return [Order(id=1, total=2.5), Order(id=2, total=3)]


@app.tool(annotations=read)
def order(id: int) -> Order:
    """Return an order."""
    return Order(id=id, total=1)


@app.tool(structured_output=False)
def note(text: str) -> str:
    """Return a text."""
    return f"123 {text}"


@app.tool(annotations=again)
def label(id: int, text: str) -> bool:
    """Put a label on an order."""
    log(f"label {id}")
    return True


@app.tool()
def refund(id: int) -> str:
    """Give the money for an order back; the server ends in the middle of order 13."""
    log(f"refund {id}")
    if id == 13:
        os._exit(1)
    if id < 0:
        raise ValueError("no such order")
    return f"refunded {id}"


@app.tool(annotations=read)
def crash(times: int) -> int:
    """End the server, so many times in all."""
    if LOG.read_text().count("crash") < times:
        log("crash")
        os._exit(1)
    return times


async def counting(scope: Any, receive: Any, send: Any) -> None:
    """Serve a request; one that opens a session is logged."""
    if scope["type"] != "http":
        return await web(scope, receive, send)
    message = await receive()
    if b'"initialize"' in message.get("body", b"") and json.loads(message["body"])["method"] == "initialize":
        log("session")
    given = [message]

    async def received() -> Any:
        return given.pop() if given else await receive()

    return await web(scope, received, send)


if __name__ == "__main__":
    if not PORT:
        log("session")
        app.run()
    else:
        web = app.streamable_http_app()
        listening = socket.create_server(("127.0.0.1", int(PORT[0])))
        sys.stdout.write(f"{listening.getsockname()[1]}\n")  # from here on it can be connected to
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(counting, log_level="critical")).run(sockets=[listening])
