"""`execute_code` as a plain LangChain tool, for agents that are built of nothing but tools."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from callgate import CodeRunner, JournalStore, Limits, Outcome
from callgate.outcome import lost
from callgate.runner import Event
from callgate.sandboxes.shared import WhereToRun
from callgate.stubs import ArgumentProse
from callgate.surface import definition
from callgate.tools import Effect
from callgate_langchain.answers import artifact_of
from callgate_langchain.convert import from_langchain
from callgate_langchain.guards import is_dict
from callgate_langchain.sources import LangChainTools

__all__ = ["code_tool"]


class _Program(BaseModel):
    code: str = Field(description="the program")


_asked: ContextVar[str | None] = ContextVar("callgate_asked", default=None)
"""Id of the call: a tool that takes it as an argument could not be called without one."""


class _CodeTool(StructuredTool):
    """Knows the id of its call, and marks the answer of a program that did not complete as an error."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        token = _asked.set(_id_of(input))
        try:
            return _marked(super().invoke(input, config, **kwargs))
        finally:
            _asked.reset(token)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        token = _asked.set(_id_of(input))
        try:
            return _marked(await super().ainvoke(input, config, **kwargs))
        finally:
            _asked.reset(token)


def code_tool(
    tools: LangChainTools | Mapping[str, LangChainTools],
    *,
    sandbox: WhereToRun = "local",
    effects: Mapping[str, Effect] | None = None,
    limits: Limits | None = None,
    journal: JournalStore | None = None,
    journal_key: bytes | None = None,
    argument_prose: ArgumentProse = "needed",
    on_event: Callable[[Event], None] | None = None,
) -> BaseTool:
    """Return `execute_code` over some tools, as a tool like any other.

    It has no graph around it: tools that need state, a store or a runtime cannot be called, nothing can wait for a
    human, and a program that a crash cut off is not gone on with; one in which nobody knows whether a write happened
    is lost. Where there is a graph, use
    `callgate_langgraph.CodeActNode` or `CodeActMiddleware`.

    The model is given the outcome's text, with status "error" if the program did not complete; `ToolMessage.artifact`
    holds its "status", "calls", "artifacts" and more, as the node's does, and all lines of its "journal".

    Args:
        tools: that programs may call; see `from_langchain`.
        sandbox: where programs run: "local", "e2b", "auto", a sandbox, or several of these; see `CodeRunner`.
        effects: tool name to "read", "idempotent" or "write".
        limits: of each program.
        journal: where runs and values too large to show are kept; None is in memory, as long as the tool lives.
        journal_key: seals every line of the journal; see `CodeRunner`.
        argument_prose: what is said of arguments: "needed" is what their names do not say, "all" is all.
        on_event: is told what happens to inner calls; see `CodeRunner`.

    Raises:
        UsageError: as `from_langchain` and `CodeRunner` do.
    """
    runner = CodeRunner(
        from_langchain(tools, effects),
        sandbox=sandbox,
        limits=limits,
        journal=journal,
        journal_key=journal_key,
        on_event=on_event,
    )
    described: Any = definition(runner.catalogue, argument_prose=argument_prose)

    def run(code: str) -> tuple[str, dict[str, Any]]:
        asked, key = _named()
        return _told(runner.run(code, id=asked, key=key), key)

    async def arun(code: str) -> tuple[str, dict[str, Any]]:
        asked, key = _named()
        return _told(await runner.arun(code, id=asked, key=key), key)

    return _CodeTool(
        name=described["name"],
        description=described["description"],
        args_schema=_Program,
        func=run,
        coroutine=arun,
        response_format="content_and_artifact",
    )


def _id_of(input: Any) -> str | None:
    """Return the id of a tool call; None of what is none, such as plain arguments."""
    return input.get("id") if is_dict(input) and input.get("type") == "tool_call" else None


def _named() -> tuple[str, str]:
    """Return the id of an action, which is that of its call, and a key: some vendors count calls from one each time."""
    made = secrets.token_hex(6)
    asked = _asked.get() or f"run-{made}"
    return asked, f"{asked}/{made}"


def _marked(message: Any) -> Any:
    if isinstance(message, ToolMessage) and is_dict(message.artifact) and message.artifact["status"] != "completed":
        message.status = "error"
    return message


def _told(outcome: Outcome, key: str) -> tuple[str, dict[str, Any]]:
    outcome = lost(outcome) if outcome.status == "paused" else outcome
    return outcome.text, {**artifact_of(outcome), "journal_key": key, "journal": list(outcome.journal.lines)}
