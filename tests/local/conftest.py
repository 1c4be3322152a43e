from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from local.harness import Server, open_python, served

from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox
from callgate.sandboxes.local.policy import jail_policy


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    with LocalSandbox() as shared:
        try:
            shared.check()
        except SandboxUnavailable as error:
            pytest.skip(str(error))
        yield shared


@pytest.fixture(scope="session")
def full(sandbox: LocalSandbox) -> LocalSandbox:
    """A sandbox with all layers."""
    if sandbox.level != "L3":
        pytest.skip(f"this host has no more than {sandbox.level}; `callgate doctor` says why")
    return sandbox


MODES = ("with namespaces", "without namespaces")


@pytest.fixture(scope="session", params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What to give `jail_policy` for a jail with all layers, and for one without namespaces."""
    return {} if request.param == MODES[0] else {"namespaces": False, "python": open_python()}


@pytest.fixture(scope="session")
def either(mode: dict[str, Any]) -> Iterator[Server]:
    """A fork server with all layers, then one without namespaces."""
    with served(jail_policy(**mode)) as server:
        yield server
