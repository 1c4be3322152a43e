"""However much a hostile guest sends, the memory of its host stays within a bound of what it was before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest
from hostile import PROGRAMS

import callgate
from callgate.sandboxes.base import Sandbox

MOST_MIB = 64
"""By how much one program may raise the memory of its host."""

SAMPLE = (
    "value, too much: lists",
    "value: deep objects",
    "value: floats that grow",
    "value: text with one wide character",
    "value: a long key",
    "large arguments",
    "large arguments of writes",
    "many arguments of 0.5 MB",
    "many arguments of 1.5 MB",
    "many arguments of 2.1 MB, a slow tool",
    "many names",
    "output",
    "padding",
)
"""What came nearest to the bound, each in its own way."""

MODES = pytest.mark.parametrize("mode", ["threads", "asyncio"])
LATE = {"seconds", "frame_mb"}
"""The limits that end what goes on for long."""


def check(mode: str, names: tuple[str, ...]) -> None:
    here = Path(__file__).parent
    paths = [here, Path(callgate.__file__).parents[1], Path(pydantic.__file__).parents[1]]
    run = subprocess.run(
        [sys.executable, "-B", "-m", "hostile", mode, *names],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    said = [json.loads(line) for line in run.stdout.splitlines()]
    assert [one["name"] for one in said] == list(names)
    for one in said:
        assert one["peak"] <= MOST_MIB, one
        assert one["next"] == 1, f"the next program did not run: {one}"
        assert one["seconds"] < 10 or one["limit"] in LATE, one


@pytest.mark.parametrize(("mode", "names"), [("threads", SAMPLE[::2]), ("asyncio", SAMPLE[1::2])])
def test_the_host_keeps_its_memory(mode: str, names: tuple[str, ...], jail: Sandbox) -> None:
    check(mode, names)


@pytest.mark.soak
@pytest.mark.timeout(900)
@MODES
def test_the_host_keeps_its_memory_whatever_is_sent(mode: str, jail: Sandbox) -> None:
    check(mode, tuple(PROGRAMS))
