"""The guest's modules as text, ready for `callgate.sandboxes.bundle`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import MappingProxyType

__all__ = ["guest_modules"]

SHARED = ("codec", "room")
ORDER = ("baton", "clocks", "randomness", "process", "threads", "loop", "output", "artifacts", "faults", "calls")
LAST = ("awaiting", "program", "refusals", "early", "main")


def guest_modules() -> dict[str, str]:
    """Return module name to source text, as they import one another, those shared with the host first.

    Executed by `bundle.source(guest_modules(), "callgate_guest.main.install()")`, they wait for
    `callgate_guest.main.run(fd)`.
    """
    return dict(_read())


@cache
def _read() -> MappingProxyType[str, str]:
    package = files("callgate")
    guest = package / "sandboxes" / "guest"
    texts = {name: (package / f"{name}.py").read_text("utf-8") for name in SHARED}
    texts |= {name: (guest / f"{name}.py").read_text("utf-8") for name in (*ORDER, *LAST)}
    return MappingProxyType(texts)
