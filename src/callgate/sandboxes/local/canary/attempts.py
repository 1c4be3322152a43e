"""The program of the canary: every attempt, one after the other."""

from __future__ import annotations

from typing import Any

from .outside import OUTSIDE
from .system import SYSTEM
from .trying import Bait, outcome

ATTEMPTS = {**OUTSIDE, **SYSTEM}
"""Promise to the attempts at it, by name."""


def report(**bait: Any) -> dict[str, dict[str, bool | None]]:
    """Try everything and return what succeeded, by promise and name; None: nobody can say."""
    laid = Bait(**bait)
    return {
        promise: {name: outcome(attempt, laid) for name, attempt in attempts.items()}
        for promise, attempts in ATTEMPTS.items()
    }
