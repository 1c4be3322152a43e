"""What a program is given of a LlamaIndex tool's result, and what is known of it beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

from llama_index.core.base.llms.types import BaseContentBlock, TextBlock
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.tools import BaseTool, FunctionTool, QueryEngineTool, RetrieverTool, ToolOutput

from callgate import ToolFailed
from callgate.codec import JSON
from callgate.results import annotated_result, result_schema, union
from callgate_llama_index.declared import declared

__all__ = ["output_schema", "value_of"]

_ANSWERS = (Response, StreamingResponse, AsyncStreamingResponse, PydanticResponse)

_NODE: Mapping[str, JSON] = {
    "title": "Node",
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "text": {"type": "string"},
        "metadata": {"type": "object"},
        "score": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["id", "text", "metadata", "score"],
}


def value_of(tool: BaseTool, output: Any) -> Any:
    """Return the value of a call.

    That is `raw_output`. A callback that gave the output another text meant it: then that counts, and what the function
    returned stays hidden. Of nodes a program sees id, text, score and the metadata that a model may see, of a query
    engine's answer the answer.

    Args:
        tool: that was called.
        output: what it returned.

    Raises:
        ToolFailed: with the output's text, if it is an error.
    """
    if not isinstance(output, ToolOutput):
        return _plain(output)
    if output.is_error:
        raise ToolFailed(output.content)
    raw = output.raw_output
    if isinstance(raw, ToolOutput):  # a function that makes its own
        return value_of(tool, raw)
    if (answer := _of_mcp(raw)) is not None:
        if answer.failed:
            raise ToolFailed(answer.text)
        return answer.value
    if isinstance(tool, FunctionTool) and output.content != _text(raw):
        return _reread(output.content, cast("object", raw))
    return _plain(raw)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an MCP server answered."""

    failed: bool
    text: str
    value: Any


def _of_mcp(raw: Any) -> _Answer | None:
    """Return a `CallToolResult`, of which ToolOutput knows neither whether it is an error nor its structured content.

    Servers wrap what is no object as {"result": it}. Without structured content the value is the text.
    """
    kind: Any = cast("Any", type(raw))
    if kind.__name__ != "CallToolResult" or not kind.__module__.startswith(("mcp.", "mcp_types.")):
        return None
    known: list[str] = list(kind.model_fields)  # mcp 1 spells them isError, mcp 2 is_error
    fields = {name.replace("_", "").lower(): getattr(raw, name) for name in known}
    text = "\n".join(str(one.text) for one in fields["content"] if hasattr(one, "text"))
    structured: Any = fields["structuredcontent"]
    if structured is None:
        return _Answer(bool(fields["iserror"]), text, text)
    value = structured["result"] if structured.keys() == {"result"} else structured
    return _Answer(bool(fields["iserror"]), text, value)


def _text(raw: Any) -> str:
    """Return the text that FunctionTool makes of what its function returned."""
    several: list[Any] = cast("list[Any]", raw) if isinstance(raw, list) else [raw]
    if all(isinstance(one, BaseContentBlock) for one in several):
        return "\n".join(one.text for one in several if isinstance(one, TextBlock))
    if all(isinstance(one, BaseNode) for one in several):
        return "\n".join(one.get_content() for one in several)
    return str(cast("object", raw))


def _reread(text: str, raw: object) -> object:
    """Return changed text as the value it is the JSON of, where it is one of the same type."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value if type(value) in (dict, list) and type(value) is type(raw) else text


def _plain(raw: Any) -> Any:
    if isinstance(raw, PydanticResponse):
        return raw.response
    if isinstance(raw, _ANSWERS):
        return str(raw)
    if isinstance(raw, NodeWithScore):
        return _node(raw.node, raw.score)
    if isinstance(raw, BaseNode):
        return _node(raw, None)
    if isinstance(raw, TextBlock):
        return raw.text
    if isinstance(raw, list | tuple):
        return [_plain(one) for one in cast("list[Any]", raw)]
    if isinstance(raw, dict):
        return {key: _plain(one) for key, one in cast("dict[Any, Any]", raw).items()}
    return raw


def _node(node: BaseNode, score: float | None) -> dict[str, Any]:
    hidden = node.excluded_llm_metadata_keys
    metadata = {key: one for key, one in node.metadata.items() if key not in hidden}
    return {"id": node.node_id, "text": node.get_content(), "metadata": metadata, "score": score}


def output_schema(tool: BaseTool) -> Mapping[str, JSON] | None:
    """Return the schema of what a program is given of a tool's result; None where nobody says.

    It is what an MCP server says, of tools by `mcp_tools`, or the return annotation of the function that was given, of
    an async one too; what a callback makes of it is anybody's guess.
    """
    if (known := declared(tool).output_schema) is not None:
        return known
    if isinstance(tool, QueryEngineTool):
        return {"type": "string"}
    if isinstance(tool, RetrieverTool):
        return {"type": "array", "items": dict(_NODE)}
    if not isinstance(tool, FunctionTool) or _has_callback(tool):
        return None
    annotation = annotated_result(tool.real_fn)
    if nodes := _of_nodes(annotation):
        return nodes
    return result_schema(_as_given(annotation))


def _has_callback(tool: FunctionTool) -> bool:
    return getattr(tool, "_callback", None) is not None or getattr(tool, "_async_callback", None) is not None


def _of_nodes(annotation: Any) -> Mapping[str, JSON] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseNode | NodeWithScore):
        return dict(_NODE)
    parts = get_args(annotation)
    inner = _of_nodes(parts[0]) if get_origin(annotation) is list else None
    return {"type": "array", "items": inner} if inner is not None else None


def _as_given(annotation: Any) -> Any:
    """Return what a program is given of what a function returns."""
    kind, parts = get_origin(annotation) or annotation, get_args(annotation)
    if isinstance(kind, type) and issubclass(kind, (ToolOutput, BaseContentBlock, BaseNode, NodeWithScore)):
        return str if issubclass(kind, TextBlock) else Any
    if kind in (Union, UnionType):
        return union(map(_as_given, parts))
    if isinstance(kind, type) and issubclass(kind, _ANSWERS):
        return Any if issubclass(kind, PydanticResponse) else str
    return annotation
