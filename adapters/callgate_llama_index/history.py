"""LlamaIndex's messages as the router and the ledger read them, and what a Context keeps of surfaces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM

from callgate.history import Message, ModelCall, Role, SurfaceKind

__all__ = ["history_of", "remember", "shown_to"]

_SURFACES = "callgate_surfaces"
"""The key of the store that holds what each agent was shown: messages go to vendors, with all they hold."""

_ROLES: dict[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}


def history_of(messages: Sequence[ChatMessage], llm: Any, shown: Sequence[SurfaceKind] = ()) -> tuple[Message, ...]:
    """Return messages in neutral form. Of their content this is the text.

    Args:
        messages: to read.
        llm: knows where it puts calls.
        shown: what the last assistants were shown; those that the messages have lost stand in front of them.
    """
    read = [_message(one, llm) for one in messages]
    assistants = [at for at, one in enumerate(read) if one.role == "assistant"]
    count = min(len(assistants), len(shown))
    for at, kind in zip(assistants[len(assistants) - count :], shown[len(shown) - count :], strict=True):
        one = read[at]
        read[at] = Message(role=one.role, text=one.text, calls=one.calls, surface=kind)
    lost = dict.fromkeys(shown[: len(shown) - count])
    return (*(Message(role="assistant", surface=kind) for kind in lost), *read)


def _message(message: ChatMessage, llm: Any) -> Message:
    role, text = _ROLES.get(message.role, "user"), message.content or ""
    if role == "assistant":
        return Message(role=role, text=text, calls=_calls(message, llm))
    if role == "tool":
        return Message(role=role, text=text, answers=message.additional_kwargs.get("tool_call_id"))
    return Message(role=role, text=text)


def _calls(message: ChatMessage, llm: Any) -> tuple[ModelCall, ...]:
    if not isinstance(llm, FunctionCallingLLM):
        return ()
    try:
        found = llm.get_tool_calls_from_response(ChatResponse(message=message), error_on_no_tool_call=False)
    except Exception:  # noqa: BLE001 - of another vendor's model, which wrote calls in its own way
        return ()
    return tuple(
        ModelCall(
            id=one.tool_id,
            name=one.tool_name,
            arguments=json.dumps(one.tool_kwargs, ensure_ascii=False, default=str),
        )
        for one in found
    )


async def shown_to(store: Any, agent: str, tools: str) -> list[SurfaceKind]:
    """Return what an agent was shown of its tools, oldest first.

    Args:
        store: of the Context.
        agent: its name.
        tools: their digest; what was shown of others does not count.
    """
    known: dict[str, Any] = await store.get(_SURFACES, default={})
    record = known.get(agent, {})
    return list(record.get("shown", ())) if record.get("tools") == tools else []


async def remember(store: Any, agent: str, tools: str, shown: Sequence[SurfaceKind]) -> None:
    """Keep what an agent was shown, of the last hundred turns and in short of those before."""
    most = 100
    older = list(dict.fromkeys(shown[:-most]))
    known: dict[str, Any] = dict(await store.get(_SURFACES, default={}))
    known[agent] = {"tools": tools, "shown": [*older, *shown[-most:]]}
    await store.set(_SURFACES, known)
