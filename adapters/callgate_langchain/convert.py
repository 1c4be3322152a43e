"""LangChain tools in neutral form."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, cast, get_args

import pydantic
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langchain_core.tools import tool as make_tool

from callgate import Call, Tool, ToolFailed, UsageError
from callgate.mcp import effect_of
from callgate.tools import Caller, Effect
from callgate_langchain.guards import is_list
from callgate_langchain.raw import Capture, capture, capturing
from callgate_langchain.schemas import injected, input_schema, output_schema
from callgate_langchain.sources import LangChainTools, listed

__all__ = ["from_langchain"]


def from_langchain(
    tools: LangChainTools | Mapping[str, LangChainTools],
    effects: Mapping[str, Effect] | None = None,
) -> list[Tool]:
    """Return LangChain tools in neutral form, for `CodeRunner` and for adapters.

    Args:
        tools: LangChain tools, or functions, which LangChain's `tool` turns into tools; or a mapping of sources to
            theirs: there, tools whose names clash are called `<source>_<name>`.
        effects: tool name to "read", "idempotent" or "write". Where it says nothing: the tool's
            `metadata={"callgate": {"effect": ...}}`, else MCP's annotations (readOnlyHint is read, idempotentHint is
            idempotent), else write. Annotations are what a server claims: name here what you do not take its word for.

    `metadata={"callgate": {...}}` may also hold `record` and `reconcile`, see `Tool`, and `output_schema`: the JSON
    Schema of what the tool returns, or its type. Without, it is the return annotation, or what an MCP server says.

    Raises:
        UsageError: for sources whose tools cannot be told apart, an effect of a tool that is not there, callgate
            metadata of another form, a caller that no vendor knows, or a tool whose arguments JSON Schema cannot
            describe.

    The tools return raw values, not text; see `Capture.value`. Arguments that LangChain injects are not in the schema
    and cannot be passed. A tool that needs state, a store or a runtime, or returns a Command, works only inside a
    graph: there use `callgate_langgraph.CodeActNode`.

    `extras["allowed_callers"]` lists who may call a tool, in words of Anthropic or OpenAI: "direct" is the model,
    "code_execution_20260120" and "programmatic" are code. Without it both may.
    """
    ready = [one if isinstance(one, BaseTool) else make_tool(one) for one in listed(tools)]
    unknown = sorted(set(effects or {}) - {one.name for one in ready})
    if unknown:
        raise UsageError(f"effects names {', '.join(unknown)}; the tools are: {', '.join(one.name for one in ready)}")
    return [_neutral(one, (effects or {}).get(one.name)) for one in ready]


def _neutral(tool: BaseTool, effect: Effect | None) -> Tool:
    stand_in, hidden = capturing(tool), injected(tool)
    needed = [name for name, required in hidden.items() if required]

    def request(call: Call) -> dict[str, Any]:
        if needed:
            raise UsageError(f"{call.tool} needs {', '.join(needed)} from a graph: use callgate_langgraph.CodeActNode")
        forged = [name for name in call.arguments if name in hidden]  # an open schema lets any name through the gate
        if forged:
            raise ToolFailed(f"{call.tool} has no argument {', '.join(map(repr, forged))}")
        return {"name": call.tool, "args": call.arguments, "id": call.id, "type": "tool_call"}

    def invoke(call: Call) -> Any:
        with capture(call.id) as captured:
            try:
                return _value(stand_in.invoke(request(call)), captured, call)
            except Exception as error:
                if (told := _told(error, call)) is None:
                    raise
                raise told from error

    async def ainvoke(call: Call) -> Any:
        with capture(call.id) as captured:
            try:
                return _value(await stand_in.ainvoke(request(call)), captured, call)
            except Exception as error:
                if (told := _told(error, call)) is None:
                    raise
                raise told from error

    declared = _declared(tool)
    async_only = getattr(tool, "coroutine", None) is not None and getattr(tool, "func", None) is None
    return Tool(
        name=tool.name,
        description=inspect.cleandoc(tool.description),
        input_schema=input_schema(tool),
        output_schema=output_schema(tool, declared),
        effect=effect or _effect(tool),
        callers=_callers(tool),
        record=declared.get("record", "value"),
        reconcile=declared.get("reconcile"),
        invoke=None if async_only else invoke,
        ainvoke=ainvoke,
    )


def _value(message: Any, captured: Capture, call: Call) -> Any:
    if not isinstance(message, ToolMessage):
        raise UsageError(f"{call.tool} returned a Command, which needs a graph: use callgate_langgraph.CodeActNode")
    return captured.value(message)


def _told(error: Exception, call: Call) -> Exception | None:
    """Return what a program may read of an error that is meant to be read; None of any other.

    A question of a tool to a human is no error that a program could catch: nobody would be asked.
    """
    if any((one.__module__, one.__name__) == ("langgraph.errors", "GraphBubbleUp") for one in type(error).__mro__):
        return UsageError(
            f"{call.tool} leaves its node or asks a human (interrupt): use callgate_langgraph.CodeActNode"
        )
    if isinstance(error, ToolException):
        return ToolFailed(str(error))
    if not isinstance(error, pydantic.ValidationError):
        return None
    parts = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
    return ToolFailed("invalid arguments: " + "; ".join(parts))


def _effect(tool: BaseTool) -> Effect:
    metadata: Mapping[str, Any] = tool.metadata or {}
    declared = _declared(tool).get("effect")
    if declared is not None:
        if declared not in get_args(Effect):
            raise UsageError(f"tool {tool.name!r}: effect is one of {get_args(Effect)}, got {declared!r}")
        return declared
    annotations = {**metadata, **_inside(metadata, "annotations"), **_inside(metadata, "mcp", "tool", "annotations")}
    return effect_of(read_only=annotations.get("readOnlyHint"), idempotent=annotations.get("idempotentHint"))


def _declared(tool: BaseTool) -> Mapping[str, Any]:
    """Return what the tool's metadata says to callgate."""
    declared = _inside(tool.metadata or {}, "callgate")
    if unknown := sorted(set(declared) - set(_DECLARED)):
        known, odd = ", ".join(map(repr, _DECLARED[:-1])), ", ".join(map(repr, unknown))
        raise UsageError(f"tool {tool.name!r}: metadata['callgate'] holds {known} or {_DECLARED[-1]!r}, not {odd}")
    return declared


_DECLARED = ("effect", "output_schema", "reconcile", "record")


def _inside(metadata: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = metadata
    for key in path:
        found = cast("Mapping[str, Any]", found).get(key) if isinstance(found, Mapping) else None
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def _callers(tool: BaseTool) -> frozenset[Caller]:
    allowed: Any = (tool.extras or {}).get("allowed_callers")
    if allowed is None:
        return frozenset(("direct", "code"))
    if not is_list(allowed) or not all(isinstance(one, str) and _CALLER.fullmatch(one) for one in allowed):
        words = '"direct", "programmatic" (OpenAI) and "code_execution_20260120" (Anthropic, of any date)'
        raise UsageError(f"tool {tool.name!r}: extras['allowed_callers'] is a list of {words}, got {allowed!r}")
    return frozenset[Caller]("direct" if one == "direct" else "code" for one in allowed)


_CALLER = re.compile(r"direct|programmatic|code_execution_\d{8}")
"""What vendors call those who may call a tool."""
