"""Where programs run."""

from callgate.sandboxes.base import Guest, Sandbox
from callgate.sandboxes.local import LocalSandbox

__all__ = ["Guest", "LocalSandbox", "Sandbox"]
