"""What the user sets of surfaces: per node, route and invocation; and whether programs can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig

from callgate import UsageError
from callgate.history import SurfaceKind
from callgate.modes import Mode, Programs, SandboxWarning, checked_mode
from callgate.sandboxes.places import Places

__all__ = ["Mode", "Modes", "Route", "SandboxWarning", "Wanted"]

Route: TypeAlias = Callable[[Any, RunnableConfig], str | None]
"""Names the route of a run by the graph's state and the config."""


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
        self._mode: Mode = checked_mode(mode)
        self._route = route
        self._routes: dict[str, Mode] = {name: checked_mode(one) for name, one in (routes or {}).items()}
        self._programs = Programs(places)
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
        mode, by = self._mode, "set by mode="
        if toggled is not None:
            mode, by = checked_mode(toggled), "set by callgate_mode"
        elif route is not None and route in self._routes:
            mode, by = self._routes[route], f"set for the route {route!r}"
        return Wanted(kind=None if mode == "auto" else mode, by=by, route=route)

    def available(self, route: str | None, stacklevel: int = 5) -> bool:
        """Say whether programs of a route can run; the first time that it is found they cannot, warn."""
        return self._programs.available(route, stacklevel)

    def demand(self, route: str | None) -> None:
        """Raise if programs of a route cannot run.

        Raises:
            SandboxUnavailable: in that case.
        """
        self._programs.demand(route)
