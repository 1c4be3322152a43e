"""Which interpreter runs inside, and under which names it appears there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Interpreter", "find"]

HOME = "/python"
"""Where an interpreter from outside /usr appears: its real place may name a user."""

FLAGS = ("-S", "-s", "-P", "-B")
"""No site packages, no user packages, no unsafe path, no bytecode written. Not -I, which ignores the hash seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The interpreter under this host process, virtual environments aside."""

    path: str
    """The executable on this host."""
    parts: tuple[tuple[str, str], ...]
    """(where it is, where it appears inside) of each file and directory to show, the executable first."""


def find() -> Interpreter:
    """Return the interpreter this process runs on."""
    prefix = Path(sys.base_prefix).resolve()
    path = _executable(prefix)
    if path.is_relative_to("/usr") and prefix.is_relative_to("/usr"):
        return Interpreter(path=str(path), parts=((str(path), str(path)),))
    libraries = {"lib", sys.platlibdir}
    shown = [(str(prefix / name), f"{HOME}/{name}") for name in sorted(libraries) if (prefix / name).is_dir()]
    return Interpreter(path=str(path), parts=((str(path), f"{HOME}/bin/python"), *shown))


def _executable(prefix: Path) -> Path:
    own = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    if own.name.startswith("python"):
        return own
    return (prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()  # embedded
