"""CallgateAgent: what its model is shown, and that it is a FunctionAgent in everything else."""

from __future__ import annotations

from typing import Any

import llama_index_cases
import pytest
from llama_index.core.agent.workflow import AgentWorkflow
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context
from llama_index_cases import agent, answered, called, program, results, run

from callgate import Facts, SandboxUnavailable, Surface, UsageError
from callgate.history import SurfaceKind
from callgate.limits import Limits
from callgate.modes import SandboxWarning
from callgate.sandboxes.base import Sandbox
from callgate.surface import ResultShapeWarning
from callgate.testing import ScriptedLLM
from callgate_llama_index import CallgateAgent, SurfaceEvent


def rows(count: int) -> list[dict[str, int]]:
    """Return rows."""
    return [{"n": n} for n in range(count)]


def half(n: int) -> float:
    """Halve a number."""
    return n / 2


def announce(text: str) -> str:
    """Tell the user."""
    return f"** {text} **"


DIRECT = FunctionTool.from_defaults(announce, return_direct=True)


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        ("json", ["rows", "half", "announce"]),
        ("code", ["execute_code", "announce"]),
        ("mixed", ["rows", "half", "announce", "execute_code"]),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_each_mode_shows_its_tools(sandbox: Sandbox, mode: str, shown: list[str], streaming: bool) -> None:
    one = agent([rows, half, DIRECT], "done", mode=mode, sandbox=sandbox, streaming=streaming)
    result, events = await run(one)
    assert str(result) == "done"
    assert one.llm.tools_seen() == [shown]
    (said,) = [event for event in events if isinstance(event, SurfaceEvent)]
    assert (said.surface, said.reason) == (mode, f"{mode}: set by mode=")


async def test_a_program_runs_and_its_calls_are_told(sandbox: Sandbox) -> None:
    one = agent([rows, half], program("[half(n=row['n']) for row in rows(count=3)]"), "done", sandbox=sandbox)
    _, events = await run(one)
    assert answered(one) == "[0.0,0.5,1.0]"
    assert called(events)[1:] == [("rows", "call-1/1"), *(("half", f"call-1/{n}") for n in (2, 3, 4))]
    assert results(events)["call-1/1"].raw_output == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_plain_calls_are_made_as_ever(sandbox: Sandbox) -> None:
    one = agent([rows, half], [("half", {"n": 3}), ("rows", {"count": 1})], "done", mode="mixed", sandbox=sandbox)
    _, events = await run(one)
    assert called(events) == [("half", "call-1"), ("rows", "call-2")]
    assert results(events)["call-1"].content == "1.5"


async def test_a_model_that_is_shown_plain_tools_runs_no_program(sandbox: Sandbox) -> None:
    one = agent([rows], program("rows(count=1)"), "done", mode="json", sandbox=sandbox)
    _, events = await run(one)
    assert called(events) == [("execute_code", "call-1")]
    assert answered(one) == "Tool execute_code not found. Please select a tool that is available."


async def test_return_direct_ends_the_run_and_no_program_can(sandbox: Sandbox) -> None:
    code = "try:\n    call_tool('announce', text='x')\nexcept NotAllowed as error:\n    print(error)"
    one = agent([rows, DIRECT], program(code), [("announce", {"text": "hi"})], sandbox=sandbox)
    result, _ = await run(one)
    assert str(result) == "** hi **"
    assert "plain tool call, not from code" in answered(one)


class Alternating:
    """Chooses json and code in turn, and notes what it is asked."""

    def __init__(self) -> None:
        self.facts = list[Facts]()

    def choose(self, facts: Facts) -> Surface:
        self.facts.append(facts)
        kind: SurfaceKind = "json" if len(self.facts) % 2 else "code"
        return Surface(kind=kind, reason=f"{kind}: it is its turn")


class Last(Alternating):
    def choose(self, facts: Facts) -> Surface:
        super().choose(facts)
        return Surface(kind="mixed", reason="mixed: always")


