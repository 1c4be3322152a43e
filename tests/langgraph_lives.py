"""A graph that goes through several operating-system processes: each one enters it once and ends, or is killed.

The processes come from a fork server that has imported everything and done nothing, so each is as good as new.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.types import Command, interrupt
from langgraph_cases import State, answers, codeact
from langgraph_savers import aopen_saver, open_saver
from typing_extensions import TypedDict

from callgate import SqliteJournal

__all__ = ["KINDS", "Lives", "tools_of"]

KINDS = ("sqlite", "asqlite")
"""Savers that every host has: a sync and an awaited one."""

CONFIG = {"configurable": {"thread_id": "t"}}


class _AgentState(TypedDict, total=False):
    topic: str
    told: str


class _Notes:
    """What tools write down, and the files that tell them to kill their process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self, text: str) -> str:
        with (self.folder / "ledger").open("a") as file:
            file.write(f"{text}\n")
        return text

    def die_if(self, name: str) -> None:
        flag = self.folder / name
        if flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def _sub_agent(notes: _Notes) -> BaseTool:
    def look(state: _AgentState) -> _AgentState:
        return {"told": notes.note(f"look {state['topic']}")}

    def decide(state: _AgentState) -> _AgentState:
        return {"told": f"{state['told']}: {interrupt('about ' + state['topic'])}"}

    builder = StateGraph(_AgentState)
    builder.add_sequence([look, decide])
    builder.add_edge(START, "look")
    agent = builder.compile()

    @tool
    def sub_agent(topic: str) -> str:
        """Ask another agent."""
        told = agent.invoke({"topic": topic})["told"]
        notes.die_if("after-agent")
        return told

    return sub_agent


