"""Which sandbox a program runs in: the one for all, or that of its route; and where a recorded one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callgate.errors import SandboxUnavailable, UsageError
from callgate.sandboxes.auto import AutoSandbox
from callgate.sandboxes.base import Sandbox
from callgate.sandboxes.shared import WhereToRun, resolve_sandbox

__all__ = ["Place", "Places"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A sandbox, and why it is this one."""

    sandbox: Sandbox
    by: str
    """Who says so, for people."""
    route: str | None = None

    @property
    def reason(self) -> str:
        """Why programs run there; chooses, where a sandbox is to be chosen.

        Raises:
            SandboxUnavailable: if none can be had.
        """
        if isinstance(self.sandbox, AutoSandbox):
            return f"{self.sandbox.reason} ({self.by})"
        return f"{self.sandbox.name}: {self.by}"


class Places:
    """The rule of where programs run.

    Args:
        sandbox: for all programs.
        sandboxes: route name to the sandbox of its programs, in place of that one.

    Raises:
        UsageError: for a name that is none.
    """

    def __init__(self, sandbox: WhereToRun, sandboxes: Mapping[str, WhereToRun] | None = None) -> None:
        self._all = Place(sandbox=resolve_sandbox(sandbox), by="the sandbox for all programs")
        self._routes = {
            name: Place(sandbox=_of_route(name, one), by=f"set for the route {name!r}", route=name)
            for name, one in (sandboxes or {}).items()
        }
        self.differ = bool(self._routes) or isinstance(self._all.sandbox, AutoSandbox)
        """Whether there is more than one place where a program may run."""

    @property
    def routes(self) -> frozenset[str]:
        """The routes that have a sandbox of their own."""
        return frozenset(self._routes)

    def of(self, route: str | None) -> Place:
        """Return where new programs of a route run."""
        return self._all if route is None else self._routes.get(route, self._all)

    def again(self, name: str | None, here: Place) -> Place:
        """Return where a recorded program goes on: in the kind of sandbox in which it began.

        Args:
            name: of that kind, by the header of the journal; None where it needed no sandbox.
            here: where it would run if it were new.

        Raises:
            SandboxUnavailable: if no sandbox of that kind is given.
        """
        if name is None or (not self.differ and here.sandbox.name == name):
            return here
        given = [here, self._all, *self._routes.values()]
        for place in given:
            if (found := _named(place.sandbox, name)) is not None:
                same = place is here and found is here.sandbox
                return here if same else Place(sandbox=found, by="the action began in this kind", route=here.route)
        cure = f"give that one, too: sandbox=[..., {name!r}], or sandboxes={{...}} for a route"
        text = f"the action began in the sandbox {name!r}, and there is none of that kind here; {cure}"
        raise SandboxUnavailable(text, missing=[f"the sandbox {name!r}"], cure=cure)


def _of_route(route: str, sandbox: WhereToRun) -> Sandbox:
    try:
        return resolve_sandbox(sandbox)
    except UsageError as error:
        raise UsageError(f"sandboxes: route {route!r}: {error}") from error


def _named(sandbox: Sandbox, name: str) -> Sandbox | None:
    """Return the sandbox of that name that one is, or chooses among."""
    if isinstance(sandbox, AutoSandbox):
        return next((found for one in sandbox.preferred if (found := _named(one, name)) is not None), None)
    return sandbox if sandbox.name == name else None
