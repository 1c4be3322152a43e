"""A chat model that is shown, at each call, the surface of that call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config

from callgate.surface import EXECUTE_CODE
from callgate_langgraph.modes import Surface

__all__ = ["SurfaceModel", "bind_surfaces", "tool_name"]

Bound = Runnable[LanguageModelInput, AIMessage]


class SurfaceModel(Runnable[LanguageModelInput, AIMessage]):
    """Calls the model with the tools of the surface that the config asks for.

    Args:
        surfaces: the model, bound for each surface.
        pick: names the surface of a call.
    """

    def __init__(
        self, surfaces: Mapping[Surface, Bound], pick: Callable[[RunnableConfig, LanguageModelInput], Surface]
    ) -> None:
        self._surfaces, self._pick = surfaces, pick

    def bound(self, config: RunnableConfig | None, input: LanguageModelInput) -> Bound:
        """Return the model as it is bound for this call."""
        return self._surfaces[self._pick(ensure_config(config), input)]

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Call the model; see `Runnable.invoke`."""
        return self.bound(config, input).invoke(input, config, **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Call the model; see `Runnable.ainvoke`."""
        return await self.bound(config, input).ainvoke(input, config, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessage]:
        """Call the model and yield its chunks; see `Runnable.stream`."""
        yield from self.bound(config, input).stream(input, config, **kwargs)

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        """Call the model and yield its chunks; see `Runnable.astream`."""
        async for chunk in self.bound(config, input).astream(input, config, **kwargs):
            yield chunk


def bind_surfaces(
    model: BaseChatModel, tools: list[Any], code_tools: list[Any], bind_kwargs: dict[str, Any]
) -> dict[Surface, Bound]:
    """Return the model bound for each surface.

    A `tool_choice` that names a tool of the other surface: the code surface has no plain tools, so a call that must be
    of one is bound as json; the json surface has no execute_code, so there such a choice is left out.

    Args:
        model: to bind.
        tools: plain tools.
        code_tools: execute_code, and tools that programs may not call.
        bind_kwargs: for `model.bind_tools`.
    """
    chosen = _name_of(bind_kwargs.get("tool_choice"))
    without = {key: value for key, value in bind_kwargs.items() if key != "tool_choice"}
    plain = model.bind_tools(tools, **(without if chosen == EXECUTE_CODE else bind_kwargs))
    in_code = {tool_name(one) for one in code_tools}
    if chosen not in in_code and chosen in {tool_name(one) for one in tools}:
        return {"json": plain, "code": plain}
    return {"json": plain, "code": model.bind_tools(code_tools, **bind_kwargs)}


def _name_of(choice: Any) -> str | None:
    """Return the tool a tool_choice names, in any of the vendors' forms."""
    if not isinstance(choice, Mapping):
        return choice if isinstance(choice, str) else None
    fields = cast("Mapping[str, Any]", choice)
    return _name_of(fields.get("function")) or fields.get("name")


def tool_name(tool: Any) -> str:
    """Return the name of what `bind_tools` is given: a tool, a function, or a definition in OpenAI's form."""
    if isinstance(tool, Mapping):
        return cast("Mapping[str, Any]", tool)["function"]["name"]
    return getattr(tool, "name", None) or getattr(tool, "__name__", "")
