"""The suite as a class to derive from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, cast

import pytest

from callgate.errors import UsageError
from callgate.sandboxes.base import Sandbox
from callgate.testing.conformance.apart import Apart
from callgate.testing.conformance.between import Between
from callgate.testing.conformance.bounds import Bounds
from callgate.testing.conformance.calls import Calls
from callgate.testing.conformance.capabilities import check_lacks, needed_by
from callgate.testing.conformance.case import Case, Way
from callgate.testing.conformance.crowd import Crowd
from callgate.testing.conformance.errors import Errors
from callgate.testing.conformance.files import Files
from callgate.testing.conformance.guests import Guests
from callgate.testing.conformance.hostile import Hostile
from callgate.testing.conformance.language import Language
from callgate.testing.conformance.replays import Replays
from callgate.testing.conformance.values import Values
from callgate.testing.conformance.ways import once

__all__ = ["SandboxConformance"]

RAW = """
import sys
def raw(data): sys.modules['callgate_guest.baton'].baton.channel.write(data)
"""
_SANDBOX = pytest.StashKey[Sandbox]()


class SandboxConformance(
    Language, Calls, Values, Errors, Bounds, Guests, Crowd, Files, Replays, Hostile, Between, Apart
):
    """The checks that every sandbox passes. Derive from it, and give the class a fixture `make_sandbox`.

    The fixture returns a function without arguments that makes a sandbox, each time a new one. Most checks of a class
    share the first; some make others, and close them. A fixture that skips, for want of a kernel or an account, skips
    the checks.
    """

    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What the sandbox cannot do: names of `CAPABILITIES`, each with the reason that people read."""

    patience: ClassVar[float] = 20.0
    """Seconds after which a check believes that nothing comes any more; no check that passes waits for so long."""

    brief: ClassVar[float] = 0.4
    """Seconds that a program has which runs until its time is over: enough to begin, to print and to call a tool."""

    raw: ClassVar[str] = RAW
    """A program's lines that define `raw(data)`, which sends bytes to the host past everything that a guest checks.
    These do in a guest that is made of `callgate.sandboxes.guest_source`."""

    def lose(self, sandbox: Sandbox) -> None:
        """Make a sandbox go away, as a machine that fails does; return when its guests are gone."""
        raise NotImplementedError("say here how the sandbox goes away, or declare that it lacks 'lose'")

    def leftovers(self, sandbox: Sandbox) -> Collection[object]:
        """Return what there is of a sandbox's guests, as processes: those that run, wait or were left over."""
        raise NotImplementedError("say here what there is of guests, or declare that it lacks 'leftovers'")

    # ---- what it takes

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        check_lacks(cls.__name__, cls.lacks)

    @classmethod
    def checks(cls) -> Mapping[str, str | None]:
        """Return the names of all checks, each with the capability that it needs, or None."""
        names = (name for one in cls.__mro__ for name in vars(one) if name.startswith("test_"))
        return {name: needed_by(name) for name in dict.fromkeys(names)}

    @pytest.fixture
    def make_sandbox(self) -> Callable[[], Sandbox]:
        """Return what makes a sandbox; each subclass has its own."""
        name = type(self).__name__
        raise UsageError(f"{name} needs a fixture `make_sandbox` that returns what makes a sandbox, its class for one")

    @pytest.fixture(params=["sync", "async"])
    def case(self, request: pytest.FixtureRequest, make_sandbox: Callable[[], Sandbox]) -> Case:
        """Return what a check works with; skips where the sandbox lacks what it takes."""
        capability = needed_by(cast("str", request.function.__name__))
        if capability is not None and capability in self.lacks:
            pytest.skip(f"lacks {capability}: {self.lacks[capability]}")
        sandbox = _shared(request.node, make_sandbox)
        return Case(sandbox, cast("Way", request.param), new=make_sandbox, hooks=self)

    # ---- whether the declarations are true

    @once
    def test_what_is_declared_as_lacking_is_lacking(self, case: Case) -> None:
        """A capability of which every check passes is none that the sandbox lacks: a warning names it."""
        for name in self.lacks:
            if self._holds(name, case):
                text = f"{type(self).__name__} declares that it lacks {name!r}, and every check of that passes"
                warnings.warn(f"{text}: take it out of `lacks`", stacklevel=1)

    def _holds(self, capability: str, case: Case) -> bool:
        names = [name for name, needed in self.checks().items() if needed == capability]
        for name in names:
            try:
                getattr(self, name)(case)
            except Exception:  # noqa: BLE001 - however it fails: it lacks that
                return False
        return True


def _shared(check: pytest.Item, make: Callable[[], Sandbox]) -> Sandbox:
    """Return the sandbox of a check's class, made for its first check and closed after its last."""
    # No fixture: those of a class are methods of an instance up to one version of pytest, of the class from another on.
    found = check.getparent(pytest.Class)
    assert found is not None
    if _SANDBOX not in found.stash:
        found.stash[_SANDBOX] = make()
        found.addfinalizer(found.stash[_SANDBOX].close)
    return found.stash[_SANDBOX]
