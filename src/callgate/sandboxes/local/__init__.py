"""The jail: a sandbox on this Linux host, made of what its kernel offers every user."""

from callgate.sandboxes.local.sandbox import LocalSandbox

__all__ = ["LocalSandbox"]
