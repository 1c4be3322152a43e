"""JSON Schema as Python a model reads: one line per tool."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from callgate.codec import JSON, is_array, is_object
from callgate.tools import Tool

__all__ = ["annotation", "stub"]

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def stub(name: str, one: Tool) -> str:
    """Return `def name(argument: type = default, ...) -> type: first sentence of the description`."""
    schema = one.input_schema
    properties: Mapping[str, JSON] = schema.get("properties", {})
    defined: Mapping[str, JSON] = schema.get("$defs", {})
    ordered = sorted(properties, key=lambda key: key not in one.required)
    parameters = [_parameter(key, properties[key], key in one.required, defined) for key in ordered]
    if any(not key.isidentifier() for key in ordered):
        parameters = ["**arguments"]
    returns = f" -> {annotation(one.output_schema, one.output_schema.get('$defs', {}))}" if one.output_schema else ""
    return f"def {name}({', '.join(parameters)}){returns}: {first_sentence(one.description)}".rstrip(": ")


def _parameter(key: str, schema: JSON, required: bool, defined: Mapping[str, JSON]) -> str:
    text = f"{key}: {annotation(schema, defined)}"
    return f"{text} = {schema.get('default')!r}" if is_object(schema) and not required else text


def first_sentence(description: str) -> str:
    """Return the first sentence of a description, on one line."""
    paragraph = " ".join(description.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0]


def annotation(schema: JSON, defined: Mapping[str, JSON], depth: int = 0) -> str:
    """Return a schema as a Python annotation; objects with known fields as `{"name": type, ...}`.

    Args:
        schema: a JSON Schema.
        defined: its `$defs`.
        depth: of references followed; deeper than 4 is `dict`.
    """
    if not is_object(schema) or depth > 4:
        return "dict" if depth > 4 else "Any"
    fields = schema
    if "$ref" in fields:
        return annotation(defined.get(str(fields["$ref"]).rpartition("/")[2]), defined, depth + 1)
    if "const" in fields or "enum" in fields:
        choices: list[JSON] = fields.get("enum", [fields.get("const")])
        return f"Literal[{', '.join(map(repr, choices))}]"
    for union in ("anyOf", "oneOf"):
        if union in fields:
            return " | ".join(dict.fromkeys(annotation(one, defined, depth) for one in fields[union])) or "Any"
    kind = fields.get("type")
    if is_array(kind):
        return " | ".join(_SCALARS.get(one, str(one)) for one in kind)
    if kind == "array":
        return f"list[{annotation(fields['items'], defined, depth)}]" if "items" in fields else "list"
    if kind == "object":
        return _object(fields, defined, depth)
    return _SCALARS.get(str(kind), "Any")


def _object(fields: dict[str, JSON], defined: Mapping[str, JSON], depth: int) -> str:
    properties: dict[str, JSON] = fields.get("properties", {})
    if properties:
        inner = (f"{json.dumps(key)}: {annotation(one, defined, depth + 1)}" for key, one in properties.items())
        return "{" + ", ".join(inner) + "}"
    values = fields.get("additionalProperties")
    return f"dict[str, {annotation(values, defined, depth + 1)}]" if is_object(values) else "dict"
