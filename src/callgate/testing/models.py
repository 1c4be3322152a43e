"""A chat model that plays a script, so that a test of an agent needs no model. Needs langchain-core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

from callgate.errors import UsageError

__all__ = ["ScriptedChatModel", "Turn"]

Turn: TypeAlias = AIMessage | Callable[[list[BaseMessage], list[dict[str, Any]]], AIMessage]
"""What the model says, or a function of (messages, tools in OpenAI's form) that returns it."""


class ScriptedChatModel(BaseChatModel):
    """Says one turn of its script per call, and remembers what it was shown.

    Models that are bound from one share its script and what it has seen.

    Raises `UsageError` when it is called more often than its script has turns.
    """

    turns: list[Any]
    """The script: a `Turn` per call."""
    seen: list[tuple[list[BaseMessage], list[dict[str, Any]]]] = Field(
        default_factory=list[tuple[list[BaseMessage], list[dict[str, Any]]]]
    )
    """Per call the messages and the tools, in OpenAI's form, the model was shown."""

    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def tools_seen(self) -> list[list[str]]:
        """Return per call the names of the tools it was shown."""
        return [[tool["function"]["name"] for tool in tools] for _, tools in self.seen]

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools; a tool_choice is accepted and has no effect on the script."""
        shown = [convert_to_openai_tool(one) for one in tools]
        return cast(
            "Runnable[LanguageModelInput, AIMessage]", self.bind(tools=shown, tool_choice=tool_choice, **kwargs)
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        tools: list[dict[str, Any]] = kwargs.get("tools") or []
        with self._lock:
            number = len(self.seen)
            if number >= len(self.turns):
                raise UsageError(f"the script has {len(self.turns)} turns, and the model is called once more")
            self.seen.append((list(messages), tools))
        turn: Turn = self.turns[number]
        said = turn if isinstance(turn, AIMessage) else turn(list(messages), tools)
        return ChatResult(generations=[ChatGeneration(message=said)])
