"""What modules do while a fork server imports them, before there is a host: they wait in a time of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from . import threads
from .baton import Channel, baton

LOOKS = 10_000
"""How often threads that an import left behind may take their turn until they have to be over."""


class _Nobody(Channel):
    """Stands where the host will be. The clock is at once where somebody waits for it; nothing else ever happens."""

    def __init__(self) -> None:
        super().__init__(-1)

    def flush(self, last: bytes = b"") -> None:
        """Let go of what nobody will read."""

    def receive(self) -> dict[str, Any]:
        """Return the next event."""
        return {"clock": min(baton.timers.values()), "wall": 0.0}


def alone(work: Callable[[], object]) -> int:
    """Do work before there is a host, let the threads it started finish, and return how many did not."""

    def give_up() -> NoReturn:
        raise RuntimeError("waits for what cannot come while it is imported")

    baton.channel, baton.stuck = _Nobody(), give_up
    try:
        work()
        for _ in range(LOOKS):
            if not baton.ready:
                break
            baton.spin()
    finally:
        baton.channel, baton.stuck = Channel(-1), None
    return len(threads._alive)  # pyright: ignore[reportPrivateUsage]
