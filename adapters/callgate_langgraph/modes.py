"""What the user sets of surfaces: per node, route and invocation; and whether programs can run."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.runnables import RunnableConfig

from callgate import UsageError
from callgate.errors import SandboxError, SandboxUnavailable
from callgate.history import SurfaceKind
from callgate.sandboxes.base import Sandbox
from callgate.sandboxes.places import Places

__all__ = ["Mode", "Modes", "Route", "SandboxWarning", "Wanted"]

Mode: TypeAlias = Literal["auto", "json", "code", "mixed"]
Route: TypeAlias = Callable[[Any, RunnableConfig], str | None]
"""Names the route of a run by the graph's state and the config."""


class SandboxWarning(RuntimeWarning):
    """Programs cannot run where they should, so mode "auto" stays json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user wants of one run."""

    kind: SurfaceKind | None
    """The surface; None leaves it to the router."""
    by: str
    """Who says so."""
    route: str | None


class Modes:
    """The rule of whose word holds.

    The mode is `config["configurable"]["callgate_mode"]` if it is there, else that of the route, else the node's.
    Whether programs can run is found out once for each sandbox: when the node is built, if a mode that may need it is
    that of the node or of a route for which the sandbox is.

    Args:
        mode: of the node.
        routes: route name to mode.
        route: names the route; None takes it from `config["configurable"]["route"]`.
        places: where programs run.

    Raises:
        UsageError: for a mode that is none.
        SandboxUnavailable: if a mode is "code" or "mixed" and its programs cannot run.
    """

    def __init__(self, mode: str, routes: Mapping[str, str] | None, route: Route | None, *, places: Places) -> None:
        self._mode: Mode = _checked(mode)
        self._route = route
        self._routes: dict[str, Mode] = {name: _checked(one) for name, one in (routes or {}).items()}
        self._places = places
        self._lock = threading.Lock()
        self._missing: dict[int, SandboxError | None] = {}
        modes: dict[str | None, Mode] = {None: self._mode, **dict.fromkeys(places.routes, self._mode), **self._routes}
        self.pins_programs = bool({"code", "mixed"} & set(modes.values()))
        """Whether the node or a route has a mode that shows `execute_code` whatever a router says."""
        for name, one in modes.items():
            if one in ("code", "mixed"):
                self.demand(name)
        for name, one in modes.items():
            if one == "auto":
                self.available(name, stacklevel=5)

    def wanted(self, config: RunnableConfig, state: Callable[[], Any]) -> Wanted:
        """Return what the user wants of a run.

        Args:
            config: of the run.
            state: returns the graph's state; called only if a route callable wants it.

        Raises:
            UsageError: for a `callgate_mode` that is none, and a route that is no name.
        """
        configurable = config.get("configurable", {})
        route = self._route(state(), config) if self._route is not None else configurable.get("route")
        if not isinstance(route, str | None):
            if self._route is not None or self._routes:
                raise UsageError(f"route {route!r}: give the name of a route, or None")
            route = None  # another's: this node has no routes
        toggled = configurable.get("callgate_mode")
        mode, by = self._mode, "the node's mode"
        if toggled is not None:
            mode, by = _checked(toggled), "set by callgate_mode"
        elif route is not None and route in self._routes:
            mode, by = self._routes[route], f"set for the route {route!r}"
        return Wanted(kind=None if mode == "auto" else mode, by=by, route=route)

    def available(self, route: str | None, stacklevel: int = 5) -> bool:
        """Say whether programs of a route can run; the first time that it is found they cannot, warn."""
        sandbox = self._places.of(route).sandbox
        first = id(sandbox) not in self._missing
        missing = self._look(sandbox)
        if missing is not None and first:
            cure = getattr(missing, "cure", "")
            where = f"for the route {route!r}" if route in self._places.routes else "on this host"
            text = f"no code mode {where}, tools stay plain: {missing}" + (f" ({cure})" if cure else "")
            warnings.warn(SandboxWarning(text), stacklevel=stacklevel)
        return missing is None

    def demand(self, route: str | None) -> None:
        """Raise if programs of a route cannot run.

        Raises:
            SandboxUnavailable: in that case.
        """
        missing = self._look(self._places.of(route).sandbox)
        if isinstance(missing, SandboxUnavailable):
            raise missing
        if missing is not None:
            raise SandboxUnavailable(str(missing)) from missing

    def _look(self, sandbox: Sandbox) -> SandboxError | None:
        with self._lock:
            if id(sandbox) not in self._missing:  # the places keep it alive
                missing = None
                try:
                    check: Callable[[], object] | None = getattr(sandbox, "check", None)
                    if check is not None:
                        check()
                except SandboxError as error:
                    missing = error
                self._missing[id(sandbox)] = missing
            return self._missing[id(sandbox)]


def _checked(mode: object) -> Mode:
    for one in get_args(Mode):
        if mode == one:
            return one
    raise UsageError(f'mode {mode!r}: give "auto", "json", "code" or "mixed"')
