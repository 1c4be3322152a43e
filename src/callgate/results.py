"""What a function says of its result, as JSON Schema of the JSON value that a program is given."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import pydantic
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from typing_extensions import TypedDict

from callgate.codec import JSON

__all__ = ["annotated_result", "result_schema", "union"]


def annotated_result(function: Callable[..., Any]) -> Any:
    """Return the return annotation of a function, `Any` where it has none that can be read; of an async one, awaited.

    Args:
        function: a function, a method, a partial of one, or an object that can be called.
    """
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = cast("Any", inner).func
    if not hasattr(inner, "__annotations__") or inspect.isclass(inner):
        inner = inner if inspect.isclass(inner) else type(inner).__call__

    def alone() -> None: ...

    try:
        alone.__annotations__ = {"return": inner.__annotations__.get("return", Any)}  # others may be unreadable
        scope = getattr(inspect.unwrap(inner), "__globals__", {})
        found: Any = get_type_hints(alone, scope, include_extras=True)["return"]
    except (AttributeError, TypeError, NameError, SyntaxError, ValueError):
        return Any
    awaited = get_origin(found) in (Awaitable, Coroutine) and get_args(found)
    return get_args(found)[-1] if awaited else found


def result_schema(annotation: Any) -> Mapping[str, JSON] | None:
    """Return the schema of values of a type as the codec makes JSON of them; None where the type says nothing."""
    try:
        adapter = pydantic.TypeAdapter(_readable(annotation, {}))
        schema = adapter.json_schema(mode="serialization", by_alias=False, schema_generator=_AsTheCodecDoes)
    except (pydantic.errors.PydanticUserError, TypeError, NameError, AttributeError, RecursionError):
        return None
    return schema or None


class _AsTheCodecDoes(GenerateJsonSchema):
    """Fields with a default are always there; a time span is a number of seconds, but in a pydantic model."""

    _models = 0

    def field_is_required(self, field: Any, total: bool) -> bool:
        if field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return not field.get("serialization_exclude", False)

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        before = self.by_alias
        self.by_alias = bool(schema["cls"].model_config.get("serialize_by_alias"))
        self._models += 1
        try:
            return super().model_schema(schema)
        finally:
            self.by_alias = before
            self._models -= 1

    def timedelta_schema(self, schema: Any) -> JsonSchemaValue:
        return super().timedelta_schema(schema) if self._models else {"type": "number"}


def _readable(annotation: Any, known: dict[Any, Any]) -> Any:
    """Return a type that pydantic reads in place of one that it does not.

    Before Python 3.12 that is typing's TypedDict, and a dataclass may have one inside. And a pandas DataFrame is the
    list of its rows.
    """
    if sys.version_info < (3, 12):
        if typing.is_typeddict(annotation):
            return known.get(annotation) or _typed_dict(annotation, annotation.__required_keys__, known)
        if inspect.isclass(annotation) and dataclasses.is_dataclass(annotation):
            fields = frozenset(one.name for one in dataclasses.fields(annotation))
            return known.get(annotation) or _typed_dict(annotation, fields, known)
    if getattr(annotation, "__module__", "").partition(".")[0] == "pandas" and annotation.__name__ == "DataFrame":
        return list[dict[str, Any]]
    origin, args = get_origin(annotation), get_args(annotation)
    if not args or origin is Literal or isinstance(args[0], list):
        return annotation
    if origin is Annotated:
        return Annotated[(_readable(args[0], known), *args[1:])]
    parts: list[Any] = [one if one is ... else _readable(one, known) for one in args]
    if parts == list(args):
        return annotation
    if origin in (Union, UnionType):
        return union(parts)
    return cast("Any", origin)[tuple(parts) if len(parts) > 1 else parts[0]]


def union(types: Iterable[Any]) -> Any:
    """Return the union of some types."""
    made, *others = types
    for one in others:
        made = made | one
    return made


def _typed_dict(given: Any, required: frozenset[str], known: dict[Any, Any]) -> Any:
    """Return a TypedDict with the fields of another one, or of a dataclass."""
    name: str = given.__name__
    made: Any = TypedDict(name, {})  # pyright: ignore[reportArgumentType] - it has the name of what it stands for
    known[given] = made  # before its fields: one of them may be of the same type
    hints = get_type_hints(given, include_extras=True)
    fields = hints if typing.is_typeddict(given) else {key: hints[key] for key in hints if key in required}
    made.__annotations__ = {key: _readable(one, known) for key, one in fields.items()}
    made.__required_keys__, made.__optional_keys__ = required, frozenset(fields) - required
    return made
