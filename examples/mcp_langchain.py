"""Tools of an MCP server: over one session, however many calls a program makes. A script plays the model."""

import asyncio
import sys
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_mcp_adapters.client import MultiServerMCPClient

from callgate.testing import ScriptedChatModel
from callgate_langchain import CodeActMiddleware, mcp_tools

SERVER = {"transport": "stdio", "command": sys.executable, "args": [str(Path(__file__).with_name("mcp_prices.py"))]}
CALL = {"name": "execute_code", "args": {"code": "sum(price(item=n) for n in range(1, 6))"}, "id": "call-1"}
TURNS = [AIMessage("", tool_calls=[CALL]), lambda messages, _: AIMessage(f"They cost {messages[-1].text}.")]


async def main() -> None:
    """Run the agent."""
    client = MultiServerMCPClient({"shop": SERVER})
    async with mcp_tools(client) as tools:  # before: tools = await client.get_tools(), and a session for each call
        code = CodeActMiddleware(mode="code")
        agent = create_agent(ScriptedChatModel(turns=TURNS), tools["shop"], middleware=[code])
        state = await agent.ainvoke({"messages": [("user", "What do the items 1 to 5 cost?")]})
        print(state["messages"][-1].text)


if __name__ == "__main__":
    asyncio.run(main())
