"""What SCALING.md says that programs cost in rows and requests is counted."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")
pytest.importorskip("langgraph", reason="langgraph is not installed")
pytest.importorskip("langgraph.checkpoint.sqlite", reason="langgraph-checkpoint-sqlite is not installed")

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing.e2b import LoopbackE2B
from callgate_langgraph import CodeActNode

PAGE = (Path(__file__).resolve().parents[2] / "SCALING.md").read_text(encoding="utf-8")


@tool
def read(x: int) -> int:
    """Read."""
    return x


@tool
def write(x: int) -> int:
    """Write."""
    return x


class World:
    """A graph of a CodeActNode over SQLite, and a loopback server."""

    def __init__(self, server: LoopbackE2B, sandbox: E2BSandbox, connection: sqlite3.Connection) -> None:
        self._server, self._connection, self._threads = server, connection, 0
        builder = StateGraph(MessagesState)
        builder.add_node("tools", CodeActNode([read, write], sandbox=sandbox, mode="code", effects={"read": "read"}))
        builder.add_edge(START, "tools")
        self._graph: Any = builder.compile(checkpointer=SqliteSaver(connection))

    def costs(self, name: str, calls: int) -> tuple[int, int]:
        """Return the rows and the requests of a program with so many calls."""
        self._threads += 1
        before, thread = len(self._server.requests), str(self._threads)
        args = {"code": f"for x in range({calls}):\n    {name}(x=x)\nNone"}
        asked = AIMessage("", tool_calls=[{"name": "execute_code", "args": args, "id": "call-1"}])
        result = self._graph.invoke({"messages": [asked]}, {"configurable": {"thread_id": thread}})
        assert result["messages"][-1].status == "success"
        requests = len(self._server.requests) - before
        (rows,) = self._connection.execute("SELECT count(*) FROM writes WHERE thread_id = ?", (thread,)).fetchone()
        return rows, requests


@pytest.fixture
def world(server: LoopbackE2B, tmp_path: Path) -> Iterator[World]:
    with (
        E2BSandbox(**server.options) as sandbox,
        closing(sqlite3.connect(tmp_path / "c.db", check_same_thread=False)) as at,
    ):
        yield World(server, sandbox, at)


def test_the_page_says_what_programs_cost(world: World) -> None:
    told = [(int(a), int(b)) for a, b in re.findall(r"^\| .* \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)]
    first = world.costs("read", 1)[1]
    counted: list[tuple[int, int]] = []
    further: list[int] = []
    for name in ("read", "write"):
        (few, some), (many, more) = world.costs(name, 10), world.costs(name, 60)
        counted.append((few - 10 * ((many - few) // 50), (many - few) // 50))
        further += [some, more]
    assert len(set(further)) == 1, "the number of calls makes no difference to E2B"
    assert [*counted, (first, 0), (further[0], 0)] == told
