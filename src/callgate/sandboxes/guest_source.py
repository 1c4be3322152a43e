"""The guest's modules as text, ready for `callgate.sandboxes.bundle`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import MappingProxyType

__all__ = ["guest_modules"]

ORDER = ("baton", "clocks", "randomness", "process", "threads", "loop", "output", "artifacts", "faults", "calls")
LAST = ("awaiting", "program", "refusals", "main")


def guest_modules() -> dict[str, str]:
    """Return module name to source text, in the order in which they import one another, the codec first.

    Executed by `bundle.source(guest_modules(), "callgate_guest.main.install()")`, they wait for
    `callgate_guest.main.run(fd)`.
    """
    return dict(_read())


@cache
def _read() -> MappingProxyType[str, str]:
    package = files("callgate")
    guest = package / "sandboxes" / "guest"
    texts = {"codec": (package / "codec.py").read_text("utf-8")}
    texts |= {name: (guest / f"{name}.py").read_text("utf-8") for name in (*ORDER, *LAST)}
    return MappingProxyType(texts)
