"""What callgate costs: every figure beside a baseline that was measured in the same run.

    python benchmarks/overhead.py [--json] [--rounds 7]

Rounds are interleaved, so that a busy moment of the machine meets every measurement, and medians are compared. Times
of inner calls are taken inside the tools, from the first call of a program to its last: the start of the guest is not
in them. It is part of the last two rows, which are whole code actions.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from figures import Samples, Table, expect, opened_sandbox, parser, report, rows
from langchain_core.messages import AIMessage
from langchain_core.tools import tool as langchain_tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from callgate import CodeRunner, Limits, Tool, tool
from callgate.sandboxes import Sandbox
from callgate_langgraph import CodeActNode

# ---- baselines: two processes and a socket pair, nothing else

_ECHO = """\
import json, socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
while header := sock.recv(4, socket.MSG_WAITALL):
    body = json.loads(sock.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL))
    answer = json.dumps(body).encode()
    sock.sendall(len(answer).to_bytes(4, "big") + answer)
"""
_SINK = """\
import socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
while header := sock.recv(4, socket.MSG_WAITALL):
    sock.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
    sock.sendall(b".")
"""


@contextmanager
def peer(program: str) -> Iterator[socket.socket]:
    """Run a program in another process and yield a socket to it."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        yield ours
    process.wait()


def echo(sock: socket.socket, times: int = 1000) -> float:
    """Return the seconds of one JSON echo."""
    began = time.perf_counter()
    for number in range(times):
        body = json.dumps({"call": number, "tool": "nothing", "args": {"x": number}}).encode()
        sock.sendall(len(body).to_bytes(4, "big") + body)
        json.loads(sock.recv(int.from_bytes(sock.recv(4, socket.MSG_WAITALL), "big"), socket.MSG_WAITALL))
    return (time.perf_counter() - began) / times


def plain_transfer(sock: socket.socket, rows: list[dict[str, Any]]) -> float:
    """Return the seconds of json dumps and loads of rows, plus those of sending the same bytes."""
    began = time.perf_counter()
    body = json.dumps(rows).encode()
    json.loads(body)
    sock.sendall(len(body).to_bytes(4, "big") + body)
    sock.recv(1)
    return time.perf_counter() - began


# ---- inner calls


