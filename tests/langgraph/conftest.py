"""Checkpointers for the tests of the LangGraph adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_savers import open_saver, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The connection string of a real PostgreSQL of this test run; skips where none is installed."""
    with postgres_server() as address:
        yield address


@pytest.fixture
def address_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Where a kind of saver keeps its rows: other processes open it by kind and address."""

    def address(kind: str) -> str:
        return request.getfixturevalue("postgres") if "postgres" in kind else str(tmp_path / "checkpoints.db")

    return address


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def saver(request: pytest.FixtureRequest, address_of: Callable[[str], str]) -> Iterator[Any]:
    """Each sync saver in turn."""
    with open_saver(request.param, address_of(request.param)) as opened:
        yield opened
