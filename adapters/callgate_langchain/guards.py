"""Type guards for the untyped values that messages, commands and states are made of."""

from __future__ import annotations

from typing import Any, TypeGuard

__all__ = ["is_dict", "is_list"]


def is_dict(value: Any) -> TypeGuard[dict[str, Any]]:
    """Say whether a value is a dict."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Say whether a value is a list."""
    return isinstance(value, list)
