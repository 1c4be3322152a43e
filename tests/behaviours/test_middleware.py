"""What every adapter does: Middleware."""

from behaviours.adapters import Middleware


class TestMiddleware(Middleware):
    """Every check."""
