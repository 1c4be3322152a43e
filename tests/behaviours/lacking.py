"""What comes of it where an adapter lacks something: a clear error, or what its framework does anyway."""

from __future__ import annotations

from collections.abc import Callable

from behaviours.case import Case

__all__ = ["LACKING"]

LACKING: dict[str, Callable[[Case], None]] = {}
