"""Which surface a model is shown: plain tools, or code."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig

from callgate import UsageError
from callgate.errors import SandboxError, SandboxUnavailable
from callgate.sandboxes.base import Sandbox

__all__ = ["Mode", "Modes", "Route", "SandboxWarning", "Surface"]

Mode: TypeAlias = Literal["auto", "json", "code"]
Surface: TypeAlias = Literal["json", "code"]
Route: TypeAlias = Callable[[Any, RunnableConfig], str | None]
"""Names the route of a run by the graph's state and the config."""

_MODES = ("auto", "json", "code")


class SandboxWarning(RuntimeWarning):
    """This host cannot run programs, so mode "auto" stays json."""


class Modes:
    """The rule that picks a surface.

    The mode is `config["configurable"]["callgate_mode"]` if it is there, else that of the route, else the node's.
    `auto` is code where programs can run and the definition of `execute_code` is shorter than those of the tools,
    and json otherwise. Whether programs can run is found out once.

    Args:
        mode: of the node.
        routes: route name to mode.
        route: names the route; None takes it from `config["configurable"]["route"]`.
        sandbox: where programs run.
        code_is_shorter: what `auto` goes by.

    Raises:
        UsageError: for a mode that is none.
        SandboxUnavailable: if a mode is "code" and this host cannot run programs.
    """

    def __init__(
        self,
        mode: str,
        routes: Mapping[str, str] | None,
        route: Route | None,
        *,
        sandbox: Sandbox,
        code_is_shorter: bool,
    ) -> None:
        self._mode, self._routes, self._route = _checked(mode), dict(routes or {}), route
        self._sandbox, self._code_is_shorter = sandbox, code_is_shorter
        self._lock = threading.Lock()
        self._looked = False
        self._missing: SandboxError | None = None
        modes = {self._mode, *map(_checked, self._routes.values())}
        if "code" in modes:
            self._demand()
        elif "auto" in modes:
            self._available()

    def surface(self, config: RunnableConfig, state: Callable[[], Any]) -> Surface:
        """Return the surface of a run.

        Args:
            config: of the run.
            state: returns the graph's state; called only if a route callable wants it.

        Raises:
            UsageError: for a `callgate_mode` that is none.
            SandboxUnavailable: if the mode is "code" and this host cannot run programs.
        """
        mode = self.mode(config, state)
        if mode == "code":
            self._demand()
            return "code"
        return "code" if mode == "auto" and self._available() and self._code_is_shorter else "json"

    def mode(self, config: RunnableConfig, state: Callable[[], Any]) -> str:
        """Return the mode of a run."""
        configurable = config.get("configurable", {})
        toggled = configurable.get("callgate_mode")
        if toggled is not None:
            return _checked(toggled)
        if not self._routes:
            return self._mode
        route = self._route(state(), config) if self._route is not None else configurable.get("route")
        return self._routes.get(route, self._mode) if route is not None else self._mode

    def _look(self) -> SandboxError | None:
        with self._lock:
            if not self._looked:
                try:
                    check: Callable[[], object] | None = getattr(self._sandbox, "check", None)
                    if check is not None:
                        check()
                except SandboxError as error:
                    self._missing = error
                self._looked = True
            return self._missing

    def _available(self) -> bool:
        first = not self._looked
        missing = self._look()
        if missing is not None and first:
            cure = getattr(missing, "cure", "")
            text = f"no code mode on this host, tools stay plain: {missing}" + (f" ({cure})" if cure else "")
            warnings.warn(SandboxWarning(text), stacklevel=4)
        return missing is None

    def _demand(self) -> None:
        missing = self._look()
        if isinstance(missing, SandboxUnavailable):
            raise missing
        if missing is not None:
            raise SandboxUnavailable(str(missing)) from missing


def _checked(mode: object) -> str:
    if mode == "mixed":
        raise UsageError('mode "mixed" is not there yet; give "auto", "json" or "code"')
    if mode not in _MODES:
        raise UsageError(f'mode {mode!r}: give "auto", "json" or "code"')
    return str(mode)
