"""Tools in neutral form, and the frozen set of them that one code action may use."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast, get_args, overload

import pydantic

from callgate.codec import JSON, NotJSON, digest, encode
from callgate.errors import ToolFailed, UsageError
from callgate.names import RESERVED_NAMES, function_names, told_apart
from callgate.results import annotated_result, result_schema

__all__ = ["Call", "Catalogue", "Effect", "Kept", "Tool", "Tools", "tool"]

Effect: TypeAlias = Literal["read", "idempotent", "write"]
"""What calling a tool twice does: nothing (`read`), the same as once (`idempotent`), or something again (`write`)."""

Kept: TypeAlias = Literal["value", "digest"]
"""What a journal holds of a tool's results."""

Caller: TypeAlias = Literal["direct", "code"]

COMPLAINTS = 20
"""Validation errors that a program is told of one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One inner call as its tool receives it."""

    id: str
    """`"<outer tool_call_id>/<n>"`."""
    tool: str
    arguments: dict[str, JSON]
    """The canonical arguments, the tool's to keep: nobody else holds this dict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One callable of the user's agent.

    Raises `UsageError` for an empty name, an input schema that is no object schema, an unknown effect or caller, a
    digest of what is no read, a `reconcile` for what is no write.
    """

    name: str
    description: str = ""
    input_schema: Mapping[str, JSON] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of the arguments a model may pass; host-injected arguments are not in it."""
    output_schema: Mapping[str, JSON] | None = None
    """JSON Schema of the result, or None where nobody declared it."""
    effect: Effect = "write"
    callers: frozenset[Caller] = frozenset(("direct", "code"))
    """Who may call it: the model by a plain tool call, a program, or both."""
    invoke: Callable[[Call], Any] | None = None
    """Runs one call and returns its value; it may return an awaitable. None where only `ainvoke` or an adapter can."""
    ainvoke: Callable[[Call], Any] | None = None
    """The awaitable twin; where it is None, `invoke` runs in a thread."""
    record: Kept = "value"
    """What the journal holds of its results. "digest" is for reads whose results must not be stored: when an action
    goes on, they are called again, and a result that is another one by then is a warning."""
    reconcile: Callable[[Call], Any] | None = None
    """Finds out how a write ended that a crash cut off; it may return an awaitable. It is given the call as it ran and
    answers as a human would: {"type": "done", "value"}, {"type": "failed", "message"}, "run again" if nothing happened,
    or None if it cannot tell: then a human is asked. It may be asked about the same call again, and while the call is
    still on its way: "run again" is for what neither happened nor can happen any more."""

    def __post_init__(self) -> None:
        if not self.name:
            raise UsageError(f"a tool needs a name, got {self.name!r}")
        if self.input_schema.get("type", "object") != "object":
            raise UsageError(f"tool {self.name!r}: the input schema must describe an object")
        if (properties := self.input_schema.get("properties")) and not isinstance(properties, Mapping):
            raise UsageError(f'tool {self.name!r}: "properties" of the input schema are no object')
        required = self.input_schema.get("required") or ()
        if not isinstance(required, list | tuple) or not all(
            isinstance(one, str) for one in cast("list[JSON]", required)
        ):
            raise UsageError(f'tool {self.name!r}: "required" of the input schema is no list of names')
        if self.effect not in get_args(Effect):
            raise UsageError(f"tool {self.name!r}: effect is one of {get_args(Effect)}, got {self.effect!r}")
        if not set(self.callers) <= set(get_args(Caller)):
            raise UsageError(f"tool {self.name!r}: callers are of {get_args(Caller)}, got {sorted(self.callers)}")
        if self.record not in get_args(Kept):
            raise UsageError(f"tool {self.name!r}: record is one of {get_args(Kept)}, got {self.record!r}")
        if self.record == "digest" and self.effect != "read":
            text = "only of a read can the journal hold the digest: what a write returned cannot be had again"
            raise UsageError(f"tool {self.name!r}: {text}; its effect is {self.effect!r}")
        if self.reconcile is not None and self.effect != "write":
            text = "only a write is reconciled, anything else is called again"
            raise UsageError(f"tool {self.name!r}: {text}; its effect is {self.effect!r}")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The argument names, in the order of the schema."""
        return tuple(self.input_schema.get("properties") or ())

    @property
    def required(self) -> tuple[str, ...]:
        """The argument names that a call may not leave out."""
        return tuple(self.input_schema.get("required") or ())

    @property
    def open(self) -> bool:
        """Whether the schema lets a call pass names that it does not list."""
        extra = self.input_schema.get("additionalProperties")
        if extra is None:
            extra = "properties" not in self.input_schema
        return extra is not False or "patternProperties" in self.input_schema  # {} describes anything

    def fault(self, names: Iterable[str]) -> str | None:
        """Say what is wrong with a call's argument names, or None. Types are the tool's own business."""
        given, known = list(names), self.parameters
        unknown = [name for name in given if name not in known]
        if unknown and not self.open:
            fault = f"has no argument {', '.join(map(repr, unknown))}"
        elif missing := [name for name in self.required if name not in given]:
            fault = f"misses {', '.join(map(repr, missing))}"
        else:
            return None
        return f"{self.name} {fault}; its arguments are: {', '.join(known) or 'none'}"


Tools: TypeAlias = Iterable["Tool | Callable[..., Any]"]
"""Tools, and functions that `tool` turns into tools."""


