"""The suite for sandboxes against E2B itself: with E2B_API_KEY, by `make soak`, and for about 0.01 dollars a run.

A sandbox of 2 cores and 512 MiB costs about 0.00003 dollars a second; the suite makes a handful, for some minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from callgate.sandboxes import Sandbox
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing import SandboxConformance

if "E2B_API_KEY" not in os.environ:
    pytest.skip("needs E2B_API_KEY, and costs about 0.01 dollars", allow_module_level=True)


@pytest.mark.soak
class TestLive(SandboxConformance):
    """E2BSandbox, at E2B"""

    patience = 60.0
    brief = 3.0
    lacks = {  # noqa: RUF012 - a declaration
        "leftovers": "nobody outside sees the processes in a sandbox",
        "lose": "the suite takes away no sandbox that costs money",
    }

    @pytest.fixture
    def make_sandbox(self) -> Callable[[], Sandbox]:
        return E2BSandbox
