"""Programs in E2B's micro-VMs."""

from callgate.sandboxes.e2b.sandbox import E2BSandbox
from callgate.sandboxes.e2b.timing import Timing

__all__ = ["E2BSandbox", "Timing"]
