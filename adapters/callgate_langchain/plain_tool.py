"""`execute_code` as a plain LangChain tool, for agents that are built of nothing but tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from callgate import CodeRunner, JournalStore, Limits, Outcome
from callgate.outcome import lost
from callgate.sandboxes.base import Sandbox
from callgate.stubs import ArgumentProse
from callgate.surface import definition
from callgate.tools import Effect
from callgate_langchain.answers import artifact_of
from callgate_langchain.convert import from_langchain
from callgate_langchain.sources import LangChainTools

__all__ = ["code_tool"]


class _Program(BaseModel):
    code: str = Field(description="the program")


def code_tool(
    tools: LangChainTools | Mapping[str, LangChainTools],
    *,
    sandbox: Literal["local"] | Sandbox = "local",
    effects: Mapping[str, Effect] | None = None,
    limits: Limits | None = None,
    journal: JournalStore | None = None,
    argument_prose: ArgumentProse = "needed",
) -> BaseTool:
    """Return `execute_code` over some tools, as a tool like any other.

    It has no graph around it: tools that need state, a store or a runtime cannot be called, nothing can wait for a
    human, and a program that a crash cut off is not gone on with. Where there is a graph, use
    `callgate_langgraph.CodeActNode` or `CodeActMiddleware`.

    The model is given the outcome's text; `ToolMessage.artifact` holds its "status", "calls", "artifacts" and more, as
    the node's does, and all lines of its "journal".

    Args:
        tools: that programs may call; see `from_langchain`.
        sandbox: "local", or where else programs run.
        effects: tool name to "read", "idempotent" or "write".
        limits: of each program.
        journal: where runs and values too large to show are kept; None is in memory, as long as the tool lives.
        argument_prose: what is said of arguments: "needed" is what their names do not say, "all" is all.

    Raises:
        UsageError: as `from_langchain` and `CodeRunner` do.
    """
    runner = CodeRunner(from_langchain(tools, effects), sandbox=sandbox, limits=limits, journal=journal)
    described: Any = definition(runner.catalogue, argument_prose=argument_prose)

    def run(code: str) -> tuple[str, dict[str, Any]]:
        return _told(runner.run(code))

    async def arun(code: str) -> tuple[str, dict[str, Any]]:
        return _told(await runner.arun(code))

    return StructuredTool(
        name=described["name"],
        description=described["description"],
        args_schema=_Program,
        func=run,
        coroutine=arun,
        response_format="content_and_artifact",
    )


def _told(outcome: Outcome) -> tuple[str, dict[str, Any]]:
    outcome = lost(outcome) if outcome.status == "paused" else outcome
    return outcome.text, {**artifact_of(outcome), "journal": list(outcome.journal.lines)}
