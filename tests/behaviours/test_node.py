"""What every adapter does: Node."""

from behaviours.adapters import Node


class TestNode(Node):
    """Every check."""
