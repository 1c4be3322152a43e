"""Both ways, or one where the other could not tell more."""

from __future__ import annotations

import pytest

__all__ = ["once"]

once = pytest.mark.parametrize("case", ["sync"], indirect=True)
"""For a check whose subject lies inside the guest: bytes are bytes, however they came."""
