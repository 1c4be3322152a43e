"""Which interpreter runs inside, and under which names it appears there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from callgate.errors import UsageError

__all__ = ["Interpreter", "find"]

HOME = "/python"
"""Where an interpreter from outside /usr appears: its real place may name a user."""

FLAGS = ("-S", "-s", "-P", "-B")
"""No site packages, no user packages, no unsafe path, no bytecode written. Not -I, which ignores the hash seed."""

_SECONDS = 30
_ASK = """\
import json, sys
kind = [sys.implementation.name, *sys.version_info[:2], sys.abiflags]
print(json.dumps([kind, getattr(sys, "_base_executable", None) or sys.executable, sys.base_prefix, sys.platlibdir]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """An interpreter of this host, virtual environments aside."""

    path: str
    """The executable on this host."""
    parts: tuple[tuple[str, str], ...]
    """(where it is, where it appears inside) of each file and directory to show, the executable first."""


def find(python: str | PathLike[str] | None = None) -> Interpreter:
    """Return the interpreter at a path, or the one this process runs on.

    Raises:
        UsageError: if there is none, or it is not of this process's own version.
    """
    if python is not None:
        return _ask(os.path.abspath(os.fspath(python)))  # noqa: PTH100 - a link of a virtual environment says which
    prefix = Path(sys.base_prefix).resolve()
    own = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    if not own.name.startswith("python"):  # embedded
        own = (prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
    return _interpreter(own, prefix, sys.platlibdir)


def _ask(python: str) -> Interpreter:
    asked = [python, "-I", "-S", "-c", _ASK]
    try:
        run = subprocess.run(asked, capture_output=True, env={}, cwd="/", timeout=_SECONDS, check=True)  # noqa: S603
        kind, executable, prefix, libraries = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(f"python={python!r}: no Python interpreter runs there ({reason})") from None
    own = [sys.implementation.name, *sys.version_info[:2], sys.abiflags]
    if kind != own:
        raise UsageError(
            f"python={python!r} is {_named(kind)}; programs run on the version of the host process, {_named(own)}, "
            "which the packages they import are built for"
        )
    return _interpreter(Path(executable).resolve(), Path(prefix).resolve(), libraries)


def _named(kind: Sequence[object]) -> str:
    name, major, minor, flags = kind
    return f"{name} {major}.{minor}{flags}"


def _interpreter(path: Path, prefix: Path, platform_libraries: str) -> Interpreter:
    if path.is_relative_to("/usr") and prefix.is_relative_to("/usr"):
        return Interpreter(path=str(path), parts=((str(path), str(path)),))
    libraries = {"lib", platform_libraries}
    shown = [(str(prefix / name), f"{HOME}/{name}") for name in sorted(libraries) if (prefix / name).is_dir()]
    return Interpreter(path=str(path), parts=((str(path), f"{HOME}/bin/python"), *shown))
