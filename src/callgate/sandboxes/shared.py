"""The sandboxes users name instead of making them."""

from __future__ import annotations

import functools
from typing import Literal

from callgate.errors import UsageError
from callgate.sandboxes.base import Sandbox

__all__ = ["resolve_sandbox", "shared_local_sandbox"]


@functools.cache
def shared_local_sandbox() -> Sandbox:
    """Return the LocalSandbox that everything in this process with `sandbox="local"` shares."""
    from callgate.sandboxes.local import LocalSandbox  # noqa: PLC0415 - Linux only, and only where it is used

    return LocalSandbox()


def resolve_sandbox(sandbox: Literal["local"] | Sandbox) -> Sandbox:
    """Return the sandbox a user named.

    Raises:
        UsageError: for a name that is none.
    """
    if not isinstance(sandbox, str):
        return sandbox
    if sandbox != "local":
        raise UsageError(f'sandbox={sandbox!r}: give "local" or a sandbox such as LocalSandbox()')
    return shared_local_sandbox()
