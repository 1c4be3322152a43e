"""LlamaIndex tools in neutral form."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import pydantic
from llama_index.core.tools import AsyncBaseTool, BaseTool, FunctionTool
from llama_index.core.tools.tool_spec.base import BaseToolSpec

from callgate import Call, Tool, ToolFailed, ToolWaits, UsageError
from callgate.codec import JSON
from callgate.mcp import outcome_unknown
from callgate.names import told_apart
from callgate.tools import Caller, Effect
from callgate_llama_index.declared import declared
from callgate_llama_index.upstream import WaitingForEvent
from callgate_llama_index.values import output_schema, value_of

__all__ = ["LlamaIndexTools", "acall_tool", "awaited", "from_llama_index", "listed", "neutral", "renamed"]

LlamaIndexTools: TypeAlias = Iterable["BaseTool | BaseToolSpec | Callable[..., Any]"]
"""Tools, specs of several, and functions that `FunctionTool.from_defaults` turns into tools."""


def from_llama_index(
    tools: LlamaIndexTools | Mapping[str, LlamaIndexTools],
    effects: Mapping[str, Effect] | None = None,
) -> list[Tool]:
    """Return LlamaIndex tools in neutral form, for `CodeRunner` and for adapters.

    Args:
        tools: FunctionTools, QueryEngineTools and any others, ToolSpecs, or functions; or a mapping of sources to
            theirs: there, tools whose names clash are called `<source>_<name>`.
        effects: tool name to "read", "idempotent" or "write". Where it says nothing: what an MCP server claims, of
            tools by `mcp_tools`, else write. Name here what you do not take a server's word for.

    Raises:
        UsageError: for two tools of one name, an effect of a tool that is not there, or a tool without a name.

    The tools return raw values: `ToolOutput.raw_output`. What they raise, a program catches as `ToolFailed` with its
    text, which is what an agent of LlamaIndex tells its model. `partial_params` and the Context are not in the schema
    and cannot be passed. A tool that needs a Context works only inside a workflow: there use `code_tool` or
    `CallgateAgent`. One with `return_direct` may only be called plainly: a program cannot end the agent's run.
    """
    return neutral(listed(tools), effects)


def neutral(tools: Iterable[BaseTool], effects: Mapping[str, Effect] | None) -> list[Tool]:
    """Return tools in neutral form; see `from_llama_index`."""
    ready = [_neutral(one, (effects or {}).get(one.metadata.get_name(), declared(one).effect)) for one in tools]
    if unknown := sorted(set(effects or {}) - {one.name for one in ready}):
        raise UsageError(f"effects names {', '.join(unknown)}; the tools are: {', '.join(one.name for one in ready)}")
    return ready


def listed(tools: LlamaIndexTools | Mapping[str, LlamaIndexTools]) -> list[BaseTool]:
    """Return tools as a list: one as it is; of a mapping of sources, all, those of one name told apart.

    Raises:
        UsageError: if sources have tools that cannot be told apart, or a tool has no name.
    """
    if isinstance(tools, BaseTool | BaseToolSpec) or callable(tools):
        raise UsageError("give tools as a list, or as a mapping of sources to lists of theirs")
    if isinstance(tools, Mapping):
        sources = {source: listed(given) for source, given in cast("Mapping[str, LlamaIndexTools]", tools).items()}
        return [renamed(one, name) for name, one in told_apart(sources, lambda one: one.metadata.get_name())]
    ready = list[BaseTool]()
    for one in tools:
        if isinstance(one, BaseToolSpec):
            ready.extend(one.to_tool_list())
        else:
            ready.append(one if isinstance(one, BaseTool) else FunctionTool.from_defaults(one))
    for one in ready:
        if not one.metadata.name:
            raise UsageError(f"a {type(one).__name__} has no name; give its metadata one")
    return ready


def renamed(tool: BaseTool, name: str) -> BaseTool:
    """Return a tool under another name; it is the same one in everything else."""
    if tool.metadata.name == name:
        return tool
    twin, metadata = copy.copy(tool), copy.copy(tool.metadata)
    metadata.name = name
    cast("Any", twin)._metadata = metadata
    if twin.metadata.name != name:
        raise UsageError(f"{tool.metadata.name!r} cannot be renamed to {name!r}: a {type(tool).__name__}; rename it")
    return twin


def _neutral(tool: BaseTool, effect: Effect) -> Tool:
    name, hidden = tool.metadata.get_name(), _hidden(tool)
    needs_context = isinstance(tool, FunctionTool) and tool.requires_context

    def arguments(call: Call) -> dict[str, Any]:
        if needs_context:
            text = "needs the Context of a workflow: use callgate_llama_index.code_tool or CallgateAgent"
            raise UsageError(f"{call.tool} {text}")
        return allowed(call, hidden)

    def invoke(call: Call) -> Any:
        given = arguments(call)
        try:
            return value_of(tool, cast("Any", tool)(**given))
        except Exception as error:
            raise told(error) from error

    async def ainvoke(call: Call) -> Any:
        given = arguments(call)
        try:
            return value_of(tool, await awaited(tool, given))
        except Exception as error:
            raise told(error) from error

    callers: frozenset[Caller] = frozenset(("direct",) if tool.metadata.return_direct else ("direct", "code"))
    return Tool(
        name=name,
        description=_description(tool),
        input_schema=_input_schema(tool, hidden),
        output_schema=output_schema(tool),
        effect=effect,
        callers=callers,
        invoke=None if _async_only(tool) else invoke,
        ainvoke=ainvoke,
    )


async def acall_tool(tool: BaseTool, call: Call, context: Any) -> Any:
    """Run one call as an agent would run a plain one, and return its output.

    Args:
        tool: to call.
        call: of a program.
        context: of the workflow, for tools that take it.

    Raises:
        ToolFailed: with the text that the agent would tell its model.
        WaitingForEvent: if the tool waits for an event.
    """
    given = allowed(call, _hidden(tool))
    if isinstance(tool, FunctionTool) and tool.requires_context and tool.ctx_param_name is not None:
        given[tool.ctx_param_name] = context
    try:
        return await awaited(tool, given)
    except Exception as error:
        raise told(error) from error


async def awaited(tool: BaseTool, given: dict[str, Any]) -> Any:
    """Call a tool with its arguments."""
    if isinstance(tool, AsyncBaseTool):
        return await cast("Any", tool).acall(**given)
    return await asyncio.to_thread(cast("Any", tool), **given)


def told(error: Exception) -> Exception:
    """Return what a program may read of an error: what an agent of LlamaIndex tells its model of it."""
    if issubclass(type(error), ToolFailed | ToolWaits | WaitingForEvent):
        return error
    if (unknown := outcome_unknown(error)) is not None:
        return unknown
    if isinstance(error, pydantic.ValidationError):
        parts = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
        return ToolFailed("invalid arguments: " + "; ".join(parts))
    return ToolFailed(str(error) or type(error).__name__)


def allowed(call: Call, hidden: frozenset[str]) -> dict[str, Any]:
    """Return the arguments of a call.

    Raises:
        ToolFailed: if it names one that only the host may set; an open schema lets any name through the gate.
    """
    if forged := sorted(hidden & call.arguments.keys()):
        raise ToolFailed(f"{call.tool} has no argument {', '.join(map(repr, forged))}")
    return dict(call.arguments)


def _hidden(tool: BaseTool) -> frozenset[str]:
    """Return the names of the arguments that only the host may set."""
    if not isinstance(tool, FunctionTool):
        return frozenset()
    return frozenset(tool.partial_params) | frozenset([tool.ctx_param_name] if tool.ctx_param_name else [])


def _async_only(tool: BaseTool) -> bool:
    return isinstance(tool, FunctionTool) and inspect.iscoroutinefunction(tool.real_fn)


def _input_schema(tool: BaseTool, hidden: frozenset[str]) -> dict[str, JSON]:
    try:
        schema: dict[str, JSON] = dict(cast("Any", tool.metadata).get_parameters_dict())
    except (pydantic.errors.PydanticUserError, TypeError, NameError) as error:
        raise UsageError(f"tool {tool.metadata.name!r}: {error}") from error
    schema.setdefault("type", "object")
    properties = cast("dict[str, JSON]", schema.get("properties") or {})
    schema["properties"] = {key: one for key, one in properties.items() if key not in hidden}
    schema["required"] = [key for key in cast("list[str]", schema.get("required") or []) if key not in hidden]
    return schema


def _description(tool: BaseTool) -> str:
    """Return a tool's description without the signature that LlamaIndex puts in front of it: stubs have that."""
    text = inspect.cleandoc(tool.metadata.description or "")
    first, _, rest = text.partition("\n")
    if isinstance(tool, FunctionTool) and first.startswith(f"{tool.real_fn.__name__}(") and _signed(first):
        return inspect.cleandoc(rest)
    return text


def _signed(line: str) -> bool:
    return line.endswith(")") or ") -> " in line
