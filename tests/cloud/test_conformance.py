"""E2BSandbox over the loopback server, by the suite for sandboxes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.classes import E2B

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from callgate.testing.e2b import LoopbackE2B


@pytest.fixture(scope="module")
def conforming_server() -> Iterator[LoopbackE2B]:
    with LoopbackE2B() as server:
        yield server


class TestE2B(E2B):
    """Every check; see this folder's conftest for which of them `make test` makes."""
