"""The sandboxes users name instead of making them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, TypeAlias

from callgate.errors import UsageError
from callgate.sandboxes.auto import AutoSandbox
from callgate.sandboxes.base import Sandbox

__all__ = ["SandboxName", "WhereToRun", "resolve_sandbox", "shared_e2b_sandbox", "shared_local_sandbox"]

SandboxName: TypeAlias = Literal["local", "e2b", "auto"]
WhereToRun: TypeAlias = SandboxName | Sandbox | Sequence[SandboxName | Sandbox]
"""What users give as `sandbox`: "local"; "e2b"; "auto", which is local at or above the floor and never a cloud; a
sandbox; or several of these, of which the first is taken that can be had."""


@functools.cache
def shared_local_sandbox() -> Sandbox:
    """Return the LocalSandbox that everything in this process with `sandbox="local"` shares."""
    from callgate.sandboxes.local import LocalSandbox  # noqa: PLC0415 - Linux only, and only where it is used

    return LocalSandbox()


@functools.cache
def shared_e2b_sandbox() -> Sandbox:
    """Return the E2BSandbox that everything in this process with `sandbox="e2b"` shares."""
    from callgate.sandboxes.e2b import E2BSandbox  # noqa: PLC0415 - only where it is used

    return E2BSandbox()


@functools.cache
def _shared_auto_sandbox() -> Sandbox:
    return AutoSandbox([shared_local_sandbox()])


def resolve_sandbox(sandbox: WhereToRun) -> Sandbox:
    """Return the sandbox a user named.

    Raises:
        UsageError: for a name that is none.
    """
    if isinstance(sandbox, str):
        known = {"local": shared_local_sandbox, "e2b": shared_e2b_sandbox, "auto": _shared_auto_sandbox}
        if sandbox not in known:
            text = 'give "local", "e2b", "auto" or a sandbox such as LocalSandbox()'
            raise UsageError(f"sandbox={sandbox!r}: {text}")
        return known[sandbox]()
    if isinstance(sandbox, Sequence):
        return AutoSandbox([resolve_sandbox(one) for one in sandbox])
    return sandbox
