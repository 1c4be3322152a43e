"""What a LangChain tool declares, as JSON Schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import pydantic
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId
from langchain_core.tools import Tool as SingleInputTool
from langchain_core.tools.base import (
    _DirectlyInjectedToolArg,  # pyright: ignore[reportPrivateUsage] - the base of ToolRuntime; there is no public one
)

from callgate.codec import JSON
from callgate.errors import UsageError
from callgate.mcp import unwrapped
from callgate.results import annotated_result, result_schema, union
from callgate_langchain.guards import is_dict

__all__ = ["injected", "input_schema", "output_schema"]

_INJECTED = (InjectedToolArg, _DirectlyInjectedToolArg)


def input_schema(tool: BaseTool) -> dict[str, JSON]:
    """Return the schema of the arguments that a model may pass.

    Raises:
        UsageError: if an argument has a type that JSON Schema cannot describe.
    """
    if isinstance(tool, SingleInputTool) and tool.args_schema is None:
        return {"type": "object", "properties": {"tool_input": {"type": "string"}}, "required": ["tool_input"]}
    try:
        declared: Any = tool.tool_call_schema
        if not isinstance(declared, dict):
            declared = declared.model_json_schema() if hasattr(declared, "model_json_schema") else declared.schema()
    except (pydantic.errors.PydanticUserError, TypeError, NameError) as error:
        raise UsageError(f"tool {tool.name!r}: {error}") from error
    schema = {key: value for key, value in cast("dict[str, JSON]", declared).items() if key not in _ABOUT}
    schema.setdefault("type", "object")
    hidden = injected(tool)
    if hidden and isinstance(schema.get("properties"), dict):
        schema["properties"] = {key: value for key, value in schema["properties"].items() if key not in hidden}
        schema["required"] = [key for key in schema.get("required") or () if key not in hidden]
    return schema


_ABOUT = ("title", "description")
"""Keys of a schema that say what the tool says already."""


def injected(tool: BaseTool) -> dict[str, bool]:
    """Return the names of the arguments that only the host may set, and whether a call is impossible without each."""
    found: dict[str, bool] = {}
    function = _function(tool)
    parameters = inspect.signature(function).parameters
    for name, annotation in _hints(function).items():
        if name in parameters and _is_injected(annotation):
            found[name] = parameters[name].default is inspect.Parameter.empty and not _is_call_id(annotation)
    schema: Any = tool.args_schema
    for name, field in getattr(schema, "model_fields", {}).items():
        annotations: tuple[Any, ...] = (field.annotation, *field.metadata)
        if any(map(_is_injected, annotations)):
            found[name] = bool(field.is_required()) and not any(map(_is_call_id, annotations))
    return found


def _is_injected(annotation: Any) -> bool:
    parts: tuple[Any, ...] = (annotation, get_origin(annotation), *get_args(annotation))
    return any(isinstance(one, _INJECTED) or (isinstance(one, type) and issubclass(one, _INJECTED)) for one in parts)


def _is_call_id(annotation: Any) -> bool:
    parts: tuple[Any, ...] = (annotation, *get_args(annotation))
    return any(one is InjectedToolCallId or isinstance(one, InjectedToolCallId) for one in parts)


def output_schema(tool: BaseTool, declared: Mapping[str, Any]) -> Mapping[str, JSON] | None:
    """Return the schema of what a program is given of a tool's result; None where nobody declared one.

    It is what the tool's metadata says to callgate, MCP's `outputSchema`, or the return annotation. A tool of content
    and artifact has none by its annotation: that describes the pair. What comes as a message, or a Command with one, is
    the message's content.

    Args:
        tool: a tool.
        declared: what its metadata says to callgate.

    Raises:
        UsageError: if what is declared is neither a schema nor a type.
    """
    if (own := declared.get("output_schema")) is not None:
        schema = own if is_dict(own) else result_schema(own)
        if schema is None:
            raise UsageError(f"tool {tool.name!r}: output_schema is a JSON Schema or a type, got {own!r}")
        return schema
    if tool.response_format != "content":
        return _of_mcp(tool)
    given = (getattr(tool, name, None) for name in ("func", "coroutine", "_run", "_arun"))
    annotations = (annotated_result(one) for one in given if one is not None)
    return result_schema(_as_given(next((one for one in annotations if one is not Any), Any)))


_CONTENT = str | list[Any]
"""Of a message."""


def _as_given(annotation: Any) -> Any:
    """Return what a program is given of what a tool returns: of messages and Commands, the content."""
    kind, parts = get_origin(annotation) or annotation, get_args(annotation)
    if isinstance(kind, type) and issubclass(kind, ToolOutputMixin):
        return _CONTENT
    if kind in (Union, UnionType):
        return union(map(_as_given, parts))
    return _CONTENT if kind is list and parts and _as_given(parts[0]) is not parts[0] else annotation


def _of_mcp(tool: BaseTool) -> Mapping[str, JSON] | None:
    """Return what an MCP server says of a tool's results, as `Capture.value` unwraps them."""
    schema = _output_schema_of_mcp(tool)
    return unwrapped(schema) if schema is not None else None


def _output_schema_of_mcp(tool: BaseTool) -> dict[str, JSON] | None:
    """Return a tool's `outputSchema`.

    langchain-mcp-adapters (0.3) hands on everything but that; its function holds the server's own description.
    """
    told: Any = tool.metadata or {}
    for key in ("mcp", "tool", "outputSchema"):
        told = told.get(key) if is_dict(told) else None
    found = [told]
    function: Any = getattr(tool, "coroutine", None)
    if str(getattr(function, "__module__", "")).startswith("langchain_mcp_adapters."):
        held = inspect.getclosurevars(function).nonlocals.values()
        found += [getattr(one, "outputSchema", None) for one in held if hasattr(one, "inputSchema")]
    return next((one for one in found if is_dict(one)), None)


def _function(tool: BaseTool) -> Callable[..., Any]:
    """Return what a tool's author wrote."""
    given = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    return given or tool._run  # pyright: ignore[reportPrivateUsage] - the documented method to override


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (TypeError, NameError):  # a callable object, or names that only a type checker sees
        return {}