def tools_of(folder: Path) -> list[BaseTool]:
    """Return tools that write what they do into a file, and do what files there tell them."""
    note, die_if = (notes := _Notes(folder)).note, notes.die_if

    @tool
    def orders(user: str) -> list[int]:
        """List a user's orders."""
        note(f"orders {user}")
        return [1, 2, 3]

    @tool
    def refund(order: int, amount: float = 1.0) -> str:
        """Pay money back."""
        die_if("before-refund")
        note(f"refund {order} {amount}")
        die_if("after-refund")
        return f"refunded {order}"

    @tool
    def mail(to: str) -> str:
        """Send a mail."""
        return note(f"mail {to}")

    @tool
    def remember(value: int, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Write a plain key, a summed key and a log."""
        note(f"remember {value}")
        update = {"last": value, "total": value, "log": [f"remember {value}"]}
        answer = ToolMessage(f"remembered {value}", tool_call_id=str(runtime.tool_call_id))
        return Command(update={**update, "messages": [answer]})

    @tool
    def recall(state: Annotated[Any, InjectedState]) -> list[Any]:
        """Return the keys that remember writes."""
        die_if("in-recall")
        return [state.get("last"), state.get("total"), state.get("log")]

    @tool
    def ask(question: str) -> str:
        """Ask a human."""
        first = interrupt(question)
        note(f"ask {question} {first}")
        return f"human said {first}"

    @tool
    def flaky() -> str:
        """Fail while a file is there."""
        note("flaky")
        flag = folder / "fail-flaky"
        if flag.exists():
            flag.unlink()
            raise ConnectionError("once")
        return "fine"

    return [orders, refund, mail, remember, recall, ask, flaky, _sub_agent(notes)]


def _graph(folder: Path, saver: Any, options: dict[str, Any]) -> Any:
    journal = SqliteJournal(folder / "journal") if options.pop("own_journal", False) else None
    nested = options.pop("nested", False)
    effects = {"orders": "read", "recall": "read"}
    tools = [one for one in tools_of(folder) if one.name != options.get("without")]
    gated = {"refund": True} if options.pop("without", None) != "refund" else {}
    given = {"interrupt_on": gated, "effects": effects, "journal": journal, "handle_tool_errors": False}
    builder = StateGraph(State)
    builder.add_node("tools", codeact(tools, **{**given, **options}))
    builder.add_edge(START, "tools")
    if nested:
        around = StateGraph(State)
        around.add_node("inner", builder.compile())
        around.add_edge(START, "inner")
        builder = around
    return builder.compile(checkpointer=saver)


def _seen(end: Any) -> dict[str, Any]:
    """Return what an invocation gave, in a form that crosses processes and compares."""
    told = {"asked": [one.value for one in end.get("__interrupt__", ())], "ids": []}
    told["ids"] = [one.id for one in end.get("__interrupt__", ())]
    told["answers"] = [(one.tool_call_id, one.status, one.content) for one in answers(end)]
    told["artifacts"] = [one.artifact for one in answers(end) if one.name == "execute_code"]
    return {**told, **{key: end.get(key) for key in ("last", "total", "log")}}


async def _awaited(kind: str, folder: Path, options: dict[str, Any], do: Callable[[Any], Any]) -> Any:
    async with aopen_saver(kind, str(folder / "saver")) as saver:
        return await do(_graph(folder, saver, options))


def _step(kind: str, folder: Path, options: dict[str, Any], given: Any, method: str) -> Any:
    durability = {} if (mode := options.pop("durability", None)) is None else {"durability": mode}
    if kind.startswith("a"):

        async def do(graph: Any) -> Any:
            if method == "update":
                return dict(await graph.aupdate_state(*given) or {})
            return _seen(await graph.ainvoke(given, CONFIG, **durability))

        return asyncio.run(_awaited(kind, folder, options, do))
    with open_saver(kind, str(folder / "saver")) as saver:
        if kind == "sqlite":
            saver.setup()
        back = options.pop("back", False)
        graph = _graph(folder, saver, options)
        if back:  # to where the tools were about to run for the first time
            earlier = next(one for one in graph.get_state_history(CONFIG) if one.next == ("tools",))
            return _seen(graph.invoke(given, earlier.config, **durability))
        if method == "update":
            return dict(graph.update_state(*given) or {})
        return _seen(graph.invoke(given, CONFIG, **durability))


def _life(pipe: Any, *step: Any) -> None:
    try:
        pipe.send(_step(*step))
    except Exception as error:
        pipe.send((type(error).__name__, str(error), traceback.format_exc()))
    pipe.close()


@functools.cache
def _context() -> Any:
    """Return what makes processes, its fork server ready."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["langgraph_lives", "pytest"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # else it finds nothing to load before
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return context


class Lives:
    """One thread of one graph.

    Args:
        kind: of the saver.
        folder: where everything durable is.
        options: for the node; `own_journal`, `nested`, `without` (a tool), `durability` and `back` (to an earlier checkpoint) besides.
    """

    def __init__(self, kind: str, folder: Path, **options: Any) -> None:
        self.kind, self.folder, self.options = kind, folder, options
        self._context = _context()

    def invoke(self, given: Any, **options: Any) -> Any:
        """Enter the graph in a new process. Returns what came of it, None if the process was killed."""
        return self._in_new_process(given, "invoke", options)

    def update(self, config: Any, values: Any, as_node: str | None = None) -> Any:
        """Update the state in a new process."""
        return self._in_new_process((config, values, as_node), "update", {})

    def _in_new_process(self, given: Any, method: str, options: dict[str, Any]) -> Any:
        ours, theirs = self._context.Pipe(duplex=False)
        step = (self.kind, self.folder, {**self.options, **options}, given, method)
        process = self._context.Process(target=_life, args=(theirs, *step))
        process.start()
        theirs.close()
        try:
            told = ours.recv() if ours.poll(60) else ("TimeoutError", "the process hangs", "")
        except EOFError:
            told = None
        if told is not None and process.is_alive():
            process.join(10)
        if process.is_alive():
            process.kill()
        process.join()
        if isinstance(told, tuple):
            raise AssertionError("\n".join(told))
        return told

    def flag(self, name: str) -> None:
        """Let a tool kill its process, or fail, once."""
        (self.folder / name).touch()

    def ledger(self) -> list[str]:
        """Return what the tools did."""
        path = self.folder / "ledger"
        return path.read_text().splitlines() if path.exists() else []
