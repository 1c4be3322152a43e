"""LangChain's own suites of tests for tools, run on execute_code as a plain tool."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_agents import SANDBOX
from langchain_core.tools import BaseTool, tool

from callgate_langchain import code_tool

unit_tests: Any = pytest.importorskip("langchain_tests.unit_tests", reason="langchain-tests is not installed")
integration_tests: Any = pytest.importorskip("langchain_tests.integration_tests")


@tool
def price(item: str) -> float:
    """Return what an item costs."""
    return 10.0 * len(item)


class Shared:
    """What both suites test."""

    @property
    def tool_constructor(self) -> BaseTool:
        return code_tool([price], sandbox=SANDBOX)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"code": "price(item='tea')"}


class TestUnit(Shared, unit_tests.ToolsUnitTests):
    """Of the tool by itself."""


class TestIntegration(Shared, integration_tests.ToolsIntegrationTests):
    """Of the tool when it runs."""
