"""LocalSandbox with all layers, by the suite for sandboxes."""

from conformance.classes import Local


class TestLocal(Local):
    """Every check."""