async def test_a_router_is_told_the_thread_and_what_it_was_shown(sandbox: Sandbox) -> None:
    router = Alternating()
    one = agent(
        [rows, half],
        [("half", {"n": 3})],
        program("half(n=4)"),
        "done",
        "again",
        mode="auto",
        router=router,
        sandbox=sandbox,
        name="billing",
    )
    ctx, memory = Context(one), ChatMemoryBuffer.from_defaults(token_limit=10_000)
    _, events = await run(one, ctx=ctx, memory=memory)
    await run(one, ctx=ctx, memory=memory)
    assert one.llm.tools_seen() == [["rows", "half"], ["execute_code"], ["rows", "half"], ["execute_code"]]
    last = router.facts[-1]
    assert last.route == "billing"
    assert set(last.definitions) == {"json", "code", "mixed"}
    roles = [message.role for message in last.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant", "user"]
    assert [m.surface for m in last.messages if m.role == "assistant"] == ["json", "code", "json"]
    assert [call.name for m in last.messages for call in m.calls] == ["half", "execute_code"]
    assert last.messages[2].answers == "call-1"
    surfaces = [event.surface for event in events if isinstance(event, SurfaceEvent)]
    assert surfaces == ["json", "code", "json"]


async def test_the_default_router_shows_few_tools_plainly_and_many_as_code(sandbox: Sandbox) -> None:
    few, many = agent([rows, half], "done", mode="auto", sandbox=sandbox), list[Any]()
    for number in range(60):
        many.append(FunctionTool.from_defaults(half, name=f"half_{number}", description="Halve a number. " * 12))
    large = agent(many, "done", mode="auto", sandbox=sandbox)
    await run(few)
    await run(large)
    assert few.llm.tools_seen() == [["rows", "half"]]
    assert large.llm.tools_seen() == [["execute_code"]]


async def test_a_context_sets_the_mode(sandbox: Sandbox) -> None:
    one = agent([rows], "done", "done", "done", mode="json", sandbox=sandbox)
    ctx = Context(one)
    await run(one, ctx=ctx)
    await ctx.store.set("callgate_mode", "code")
    await run(one, ctx=ctx)
    assert one.llm.tools_seen() == [["rows"], ["execute_code"]]
    await ctx.store.set("callgate_mode", "fast")
    with pytest.raises(UsageError, match="mode 'fast'"):
        await run(one, ctx=ctx)


async def test_a_model_that_writes_no_code_is_shown_plain_tools(sandbox: Sandbox) -> None:
    router = Alternating()
    one = agent([rows], "done", mode="auto", router=router, writes_code=False, sandbox=sandbox)
    await run(one)
    assert router.facts[0].definitions.keys() == {"json"}


@pytest.mark.parametrize(("choice", "missing"), [("rows", "code"), ("execute_code", "json"), ("announce", None)])
async def test_the_tool_that_has_to_be_called_first_is_shown(
    sandbox: Sandbox, choice: str, missing: SurfaceKind | None
) -> None:
    router = Alternating() if missing != "json" else Last()
    one = agent([rows, DIRECT], mode="auto", initial_tool_choice=choice, sandbox=sandbox, router=router)
    await one.surface()
    assert {"json", "code", "mixed"} - router.facts[0].definitions.keys() == {missing} - {None}


class NoSandbox:
    name, level = "none", "none"

    def check(self) -> None:
        raise SandboxUnavailable("no namespaces", cure="enable them")

    def start(self, limits: Limits) -> Any:
        raise SandboxUnavailable("no namespaces")

    async def astart(self, limits: Limits) -> Any:
        raise SandboxUnavailable("no namespaces")

    def close(self) -> None: ...


async def test_without_a_sandbox_auto_stays_json_and_code_raises() -> None:
    with pytest.warns(SandboxWarning, match=r"no namespaces \(enable them\)") as warned:
        one = agent([rows], "done", mode="auto", sandbox=NoSandbox())
    (said,) = [event for event in warned if event.category is SandboxWarning]
    assert said.filename == llama_index_cases.__file__
    await run(one)
    assert one.llm.tools_seen() == [["rows"]]
    with pytest.raises(SandboxUnavailable):
        agent([rows], mode="code", sandbox=NoSandbox())


def test_tools_nobody_describes_the_results_of_are_named(sandbox: Sandbox) -> None:
    def vague(n: int):
        """Return something."""

    with pytest.warns(ResultShapeWarning, match="vague"):
        agent([vague], sandbox=sandbox)


async def test_code_actions_are_counted(sandbox: Sandbox) -> None:
    code = "sum(half(n=row['n']) for row in rows(count=20))"
    one = agent([rows, half], program(code), "done", sandbox=sandbox, name="sums")
    await run(one)
    assert one.ledger.total.actions == 1
    assert set(one.ledger.routes) == {"sums"}
    assert one.ledger.total.calls == 21
    assert one.ledger.total.sequential.weighted > one.ledger.total.code.weighted


async def test_what_is_over_does_not_stay_in_the_context(sandbox: Sandbox) -> None:
    one = agent([rows], program("rows(count=3)"), program("rows(count=2)"), "done", sandbox=sandbox)
    ctx = Context(one)
    await run(one, ctx=ctx)
    assert await ctx.store.get("callgate_journals") == {}


async def test_kept_values_are_read_by_later_programs(sandbox: Sandbox) -> None:
    def text(size: int) -> str:
        """Return a text."""
        return "x" * size

    one = agent([text], program("text(size=20_000)"), program("len(load_value('k1'))"), "done", sandbox=sandbox)

    def second(messages: list[Any], tools: list[Any]) -> Any:
        handle = messages[-1].content.split("load_value(")[1].split(")")[0]
        return program(f"len(load_value({handle}))")

    one.llm.turns[1] = second
    await run(one)
    assert answered(one) == "20000"


async def test_events_are_told_outside_the_stream_too(sandbox: Sandbox) -> None:
    told = list[Any]()
    one = agent([rows], program("rows(count=1)"), "done", sandbox=sandbox, on_event=told.append)
    await run(one)
    kinds = [(event["type"], event.get("status")) for event in told]
    assert kinds == [("callgate.surface", None), ("callgate.call", "started"), ("callgate.call", "done")]


async def test_agents_hand_over(sandbox: Sandbox) -> None:
    first = agent(
        [rows],
        program("len(rows(count=3))"),
        [("handoff", {"to_agent": "writer", "reason": "it writes"})],
        name="reader",
        description="Reads.",
        sandbox=sandbox,
    )
    second = agent(
        [half], program("half(n=3)"), "done", name="writer", description="Writes.", mode="mixed", sandbox=sandbox
    )
    workflow = AgentWorkflow(agents=[first, second], root_agent="reader")
    result, events = await run(workflow)
    assert (str(result), result.current_agent_name) == ("done", "writer")
    assert first.llm.tools_seen() == [["execute_code", "handoff"]] * 2
    assert second.llm.tools_seen() == [["half", "execute_code", "handoff"]] * 2
    assert answered(second) == "1.5"
    names = [name for name, _ in called(events)]
    assert names == ["execute_code", "rows", "handoff", "execute_code", "half"]
    agents = [event.current_agent_name for event in events if isinstance(event, SurfaceEvent)]
    assert agents == ["reader", "writer"]


def test_mistakes_are_named(sandbox: Sandbox) -> None:
    llm = ScriptedLLM()
    with pytest.raises(UsageError, match="give all tools"):
        CallgateAgent(tools=[rows], llm=llm, sandbox=sandbox, tool_retriever=object())
    with pytest.raises(UsageError, match="mode 'fast'"):
        CallgateAgent(tools=[rows], llm=llm, sandbox=sandbox, mode="fast")
    with pytest.raises(UsageError, match="rename it"):
        CallgateAgent(
            tools=[FunctionTool.from_defaults(rows, name="execute_code")], llm=llm, sandbox=sandbox, mode="json"
        )
