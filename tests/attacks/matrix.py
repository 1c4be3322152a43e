"""The whole matrix: each mode of the jail, and the positive controls, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
from attacks.attack import MODES

import callgate

CONTROL = "no jail"
USERS = ("root", "an ordinary user")
_UNPRIVILEGED = {mode: 65533 - n for n, mode in enumerate(MODES)}
"""A user for each mode, nobody else's and none of the password file: the kernel counts threads by user. The guests of
root run as 65534."""
SECONDS = 600
"""How long one run may take: far above what it needs, on a loaded host too."""

_PATHS = [Path(__file__).parents[1], Path(callgate.__file__).parents[1], Path(pydantic.__file__).parents[1]]
_DRIVERS = {"root": "threads", "an ordinary user": "asyncio"}
"""The two drivers of the host take the same attacks."""

_SPARES = {(mode, user): 2 * ((x + y) % 2 == 0) for x, mode in enumerate(MODES) for y, user in enumerate(USERS)}
"""Each mode, and each user, is attacked with guests made ahead and with guests made on demand."""


class Run:
    """One host process that runs attacks in one mode, as one user; `report` waits for it."""

    def __init__(self, mode: str, user: str, attacks: Sequence[str], *, verbose: bool = False) -> None:
        self.mode, self.user = mode, user
        self.impossible = _impossible(user)
        self._report: dict[str, Any] | None = None
        self._process: subprocess.Popen[str] | None = None
        if self.impossible is None:
            spares = str(_SPARES.get((mode, user), 0))
            options = [
                "--driver",
                _DRIVERS[user],
                "--spares",
                spares,
                *(["--verbose"] if verbose else []),
                "--attacks",
                *attacks,
            ]
            other = user != "root" and os.getuid() == 0
            self._process = subprocess.Popen(
                [_python(user), "-B", "-W", "ignore::DeprecationWarning", "-m", "attacks.runner", mode, *options],
                env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, _import_paths()))},
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=None if verbose else subprocess.PIPE,
                text=True,
                **(_identity(_UNPRIVILEGED[mode]) if other else {}),
            )

    def report(self) -> dict[str, Any]:
        """Return what came of it; "skipped" says why, if nothing did.

        Raises:
            AssertionError: if the host process did not get to its end.
        """
        if self._process is None:
            return {"mode": self.mode, "user": None, "level": None, "skipped": self.impossible, "attacks": {}}
        if self._report is None:
            out, errors = self._process.communicate(timeout=SECONDS)
            code = self._process.returncode
            assert code == 0, f"the host ended with {code}: {(errors or '')[-4000:]}"
            self._report = json.loads(out)
        return self._report

    def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def columns() -> list[tuple[str, str]]:
    """Return the (mode, user) of the matrix."""
    strongest = USERS[0] if os.getuid() == 0 else USERS[1]
    return [*((mode, user) for mode in MODES for user in USERS), (CONTROL, strongest)]


def _identity(user: int) -> dict[str, Any]:
    return {"user": user, "group": user, "extra_groups": []}


def _import_paths() -> list[Path]:
    adapters = _PATHS[1].parent / "adapters"
    return [*_PATHS, *([adapters] if adapters.is_dir() else [])]


def _python(user: str) -> str:
    """Return the interpreter of a host: this one, or for another user one that everybody may read."""
    if user == "root" or os.getuid() != 0:
        return sys.executable
    return f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def _impossible(user: str) -> str | None:
    if user == "root":
        return None if os.getuid() == 0 else "only root can be root"
    if os.getuid() != 0:
        return None
    python = Path(_python(user))
    if not python.exists():
        return f"there is no {python}, and this interpreter may lie where only root can read"
    tried = subprocess.run(
        [python, "-B", "-c", "import attacks.runner"],
        env={"PYTHONPATH": os.pathsep.join(map(str, _import_paths()))},
        cwd="/", capture_output=True, text=True, check=False, **_identity(_UNPRIVILEGED[MODES[0]]),
    )  # fmt: skip
    lines = tried.stderr.splitlines() or ["it ended"]
    return f"an ordinary user cannot import the library here: {lines[-1]}" if tried.returncode else None
