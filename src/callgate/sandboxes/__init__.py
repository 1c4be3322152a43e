"""Where programs run."""

import typing as _typing

from callgate.sandboxes.base import Guest, Sandbox
from callgate.sandboxes.local import LocalSandbox

if _typing.TYPE_CHECKING:
    from callgate.sandboxes.e2b import E2BSandbox

__all__ = ["E2BSandbox", "Guest", "LocalSandbox", "Sandbox"]


def __getattr__(name: str) -> _typing.Any:
    """Import what few need only when it is asked for."""
    if name != "E2BSandbox":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from callgate.sandboxes.e2b import E2BSandbox  # noqa: PLC0415

    return E2BSandbox