class Catalogue:
    """The frozen tools of one code action, in the order given.

    Args:
        tools: `Tool`s, or plain functions, which `tool` turns into tools; or a mapping of sources to theirs: there,
            tools whose names clash are called `<source>_<name>`. An empty catalogue means no tools.

    Raises:
        UsageError: if two tools share a name, one has a name of callgate's own, or a schema is no JSON.
    """

    def __init__(self, tools: Tools | Mapping[str, Tools]) -> None:
        named: dict[str, Tool] = {}
        for one in _listed(tools):
            if one.name in named:
                raise UsageError(f"two tools are called {one.name!r}; rename one")
            if one.name in RESERVED_NAMES:
                raise UsageError(f"{one.name!r} is a name of callgate's own in every program; rename the tool")
            named[one.name] = one
        self.tools: Mapping[str, Tool] = MappingProxyType(named)
        """Tool name to tool."""
        self.functions: Mapping[str, Tool] = MappingProxyType(_function_names(named))
        """Name of the function a program may call, to tool. Tools that code may not call have none."""
        try:
            shapes = encode([_shape(one) for one in named.values()])
        except NotJSON as error:
            raise UsageError(f"the schema of a tool is no JSON: {error}") from error
        self.digest = digest(shapes)
        """SHA-256 over names, schemas, effects and callers."""

    def __iter__(self) -> Iterator[Tool]:
        return iter(self.tools.values())

    def __len__(self) -> int:
        return len(self.tools)


def _listed(tools: Tools | Mapping[str, Tools]) -> list[Tool]:
    if isinstance(tools, Tool) or callable(tools):
        raise UsageError("give tools as a list, or as a mapping of sources to lists of theirs")
    if not isinstance(tools, Mapping):
        return [one if isinstance(one, Tool) else tool(one) for one in tools]
    sources = {source: _listed(given) for source, given in cast("Mapping[str, Tools]", tools).items()}
    return [_of_source(one, name) for name, one in told_apart(sources, lambda one: one.name)]


def _shape(one: Tool) -> JSON:
    return [one.name, one.description, dict(one.input_schema), one.effect, sorted(one.callers)]


def _function_names(tools: Mapping[str, Tool]) -> dict[str, Tool]:
    ready = {name: one for name, one in tools.items() if "code" in one.callers}
    names = function_names(ready, tools.keys() - ready.keys())
    return {names[name]: one for name, one in ready.items()}


def _of_source(one: Tool, name: str) -> Tool:
    """Return a tool under another name; it receives its calls under its own."""
    if one.name == name:
        return one
    hooks = {key: _under(one.name, getattr(one, key)) for key in ("invoke", "ainvoke", "reconcile")}
    return replace(one, name=name, **hooks)


def _under(name: str, function: Callable[[Call], Any] | None) -> Callable[[Call], Any] | None:
    if function is None or not inspect.iscoroutinefunction(function):
        return None if function is None else lambda call: function(replace(call, tool=name))

    async def awaited(call: Call) -> Any:
        return await function(replace(call, tool=name))

    return awaited


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    effect: Effect = "write",
    callers: Iterable[Caller] = ("direct", "code"),
    record: Kept = "value",
    reconcile: Callable[[Call], Any] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    effect: Effect = "write",
    callers: Iterable[Caller] = ("direct", "code"),
    record: Kept = "value",
    reconcile: Callable[[Call], Any] | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a `Tool` of a plain or async function, as `@tool` or `@tool(effect="read")`.

    The schemas come from the annotations, by pydantic; arguments are validated and coerced by it at each call, results
    are not. The description is the docstring.

    Raises:
        UsageError: if the signature has positional-only parameters or an annotation pydantic cannot describe, and as
            `Tool` does.
    """

    def make(given: Callable[..., Any]) -> Tool:
        one = _of_function(given, name, effect, frozenset(callers))
        return replace(one, record=record, reconcile=reconcile)

    return make if function is None else make(function)


def _of_function(function: Callable[..., Any], name: str | None, effect: Effect, callers: frozenset[Caller]) -> Tool:
    title = name or getattr(function, "__name__", "")

    @functools.wraps(function)
    def bind(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs  # so that what the body raises is never taken for invalid arguments

    try:
        bind.__annotations__ = {key: one for key, one in _annotations(function).items() if key != "return"}
        adapter: Any = pydantic.TypeAdapter(cast("Any", bind))
        schema = adapter.json_schema()
        kinds = {one.kind for one in inspect.signature(function).parameters.values()}
    except (pydantic.errors.PydanticUserError, TypeError, ValueError, NameError) as error:
        raise UsageError(f"tool {title!r}: {error}") from error
    if schema.get("type") != "object":
        raise UsageError(f"tool {title!r}: parameters must be passable by name; drop the `/`")
    if inspect.Parameter.VAR_KEYWORD in kinds:
        schema.setdefault("additionalProperties", True)

    def invoke(call: Call) -> Any:
        try:
            args, kwargs = adapter.validate_python(call.arguments)
        except pydantic.ValidationError as error:
            raise ToolFailed(_complaint(error)) from error
        return function(*args, **kwargs)

    async def ainvoke(call: Call) -> Any:
        return await invoke(call)

    is_async = inspect.iscoroutinefunction(function)
    return Tool(
        name=title,
        description=inspect.getdoc(function) or "",
        input_schema=schema,
        output_schema=result_schema(annotated_result(function)),
        effect=effect,
        callers=callers,
        invoke=None if is_async else invoke,
        ainvoke=ainvoke if is_async else None,
    )


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    inner: Any = function.func if isinstance(function, functools.partial) else function
    return getattr(inner if hasattr(inner, "__annotations__") else type(inner).__call__, "__annotations__", {})


def _complaint(error: pydantic.ValidationError) -> str:
    """Return a validation error without pydantic's links."""
    parts = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)[:COMPLAINTS])
    return "invalid arguments: " + "; ".join(parts)
