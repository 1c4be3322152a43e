"""What each of LangChain's own middleware does beside a CodeActMiddleware, found by building agents and running them."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import langchain.agents.middleware as shipped
from langchain.agents import create_agent
from langchain_agents import CONFIG, GO, code_act, model_of, told
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph_cases import asks, code

from callgate import UsageError
from callgate.testing.models import ScriptedChatModel

__all__ = ["agents_table", "beside", "counting_tools"]

PROGRAM = "[steady(n=1), flaky(n=2)]"


def beside() -> dict[str, Callable[[], Any]]:
    """Return what makes each middleware, by a title that begins with the name of its class."""
    here = tempfile.gettempdir()

    def model() -> ScriptedChatModel:
        return ScriptedChatModel(turns=[AIMessage("1"), AIMessage("2")])

    return {
        "ToolRetryMiddleware": lambda: shipped.ToolRetryMiddleware(max_retries=3, initial_delay=0, jitter=False),
        "ToolErrorMiddleware": lambda: shipped.ToolErrorMiddleware(lambda raised, _: f"told: {raised}"),
        "LLMToolEmulator": lambda: shipped.LLMToolEmulator(model=model()),
        "HumanInTheLoopMiddleware": lambda: shipped.HumanInTheLoopMiddleware({"steady": True}),
        "ToolCallLimitMiddleware": lambda: shipped.ToolCallLimitMiddleware(run_limit=9),
        "ToolCallLimitMiddleware of execute_code": lambda: shipped.ToolCallLimitMiddleware(
            tool_name="execute_code", run_limit=9
        ),
        "ContextEditingMiddleware": shipped.ContextEditingMiddleware,
        "FilesystemFileSearchMiddleware": lambda: shipped.FilesystemFileSearchMiddleware(root_path=here),
        "LLMToolSelectorMiddleware": lambda: shipped.LLMToolSelectorMiddleware(model=model()),
        "ModelCallLimitMiddleware": lambda: shipped.ModelCallLimitMiddleware(run_limit=9),
        "ModelFallbackMiddleware": lambda: shipped.ModelFallbackMiddleware(model()),
        "ModelRetryMiddleware": shipped.ModelRetryMiddleware,
        "PIIMiddleware": lambda: shipped.PIIMiddleware("email", apply_to_tool_results=True),
        "ProviderToolSearchMiddleware": shipped.ProviderToolSearchMiddleware,
        "SummarizationMiddleware": lambda: shipped.SummarizationMiddleware(model(), trigger=("messages", 99)),
        "TodoListMiddleware": shipped.TodoListMiddleware,
    }


def counting_tools(ran: Counter[str]) -> list[Any]:
    """Return a tool that works and one that fails twice; each counts its calls."""

    @tool
    def steady(n: int) -> int:
        """Return a number."""
        ran["steady"] += 1
        return n

    @tool
    def flaky(n: int) -> int:
        """Fail twice."""
        ran["flaky"] += 1
        if ran["flaky"] < 3:
            raise TimeoutError("busy")
        return n

    return [steady, flaky]


class Ran:
    """What came of a program in an agent with a middleware."""

    def __init__(self, middleware: Any, *, outside: bool, use_async: bool) -> None:
        self.ran: Counter[str] = Counter()
        self.text, self.refusal = "", ""

        program = code(f"try:\n    found = {PROGRAM}\nexcept ToolFailed as error:\n    found = str(error)\nfound")
        around = [middleware, code_act()] if outside else [code_act(), middleware]
        try:
            agent: Any = create_agent(model_of(asks(program)), counting_tools(self.ran), middleware=around)
        except UsageError as error:
            self.refusal = str(error).removeprefix("middleware: ")
            return
        end = asyncio.run(agent.ainvoke(GO, CONFIG)) if use_async else agent.invoke(GO, CONFIG)
        (self.text,) = told(end)

    @property
    def says(self) -> str:
        """What the middleware did for the calls of the program."""
        if self.ran["flaky"] == 3:
            return "only the call that failed is made again"
        if "told: busy" in self.text:
            return "the program catches `ToolFailed` with the text that its handler gave"
        if not self.ran:
            return "calls of a program are emulated like plain ones; no tool ran"
        assert self.ran == {"steady": 1, "flaky": 1}
        return "acts on the model's requests and messages; of a program it sees the text, and what comes back"


def _judged(make: Callable[[], Any], *, use_async: bool) -> str:
    before, after = (Ran(make(), outside=outside, use_async=use_async) for outside in (True, False))
    if after.refusal:
        assert after.refusal == before.refusal
        return f"refused | “{after.refusal}”"
    if before.refusal:
        return f"after it | {after.says}"
    assert before.says == after.says
    return f"anywhere | {after.says}"


def agents_table() -> str:
    """Return the part of the page about agents."""
    lines = [
        "# Beside `CodeActMiddleware`, in an agent of `create_agent`",
        "",
        "Made in the same way, but for ShellToolMiddleware, which would start a shell. What cannot stand there is refused",
        "when the agent is built.",
        "",
        "| middleware | stands | for a call inside a program |",
        "| --- | --- | --- |",
    ]
    for title, make in beside().items():
        (says,) = {_judged(make, use_async=False), _judged(make, use_async=True)}
        lines.append(f"| {title} | {says} |")
    return "\n".join(lines) + "\n"
