"""E2BSandbox over the loopback server, by the suite for sandboxes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from callgate.sandboxes import Sandbox
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing import SandboxConformance
from callgate.testing.e2b import LoopbackE2B

STANDS_IN = "the loopback server is no machine of its own: its processes are ordinary ones of this machine"


@pytest.fixture(scope="module")
def conforming_server() -> Iterator[LoopbackE2B]:
    with LoopbackE2B() as server:
        yield server


class TestE2B(SandboxConformance):
    """E2BSandbox, over the loopback server"""

    lacks = {  # noqa: RUF012 - a declaration
        "disk_mb": STANDS_IN,
        "host_files": STANDS_IN,
        "network": STANDS_IN,
        "processes": STANDS_IN,
        "tmp": STANDS_IN,
    }

    @pytest.fixture
    def make_sandbox(self, conforming_server: LoopbackE2B) -> Callable[[], Sandbox]:
        type(self).server = conforming_server
        return lambda: E2BSandbox(**conforming_server.options)

    server: LoopbackE2B

    def lose(self, sandbox: Sandbox) -> None:
        """Take it away, and let there be no other to go on in."""
        self.server.faults.fail("/v2/sandboxes", 500, headers={"Should-Retry": "false"})
        self.server.lose_sandboxes()

    def leftovers(self, sandbox: Sandbox) -> Collection[object]:
        return range(max(0, self.server.processes() - len(self.server.sandboxes())))
