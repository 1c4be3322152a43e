"""E2B on loopback, for tests: what the real SDK talks to where there is no account and no network.

`LoopbackE2B` serves the control plane, the process and the file service and notebooks to the unmodified SDK, through
the server stubs that the SDK itself brings along. It behaves like the real thing where that hurts, and goes wrong on
demand; see `Faults`. Needs `pip install 'callgate[e2b]'`.
"""

from callgate.testing.e2b.faults import Faults
from callgate.testing.e2b.server import LoopbackE2B

__all__ = ["Faults", "LoopbackE2B"]
