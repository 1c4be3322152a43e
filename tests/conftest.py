"""Sandboxes and MCP servers shared by the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_cases import Shop

from callgate import SandboxUnavailable
from callgate.sandboxes.base import Sandbox
from callgate.testing.fake import FakeSandbox

LONG = {
    "test_attacks.py",
    "test_examples.py",
    "test_journal_kills.py",
    "test_limits.py",
    "test_mcp.py",
    "test_node_kills.py",
    "test_program.py",
    "test_resume.py",
}
"""Files that take longest: they come first, so that no worker is alone with one of them at the end."""


@pytest.hookimpl(trylast=True)  # after they were shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def jail() -> Iterator[Sandbox]:
    """The real LocalSandbox; skips where this host cannot isolate."""
    from callgate.sandboxes import LocalSandbox

    with LocalSandbox() as sandbox:
        try:
            sandbox.check()
        except SandboxUnavailable as error:
            pytest.skip(f"this host cannot isolate programs: {error}")
        yield sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The LocalSandbox where this host can isolate, a FakeSandbox elsewhere."""
    from callgate.sandboxes import LocalSandbox

    local = LocalSandbox()
    try:
        local.check()
    except SandboxUnavailable:
        local.close()
        fake = FakeSandbox()
        yield fake
        fake.close()
    else:
        yield local
        local.close()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server over HTTP that no test ends."""
    one = Shop(tmp_path_factory.mktemp("mcp"), "http")
    yield one
    one.stop()


@pytest.fixture(params=["stdio", "http"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, lasting: Shop) -> Shop:
    """A server with an empty log, over each transport."""
    lasting.forget()
    return lasting if request.param == "http" else Shop(tmp_path, "stdio")


@pytest.fixture(params=["stdio", "http"])
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A server that a test may end, over each transport."""
    one = Shop(tmp_path, request.param)
    yield one
    one.stop()
