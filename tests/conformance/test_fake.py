"""FakeSandbox, by the suite for sandboxes."""

from conformance.classes import Fake


class TestFake(Fake):
    """Every check."""
