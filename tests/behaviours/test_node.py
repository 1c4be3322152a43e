"""What every adapter does: Node."""

from behaviours.adapters import Node

Node.need_framework()


class TestNode(Node):
    """Every check."""
