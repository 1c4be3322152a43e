"""Two workers, one PostgreSQL, E2B: any worker goes on with any thread, also with those of a worker that was killed.

    pip install 'callgate[e2b,langgraph]' langgraph-checkpoint-postgres 'psycopg[binary]'
    python examples/scaling_out.py postgresql://user@host/database

Nothing here is a server of callgate's. A worker is a process with the graph in it; what it needs to go on with a thread
is in the checkpointer. Programs run on E2B if E2B_API_KEY is set, else on `callgate.testing.e2b`, which stands in for
it on this machine. A script plays the model. SCALING.md says what each part costs, and where its limits are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition
from langgraph.types import Command

from callgate.sandboxes import E2BSandbox
from callgate.sandboxes.e2b.leftovers import leftovers
from callgate.testing import ScriptedChatModel
from callgate_langgraph import CodeActNode

E2B = "SCALING_OUT_E2B"
"""The environment variable that tells a worker where E2B is; without it, E2B's own say so."""
TIMEOUT = 60
"""Seconds after which E2B ends a sandbox from which nobody hears."""

PROGRAM = """
booked = [book(order=f"{user}-{n}") for n in range(1, 4)]
paid_back = refund(order=booked[0])
f"{len(booked)} booked, {paid_back} refunded"
"""


def model_says(messages: list[BaseMessage], tools: list[dict[str, Any]]) -> AIMessage:
    """Write a program about a user, then say what came of it."""
    last = messages[-1]
    if not isinstance(last, HumanMessage):
        return AIMessage(last.text)
    call = {"name": "execute_code", "args": {"code": f"user = {last.text!r}\n{PROGRAM}"}, "id": "call-1"}
    return AIMessage("", tool_calls=[call])


# ---- a worker


def work(name: str, address: str) -> None:
    """Be a worker: for each line {"thread", "do", "dies_after"} of stdin print what came of it as one line."""
    dies_after: str | None = None

    def done(what: str) -> None:
        # Whoever does a thing twice does it once: an insert that finds its row there changes nothing.
        with psycopg.connect(address, autocommit=True) as database:
            database.execute("INSERT INTO done VALUES (%s, %s) ON CONFLICT DO NOTHING", (what, name))
        if what == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)  # it has happened, and nobody has been told

    @tool
    def book(order: str) -> str:
        """Book an order."""
        done(f"book {order}")
        return order

    @tool
    def refund(order: str) -> str:
        """Refund an order."""
        done(f"refund {order}")
        return order

    given = json.loads(os.environ.get(E2B, "{}"))
    with PostgresSaver.from_conn_string(address) as saver, E2BSandbox(timeout=TIMEOUT, **given) as sandbox:
        node = CodeActNode(
            [book, refund],
            sandbox=sandbox,
            mode="code",
            effects={"book": "idempotent"},
            interrupt_on={"refund": True},
            require_durable=True,
        )
        model = node.bind_model(ScriptedChatModel(turns=[model_says] * 9))
        builder = StateGraph(MessagesState)
        builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
        builder.add_node("tools", node)
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        graph = builder.compile(checkpointer=saver)
        inputs = {"approve": Command(resume={"decisions": [{"type": "approve"}]}), "go on": None}
        for line in sys.stdin:
            order = json.loads(line)
            dies_after = order["dies_after"]
            config: RunnableConfig = {"configurable": {"thread_id": order["thread"]}}
            asked = {"messages": [HumanMessage(order["thread"])]}
            found = graph.invoke(inputs.get(order["do"], asked), config)
            waiting = [
                request["args"] for one in found.get("__interrupt__", ()) for request in one.value["action_requests"]
            ]
            text = f"waits for a human: refund {waiting}" if waiting else found["messages"][-1].text
            sys.stdout.write(json.dumps(text) + "\n")
            sys.stdout.flush()


class Worker:
    """A worker process, seen from outside."""

    def __init__(self, name: str, address: str, e2b: dict[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, address, name],
            env={**os.environ, **({E2B: json.dumps(e2b)} if e2b else {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def does(self, what: str, thread: str, *, dies_after: str | None = None) -> None:
        """Have it do something, and print what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, "thread": thread, "dies_after": dies_after}) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        came = json.loads(said) if said else f"killed in the middle of it ({-self._process.wait()})"
        print(f"{self.name}, {what} {thread}: {came}")

    def kill(self) -> None:
        """End it without a word to anybody."""
        self._process.kill()
        self._process.wait()
        print(f"{self.name} is killed")

    def close(self) -> None:
        """Let it end."""
        if self._process.poll() is None:
            self._process.communicate()


# ---- the deployment


@contextmanager
def e2b() -> Iterator[dict[str, str]]:
    """Yield where E2B is: nothing if there is an account, else a server on this machine, while it is needed."""
    if os.environ.get("E2B_API_KEY"):
        yield {}
        return
    command = [sys.executable, "-m", "callgate.testing.e2b"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.stdin.close()


def main(address: str) -> None:
    """Kill each of two workers once, and let the other one go on."""
    with PostgresSaver.from_conn_string(address) as saver, psycopg.connect(address, autocommit=True) as database:
        saver.setup()
        database.execute("DROP TABLE IF EXISTS done")
        database.execute("CREATE TABLE done (what text PRIMARY KEY, worker text)")
        with e2b() as options:
            one, two = Worker("one", address, options), Worker("two", address, options)
            one.does("begin", "ana")
            one.kill()
            two.does("approve", "ana")
            two.does("begin", "ben", dies_after="book ben-2")
            three = Worker("three", address, options)
            three.does("go on", "ben")
            three.does("approve", "ben")
            three.close()
            print("\nwhat happened, each once:")
            for what, worker in database.execute("SELECT what, worker FROM done ORDER BY what"):
                print(f"  {what} by {worker}")
            left = len(leftovers(**options))
            print(f"\nsandboxes at E2B: {left}; those of killed workers end by themselves, within {TIMEOUT} s")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        work(sys.argv[2], sys.argv[1])
    elif len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        sys.exit(__doc__)
