"""The suite itself: declarations, counts, and the page that is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from behaviours.adapters import ADAPTERS
from behaviours.capabilities import BOTH, CAPABILITIES, JAILED, LOOPS
from behaviours.lacking import LACKING
from behaviours.page import page
from behaviours.suite import Behaviours
from test_repository import ROOT, relative

HERE = Path(__file__).parent
NEUTRAL = [
    one
    for one in sorted(HERE.glob("*.py"))
    if not one.name.startswith(("langchain_", "langgraph_", "llama_index_", "test_"))
]


def test_there_are_enough_checks_and_each_says_what_it_asks() -> None:
    checks = Behaviours.checks()
    assert len(checks) >= 60
    assert all(getattr(Behaviours, name).__doc__ for name in checks)
    assert set(checks) >= BOTH | JAILED | LOOPS


def test_no_check_hides_another_one() -> None:
    names = [name for one in Behaviours.__mro__ for name in vars(one) if name.startswith("test_")]
    assert len(names) == len(set(names))


def test_every_capability_has_checks() -> None:
    assert set(Behaviours.checks().values()) - {None} == set(CAPABILITIES) - {"threads"}  # of that, the ways are
    assert set(LACKING) == set(CAPABILITIES)
    assert all(one.__doc__ for one in LACKING.values())


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda one: one.__name__)
def test_a_lack_is_a_capability_with_a_reason(adapter: type[Behaviours]) -> None:
    assert set(adapter.lacks) <= set(CAPABILITIES)
    assert all(reason.strip() for reason in adapter.lacks.values())
    assert ("sync" in adapter.ways) == ("threads" not in adapter.lacks)


@pytest.mark.parametrize("path", NEUTRAL, ids=relative)
def test_checks_know_no_framework(path: Path) -> None:
    lines = [one.strip() for one in path.read_text(encoding="utf-8").splitlines()]
    imports = [one for one in lines if one.startswith(("import ", "from "))]
    assert not [one for one in imports if any(name in one for name in ("langchain", "langgraph", "llama_index"))]


def test_the_page_is_up_to_date() -> None:
    path = ROOT / "ADAPTERS.md"
    assert path.read_text(encoding="utf-8") == page(ADAPTERS), (
        "make it again: PYTHONPATH=src:adapters:tests python -m behaviours.page > ADAPTERS.md"
    )
