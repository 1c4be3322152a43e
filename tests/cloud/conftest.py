from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from callgate.sandboxes.e2b import E2BSandbox, Timing
from callgate.testing.e2b import LoopbackE2B

HASTY = Timing(start=20, ack=0.25, heartbeat=0.5, reconnect=0.4, lost=2)


@pytest.fixture
def server() -> Iterator[LoopbackE2B]:
    with LoopbackE2B() as one:
        yield one


@pytest.fixture
def sandbox(server: LoopbackE2B) -> Iterator[E2BSandbox]:
    with E2BSandbox(**server.options, timing=HASTY) as one:
        yield one


@pytest.fixture(scope="module")
def shared() -> Iterator[E2BSandbox]:
    """A sandbox for tests that harm nothing."""
    with LoopbackE2B() as server, E2BSandbox(**server.options) as one:
        yield one


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails where a thread or a descriptor is left that was not there."""

    def there() -> tuple[set[str], int]:
        gc.collect()
        names = {
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith("callgate-") and thread.name != "callgate-tool"
        }
        kinds = [
            os.readlink(f"/proc/self/fd/{one}")
            for one in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{one}")
        ]
        return names, sum(kind.startswith(("pipe:", "socket:", "anon_inode:[eventpoll]")) for kind in kinds)

    names, descriptors = there()
    yield
    left: Any = there()
    assert left[0] == names
    assert left[1] <= descriptors
