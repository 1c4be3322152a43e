"""A chat model that is shown, at each call, the surface of that call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config

from callgate.history import SurfaceKind
from callgate.router import Surface
from callgate.surface import EXECUTE_CODE
from callgate_langchain.history import RECORD

__all__ = ["Choose", "SurfaceModel", "bind_surfaces", "named_by", "recorded", "tool_name"]

Bound = Runnable[LanguageModelInput, AIMessage]
Choose = Callable[[RunnableConfig, LanguageModelInput], tuple[Surface, dict[str, str]]]
"""Returns the surface of a call, and what its message is to hold of it."""


class SurfaceModel(Runnable[LanguageModelInput, AIMessage]):
    """Calls the model with the tools of the surface that is chosen for the call, and says so in its message.

    Args:
        surfaces: the model, bound for each surface.
        choose: the surface of a call.
    """

    def __init__(self, surfaces: Mapping[SurfaceKind, Bound], choose: Choose) -> None:
        self._surfaces, self._choose = surfaces, choose

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Call the model; see `Runnable.invoke`."""
        bound, record = self._bound(config, input)
        return recorded(bound.invoke(input, config, **kwargs), record)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Call the model; see `Runnable.ainvoke`."""
        bound, record = self._bound(config, input)
        return recorded(await bound.ainvoke(input, config, **kwargs), record)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessage]:
        """Call the model and yield its chunks, the first with the record; see `Runnable.stream`."""
        bound, record = self._bound(config, input)
        chunks = iter(bound.stream(input, config, **kwargs))
        for first in chunks:
            yield recorded(first, record)
            yield from chunks

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        """Call the model and yield its chunks, the first with the record; see `Runnable.astream`."""
        bound, record = self._bound(config, input)
        first = True
        async for chunk in bound.astream(input, config, **kwargs):
            yield recorded(chunk, record) if first else chunk
            first = False

    def _bound(self, config: RunnableConfig | None, input: LanguageModelInput) -> tuple[Bound, dict[str, str]]:
        surface, record = self._choose(ensure_config(config), input)
        return self._surfaces[surface.kind], record


def recorded(message: AIMessage, record: dict[str, str]) -> AIMessage:
    """Return a copy with the record: the message itself may be another's, of a cache for instance."""
    return message.model_copy(update={"response_metadata": {**message.response_metadata, RECORD: record}})


def bind_surfaces(
    model: BaseChatModel, shown: Mapping[SurfaceKind, Sequence[Any]], bind_kwargs: dict[str, Any]
) -> tuple[dict[SurfaceKind, Bound], dict[SurfaceKind, str]]:
    """Return the model bound for each surface, and why it cannot be for the others.

    A call that must be of a plain tool cannot be made on the code surface. The json surface has no execute_code: there
    a `tool_choice` that names it is left out.

    Args:
        model: to bind.
        shown: what each surface shows.
        bind_kwargs: for `model.bind_tools`.
    """
    chosen = named_by(bind_kwargs.get("tool_choice"))
    names = {kind: {tool_name(one) for one in tools} for kind, tools in shown.items()}
    without = {key: value for key, value in bind_kwargs.items() if key != "tool_choice"}
    bound, unfit = dict[SurfaceKind, Bound](), dict[SurfaceKind, str]()
    for kind, tools in shown.items():
        if kind == "json" and chosen == EXECUTE_CODE:
            bound[kind] = model.bind_tools(tools, **without)
        elif kind != "json" and chosen in names["json"] - names[kind]:
            unfit[kind] = f"tool_choice names {chosen}"
        else:
            bound[kind] = model.bind_tools(tools, **bind_kwargs)
    return bound, unfit


def named_by(choice: Any) -> str | None:
    """Return the tool a tool_choice names, in any of the vendors' forms."""
    if not isinstance(choice, Mapping):
        return choice if isinstance(choice, str) else None
    fields = cast("Mapping[str, Any]", choice)
    return named_by(fields.get("function")) or fields.get("name")


def tool_name(tool: Any) -> str:
    """Return the name that a tool is shown by."""
    if isinstance(tool, Mapping):
        return cast("Mapping[str, Any]", tool)["function"]["name"]
    return getattr(tool, "name", None) or getattr(tool, "__name__", "")
