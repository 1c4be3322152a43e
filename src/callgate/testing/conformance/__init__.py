"""A suite of checks for sandboxes: what callgate asks of every one of them, ours and yours.

    # test_my_sandbox.py; pytest is all it needs
    import pytest
    from callgate.testing import SandboxConformance

    class TestMySandbox(SandboxConformance):
        lacks = {"memory_mb": "the service gives every guest 2 GB, and no less"}

        @pytest.fixture
        def make_sandbox(self):
            return MySandbox

Each check runs programs, or speaks with a guest itself, most of them twice: on threads and on event loops. A check that
fails names what a driver could no longer rely on. What your sandbox cannot do is declared in `lacks`, with a reason;
its checks skip with it. A warning names what is declared and can be done after all.

The modules beside this one hold the checks, one concern each; `CAPABILITIES` is what may be lacking.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{_name}"
        for _name in (
            "apart", "between", "bounds", "calls", "case", "crowd", "errors", "files", "guests", "hostile", "language",
            "replays", "suite", "values",
        )
    )
)  # fmt: skip

from callgate.testing.conformance.capabilities import CAPABILITIES  # noqa: E402 - the asserts of the others explain themselves
from callgate.testing.conformance.suite import SandboxConformance  # noqa: E402

__all__ = ["CAPABILITIES", "SandboxConformance"]
