"""Sandboxes shared by the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callgate import SandboxUnavailable
from callgate.sandboxes.base import Sandbox
from callgate.testing.fake import FakeSandbox


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
