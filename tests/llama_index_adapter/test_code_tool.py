"""`execute_code` as a tool of any agent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent
from llama_index.core.agent.workflow.workflow_events import ToolCallResult
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.calling import acall_tool, call_tool
from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent
from llama_index_cases import called, program, results, run

from callgate import MemoryJournal, UsageError
from callgate.sandboxes.base import Sandbox
from callgate.testing import ScriptedLLM
from callgate_llama_index import code_tool

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def rows(count: int) -> list[dict[str, int]]:
    """Return rows."""
    return [{"n": n} for n in range(count)]


async def double(n: int) -> int:
    """Double a number."""
    return n * 2


def broken(n: int) -> int:
    """Break."""
    raise ValueError(f"no {n}")


SUM = "sum(double(n=row['n']) for row in rows(count=4))"


@both_ways
def test_it_runs_without_a_workflow(sandbox: Sandbox, use_async: bool) -> None:
    tool = code_tool([rows, double], sandbox=sandbox)
    output = asyncio.run(tool.acall(code=SUM)) if use_async else tool.call(code=SUM)
    assert (output.content, output.is_error) == ("12", False)
    assert output.raw_output["value"] == 12
    assert [one["tool"] for one in output.raw_output["calls"]] == ["rows", *["double"] * 4]


@both_ways
def test_helpers_of_llama_index_call_it(sandbox: Sandbox, use_async: bool) -> None:
    tool, arguments = code_tool([rows, double], sandbox=sandbox), {"code": SUM}
    output = asyncio.run(acall_tool(tool, arguments)) if use_async else call_tool(tool, arguments)
    assert output.content == "12"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({}, "code is missing, so nothing ran"), ({"code": 3}, "code must be a string, so nothing ran")],
)
@both_ways
def test_a_call_without_a_program_is_answered(
    sandbox: Sandbox, arguments: dict[str, Any], said: str, use_async: bool
) -> None:
    tool = code_tool([rows], sandbox=sandbox)
    output = asyncio.run(tool.acall(**arguments)) if use_async else tool.call(**arguments)
    assert said in output.content
    assert output.is_error


def test_the_description_may_be_long(sandbox: Sandbox) -> None:
    tools = [FunctionTool.from_defaults(rows, name=f"rows_{number}") for number in range(20)]
    found = code_tool(tools, sandbox=sandbox).metadata.to_openai_tool()["function"]
    assert len(found["description"]) > 1_024
    assert "def rows_7(count: int) -> list[dict[str, int]]" in found["description"]
    assert found["parameters"]["required"] == ["code"]


async def test_a_function_agent_runs_programs_and_tells_of_their_calls(sandbox: Sandbox) -> None:
    tool = code_tool([rows, double, broken], sandbox=sandbox)
    code = "try:\n    broken(n=1)\nexcept ToolFailed as error:\n    said = str(error)\n[said, double(n=3)]"
    llm = ScriptedLLM(turns=[program(code), "done"])
    result, events = await run(FunctionAgent(tools=[tool], llm=llm))
    assert str(result) == "done"
    assert called(events) == [("execute_code", "call-1"), ("broken", "call-1/1"), ("double", "call-1/2")]
    told = results(events)
    assert (told["call-1/1"].is_error, told["call-1/1"].content) == (True, "no 1")
    assert told["call-1/2"].raw_output == 6
    assert told["call-1"].content == '["no 1",6]'


@pytest.mark.filterwarnings("ignore:is_running called from within a step")
async def test_a_react_agent_runs_programs(sandbox: Sandbox) -> None:
    tool = code_tool([rows, double], sandbox=sandbox)
    asked = 'Thought: I need a tool.\nAction: execute_code\nAction Input: {"code": "double(n=21)"}\n'
    llm = ScriptedLLM(turns=[asked, "Thought: I can answer without using any more tools.\nAnswer: 42"])
    result, events = await run(ReActAgent(tools=[tool], llm=llm))
    assert str(result) == "42"
    assert [name for name, _ in called(events)] == ["execute_code", "double"]


async def test_tools_are_given_the_context(sandbox: Sandbox) -> None:
    async def remember(ctx: Any, text: str) -> int:
        """Remember a text."""
        texts = [*await ctx.store.get("texts", default=[]), text]
        await ctx.store.set("texts", texts)
        return len(texts)

    remember.__annotations__["ctx"] = Context
    tool = code_tool([remember], sandbox=sandbox)
    agent = FunctionAgent(tools=[tool], llm=ScriptedLLM(turns=[program("[remember(text=t) for t in 'ab']"), "done"]))
    ctx = Context(agent)
    _, events = await run(agent, ctx=ctx)
    assert results(events)["call-1"].content == "[1,2]"
    assert await ctx.store.get("texts") == ["a", "b"]


def asking() -> Any:
    async def ask(ctx: Any, question: str) -> str:
        """Ask the user."""
        made.append(question)
        asked = InputRequiredEvent(prefix=question)
        return (await ctx.wait_for_event(HumanResponseEvent, waiter_event=asked)).response

    made = list[str]()
    ask.__annotations__["ctx"] = Context
    return ask, made


async def test_tools_that_wait_for_events_each_get_their_own(sandbox: Sandbox) -> None:
    (ask, asked), made = asking(), list[int]()

    def note(n: int) -> int:
        """Note."""
        made.append(n)
        return n

    code = "note(n=1)\na = ask(question='name?')\nb = ask(question='age?')\nnote(n=2)\n[a, b]"
    tool = code_tool([ask, note], sandbox=sandbox)
    agent = FunctionAgent(tools=[tool], llm=ScriptedLLM(turns=[program(code), "done"]))

    def answer(event: InputRequiredEvent) -> HumanResponseEvent:
        return HumanResponseEvent(response=event.prefix.upper())

    _, events = await run(agent, answer)
    assert results(events)["call-1"].content == '["NAME?","AGE?"]'
    assert made == [1, 2]
    assert asked == ["name?"] * 2 + ["age?"] * 2  # each is entered once more with its answer, as plain tools are
    assert [one.prefix for one in events if isinstance(one, InputRequiredEvent)] == ["name?", "age?"]


async def test_a_tool_that_waits_twice_is_given_both(sandbox: Sandbox) -> None:
    async def confirm(ctx: Any, what: str) -> list[str]:
        """Ask twice."""
        said = list[str]()
        for turn in ("sure", "really"):
            asked = InputRequiredEvent(prefix=f"{what}: {turn}?")
            event = await ctx.wait_for_event(HumanResponseEvent, waiter_id=turn, waiter_event=asked)
            said.append(event.response)
        return said

    confirm.__annotations__["ctx"] = Context
    tool = code_tool([confirm], sandbox=sandbox)
    code = "call_tools([('confirm', {'what': 'a'}), ('confirm', {'what': 'b'})])"
    agent = FunctionAgent(tools=[tool], llm=ScriptedLLM(turns=[program(code), "done"]))
    numbers = iter("1234")
    _, events = await run(agent, lambda event: HumanResponseEvent(response=next(numbers)))
    assert results(events)["call-1"].raw_output["value"] == [["1", "2"], ["3", "4"]]


async def test_a_tool_that_waits_behind_its_callers_back_ends_the_action(sandbox: Sandbox) -> None:
    async def ask(question: str) -> str:
        """Ask the user."""
        return (await Context.get_step_context().wait_for_event(HumanResponseEvent)).response

    tool = code_tool([ask], sandbox=sandbox)
    agent = FunctionAgent(tools=[tool], llm=ScriptedLLM(turns=[program("ask(question='name?')"), "done"]))
    _, events = await run(agent)
    assert "let it take `ctx: Context` as a parameter" in results(events)["call-1"].content


@pytest.mark.parametrize("kind", ["plain", "in a program"])
async def test_a_tool_that_runs_programs_of_its_own_gets_the_outcome_of_each(sandbox: Sandbox, kind: str) -> None:
    tool = code_tool([double], sandbox=sandbox)

    async def several(ctx: Any) -> list[int]:
        """Run three programs."""
        outputs = [await tool.acall(code=code, ctx=ctx) for code in ("double(n=1)", "double(n=2)", "double(n=2)")]
        return [one.raw_output["value"] for one in outputs]

    several.__annotations__["ctx"] = Context
    turn: list[Any] = [("several", {})] if kind == "plain" else program("several()")
    agent = FunctionAgent(tools=[several, code_tool([several], sandbox=sandbox)], llm=ScriptedLLM(turns=[turn, "done"]))
    _, events = await asyncio.wait_for(run(agent), 30)
    assert json.loads(results(events)["call-1"].content) == [2, 4, 4]
    doubled = [one.tool_kwargs["n"] for one in events if isinstance(one, ToolCallResult) and one.tool_name == "double"]
    assert doubled == [1, 2, 2]


async def test_the_journal_may_be_kept_elsewhere(sandbox: Sandbox) -> None:
    journal = MemoryJournal()
    tool = code_tool([rows, double], sandbox=sandbox, journal=journal)
    agent = FunctionAgent(tools=[tool], llm=ScriptedLLM(turns=[program(SUM), "done"]))
    _, events = await run(agent)
    told = results(events)["call-1"].raw_output
    assert "journal" not in told
    assert len(journal.read(told["journal_key"])) > 2


@both_ways
def test_no_human_is_asked_without_a_workflow(sandbox: Sandbox, use_async: bool) -> None:
    tool = code_tool([double], sandbox=sandbox, interrupt_on={"double": True})
    with pytest.raises(UsageError, match="let an agent call this tool"):
        _ = asyncio.run(tool.acall(code="double(n=1)")) if use_async else tool.call(code="double(n=1)")


def test_mistakes_are_named(sandbox: Sandbox) -> None:
    direct = FunctionTool.from_defaults(rows, return_direct=True)
    with pytest.raises(UsageError, match="rows ends the agent's run"):
        code_tool([direct], sandbox=sandbox)
    named = FunctionTool.from_defaults(rows, name="execute_code")
    with pytest.raises(UsageError, match="rename it"):
        code_tool([named], sandbox=sandbox)
    with pytest.raises(UsageError, match="no tool here"):
        code_tool([rows], sandbox=sandbox, interrupt_on={"pay": True})
