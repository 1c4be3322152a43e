"""The program of the canary: every attempt, one after the other."""

from __future__ import annotations

from typing import Any

from .outside import OUTSIDE, variables
from .system import SYSTEM
from .trying import Bait, outcome

ATTEMPTS = {**OUTSIDE, **SYSTEM}
"""Promise to the attempts at it, by name."""


def report(**bait: Any) -> dict[str, Any]:
    """Try everything and return what succeeded, by promise and name; None: nobody can say. And what the host judges."""
    laid = Bait(**bait)
    attempts = {
        promise: {name: outcome(attempt, laid) for name, attempt in named.items()}
        for promise, named in ATTEMPTS.items()
    }
    return {"attempts": attempts, "variables": variables()}
