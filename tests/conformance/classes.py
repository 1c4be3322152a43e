"""callgate's own sandboxes, as the conformance suite sees them: what SANDBOXES.md is made of, and what the tests run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

import pytest
from local.harness import alive, descendants, eventually, open_python

from callgate.errors import SandboxUnavailable
from callgate.sandboxes import LocalSandbox, Sandbox
from callgate.testing import FakeSandbox, SandboxConformance

ORDINARY = "guests are ordinary processes of this machine, as it says: never for programs that a model wrote"
NO_PLACE = "without a mount namespace there is no place to write that a guest could have for itself"


class Fake(SandboxConformance):
    """FakeSandbox: ordinary processes, for tests"""

    lacks = {  # noqa: RUF012 - a declaration
        "addresses": "they depend on what the process did before that its guests are forked from",
        "disk_mb": ORDINARY,
        "host_files": ORDINARY,
        "memory_mb": ORDINARY,
        "network": ORDINARY,
        "processes": ORDINARY,
        "tmp": "its /tmp is the machine's",
    }

    pytestmark = pytest.mark.filterwarnings("ignore:.*lacks 'addresses'")  # some versions of Python allocate evenly

    @pytest.fixture
    def make_sandbox(self) -> Callable[[], Sandbox]:
        return FakeSandbox

    def lose(self, sandbox: Sandbox) -> None:
        cast("FakeSandbox", sandbox).lose()

    def leftovers(self, sandbox: Sandbox) -> Collection[object]:
        return cast("Any", sandbox)._guests


class Local(SandboxConformance):
    """LocalSandbox, with all layers"""

    arguments: dict[str, Any] = {}  # noqa: RUF012 - a declaration

    @pytest.fixture
    def make_sandbox(self) -> Callable[[], Sandbox]:
        return self.make

    def make(self) -> Sandbox:
        sandbox = LocalSandbox(**self.arguments)
        try:
            sandbox.check()
        except SandboxUnavailable as error:
            pytest.skip(f"this host cannot isolate programs: {error}")
        if sandbox.level != self.level:
            pytest.skip(f"this host has {sandbox.level} and not {self.level}; `callgate doctor` says why")
        return sandbox

    level = "L3"

    def lose(self, sandbox: Sandbox) -> None:
        """Kill the fork server, which takes its guests along."""
        server = cast("Any", sandbox)._pool.server
        inside = descendants(server._process.pid)
        server.kill()
        eventually(lambda: not any(map(alive, inside)))

    def leftovers(self, sandbox: Sandbox) -> Collection[object]:
        """Return the processes below the fork server, its spares among them; once it is closed, those it had."""
        pool = cast("Any", sandbox)._pool
        if pool is not None:
            self._known = descendants(pool.server._process.pid)
            return self._known
        return {pid for pid in self._known if alive(pid)}


class WithoutNamespaces(Local):
    """LocalSandbox(namespaces=False), for hosts that forbid namespaces"""

    lacks = {"artifacts": NO_PLACE, "disk_mb": NO_PLACE, "tmp": NO_PLACE}  # noqa: RUF012 - a declaration
    level = "L2"

    @pytest.fixture
    def make_sandbox(self) -> Callable[[], Sandbox]:
        self.arguments = {"namespaces": False, "python": open_python()}
        return self.make


CLASSES: list[type[SandboxConformance]] = [Local, WithoutNamespaces, Fake]
"""In the order of the table."""