class Stamps:
    """A tool that does nothing but look at the clock."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.tool = Tool(
            name="nothing",
            input_schema={"type": "object", "properties": {"x": {"type": "integer"}}},
            effect="read",
            invoke=self._look,
            ainvoke=self._alook,
        )

    def _look(self, call: object) -> None:
        del call
        self.at.append(time.perf_counter())

    async def _alook(self, call: object) -> None:
        self._look(call)


def inner_call(sandbox: Sandbox, times: int, *, is_async: bool = False) -> float:
    """Return the seconds of one inner call, in a program that makes so many of them."""
    stamps = Stamps()
    runner = CodeRunner([stamps.tool], sandbox=sandbox, limits=Limits(calls=times))
    program = f"for x in range({times}):\n    nothing(x=x)"
    outcome = asyncio.run(runner.arun(program)) if is_async else runner.run(program)
    expect(outcome.status, "completed", outcome.text)
    return (stamps.at[-1] - stamps.at[0]) / (times - 1)


def rows_to_program(sandbox: Sandbox, rows: list[dict[str, Any]]) -> float:
    """Return the seconds from the return of a tool with 10 MB of rows to the next call of the program."""
    stamps = Stamps()

    @tool(effect="read")
    def get_rows() -> Any:
        stamps.at.append(time.perf_counter())
        return rows

    runner = CodeRunner([get_rows, stamps.tool], sandbox=sandbox)
    outcome = runner.run("rows = get_rows()\nnothing(x=len(rows))\nlen(rows)")
    expect(outcome.value, len(rows), outcome.text)
    return stamps.at[1] - stamps.at[0]


def in_parallel(sandbox: Sandbox, *, is_async: bool = False) -> float:
    """Return the seconds of 50 parallel calls of a tool that takes 20 ms, under the default limits."""
    stamps = Stamps()

    def wait(call: object) -> None:
        del call
        time.sleep(0.02)

    async def await_it(call: object) -> None:
        del call
        await asyncio.sleep(0.02)

    slow = Tool(name="slow", input_schema=stamps.tool.input_schema, effect="read", invoke=wait, ainvoke=await_it)
    runner = CodeRunner([slow, stamps.tool], sandbox=sandbox)
    program = "nothing(x=0)\ncall_tools([('slow', {'x': x}) for x in range(50)])\nnothing(x=1)"
    outcome = asyncio.run(runner.arun(program)) if is_async else runner.run(program)
    expect(outcome.status, "completed", outcome.text)
    return stamps.at[1] - stamps.at[0]


# ---- the node


@langchain_tool
def double(x: int) -> int:
    """Return twice x."""
    return 2 * x


def graph_of(node: Any) -> Any:
    """Return a graph of nothing but a node for tools."""
    builder = StateGraph(MessagesState)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    builder.add_edge("tools", END)
    return builder.compile()


def tool_calls(graphs: dict[str, tuple[Any, str, dict[str, Any]]], times: int = 50) -> dict[str, float]:
    """Return the seconds that each graph takes to answer its one tool call; the graphs take turns.

    Args:
        graphs: name of a sample to a graph, the tool it is asked for, and the arguments.
        times: of each.
    """
    seconds = Samples(list)
    for _ in range(times):
        for sample, (graph, name, arguments) in graphs.items():
            calls = [{"name": name, "args": arguments, "id": "call-1", "type": "tool_call"}]
            state = {"messages": [AIMessage(content="", tool_calls=calls)]}
            began = time.perf_counter()
            answer = graph.invoke(state)["messages"][-1]
            seconds[sample].append(time.perf_counter() - began)
            expect(answer.content, "42", answer.content)
    return {sample: statistics.median(several) for sample, several in seconds.items()}


# ---- all of it


def ten_megabytes() -> list[dict[str, Any]]:
    """Return rows as a table of flights has them, 10 MB of JSON."""
    row = {"month": 6, "day": 13, "dep_delay": -2.5, "carrier": "UA", "tailnum": "N14228", "dest": "IAH", "gate": None}
    rows = [{"id": number, **row, "air_time": number / 7} for number in range(10_000_000 // len(json.dumps(row)))]
    return rows[: int(len(rows) * 10_000_000 / len(json.dumps(rows)))]


def measure(sandbox: Sandbox, rounds: int) -> Samples:
    """Measure everything, so many times, in turns."""
    coding = graph_of(CodeActNode([double], sandbox=sandbox, mode="code"))
    graphs = {
        "ToolNode": (graph_of(ToolNode([double])), "double", {"x": 21}),
        "json": (graph_of(CodeActNode([double], sandbox=sandbox)), "double", {"x": 21}),
        "direct": (coding, "execute_code", {"code": "double(x=21)"}),
        "sandboxed": (coding, "execute_code", {"code": "x = double(x=21)\nx"}),
    }
    ten = ten_megabytes()
    samples = Samples(list)
    with peer(_ECHO) as echoing, peer(_SINK) as sink:
        tasks: dict[str, Callable[[], float]] = {
            "echo": lambda: echo(echoing),
            "inner sync": lambda: inner_call(sandbox, 1000),
            "inner async": lambda: inner_call(sandbox, 1000, is_async=True),
            "inner of 100": lambda: statistics.median(inner_call(sandbox, 100) for _ in range(5)),
            "inner of 10,000": lambda: inner_call(sandbox, 10_000),
            "plain rows": lambda: plain_transfer(sink, ten),
            "rows": lambda: rows_to_program(sandbox, ten),
            "sleep": slept,
            "parallel sync": lambda: in_parallel(sandbox),
            "parallel async": lambda: in_parallel(sandbox, is_async=True),
        }
        for number in range(rounds + 1):
            found = {name: task() for name, task in tasks.items()} | tool_calls(graphs)
            if number == 0:  # what is done first is not typical: imports, the fork server
                continue
            for name, seconds in found.items():
                samples[name].append(seconds)
    return samples


def slept() -> float:
    """Return the seconds that a sleep of 20 ms takes here."""
    began = time.perf_counter()
    time.sleep(0.02)
    return time.perf_counter() - began


TABLE: Table = (
    ("inner call, sync", "inner sync", "JSON echo between two processes", "echo", 4, False),
    ("inner call, async", "inner async", "JSON echo between two processes", "echo", 6, False),
    ("inner call, of 10,000", "inner of 10,000", "inner call, of 100", "inner of 100", 1.25, False),
    ("10 MB of rows, tool to program", "rows", "json dumps + loads + transfer", "plain rows", 2, False),
    ("50 parallel calls of 20 ms, sync", "parallel sync", "one sleep of 20 ms", "sleep", 60, True),
    ("50 parallel calls of 20 ms, async", "parallel async", "one sleep of 20 ms", "sleep", 60, True),
    ("JSON call through CodeActNode", "json", "the same through ToolNode", "ToolNode", 1.05, False),
    ("code action, one call, run directly", "direct", "the call through ToolNode", "ToolNode", None, False),
    ("code action, one call, in the sandbox", "sandboxed", "the call through ToolNode", "ToolNode", None, False),
)


def main() -> None:
    """Measure and print."""
    given = parser("What callgate costs, against baselines of the same run.").parse_args()
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    with opened_sandbox() as sandbox:
        found = rows(TABLE, measure(sandbox, given.rounds))
        about = {"sandbox": sandbox.name, "level": sandbox.level, "rounds": given.rounds}
    report(about, found, began=began, as_json=given.json)


if __name__ == "__main__":
    main()
