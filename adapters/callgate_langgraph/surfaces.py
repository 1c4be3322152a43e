"""What a model is shown on a turn: tools, tokens, choice, and the record of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from callgate import Catalogue
from callgate.history import Message, SurfaceKind
from callgate.modes import NO_WRITER, routed
from callgate.router import AutoRouter, Router, Surface
from callgate.runner import Event
from callgate.stubs import ArgumentProse
from callgate.surface import definition, mixed_definition, warn_of_unknown_results
from callgate.tokens import ApproximateTokens, TokenCounter
from callgate_langchain.guards import is_list
from callgate_langchain.history import INSTEAD_OF, had_to_be_json, history_of, surface_of
from callgate_langgraph.binding import SurfaceModel, bind_surfaces, tool_name
from callgate_langgraph.modes import Modes, Wanted
from callgate_langgraph.plain import may_be_plain
from callgate_langgraph.state import read_state

__all__ = ["Surfaces", "shown_tokens", "shown_tools"]

_INPUT: tuple[type, ...] = (PromptValue, str, Sequence)
"""What a chat model takes."""


def shown_tools(
    given: Sequence[Any], ready: Sequence[BaseTool], catalogue: Catalogue, argument_prose: ArgumentProse
) -> dict[SurfaceKind, list[Any]]:
    """Return what each surface shows.

    Args:
        given: the tools as the user gave them.
        ready: the same, as tools.
        catalogue: the same, in neutral form.
        argument_prose: what `execute_code` says of arguments.
    """
    plain = [one for one in given if may_be_plain(tool_name(one), catalogue)]
    only_direct = [one for one in ready if "code" not in catalogue.tools[one.name].callers]
    return {
        "json": plain,
        "code": [_function(definition(catalogue, argument_prose=argument_prose)), *only_direct],
        "mixed": [*plain, _function(mixed_definition(catalogue, argument_prose=argument_prose))],
    }


def shown_tokens(shown: Mapping[SurfaceKind, Sequence[Any]], counter: TokenCounter) -> dict[SurfaceKind, int]:
    """Return the tokens of what each surface shows; each tool is counted once."""
    known = dict[int, int]()
    for tools in shown.values():
        for one in tools:
            if id(one) not in known:
                known[id(one)] = counter.count(json.dumps(convert_to_openai_tool(one), ensure_ascii=False))
    return {kind: sum(known[id(one)] for one in tools) for kind, tools in shown.items()}


def _function(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": dict(found)}


class Surfaces:
    """Chooses what a model is shown: what the user has set, or what the router says.

    Args:
        shown: what each surface shows.
        catalogue: the tools.
        modes: what the user has set.
        router: asked in mode "auto".
    """

    def __init__(
        self, shown: Mapping[SurfaceKind, Sequence[Any]], catalogue: Catalogue, modes: Modes, router: Router
    ) -> None:
        self.shown = shown
        self._modes, self._router = modes, router
        self._tools = catalogue.digest[:16]
        self._catalogue, self._warned = catalogue, False
        if modes.pins_programs:
            self._warn()

    def choose(
        self,
        config: RunnableConfig,
        state: Callable[[], Any],
        messages: Callable[[], tuple[Message, ...]],
        unfit: Mapping[SurfaceKind, str] | None = None,
    ) -> tuple[Surface, str | None]:
        """Return the surface of a run, and its route.

        Args:
            config: of the run.
            state: returns the graph's state.
            messages: returns those the model is given; called only if the router is asked.
            unfit: surfaces that this model cannot be shown in mode "auto", and why.

        Raises:
            UsageError: for a `callgate_mode` that is none, and if the router chooses what cannot be shown.
            SandboxUnavailable: if the mode needs programs and this host cannot run them.
        """
        wanted = self._modes.wanted(config, state)
        if wanted.kind is None:
            return self._routed(messages(), wanted.route, dict(unfit or {})), wanted.route
        return self._set(wanted), wanted.route

    def runs_programs(
        self, config: RunnableConfig, state: Callable[[], Any], asking: AIMessage | None, messages: Any
    ) -> bool:
        """Say whether the programs of a message run: whether its model was, or is, shown that it may write them.

        What is set goes before what was shown, but for a turn that could not have programs.

        Args:
            config: of the run.
            state: returns the graph's state.
            asking: the message, where the state holds it.
            messages: of the state. Where `asking` says nothing of what was shown, those before it are gone by again.

        Raises:
            UsageError: as `choose` does.
            SandboxUnavailable: as `choose` does.
        """
        wanted = self._modes.wanted(config, state)
        if wanted.kind is not None:
            return self._set(wanted).kind != "json" and (asking is None or not had_to_be_json(asking))
        recorded = None if asking is None else surface_of(asking)
        if recorded is not None:
            return recorded != "json" and self._modes.available(wanted.route)
        before = [*takewhile(lambda one: one is not asking, messages)] if is_list(messages) else []
        return self._routed(self.history(before), wanted.route, {}).kind != "json"

    def route(self, config: RunnableConfig, state: Callable[[], Any]) -> str | None:
        """Return the route of a run; see `choose`."""
        return self._modes.wanted(config, state).route

    def history(self, messages: Any) -> tuple[Message, ...]:
        """Return messages in neutral form, with the surfaces that showed these tools; none for None."""
        return () if messages is None else history_of(messages, self._tools)

    def bind(
        self,
        model: BaseChatModel,
        bind_kwargs: dict[str, Any],
        *,
        writes_code: bool,
        tell: Callable[[RunnableConfig, Event], None],
    ) -> SurfaceModel:
        """Return the model, shown at each call what is chosen for it.

        Args:
            model: to bind.
            bind_kwargs: for its `bind_tools`.
            writes_code: whether mode "auto" may let it write programs.
            tell: is told when a thread's surface is chosen first, and when it changes.
        """
        bound, unfit = bind_surfaces(model, self.shown, bind_kwargs)

        def choose(config: RunnableConfig, input: LanguageModelInput) -> tuple[Surface, dict[str, str]]:
            given = input if isinstance(input, _INPUT) else ()  # anything else the model itself refuses

            def state() -> Any:
                return read_state(config) or input

            return self.turn(
                config, state, given, unfit=unfit, writes_code=writes_code, tell=lambda event: tell(config, event)
            )

        return SurfaceModel(bound, choose)

    def turn(
        self,
        config: RunnableConfig,
        state: Callable[[], Any],
        input: LanguageModelInput,
        *,
        unfit: Mapping[SurfaceKind, str],
        writes_code: bool,
        tell: Callable[[Event], None],
    ) -> tuple[Surface, dict[str, str]]:
        """Return the surface of a turn, and what its message is to hold of it.

        Args:
            config: of the run.
            state: returns the graph's state.
            input: what the model is given.
            unfit: surfaces that it cannot be shown, in any mode, and why.
            writes_code: whether mode "auto" may let it write programs.
            tell: is told when a thread's surface is chosen first, and when it changes.

        Raises:
            UsageError: as `choose` does.
            SandboxUnavailable: as `choose` does.
        """
        not_asked: Mapping[SurfaceKind, str] = {} if writes_code else {"code": NO_WRITER, "mixed": NO_WRITER}
        surface, route = self.choose(config, state, lambda: self.history(input), {**unfit, **not_asked})
        record = dict[str, str]()
        if surface.kind in unfit:
            record = {INSTEAD_OF: surface.kind}
            surface = Surface(kind="json", reason=f"json: {unfit[surface.kind]}")
        if surface.kind != "json":
            self._warn()
        if surface.kind != self._last(input):
            event = {"surface": surface.kind, "reason": surface.reason, "route": route}
            tell({"type": "callgate.surface", **event})
        return surface, {**record, "surface": surface.kind, "reason": surface.reason, "tools": self._tools}

    def pinned(self, config: RunnableConfig, state: Callable[[], Any]) -> SurfaceKind | None:
        """Return the surface that the user has set for a run; None leaves it to the router.

        Raises:
            UsageError: for a `callgate_mode` that is none.
        """
        return self._modes.wanted(config, state).kind

    def _warn(self) -> None:
        """Warn, once, of tools that programs know too little of: when it is certain that programs are asked for."""
        if not self._warned:
            self._warned = True
            warn_of_unknown_results(self._catalogue, stacklevel=5)

    def _last(self, input: LanguageModelInput) -> SurfaceKind | None:
        """Return what the thread was shown last of these tools."""
        messages = input.to_messages() if isinstance(input, PromptValue) else input
        for message in () if isinstance(messages, str) else reversed(messages):
            kind = surface_of(message, self._tools) if isinstance(message, AIMessage) else None
            if kind is not None:
                return kind
        return None

    def _set(self, wanted: Wanted) -> Surface:
        assert wanted.kind is not None  # noqa: S101 - asked by the callers
        if wanted.kind != "json":
            self._modes.demand(wanted.route)
        return Surface(kind=wanted.kind, reason=f"{wanted.kind}: {wanted.by}")

    @functools.cached_property
    def _sizes(self) -> dict[SurfaceKind, int]:
        counter = self._router.counter if isinstance(self._router, AutoRouter) else ApproximateTokens()
        return shown_tokens(self.shown, counter)

    def _routed(self, messages: tuple[Message, ...], route: str | None, excluded: dict[SurfaceKind, str]) -> Surface:
        return routed(
            self._router,
            messages,
            self._sizes,
            self._catalogue,
            route=route,
            programs=self._modes.available(route),
            unfit=excluded,
        )
