"""Checking before running refuses no program of a real corpus that would have run clean."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from callgate.codec import JSON
from callgate.errors import ProgramError
from callgate.limits import Limits
from callgate.parsing import parse
from callgate.program import check, normalise
from callgate.sandboxes import Sandbox
from callgate.sandboxes.base import CallFrame, EndFrame, RestFrame, frame
from callgate.sandboxes.frames import Frames
from callgate.tools import Catalogue, Tool

_WORKLOADS = Path(os.environ.get("CALLGATE_WORKLOADS") or Path(__file__).parents[1] / ".." / "shared" / "workloads")
_CORPUS = _WORKLOADS / "code_actions_mint.jsonl"

_SIGNATURES = {
    "wikipedia_search": ["query"],
    "put": ["object", "receptacle"],
    "goto": ["receptacle"],
    "take_from": ["object", "receptacle"],
    "open_receptacle": ["receptacle"],
    "toggle": ["object_or_receptacle"],
    "close_receptacle": ["receptacle"],
    "clean": ["object", "receptacle"],
    "heat": ["object", "receptacle"],
    "cool": ["object", "receptacle"],
    "use": ["receptacle"],
    "look": [],
}
"""The tools of the corpus, as its tasks describe them to the models."""

SECONDS = 20.0


def _tools() -> list[Tool]:
    return [
        Tool(
            name=name,
            input_schema={"type": "object", "properties": {one: {} for one in names}, "required": names},
            effect="read",
            invoke=lambda call: f"{call.tool}: done",
        )
        for name, names in _SIGNATURES.items()
    ]


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    """Return each distinct block, behind the blocks of its sequence that come before it."""
    if not _CORPUS.exists():
        pytest.skip(f"no workload {_CORPUS.name}; CALLGATE_WORKLOADS names its folder")
    programs: dict[str, None] = {}
    with _CORPUS.open(encoding="utf-8") as lines:
        for line in lines:
            blocks: list[str] = []
            for step in json.loads(line)["steps"]:
                blocks.append(step["code"])
                programs["\n".join(blocks)] = None
    return list(programs)


@pytest.fixture(scope="module")
def refused(corpus: list[str]) -> dict[str, ProgramError]:
    catalogue = Catalogue(_tools())
    refused: dict[str, ProgramError] = {}
    for program in corpus:
        try:
            check(normalise(program), catalogue)
        except ProgramError as error:
            refused[program] = error
    return refused


def runs_clean(program: str, tools: list[Tool], sandbox: Sandbox) -> bool:
    """Run a program unchecked, every tool answering at once, and say whether it ended without an error."""
    limits = Limits()
    functions: JSON = {
        name: {"tool": tool.name, "params": list(tool.parameters)} for name, tool in Catalogue(tools).functions.items()
    }
    guest = sandbox.start(limits)
    try:
        bounds: JSON = {"output_kb": limits.output_kb, "frame_mb": limits.frame_mb, "threads": limits.threads}
        run: JSON = {"program": program, "seed": 0, "wall": 0.0, "tools": functions, "limits": bounds}
        guest.send(frame({"run": run}), SECONDS)
        frames, calls, clock, ends_at = Frames(limits.frame_mb), list[int](), 0.0, time.monotonic() + SECONDS
        while time.monotonic() < ends_at:
            data = guest.receive(ends_at - time.monotonic())
            if not data:
                return False
            for one in frames.feed(data):
                match one:
                    case EndFrame(error=error):
                        return error is None
                    case CallFrame(n=n):
                        calls.append(n)
                    case RestFrame(until=until):
                        if calls:
                            guest.send(frame({"answer": calls.pop(0), "at": clock, "value": "done"}), SECONDS)
                        elif until is None:
                            return False
                        else:
                            clock = until
                            guest.send(frame({"clock": clock, "wall": 0.0}), SECONDS)
                    case _:
                        pass
        return False
    finally:
        guest.kill()


def test_the_check_decides_on_every_program_of_the_corpus(corpus: list[str], refused: dict[str, ProgramError]) -> None:
    assert 0 < len(refused) < len(corpus) * 0.08
    assert all(str(error) and len(str(error)) <= 1_000 for error in refused.values())


def test_every_refusal_names_a_line_of_the_program(refused: dict[str, ProgramError]) -> None:
    for program, error in refused.items():
        assert error.line is not None
        assert 1 <= error.line <= program.count("\n") + 1


def test_names_called_undefined_are_bound_nowhere_in_the_program(refused: dict[str, ProgramError]) -> None:
    found = {program: re.match(r"The name '(\w+)' is not defined", str(error)) for program, error in refused.items()}
    undefined = {program: re.escape(match[1]) for program, match in found.items() if match}
    assert undefined
    for program, name in undefined.items():
        assert not re.search(rf"(?<![\w.]){name}\s*=(?!=)[^=]*$", program, re.MULTILINE), (program, name)
        assert not re.search(rf"\bimport\b.*\b{name}\b|\bdef {name}\b|\bfor\b.*\b{name}\b.*\bin\b", program)


@pytest.mark.timeout(900)
def test_no_refused_program_of_the_corpus_runs_clean(refused: dict[str, ProgramError], jail: Sandbox) -> None:
    tools = _tools()
    for program in refused:
        try:
            parse(program)
        except ProgramError:
            continue  # what does not compile does not run
        assert not runs_clean(program, tools, jail), program


def test_a_program_that_is_not_refused_can_run_clean(jail: Sandbox) -> None:
    assert runs_clean("print(goto('desk 1'))\nlook()", _tools(), jail)
