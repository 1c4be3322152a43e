"""How long the wire to a relay waits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a wire waits, in seconds."""

    start: float = 30.0
    """For a guest to come up."""
    ack: float = 1.5
    """For an acknowledgement, before it asks what is missing."""
    heartbeat: float = 2.0
    """Of silence, before it asks whether the relay is there, and whether it has said something that did not arrive."""
    reconnect: float = 3.0
    """For an answer, before it connects anew."""
    lost: float = 20.0
    """For any answer at all, before the sandbox counts as lost."""
