"""Tools of an MCP server: over one session, however many calls a program makes. A script plays the model."""

import asyncio
import sys
from pathlib import Path

from llama_index.tools.mcp import BasicMCPClient, McpToolSpec

from callgate.testing import ScriptedLLM
from callgate_llama_index import CallgateAgent, mcp_tools

SERVER = [str(Path(__file__).with_name("mcp_prices.py"))]
PROGRAM = "sum(price(item=n) for n in range(1, 6))"
TURNS = [[("execute_code", {"code": PROGRAM})], lambda messages, _: f"They cost {messages[-1].content}."]


async def main() -> None:
    """Run the agent."""
    spec = McpToolSpec(BasicMCPClient(sys.executable, args=SERVER))
    async with mcp_tools({"shop": spec}) as tools:  # before: tools = await spec.to_tool_list_async()
        agent = CallgateAgent(tools=tools, llm=ScriptedLLM(turns=TURNS), mode="code")
        print(await agent.run(user_msg="What do the items 1 to 5 cost?"))


if __name__ == "__main__":
    asyncio.run(main())
