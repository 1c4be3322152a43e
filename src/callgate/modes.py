"""What users set of surfaces, whether this host can run programs, and what a router is asked."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast, get_args

from callgate.errors import SandboxError, SandboxUnavailable, UsageError
from callgate.history import Message, SurfaceKind
from callgate.router import Facts, Router, Surface
from callgate.sandboxes.base import Sandbox
from callgate.sandboxes.places import Places
from callgate.tools import Catalogue

__all__ = ["NO_WRITER", "Mode", "Programs", "SandboxWarning", "checked_mode", "routed"]

Mode: TypeAlias = Literal["auto", "json", "code", "mixed"]

NO_WRITER = "the model is bound as one that writes no code"
"""Why a surface with programs is not shown to a model."""

_NO_PROGRAMS = "this host cannot run programs"
_NAMED = 5
"""Tools that a reason names."""


class SandboxWarning(RuntimeWarning):
    """Programs cannot run where they should, so mode "auto" stays json."""


class Programs:
    """Whether programs can run; that is found out once for each sandbox, when it is first asked.

    Args:
        places: where they run.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._missing: dict[int, SandboxError | None] = {}

    def available(self, route: str | None = None, stacklevel: int = 2) -> bool:
        """Say whether programs of a route can run; the first time that it is found they cannot, warn.

        Args:
            route: of the programs.
            stacklevel: as `warnings.warn` has it, seen from the caller.
        """
        sandbox = self._places.of(route).sandbox
        first = id(sandbox) not in self._missing
        missing = self._look(sandbox)
        if missing is not None and first:
            cure = getattr(missing, "cure", "")
            where = f"for the route {route!r}" if route in self._places.routes else "on this host"
            text = f"no code mode {where}, tools stay plain: {missing}" + (f" ({cure})" if cure else "")
            warnings.warn(SandboxWarning(text), stacklevel=stacklevel + 1)
        return missing is None

    def demand(self, route: str | None = None) -> None:
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


def checked_mode(mode: object) -> Mode:
    """Return a mode.

    Raises:
        UsageError: for what is none.
    """
    for one in get_args(Mode):
        if mode == one:
            return one
    raise UsageError(f'mode {mode!r}: give "auto", "json", "code" or "mixed"')


def routed(
    router: Router,
    messages: Sequence[Message],
    sizes: Mapping[SurfaceKind, int],
    catalogue: Catalogue,
    *,
    route: str | None,
    programs: bool,
    unfit: Mapping[SurfaceKind, str],
) -> Surface:
    """Return what a router chooses.

    Args:
        router: to ask.
        messages: of the thread.
        sizes: tokens of what each surface shows.
        catalogue: the tools.
        route: of the run.
        programs: whether they can run.
        unfit: surfaces that cannot be shown, and why.

    Raises:
        UsageError: if it chooses what cannot be shown.
    """
    excluded = dict(unfit)
    if not programs:
        excluded |= {"code": _NO_PROGRAMS, "mixed": _NO_PROGRAMS}
    only_code = [one.name for one in catalogue if "direct" not in one.callers]
    if only_code and not {"code", "mixed"} <= excluded.keys():
        more = f" and {len(only_code) - _NAMED} more" if len(only_code) > _NAMED else ""
        excluded["json"] = f"only programs may call {', '.join(only_code[:_NAMED])}{more}"
    left: dict[SurfaceKind, int] = {kind: size for kind, size in sizes.items() if kind not in excluded}
    facts = Facts(messages=tuple(messages), definitions=left, excluded=excluded, route=route)
    surface = cast("Any", router.choose(facts))
    if not isinstance(surface, Surface) or surface.kind not in left:
        raise UsageError(f"the router chose {surface!r}; give a Surface of {', '.join(left)}")
    return surface
