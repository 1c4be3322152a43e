"""Tools of a real MCP server, as LlamaIndex hands them on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index_cases import agent, answered, program, run

from callgate.sandboxes.base import Sandbox

_NEEDED = (
    "llama-index-tools-mcp is not installed (it excludes langchain-mcp-adapters: give it an environment of its own)"
)
mcp: Any = pytest.importorskip("llama_index.tools.mcp", reason=_NEEDED)


async def tools() -> Any:
    client = mcp.BasicMCPClient(
        sys.executable,
        args=[str(Path(__file__).with_name("mcp_shop.py"))],
        env={"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    return await mcp.McpToolSpec(client).to_tool_list_async()


CODE = """\
try:
    broken(id=1)
except ToolFailed as error:
    said = str(error)
[sum(one["total"] for one in orders(user="u")), order(id=7), note(text="x"), said]
"""


async def test_programs_are_given_values_and_errors(sandbox: Sandbox) -> None:
    one = agent(await tools(), program(CODE), "done", sandbox=sandbox)
    await run(one)
    assert answered(one) == '[5.5,{"id":7,"total":1.0},"123 x","Error executing tool broken"]'
