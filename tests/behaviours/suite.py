"""The suite as a class to derive from: each check is written once and made with every adapter."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from behaviours.approval import Approval
from behaviours.calls import Calls
from behaviours.capabilities import BOTH, JAILED, LOOPS, needed_by
from behaviours.case import Case
from behaviours.errors import Errors
from behaviours.host import Way
from behaviours.injection import Injection
from behaviours.lacking import LACKING
from behaviours.limits import Bounds
from behaviours.resume import Resume
from behaviours.values import Values
from behaviours.watching import Watching

from callgate.testing import FakeSandbox

__all__ = ["Behaviours"]

FAKE = FakeSandbox()


class Behaviours(Calls, Values, Errors, Injection, Approval, Resume, Bounds, Watching):
    """The checks."""

    host: ClassVar[str]
    """Module and class that build the adapter's agents; imported by the first check, for it needs the framework."""

    framework: ClassVar[tuple[str, str]]
    """A module of it, and callgate's extra."""

    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What the adapter cannot offer: names of `CAPABILITIES`, each with the reason that people read."""

    ways: ClassVar[tuple[Way, ...]] = ("sync", "async")
    """In which agents run; checks that are made once are made in the first."""

    @classmethod
    def checks(cls) -> Mapping[str, str | None]:
        """Return the names of all checks, each with the capability that it needs, or None."""
        names = (name for one in cls.__mro__ for name in vars(one) if name.startswith("test_"))
        return {name: needed_by(name) for name in dict.fromkeys(names) if name != "test_what_it_lacks_is_as_declared"}

    @pytest.fixture
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
        """Return what a check works with; skips where the adapter lacks what it takes."""
        name: str = request.function.__name__
        if (need := needed_by(name)) is not None and need in self.lacks:
            pytest.skip(f"lacks {need}: {self.lacks[need]}")
        sandbox = request.getfixturevalue("sandbox") if name in JAILED else FAKE
        case = Case(self.made(tmp_path, request.param), sandbox)
        try:
            yield case
        finally:
            case.close()

    @classmethod
    def made(cls, folder: Path, way: Way) -> Any:
        """Return the host."""
        cls.need_framework()
        module, _, name = cls.host.partition(":")
        return getattr(importlib.import_module(module), name)(folder, way)

    @classmethod
    def need_framework(cls) -> None:
        """Skip a check, or a module of them, where the framework is not installed."""
        needed, extra = cls.framework
        try:
            importlib.import_module(needed)
        except ModuleNotFoundError:
            pytest.skip(f"{needed} is not installed: pip install 'callgate[{extra}]'", allow_module_level=True)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a check both ways, or one."""
        name = metafunc.function.__name__
        if "lack" in metafunc.fixturenames:
            metafunc.parametrize("lack", list(self.lacks) or [None])
        both = name in BOTH and needed_by(name) not in self.lacks
        ways = ("async",) if name in LOOPS else self.ways if both else self.ways[:1]
        metafunc.parametrize("case", ways, indirect=True)

    def test_what_it_lacks_is_as_declared(self, case: Case, lack: str | None) -> None:
        """What an adapter cannot offer, it says, or is as its framework is without it."""
        if lack is not None:
            assert self.lacks[lack].strip()
            LACKING[lack](case, self.lacks)
