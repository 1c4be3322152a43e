"""Examples, run as they stand."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

UNSET = ("CALLGATE_MODEL", "E2B_API_KEY", "OPENAI_API_KEY", "TIKTOKEN_CACHE_DIR")
"""What would have an example talk to somebody else, or fetch something."""


def run_example(name: str, *needed: str, given: tuple[str, ...] = ()) -> str:
    """Run an example in a fresh interpreter and return what it printed."""
    for one in needed:
        try:
            importlib.metadata.version(one)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{one} is not installed")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "adapters")])
    keep = {key: value for key, value in os.environ.items() if key not in UNSET}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *given],
        env={**keep, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
