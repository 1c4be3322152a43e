"""What each of LangChain's own middleware does for calls of programs, found by running it.

    PYTHONPATH=src:adapters:tests python tests/langgraph_middleware.py

prints the table that is kept in adapters/MIDDLEWARE.md.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import langchain.agents.middleware as shipped
from langchain.agents.middleware import AgentMiddleware
from langchain_beside import agents_table, counting_tools
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from langgraph_cases import answers, asks, code, codeact, graph_of

from callgate import UsageError
from callgate.testing.models import ScriptedChatModel

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class Probe:
    """A graph whose node has a middleware, and tools that count."""

    def __init__(self, *middleware: Any, use_async: bool) -> None:
        self.ran: Counter[str] = Counter()
        self.use_async = use_async

        node = codeact(counting_tools(self.ran), middleware=middleware, effects={"flaky": "idempotent"})
        self.graph = graph_of(node, checkpointer=InMemorySaver())

    def go(self, *calls: Any) -> Any:
        """Return the state after a request with these tool calls; a Command goes on with the one before."""
        given = calls[0] if isinstance(calls[0], Command) else {"messages": [HumanMessage("go"), asks(*calls)]}
        if self.use_async:
            return asyncio.run(self.graph.ainvoke(given, CONFIG))
        return self.graph.invoke(given, CONFIG)

    def says(self, *calls: Any) -> str:
        """Return what the model reads of the last call."""
        return str(answers(self.go(*calls))[-1].content)


def retry(use_async: bool) -> str:
    one = Probe(shipped.ToolRetryMiddleware(max_retries=3, initial_delay=0, jitter=False), use_async=use_async)
    assert "[1,2]" in one.says(code("[steady(n=1), flaky(n=2)]"))
    assert one.ran == {"steady": 1, "flaky": 3}
    return "only the call that failed is made again: it ran 3 times, the call before it once"


def error(use_async: bool) -> str:
    middleware = shipped.ToolErrorMiddleware(lambda raised, _: f"told: {raised}")
    text = Probe(middleware, use_async=use_async).says(
        code("try:\n    flaky(n=1)\nexcept ToolFailed as error:\n    print(error)")
    )
    assert "told: busy" in text
    return "the program catches `ToolFailed` with the text that its handler gave"


def emulator(use_async: bool) -> str:
    model = ScriptedChatModel(turns=[AIMessage("emulated")])
    one = Probe(shipped.LLMToolEmulator(tools=["steady"], model=model), use_async=use_async)
    assert "emulated" in one.says(code("steady(n=1)"))
    assert one.ran == {}
    return "a call in a program is emulated like a plain one; the tool did not run"


def human(mode: str) -> Callable[[bool], str]:
    def probe(use_async: bool) -> str:
        middleware = shipped.HumanInTheLoopMiddleware({"steady": True}, interrupt_mode=mode)  # type: ignore[arg-type]
        one = Probe(middleware, use_async=use_async)
        (asked,) = one.go(code("[steady(n=1), steady(n=2)]"), ("steady", {"n": 3}, "p"))["__interrupt__"]
        assert [each["args"] for each in asked.value["action_requests"]] == [{"n": 1}, {"n": 3}]
        assert one.ran == {}
        (asked,) = one.go(Command(resume={"decisions": [{"type": "approve"}] * 2}))["__interrupt__"]
        assert [each["args"] for each in asked.value["action_requests"]] == [{"n": 2}]
        one.go(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}))
        assert one.ran == {"steady": 2}
        return (
            "taken as `interrupt_on`: every call is asked for by its own arguments before it runs, calls of programs "
            "and plain ones of one message together; what was approved ran once"
        )

    return probe


def limit(use_async: bool) -> str:
    one = Probe(shipped.ToolCallLimitMiddleware(tool_name="steady", run_limit=2, thread_limit=3), use_async=use_async)
    program = "got = 0\ntry:\n    for n in range(5):\n        steady(n=n)\n        got += 1\nexcept LimitExceeded:\n    pass\ngot"
    assert "2" in one.says(code(program))
    assert one.ran == {"steady": 2}
    one.go(code(program, "c2"), ("steady", {"n": 9}, "p2"))
    assert one.ran == {"steady": 3}
    return (
        "each call of a program counts, with the plain ones and over the whole thread; one above raises `LimitExceeded`"
    )


def refused(middleware: Any) -> Callable[[bool], str]:
    def probe(use_async: bool) -> str:
        try:
            Probe(middleware, use_async=use_async)
        except UsageError as error:
            return f"refused when the node is built: “{str(error).removeprefix('middleware: ')}”"
        raise AssertionError(f"{middleware} is not refused")

    return probe


def probes() -> dict[str, Callable[[bool], str]]:
    """Return what is tried, by a title that begins with the name of a class."""
    model = ScriptedChatModel(turns=[])
    here = tempfile.gettempdir()
    return {
        "ToolRetryMiddleware": retry,
        "ToolErrorMiddleware": error,
        "LLMToolEmulator": emulator,
        "HumanInTheLoopMiddleware": human("batched"),
        "HumanInTheLoopMiddleware, per_call": human("per_call"),
        "ToolCallLimitMiddleware": limit,
        "ToolCallLimitMiddleware, exit_behavior end": refused(
            shipped.ToolCallLimitMiddleware(run_limit=1, exit_behavior="end")
        ),
        "ContextEditingMiddleware": refused(shipped.ContextEditingMiddleware()),
        "FilesystemFileSearchMiddleware": refused(shipped.FilesystemFileSearchMiddleware(root_path=here)),
        "LLMToolSelectorMiddleware": refused(shipped.LLMToolSelectorMiddleware(model=model)),
        "ModelCallLimitMiddleware": refused(shipped.ModelCallLimitMiddleware(run_limit=1)),
        "ModelFallbackMiddleware": refused(shipped.ModelFallbackMiddleware(model)),
        "ModelRetryMiddleware": refused(shipped.ModelRetryMiddleware()),
        "PIIMiddleware": refused(shipped.PIIMiddleware("email", apply_to_tool_results=True)),
        "ProviderToolSearchMiddleware": refused(shipped.ProviderToolSearchMiddleware()),
        "ShellToolMiddleware": refused(shipped.ShellToolMiddleware(here)),
        "SummarizationMiddleware": refused(shipped.SummarizationMiddleware(model, trigger=("messages", 5))),
        "TodoListMiddleware": refused(shipped.TodoListMiddleware()),
    }


def shipped_classes() -> set[str]:
    """Return the names of all middleware that LangChain ships."""
    found = {name: getattr(shipped, name) for name in shipped.__all__}
    return {
        name
        for name, one in found.items()
        if isinstance(one, type) and issubclass(one, AgentMiddleware) and one is not AgentMiddleware
    }


def table() -> str:
    """Return the page."""
    lines = [
        "# LangChain's middleware around the calls of programs",
        "",
        "`CodeActNode(tools, middleware=[...])` takes LangChain's middleware. This table was made by running each one that",
        "LangChain ships around programs, sync and async; `make test` makes it again and compares.",
        "",
        "| middleware | for a call inside a program |",
        "| --- | --- |",
    ]
    for title, probe in probes().items():
        says = {probe(False), probe(True)}
        assert len(says) == 1, f"{title}: sync and async differ"
        lines.append(f"| {title} | {says.pop()} |")
    return "\n".join(lines) + "\n\n" + agents_table()


if __name__ == "__main__":
    sys.stdout.write(table())
