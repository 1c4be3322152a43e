"""LocalSandbox without namespaces, by the suite for sandboxes."""

from conformance.classes import WithoutNamespaces


class TestWithoutNamespaces(WithoutNamespaces):
    """Every check."""
