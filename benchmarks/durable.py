"""What a durable journal costs in the checkpointer of the graph, beside single writes of the same SqliteSaver.

    python benchmarks/durable.py [--json] [--rounds 7]

Every call goes through a CodeActNode in a graph with a SqliteSaver on disk. Times of calls are taken inside the tools,
from the first call of a program to its last. A replay is timed from the answer of the human to the approved call. What
the journal adds is a call's time beyond that of the same call in a graph without a checkpointer.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from figures import Samples, Table, expect, opened_sandbox, parser, report, rows
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from callgate import Limits
from callgate.sandboxes import Sandbox
from callgate_langgraph import CodeActNode

FEW, REPLAYED, MANY = 100, 1000, 5000
"""Calls of a program."""

stamps: list[float] = []
"""When tools were called."""


@tool
def write(x: int) -> int:
    """Write a number."""
    stamps.append(time.perf_counter())
    return x


@tool
def read(x: int) -> int:
    """Read a number."""
    stamps.append(time.perf_counter())
    return x


@tool
def pay() -> int:
    """Pay, once a human agrees."""
    stamps.append(time.perf_counter())
    return 1


@contextmanager
def opened() -> Iterator[SqliteSaver]:
    """Yield a saver over a new file."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "checkpoints.db", check_same_thread=False)
        with closing(connection):
            yield SqliteSaver(connection)


class Graph:
    """A graph of nothing but a CodeActNode, over one saver or none."""

    def __init__(self, sandbox: Sandbox, saver: SqliteSaver | None) -> None:
        limits = Limits(calls=2 * MANY, seconds=600, cpu_seconds=600)
        node = CodeActNode(
            [write, read, pay],
            sandbox=sandbox,
            mode="code",
            effects={"read": "read"},
            interrupt_on={"pay": True} if saver is not None else None,
            limits=limits,
        )
        builder = StateGraph(MessagesState)
        builder.add_node("tools", node)
        builder.add_edge(START, "tools")
        self._graph: Any = builder.compile(checkpointer=saver)

    def run(self, program: str) -> dict[str, Any]:
        """Run a program in a new thread of the graph and return the config of the thread."""
        config = {"configurable": {"thread_id": uuid.uuid4().hex}}
        calls = [{"name": "execute_code", "args": {"code": program}, "id": "call-1", "type": "tool_call"}]
        stamps.clear()
        result = self._graph.invoke({"messages": [AIMessage("", tool_calls=calls)]}, config)
        if "__interrupt__" not in result:
            expect(result["messages"][-1].status, "success", result["messages"][-1].content)
        return config

    def approve(self, config: dict[str, Any]) -> float:
        """Let the call that waits run, and return the seconds until it does."""
        began = time.perf_counter()
        stamps.clear()
        self._graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
        expect(len(stamps), 1, "another call than the approved one ran")
        return stamps[0] - began


def of_calls(graph: Graph, name: str, times: int) -> float:
    """Return the seconds of one call, in a program that makes so many of them."""
    graph.run(f"for x in range({times}):\n    {name}(x=x)")
    expect(len(stamps), times, "calls are missing")
    return (stamps[-1] - stamps[0]) / (times - 1)


def replayed(graph: Graph) -> tuple[float, float]:
    """Return the seconds of so many write calls, and those of their replay."""
    config = graph.run(f"for x in range({REPLAYED}):\n    write(x=x)\npay()")
    executed = stamps[-1] - stamps[0]
    return executed, graph.approve(config)


def of_tool_node(times: int) -> float:
    """Return the seconds of one call of a plain ToolNode, inside a graph."""
    node, taken = ToolNode([write]), list[float]()

    def calls(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        began = time.perf_counter()
        for x in range(times):
            asked = {"name": "write", "args": {"x": x}, "id": f"call-{x}", "type": "tool_call"}
            node.invoke({"__type": "tool_call_with_context", "tool_call": asked, "state": state}, config)
        taken.append((time.perf_counter() - began) / times)
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("tools", calls)
    builder.add_edge(START, "tools")
    graph: Any = builder.compile()
    graph.invoke({"messages": []})
    return taken[0]


def single_write(saver: SqliteSaver, times: int = 200) -> float:
    """Return the seconds of one write of the saver, with a value as long as an entry of a journal."""
    configurable = {"thread_id": uuid.uuid4().hex, "checkpoint_ns": ""}
    checkpoint = empty_checkpoint()
    saver.put({"configurable": configurable}, checkpoint, {}, {})
    config: Any = {"configurable": {**configurable, "checkpoint_id": checkpoint["id"]}}
    seconds = list[float]()
    for _ in range(times):
        task_id = str(uuid.uuid4())
        began = time.perf_counter()
        saver.put_writes(config, [("entry", "x" * 250)], task_id)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure(sandbox: Sandbox, rounds: int) -> Samples:
    """Measure everything, so many times, in turns."""
    samples = Samples(list)
    with opened() as saver:
        graph, memory = Graph(sandbox, saver), Graph(sandbox, None)
        tasks: dict[str, Callable[[], float]] = {
            "single": lambda: single_write(saver),
            "write": lambda: of_calls(graph, "write", FEW),
            "write in memory": lambda: of_calls(memory, "write", FEW),
            "ToolNode": lambda: of_tool_node(FEW),
            "read": lambda: of_calls(graph, "read", FEW),
            "write of many": lambda: of_calls(graph, "write", MANY),
            "read of many": lambda: of_calls(graph, "read", MANY),
        }
        for number in range(rounds + 1):
            found = {name: task() for name, task in tasks.items()}
            found["added"] = found["write"] - found["write in memory"]
            found["executed"], found["replayed"] = replayed(graph)
            for name, seconds in found.items() if number else ():  # what is done first is not typical
                samples[name].append(seconds)
    return samples


TABLE: Table = (
    ("journalled write call", "write", "single write of the saver", "single", 5, False),
    ("what the journal adds to it", "added", "single write of the saver", "single", 5, False),
    ("a call of ToolNode, without a program", "ToolNode", "single write of the saver", "single", None, False),
    ("journalled read call", "read", "single write of the saver", "single", None, False),
    (f"write call, of {MANY:,}", "write of many", f"write call, of {FEW}", "write", 1.5, False),
    (f"read call, of {MANY:,}", "read of many", f"read call, of {FEW}", "read", 1.5, False),
    (f"replay of {REPLAYED:,} calls", "replayed", "their execution", "executed", 0.2, False),
)


def main() -> None:
    """Measure and print."""
    given = parser("What a durable journal costs in a SqliteSaver.").parse_args()
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    with opened_sandbox() as sandbox:
        found = rows(TABLE, measure(sandbox, given.rounds))
        about = {"sandbox": sandbox.name, "level": sandbox.level, "rounds": given.rounds}
    report(about, found, began=began, as_json=given.json)


if __name__ == "__main__":
    main()
