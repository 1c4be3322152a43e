"""A conversation as the router and the ledger see it, whatever framework holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from callgate.codec import JSON, is_array, is_object
from callgate.costs import Tokens
from callgate.errors import UsageError

__all__ = ["Message", "ModelCall", "Role", "SurfaceKind", "read_messages"]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
SurfaceKind: TypeAlias = Literal["json", "code", "mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A tool call that a model asked for: a plain one, or `execute_code`."""

    id: str
    name: str
    arguments: str
    """Its arguments as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message."""

    role: Role
    text: str = ""
    calls: tuple[ModelCall, ...] = ()
    """Of an assistant."""
    answers: str | None = None
    """The id of the call that a tool's message answers."""
    surface: SurfaceKind | None = None
    """What an assistant was shown, as its message records it."""
    usage: Tokens | None = None
    """What the vendor counted for an assistant's request."""


_FORMS = "OpenAI's chat form, LangChain's messages_to_dict, model_dump or dumpd"
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_ELSEWHERE = ("tool_use", "tool_result", "function_call", "function_call_output")
"""Kinds of content by which other forms say what a call is; without them a conversation is not what it was."""


def read_messages(data: JSON) -> tuple[list[Message], list[dict[str, JSON]]]:
    """Return the messages of a stored conversation, and the definitions of its tools as they stand there.

    Of their content this is the text; images and the like are left out.

    Args:
        data: a list of messages, or an object with "messages" and, maybe, "tools". Messages are in OpenAI's chat form,
            or as LangChain's `messages_to_dict`, `model_dump` or `dumpd` write them.

    Raises:
        UsageError: for anything else. It says where.
    """
    tools: JSON = None
    if is_object(data):
        if "messages" not in data:
            raise UsageError(f'an object needs "messages", a list in {_FORMS}; this one has: {_some(data)}')
        data, tools = data["messages"], data.get("tools", data.get("functions"))
    if not is_array(data):
        raise UsageError(f"messages are a list in {_FORMS}, not {_kind(data)}")
    if tools is not None and not is_array(tools):
        raise UsageError(f'"tools" is a list of definitions, not {_kind(tools)}')
    definitions = list[dict[str, JSON]]()
    for at, one in enumerate(tools or ()):
        if not is_object(one):
            raise UsageError(f"tools[{at}] is {_kind(one)}, not an object")
        definitions.append(one)
    return [_message(one, f"messages[{at}]") for at, one in enumerate(data)], definitions


def _message(item: JSON, where: str) -> Message:
    if not is_object(item):
        raise UsageError(f"{where} is {_kind(item)}, not a message")
    fields, kind = _unwrapped(item, where)
    role = _ROLES.get(kind)
    if role is None:
        raise UsageError(f"{where} is of role {kind!r}, which is none of {', '.join(_ROLES)}")
    has_calls = any(fields.get(name) for name in ("tool_calls", "invalid_tool_calls"))
    text = _text(fields.get("content"), f"{where}.content", has_calls=has_calls)
    if role == "tool":
        answers = fields.get("tool_call_id", fields.get("name") if kind == "function" else None)
        if not isinstance(answers, str):
            raise UsageError(f"{where}.tool_call_id is {_kind(answers)}: which call does it answer?")
        return Message(role=role, text=text, answers=answers)
    if role == "assistant":
        return Message(
            role=role,
            text=text,
            calls=tuple(_calls(fields, where)),
            surface=_surface(fields),
            usage=_usage(fields.get("usage_metadata"), f"{where}.usage_metadata"),
        )
    return Message(role=role, text=text)


