"""An MCP server, over stdio."""

from mcp.server import MCPServer
from pydantic import BaseModel

app = MCPServer("shop", log_level="CRITICAL")


class Order(BaseModel):
    id: int
    total: float


@app.tool()
def orders(user: str) -> list[Order]:
    """List orders."""
    return [Order(id=1, total=2.5), Order(id=2, total=3)]


@app.tool()
def order(id: int) -> Order:
    """Return an order."""
    return Order(id=id, total=1)


@app.tool(structured_output=False)
def note(text: str) -> str:
    """Return a text."""
    return f"123 {text}"


@app.tool()
def broken(id: int) -> str:
    """Break."""
    raise ValueError("no order")


if __name__ == "__main__":
    app.run()
