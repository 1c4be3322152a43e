"""Addresses: the same layout of memory in every guest, so that what depends on `id()` repeats on replay."""

from __future__ import annotations

from contextlib import suppress

from .kernel import LayerMissing, syscall

_LAYER = "fixed addresses"
_QUERY = 0xFFFFFFFF
_ADDR_NO_RANDOMIZE = 0x0040000


def fix() -> None:
    """Switch address randomisation off for the coming exec. A host may refuse (Docker does); `fixed` then says so."""
    if not fixed():
        with suppress(LayerMissing):
            syscall(_LAYER, "personality", syscall(_LAYER, "personality", _QUERY) | _ADDR_NO_RANDOMIZE)


def fixed() -> bool:
    """Say whether address randomisation is off for this process."""
    try:
        return bool(syscall(_LAYER, "personality", _QUERY) & _ADDR_NO_RANDOMIZE)
    except LayerMissing:
        return False
