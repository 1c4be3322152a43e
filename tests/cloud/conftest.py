from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from callgate.sandboxes.e2b import E2BSandbox, Timing

if TYPE_CHECKING:
    from callgate.testing.e2b import LoopbackE2B

TELLING = ("calls", "guests", "hostile", "replays")
"""Modules of the conformance suite that a wire can fail; the others are left to the soak, as the async twins are."""

POOLED = 4
"""Descriptors that the SDK's own pool of connections, and what drives it, keeps from its first use on."""

HASTY = Timing(start=20, ack=0.25, heartbeat=0.5, reconnect=0.4, lost=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name == "test_conformance.py" and item.path.parent.name == "cloud":
            module = getattr(item, "function").__module__.rpartition(".")[2]  # noqa: B009 - of test functions only
            if module not in TELLING or item.name.endswith("[async]"):
                item.add_marker(pytest.mark.soak)


@pytest.fixture
def server() -> Iterator[LoopbackE2B]:
    from callgate.testing.e2b import LoopbackE2B

    with LoopbackE2B() as one:
        yield one


@pytest.fixture
def sandbox(server: LoopbackE2B) -> Iterator[E2BSandbox]:
    with E2BSandbox(**server.options, timing=HASTY) as one:
        yield one


@pytest.fixture(scope="module")
def shared() -> Iterator[E2BSandbox]:
    """A sandbox for tests that harm nothing."""
    from callgate.testing.e2b import LoopbackE2B

    with LoopbackE2B() as server, E2BSandbox(**server.options) as one:
        yield one


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails where a thread or a descriptor is left that was not there."""

    def there() -> tuple[set[str], int]:
        gc.collect()
        names = {one.name for one in threading.enumerate()}
        return {name for name in names if name.startswith("callgate-") and name != "callgate-tool"}, descriptors_now()

    names, descriptors = there()
    yield
    now = there()
    assert now[0] == names
    assert now[1] <= descriptors + POOLED


def descriptors_now() -> int:
    """Return how many pipes, sockets and selectors are open."""
    kinds: list[str] = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            kinds.append(str(one.readlink()))
    return sum(kind.startswith(("pipe:", "socket:", "anon_inode:[eventpoll]")) for kind in kinds)
