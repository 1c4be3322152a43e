"""What a LangChain tool declares, as JSON Schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args, get_origin, get_type_hints

import pydantic
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId
from langchain_core.tools import Tool as SingleInputTool
from langchain_core.tools.base import (
    _DirectlyInjectedToolArg,  # pyright: ignore[reportPrivateUsage] - the base of ToolRuntime; there is no public one
)

from callgate.codec import JSON
from callgate.errors import UsageError

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


def output_schema(tool: BaseTool) -> Mapping[str, JSON] | None:
    """Return the schema of what a tool returns, from its return annotation; None where nobody declared one.

    A tool of content and artifact has none: its annotation describes the pair.
    """
    annotation = _hints(_function(tool)).get("return", Any)
    if tool.response_format != "content" or annotation is Any:
        return None
    try:
        return pydantic.TypeAdapter(annotation).json_schema(mode="serialization")
    except (pydantic.errors.PydanticUserError, TypeError, NameError):
        return None


def _function(tool: BaseTool) -> Callable[..., Any]:
    """Return what a tool's author wrote."""
    given = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    return given or tool._run  # pyright: ignore[reportPrivateUsage] - the documented method to override


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (TypeError, NameError):  # a callable object, or names that only a type checker sees
        return {}
