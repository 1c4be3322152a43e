"""What every adapter does: Middleware."""

from behaviours.adapters import Middleware

Middleware.need_framework()


class TestMiddleware(Middleware):
    """Every check."""
