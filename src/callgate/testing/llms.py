"""A LlamaIndex LLM that plays a script, so that a test of an agent needs no model. Needs llama-index-core."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any, TypeAlias, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from pydantic import Field

from callgate.errors import UsageError

__all__ = ["LLMTurn", "ScriptedLLM"]

Called: TypeAlias = tuple[str, dict[str, Any]]
"""Name of a tool, and the arguments."""

LLMTurn: TypeAlias = str | list[Called] | Callable[[list[ChatMessage], list[BaseTool]], str | list[Called]]
"""What the model says: a text, or calls; or a function of (messages, tools) that returns it."""


class ScriptedLLM(FunctionCallingLLM):
    """Says one turn of its script per request, and remembers what it was shown.

    Calls have the ids call-1, call-2 and so on, in the order of the script.

    Raises `UsageError` when it is asked more often than its script has turns.
    """

    turns: list[Any] = Field(default_factory=list)
    """The script: an `LLMTurn` per request."""
    seen: list[tuple[list[ChatMessage], list[Any]]] = Field(default_factory=list[tuple[list[ChatMessage], list[Any]]])
    """Per request the messages and the tools the model was shown."""
    begin: int = 1
    """Number of the first call."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name LlamaIndex keeps components by."""
        return "ScriptedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks of a model: this one calls functions."""
        return LLMMetadata(is_chat_model=True, is_function_calling_model=True)

    def tools_seen(self) -> list[list[str]]:
        """Return per request the names of the tools it was shown."""
        return [[tool.metadata.get_name() for tool in tools] for _, tools in self.seen]

    def _say(self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool]) -> ChatResponse:
        number = len(self.seen)
        if number >= len(self.turns):
            raise UsageError(f"the script has {len(self.turns)} turns, and the model is asked once more")
        self.seen.append((list(messages), list(tools)))
        turn: Any = self.turns[number]
        said: Any = turn(list(messages), list(tools)) if callable(turn) else turn
        if isinstance(said, str):
            message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=said)])
            return ChatResponse(message=message, delta=said)
        blocks = list[Any]()
        for name, arguments in said:
            blocks.append(ToolCallBlock(tool_call_id=f"call-{self.begin}", tool_name=name, tool_kwargs=arguments))
            self.begin += 1
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks), delta="")

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Say the next turn."""
        return self._say(messages, kwargs.get("tools") or [])

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The awaitable twin of `chat`."""
        return self._say(messages, kwargs.get("tools") or [])

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Say the next turn in one piece."""

        def said() -> Generator[ChatResponse, None, None]:
            yield self._say(messages, kwargs.get("tools") or [])

        return said()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The awaitable twin of `stream_chat`."""

        async def said() -> AsyncGenerator[ChatResponse, None]:
            yield self._say(messages, kwargs.get("tools") or [])

        return said()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Not a thing a chat model does."""
        raise NotImplementedError

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Not a thing a chat model does."""
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Not a thing a chat model does."""
        raise NotImplementedError

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Not a thing a chat model does."""
        raise NotImplementedError

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if user_msg is not None:
            messages.append(ChatMessage(role="user", content=user_msg) if isinstance(user_msg, str) else user_msg)
        return {"messages": messages, "tools": list(tools)}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the calls of a turn."""
        calls = [one for one in response.message.blocks if isinstance(one, ToolCallBlock)]
        return [
            ToolSelection(
                tool_id=one.tool_call_id or "",
                tool_name=one.tool_name,
                tool_kwargs=cast("dict[str, Any]", one.tool_kwargs),
            )
            for one in calls
        ]