def _unwrapped(item: dict[str, JSON], where: str) -> tuple[dict[str, JSON], str]:
    """Return the fields of a message of any form, and its role."""
    fields, kind = item, item.get("role", item.get("type"))
    if "lc" in item:
        inside = item.get("kwargs")
        if not is_object(inside):
            raise UsageError(f"{where} was not serialised: its class could not be")
        path = item.get("id")
        fields, kind = inside, inside.get("type", path[-1] if is_array(path) and path else None)
    elif is_object(inside := item.get("data")) and "content" not in item:
        fields = inside
    if kind == "chat":
        kind = fields.get("role")
    if not isinstance(kind, str):
        raise UsageError(f'{where} has neither "role" nor "type"; messages are in {_FORMS}')
    for ending in ("MessageChunk", "Message"):
        kind = kind.removesuffix(ending).lower() if kind.endswith(ending) else kind
    return fields, kind


def _text(content: JSON, where: str, *, has_calls: bool) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not is_array(content):
        raise UsageError(f"{where} is {_kind(content)}, not text or a list of parts")
    parts = list[str]()
    for at, part in enumerate(content):
        if isinstance(part, str):
            parts.append(part)
            continue
        if not is_object(part):
            raise UsageError(f"{where}[{at}] is {_kind(part)}, not a part")
        kind = part.get("type")
        if kind in _ELSEWHERE and not has_calls:
            raise UsageError(f"{where}[{at}] is a {kind}: convert the messages to {_FORMS}")
        if kind in ("text", "input_text", "output_text") and isinstance(text := part.get("text"), str):
            parts.append(text)
    return "".join(parts)


def _calls(fields: dict[str, JSON], where: str) -> Iterator[ModelCall]:
    """Yield the calls of an assistant, those that do not parse last."""
    more = fields.get("additional_kwargs")
    more = more if is_object(more) else {}
    found = False
    for name, source in (("tool_calls", fields), ("invalid_tool_calls", fields), ("tool_calls", more)):
        listed: JSON = source.get(name) or []
        if source is more and found:
            return  # they are the same ones, as the vendor wrote them
        if not is_array(listed):
            raise UsageError(f"{where}.{name} is {_kind(listed)}, not a list")
        for at, one in enumerate(listed):
            found = True
            yield _call(one, f"{where}.{name}[{at}]")
    for source in (fields, more):
        if not found and is_object(old := source.get("function_call")):
            found = True
            yield _call({**old, "id": old.get("name")}, f"{where}.function_call")


def _call(call: JSON, where: str) -> ModelCall:
    if not is_object(call):
        raise UsageError(f"{where} is {_kind(call)}, not a call")
    inside = call.get("function", call.get("custom", call))
    if not is_object(inside) or not isinstance(name := inside.get("name"), str):
        raise UsageError(f"{where} names no tool")
    arguments = inside.get("arguments", inside.get("args", inside.get("input")))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    named = call.get("id")
    return ModelCall(id=named if isinstance(named, str) else "", name=name, arguments=arguments)


def _surface(fields: dict[str, JSON]) -> SurfaceKind | None:
    metadata = fields.get("response_metadata")
    record = metadata.get("callgate") if is_object(metadata) else None
    kind = record.get("surface") if is_object(record) else None
    return kind if kind in get_args(SurfaceKind) else None


def _usage(usage: JSON, where: str) -> Tokens | None:
    if usage is None:
        return None
    if not is_object(usage):
        raise UsageError(f"{where} is {_kind(usage)}, not an object")
    details = usage.get("input_token_details")
    cached = (details.get("cache_read") if is_object(details) else None) or 0
    counts = [usage.get("input_tokens"), usage.get("output_tokens"), cached]
    read, written, cached = (one if isinstance(one, int) and one >= 0 else -1 for one in counts)
    if min(read, written, cached) < 0:
        raise UsageError(f'{where}: "input_tokens" and "output_tokens" are whole numbers')
    cached = min(cached, read)
    return Tokens(new=read - cached, repeated=cached, output=written)


def _kind(value: JSON) -> str:
    if is_object(value):
        return "an object"
    return "a list" if is_array(value) else "missing" if value is None else f"{str(value)[:40]!r}"


def _some(data: dict[str, JSON]) -> str:
    return ", ".join(list(data)[:8]) or "nothing"
