"""LangChain's messages as the router and the ledger read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, ToolMessage, convert_to_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.prompt_values import PromptValue

from callgate.costs import Tokens
from callgate.history import Message, ModelCall, Role, SurfaceKind
from callgate_langchain.guards import is_dict

__all__ = ["INSTEAD_OF", "RECORD", "had_to_be_json", "history_of", "surface_of"]

RECORD = "callgate"
"""The key of `AIMessage.response_metadata` that holds what the model was shown, and why."""

INSTEAD_OF = "instead_of"
"""The key of that record that holds what was set for a turn which could not have programs."""

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

_KINDS: tuple[SurfaceKind, ...] = get_args(SurfaceKind)


def history_of(messages: LanguageModelInput | Sequence[Any], tools: str | None = None) -> tuple[Message, ...]:
    """Return messages in neutral form: whatever a chat model takes as its input.

    Of their content this is the text; images and other blocks are left out. A message of another role counts as the
    user's.

    Args:
        messages: to read.
        tools: leave out surfaces that showed others than these, by their digest: another node's, or an older version's.

    Raises:
        ValueError: for what is no message.
    """
    if isinstance(messages, PromptValue):
        return tuple(_message(one, tools) for one in messages.to_messages())
    if isinstance(messages, str):
        return (Message(role="user", text=messages),)
    return tuple(_message(one, tools) for one in convert_to_messages(messages))


def _message(message: BaseMessage, tools: str | None) -> Message:
    named = message.role if isinstance(message, ChatMessage) else message.type
    role, text = _ROLES.get(named, "user"), str(message.text)
    if isinstance(message, AIMessage):
        return Message(
            role=role,
            text=text,
            calls=_calls(message),
            surface=surface_of(message, tools),
            usage=_usage(message.usage_metadata),
        )
    if isinstance(message, ToolMessage):
        return Message(role=role, text=text, answers=message.tool_call_id)
    return Message(role=role, text=text)


def _calls(message: AIMessage) -> tuple[ModelCall, ...]:
    """Return the calls a model wrote, those that do not parse last."""
    calls = [
        ModelCall(
            id=one["id"] or "",
            name=one["name"],
            arguments=json.dumps(one["args"], ensure_ascii=False, default=str),
        )
        for one in message.tool_calls
    ]
    calls += [
        ModelCall(id=one["id"] or "", name=one["name"] or "", arguments=one["args"] or "")
        for one in message.invalid_tool_calls
    ]
    return tuple(calls)


def surface_of(message: AIMessage, tools: str | None = None) -> SurfaceKind | None:
    """Return the surface that a message records.

    Args:
        message: of a model.
        tools: the digest of those that it must have shown; None is any.
    """
    record = message.response_metadata.get(RECORD)
    if not is_dict(record) or (tools is not None and record.get("tools") != tools):
        return None
    kind = record.get("surface")
    return kind if kind in _KINDS else None


def had_to_be_json(message: AIMessage) -> bool:
    """Say whether a message is of a turn that was json although more was set: it could not have programs."""
    record = message.response_metadata.get(RECORD)
    return is_dict(record) and INSTEAD_OF in record


def _usage(usage: UsageMetadata | None) -> Tokens | None:
    """Return what a vendor counted; what it read from its cache is part of its `input_tokens`."""
    if usage is None:
        return None
    read = usage.get("input_token_details", {}).get("cache_read") or 0
    repeated = min(read, usage["input_tokens"])
    return Tokens(new=usage["input_tokens"] - repeated, repeated=repeated, output=usage["output_tokens"])
