"""callgate's own sandboxes, as the conformance suite sees them: what SANDBOXES.md is made of, and what the tests run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, cast

import pytest
from local.harness import alive, descendants, eventually, open_python

from callgate.errors import SandboxUnavailable
from callgate.sandboxes import LocalSandbox, Sandbox
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing import FakeSandbox, SandboxConformance

if TYPE_CHECKING:
    from callgate.testing.e2b import LoopbackE2B  # needs the extra e2b

ORDINARY = "guests are ordinary processes of this machine, as it says: never for programs that a model wrote"
STANDS_IN = "the loopback server is no machine of its own: its processes are ordinary ones of this machine"
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


class E2B(SandboxConformance):
    """E2BSandbox, over the loopback server"""

    lacks = {  # noqa: RUF012 - a declaration
        "disk_mb": STANDS_IN,
        "host_files": STANDS_IN,
        "network": STANDS_IN,
        "processes": STANDS_IN,
        "tmp": STANDS_IN,
    }

    server: LoopbackE2B

    @pytest.fixture
    def make_sandbox(self, conforming_server: LoopbackE2B) -> Callable[[], Sandbox]:
        type(self).server = conforming_server
        return lambda: E2BSandbox(**conforming_server.options)

    def lose(self, sandbox: Sandbox) -> None:
        """Take it away, and let there be no other to go on in."""
        self.server.faults.fail("/v2/sandboxes", 500, headers={"Should-Retry": "false"})
        self.server.lose_sandboxes()

    def leftovers(self, sandbox: Sandbox) -> Collection[object]:
        return range(max(0, self.server.processes() - len(self.server.sandboxes())))


CLASSES: list[type[SandboxConformance]] = [Local, WithoutNamespaces, E2B, Fake]
"""In the order of the table."""
