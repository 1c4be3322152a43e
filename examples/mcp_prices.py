"""An MCP server over stdio, for `mcp_langchain.py` and `mcp_llama_index.py`."""

try:
    from mcp.server import MCPServer
except ImportError:  # mcp 1, which langchain-mcp-adapters needs
    from mcp.server.fastmcp import FastMCP as MCPServer

shop = MCPServer("shop", log_level="ERROR")


@shop.tool()
def price(item: int) -> float:
    """Return what an item costs, in EUR."""
    return 10.0 * item


if __name__ == "__main__":
    shop.run()
