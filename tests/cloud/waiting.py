from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from callgate import Outcome


def until(there: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something that another thread or process brings about; fail where it does not."""
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def told(outcome: Outcome) -> Any:
    """Return the error an outcome must have."""
    assert outcome.error is not None
    return outcome.error
