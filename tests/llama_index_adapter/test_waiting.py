"""Agents that wait for a human, and Contexts that are serialised meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.agent.workflow.workflow_events import ToolCallResult
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import (
    Context,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)
from llama_index_cases import agent, answered, approve, called, decide, program, restored, results, run, until_asked
from llama_index_lives import live

from callgate import JournalError, MemoryJournal, SqliteJournal
from callgate.sandboxes.base import Sandbox
from callgate.testing import ScriptedLLM
from callgate_llama_index import code_tool

ROOT = Path(__file__).resolve().parents[2]


class Shop:
    """Tools, and what they did."""

    def __init__(self) -> None:
        self.did = list[tuple[str, int]]()

    def look(self, n: int) -> int:
        """Look."""
        self.did.append(("look", n))
        return n

    def pay(self, amount: int) -> str:
        """Pay."""
        self.did.append(("pay", amount))
        return f"paid {amount}"

    @property
    def tools(self) -> list[Any]:
        return [self.look, self.pay]


CODE = "look(n=1)\na = pay(amount=5)\nlook(n=2)\n[a, pay(amount=6)]"
DONE = [("look", 1), ("pay", 5), ("look", 2), ("pay", 6)]


async def test_a_program_waits_for_each_approval_and_repeats_nothing(sandbox: Sandbox) -> None:
    shop = Shop()
    one = agent(shop.tools, program(CODE), "done", interrupt_on={"pay": True}, sandbox=sandbox)
    _, events = await run(one, approve)
    assert shop.did == DONE
    assert answered(one) == '["paid 5","paid 6"]'
    first, second = (event for event in events if isinstance(event, InputRequiredEvent))
    assert first.action_requests[0]["args"] == {"amount": 5}
    assert first.review_configs[0]["allowed_decisions"] == ["approve", "edit", "reject", "respond"]
    assert first.prefix.startswith('A program wants to call pay.\npay {"amount": 5}\n\nCalled by a program:\nlook(n=1)')
    assert second.callgate["calls"][0]["arguments"] == '{"amount":6}'
    assert first.id != second.id
    inner = [pair for pair in called(events) if pair[0] != "execute_code"]
    assert inner == [("look", "call-1/1"), ("pay", "call-1/2"), ("look", "call-1/3"), ("pay", "call-1/4")]
    assert list(results(events)) == ["call-1/1", "call-1/2", "call-1/3", "call-1/4", "call-1"]


async def test_calls_that_wait_at_once_are_one_question(sandbox: Sandbox) -> None:
    shop = Shop()
    code = "call_tools([('pay', {'amount': n}) for n in (1, 2, 3)])"
    one = agent(shop.tools, program(code), "done", interrupt_on={"pay": True}, sandbox=sandbox)
    edit = {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 20}}}
    _, events = await run(one, lambda event: decide(event, "approve", edit, {"type": "respond", "message": "later"}))
    assert len([event for event in events if isinstance(event, InputRequiredEvent)]) == 1
    assert sorted(shop.did) == [("pay", 1), ("pay", 20)]
    assert answered(one) == '["paid 1","paid 20","later"]'


async def test_a_rejection_is_an_exception_of_the_program(sandbox: Sandbox) -> None:
    shop = Shop()
    code = "try:\n    pay(amount=1)\nexcept ApprovalRejected as error:\n    print(error)"
    one = agent(shop.tools, program(code), "done", interrupt_on={"pay": True}, sandbox=sandbox)
    await run(one, lambda event: decide(event, {"type": "reject", "message": "too much"}))
    assert shop.did == []
    assert "too much" in answered(one)


@pytest.mark.parametrize("mode", ["json", "mixed", "code"])
@pytest.mark.parametrize(
    ("decision", "did", "said"),
    [
        ("approve", [("pay", 5)], "paid 5"),
        ({"type": "reject", "message": "no"}, [], "rejected this call of pay: no"),
        ({"type": "respond", "message": "paid by hand"}, [], "paid by hand"),
        ({"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 7}}}, [("pay", 7)], "a human changed"),
    ],
    ids=["approve", "reject", "respond", "edit"],
)
async def test_plain_calls_are_asked_about_on_every_surface(
    sandbox: Sandbox, mode: str, decision: Any, did: list[Any], said: str
) -> None:
    shop = Shop()
    one = agent(shop.tools, [("pay", {"amount": 5})], "done", mode=mode, interrupt_on={"pay": True}, sandbox=sandbox)
    _, events = await run(one, lambda event: decide(event, decision))
    assert shop.did == did
    assert said in answered(one)
    (asked,) = (event for event in events if isinstance(event, InputRequiredEvent))
    assert asked.prefix == 'The agent wants to call pay.\npay {"amount": 5}'
    assert asked.callgate["program"] is None
    assert set(results(events)) == {"call-1"}


async def test_what_ends_the_run_may_be_asked_about(sandbox: Sandbox) -> None:
    shop = Shop()
    tool = FunctionTool.from_defaults(shop.pay, return_direct=True)
    one = agent([tool], [("pay", {"amount": 5})], interrupt_on={"pay": True}, sandbox=sandbox)
    result, _ = await run(one, approve)
    assert (str(result), shop.did) == ("paid 5", [("pay", 5)])


async def test_only_some_calls_are_asked_about(sandbox: Sandbox) -> None:
    shop = Shop()
    rule = {
        "pay": {
            "when": lambda call: call.arguments["amount"] > 5,
            "description": "Dear.",
            "allowed_decisions": ["approve"],
        }
    }
    one = agent(
        shop.tools, program(CODE), [("pay", {"amount": 1})], "done", mode="mixed", interrupt_on=rule, sandbox=sandbox
    )
    _, events = await run(one, approve)
    (asked,) = (event for event in events if isinstance(event, InputRequiredEvent))
    assert asked.prefix.startswith('Dear.\npay {"amount": 6}')
    assert asked.review_configs == [{"action_name": "pay", "allowed_decisions": ["approve"]}]
    assert shop.did == [*DONE, ("pay", 1)]


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        ({"decisions": ["maybe"]}, "decide one of approve"),
        ({"decisions": ["approve", "approve"]}, "1 calls wait and the answer holds 2 decisions"),
        ({"response": "yes"}, "answer with decisions"),
        ({"decisions": {"call-1/9": "approve"}}, "call-1/1, call-1/9"),
    ],
)
async def test_an_answer_that_does_not_fit_is_not_used(sandbox: Sandbox, unfit: dict[str, Any], said: str) -> None:
    shop, asked = Shop(), list[InputRequiredEvent]()
    one = agent(shop.tools, program("pay(amount=1)"), "done", interrupt_on={"pay": True}, sandbox=sandbox)

    def answer(event: InputRequiredEvent) -> HumanResponseEvent:
        asked.append(event)
        return HumanResponseEvent(id=event.id, **unfit) if len(asked) == 1 else approve(event)

    await run(one, answer)
    assert shop.did == [("pay", 1)]
    assert said in asked[1].callgate["error"]
    assert asked[1].prefix.startswith("The answer before was not used: ")


async def test_decisions_may_name_their_calls(sandbox: Sandbox) -> None:
    shop = Shop()
    code = "call_tools([('pay', {'amount': n}) for n in (1, 2)])"
    one = agent(shop.tools, program(code), "done", interrupt_on={"pay": True}, sandbox=sandbox)
    no = {"type": "reject", "message": "no"}
    await run(one, lambda event: HumanResponseEvent(id=event.id, decisions={"call-1/2": "approve", "call-1/1": no}))
    assert shop.did == [("pay", 2)]


async def test_actions_of_one_turn_each_get_their_own_answer(sandbox: Sandbox) -> None:
    shop = Shop()
    turn = [*program("pay(amount=1)"), *program("pay(amount=2)"), ("pay", {"amount": 3})]
    one = agent(shop.tools, turn, "done", mode="mixed", interrupt_on={"pay": True}, sandbox=sandbox)
    no = {"type": "reject", "message": "not this"}

    def answer(event: InputRequiredEvent) -> HumanResponseEvent:
        return decide(event, no if event.action_requests[0]["args"] == {"amount": 2} else "approve")

    _, events = await run(one, answer)
    assert sorted(shop.did) == [("pay", 1), ("pay", 3)]
    told = results(events)
    assert told["call-1"].raw_output["value"] == "paid 1"
    assert "not this" in told["call-2"].content
    assert told["call-3"].content == "paid 3"


@pytest.mark.parametrize("kind", ["program", "plain"])
async def test_a_human_who_answers_twice_is_heard_once(sandbox: Sandbox, kind: str) -> None:
    shop = Shop()

    async def slow(amount: int) -> str:
        """Pay slowly."""
        await asyncio.sleep(0.2)
        return shop.pay(amount)

    turn = program("slow(amount=1)") if kind == "program" else [("slow", {"amount": 1})]
    one = agent([slow], turn, "done", mode="mixed", interrupt_on={"slow": True}, sandbox=sandbox)
    handler = one.run(user_msg="go")
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            handler.ctx.send_event(approve(event))
            await asyncio.sleep(0.05)
            handler.ctx.send_event(approve(event))
    assert str(await handler) == "done"
    assert shop.did == [("pay", 1)]
    assert len(one.llm.seen) == 2


async def test_a_restored_context_repeats_nothing(sandbox: Sandbox) -> None:
    before = Shop()
    one = agent(before.tools, program(CODE), "done", interrupt_on={"pay": True}, sandbox=sandbox)
    text, (asked,) = await until_asked(one)
    assert before.did == [("look", 1)]
    after = Shop()
    two = agent(after.tools, "done", interrupt_on={"pay": True}, sandbox=sandbox)
    ctx = await restored(two, text)
    result, events = await run(two, approve, user_msg=None, ctx=ctx)
    assert str(result) == "done"
    assert after.did == DONE[1:]
    assert answered(two) == '["paid 5","paid 6"]'
    again = next(event for event in events if isinstance(event, InputRequiredEvent))
    assert (again.id, again.prefix) == (asked.id, asked.prefix)  # a new process is told, too


async def test_a_context_may_be_restored_from_any_moment(sandbox: Sandbox) -> None:
    def say(messages: list[Any], tools: list[Any]) -> Any:
        return "done" if any(one.role == "tool" for one in messages) else program(CODE)

    def made(did: list[tuple[str, int]]) -> Any:
        async def look(n: int) -> int:
            """Look."""
            did.append(("look", n))
            return n

        async def pay(amount: int) -> str:
            """Pay."""
            did.append(("pay", amount))
            return f"paid {amount}"

        return agent([look, pay], say, say, say, interrupt_on={"pay": True}, sandbox=sandbox)

    moments = list[tuple[str, list[tuple[str, int]]]]()
    did = list[tuple[str, int]]()
    one = made(did)
    ctx = Context(one)
    handler = one.run(user_msg="go", ctx=ctx)
    async for event in handler.stream_events():
        moments.append((json.dumps(ctx.to_dict()), list(did)))
        if isinstance(event, InputRequiredEvent):
            handler.ctx.send_event(approve(event))
    await handler
    assert did == DONE
    assert len(moments) > 20
    for text, before in moments[:-1]:  # with the last one the run is over
        after = list[tuple[str, int]]()
        two = made(after)
        result, _ = await run(two, approve, user_msg=None, ctx=await restored(two, text))
        assert str(result) == "done"
        assert before + after == DONE


async def test_a_restored_context_gives_nobody_the_answer_of_another(sandbox: Sandbox) -> None:
    turn = [*program("pay(amount=1)"), *program("pay(amount=2)")]
    one = agent(Shop().tools, turn, "done", interrupt_on={"pay": True}, sandbox=sandbox)
    text, asked = await until_asked(one, questions=2)
    shop = Shop()
    two = agent(shop.tools, "done", interrupt_on={"pay": True}, sandbox=sandbox)
    ctx = await restored(two, text)
    handler = two.run(ctx=ctx)
    by_amount = {event.action_requests[0]["args"]["amount"]: event for event in asked}
    # At once: LlamaIndex has forgotten by then who waits for which answer.
    handler.ctx.send_event(decide(by_amount[1], {"type": "reject", "message": "not this"}))
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent) and event.id == by_amount[2].id:
            handler.ctx.send_event(approve(event))
    assert str(await handler) == "done"
    assert shop.did == [("pay", 2)]
    told = {m.additional_kwargs["tool_call_id"]: m.content for m in two.llm.seen[-1][0] if m.role == "tool"}
    assert "not this" in told["call-1"]
    assert told["call-2"] == '"paid 2"'


async def test_a_restored_context_answers_each_call_once(sandbox: Sandbox) -> None:
    turn = [*program("pay(amount=1)"), *program("pay(amount=2)\nlook(n=2)")]
    one = agent(Shop().tools, turn, "done", interrupt_on={"pay": True}, sandbox=sandbox)
    ctx = Context(one)
    handler = one.run(user_msg="go", ctx=ctx)
    text = ""
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent) and event.action_requests[0]["args"] == {"amount": 2}:
            handler.ctx.send_event(approve(event))
        if isinstance(event, ToolCallResult) and event.tool_id == "call-2":
            text = json.dumps(ctx.to_dict())  # LlamaIndex enters that step twice from here
            break
    await handler.cancel_run()
    shop = Shop()
    two = agent(shop.tools, "done", interrupt_on={"pay": True}, sandbox=sandbox)
    result, _ = await asyncio.wait_for(run(two, approve, user_msg=None, ctx=await restored(two, text)), 30)
    assert str(result) == "done"
    assert shop.did == [("pay", 1)]
    told = [(m.additional_kwargs["tool_call_id"], m.content) for m in two.llm.seen[-1][0] if m.role == "tool"]
    assert sorted(told) == [("call-1", '"paid 1"'), ("call-2", "2")]


def lives(folder: Path, *decisions: str) -> str:
    path = os.pathsep.join(str(ROOT / one) for one in ("src", "adapters", "tests"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "llama_index_lives.py"), str(folder), *decisions],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_agent_goes_on_in_other_processes(tmp_path: Path) -> None:
    assert asyncio.run(live(tmp_path)) == "A program wants to call pay."
    assert (tmp_path / "done").read_text() == "write\n"
    assert lives(tmp_path, "approve") == "A program wants to call pay."
    assert (tmp_path / "done").read_text() == "write\npay 1\nwrite\n"
    assert asyncio.run(live(tmp_path, "approve")) == 'done: [true,"paid 1",true,"paid 3"]'
    assert (tmp_path / "done").read_text() == "write\npay 1\nwrite\npay 3\n"


@pytest.mark.parametrize("kind", ["program", "plain"])
@pytest.mark.parametrize(
    ("decision", "did", "said"),
    [
        ({"type": "done", "value": "receipt 9"}, [], "receipt 9"),
        ({"type": "failed", "message": "card declined"}, [], "card declined"),
        ("run again", [("pay", 1)], "paid 1"),
    ],
    ids=["done", "failed", "run again"],
)
async def test_a_write_that_was_cut_off_is_asked_about(
    sandbox: Sandbox, kind: str, decision: Any, did: list[Any], said: str
) -> None:
    cut = asyncio.Event()

    async def pay(amount: int) -> str:
        """Pay."""
        cut.set()
        await asyncio.sleep(60)
        return ""

    gates: Any = {"interrupt_on": {"pay": True}} if kind == "plain" else {}
    turn = program("pay(amount=1)") if kind == "program" else [("pay", {"amount": 1})]
    one = agent([pay], turn, "done", mode="mixed", sandbox=sandbox, **gates)
    ctx = Context(one)
    handler = one.run(user_msg="go", ctx=ctx)

    async def watch() -> None:
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                handler.ctx.send_event(approve(event))

    watching = asyncio.create_task(watch())
    await cut.wait()
    text = json.dumps(ctx.to_dict())
    await handler.cancel_run()
    await watching

    shop = Shop()
    two = agent([shop.pay], "done", mode="mixed", sandbox=sandbox, **gates)
    ctx = await restored(two, text)
    _, events = await run(two, lambda event: decide(event, decision), user_msg=None, ctx=ctx)
    (asked,) = (event for event in events if isinstance(event, InputRequiredEvent))
    assert asked.prefix.startswith("It is unknown whether this call happened")
    assert asked.review_configs[0]["allowed_decisions"] == ["done", "failed", "run again"]
    assert shop.did == did
    assert said in answered(two)


async def test_a_durable_journal_knows_more_than_an_old_context(sandbox: Sandbox, tmp_path: Path) -> None:
    def made(shop: Shop, *turns: Any) -> Any:
        journal = SqliteJournal(tmp_path / "journal.db")
        return agent(
            shop.tools, *turns, interrupt_on={"pay": True}, journal=journal, journal_key=b"k" * 16, sandbox=sandbox
        )

    shop = Shop()
    one = made(shop, program(CODE), "done")
    text, _ = await until_asked(one)
    ctx = await restored(one, text)
    await run(one, approve, user_msg=None, ctx=ctx)
    assert shop.did == DONE
    two = made(shop, "done")
    await run(two, approve, user_msg=None, ctx=await restored(two, text))  # the Context as it was before
    assert shop.did == DONE
    assert answered(two) == '["paid 5","paid 6"]'


@pytest.mark.parametrize("kind", ["program", "plain"])
async def test_a_context_that_was_tampered_with_ends_the_run(sandbox: Sandbox, kind: str) -> None:
    turn = program("pay(amount=5)") if kind == "program" else [("pay", {"amount": 5})]
    shop = Shop()
    one = agent(shop.tools, turn, mode="mixed", interrupt_on={"pay": True}, sandbox=sandbox)
    text, _ = await until_asked(one)
    two = agent(shop.tools, mode="mixed", interrupt_on={"pay": True}, sandbox=sandbox)
    ctx = await restored(two, text)
    journals = await ctx.store.get("callgate_journals")
    changed = {
        key: {number: line.replace('"amount":5', '"amount":500') for number, line in lines.items()}
        for key, lines in journals.items()
    }
    assert changed != journals
    await ctx.store.set("callgate_journals", changed)
    with pytest.raises(JournalError):
        await run(two, approve, user_msg=None, ctx=ctx)
    assert shop.did == []


async def test_a_journal_that_lacks_a_line_ends_the_run(sandbox: Sandbox) -> None:
    shop = Shop()
    one = agent(shop.tools, program("pay(amount=5)"), mode="code", interrupt_on={"pay": True}, sandbox=sandbox)
    text, _ = await until_asked(one)
    two = agent(shop.tools, mode="code", interrupt_on={"pay": True}, sandbox=sandbox)
    ctx = await restored(two, text)
    ((key, lines),) = (await ctx.store.get("callgate_journals")).items()
    await ctx.store.set("callgate_journals", {key: {number: line for number, line in lines.items() if number != "0"}})
    with pytest.raises(JournalError, match="lacks a line"):
        await run(two, approve, user_msg=None, ctx=ctx)
    assert shop.did == []


async def test_any_agent_may_wait(sandbox: Sandbox) -> None:
    shop = Shop()
    tool = code_tool(shop.tools, interrupt_on={"pay": True}, sandbox=sandbox)
    one = FunctionAgent(tools=[tool], llm=ScriptedLLM(turns=[program(CODE), "done"]))
    await run(one, approve)
    assert shop.did == DONE


async def test_a_workflow_of_agents_waits_and_is_restored(sandbox: Sandbox) -> None:
    def made(shop: Shop, first: list[Any], second: list[Any]) -> Any:
        clerk = agent(
            shop.tools, *first, name="clerk", description="Pays.", interrupt_on={"pay": True}, sandbox=sandbox
        )
        writer = agent([shop.look], *second, name="writer", description="Writes.", sandbox=sandbox)
        return AgentWorkflow(agents=[clerk, writer], root_agent="clerk")

    hand_over = [("handoff", {"to_agent": "writer", "reason": "paid"})]
    before, after = Shop(), Shop()
    text, _ = await until_asked(made(before, [program(CODE)], []))
    workflow = made(after, [hand_over], [program("look(n=7)"), "done"])
    result, _ = await run(workflow, approve, user_msg=None, ctx=await restored(workflow, text))
    assert (str(result), result.current_agent_name) == ("done", "writer")
    assert before.did == DONE[:1]
    assert after.did == [*DONE[1:], ("look", 7)]


async def test_what_a_memory_journal_holds_is_gone_with_it(sandbox: Sandbox) -> None:
    shop = Shop()
    one = agent(shop.tools, program(CODE), "done", interrupt_on={"pay": True}, journal=MemoryJournal(), sandbox=sandbox)
    await run(one, approve)
    assert shop.did == DONE


async def test_a_step_of_any_workflow_may_wait(sandbox: Sandbox) -> None:
    shop = Shop()
    tool = code_tool(shop.tools, interrupt_on={"pay": True}, sandbox=sandbox)

    class Flow(Workflow):
        @step
        async def go(self, ctx: Context, event: StartEvent) -> StopEvent:
            return StopEvent(result=[(await tool.acall(code=CODE, ctx=ctx)).content for _ in range(2)])

    result, events = await asyncio.wait_for(run(Flow(timeout=None), approve), 30)
    assert result == ['["paid 5","paid 6"]'] * 2
    assert shop.did == DONE * 2
    assert len([one for one in events if isinstance(one, InputRequiredEvent)]) == 4
