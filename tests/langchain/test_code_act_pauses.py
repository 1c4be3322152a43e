"""Calls of an agent's programs that wait for a human: each task of a message asks for itself, and nothing runs twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware
from langchain_agents import CONFIG, DONE, GO, Talk, agent_of, go, model_of, told
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from langgraph_cases import asks, code

from callgate import SqliteJournal, UsageError

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])

PROGRAM = "seen = orders(user='u')\nnoted = note(text='n')\npaid = refund(order=seen[1], amount=5.0)\n[noted, paid]"


class World:
    """Tools that note what they do, and agents that use them."""

    def __init__(self) -> None:
        self.done: list[Any] = []

        @tool
        def orders(user: str) -> list[int]:
            """List a user's orders."""
            self.done.append("orders")
            return [1, 2]

        @tool
        def note(text: str) -> str:
            """Write a note."""
            self.done.append(f"note {text}")
            return text

        @tool
        def refund(order: int, amount: float = 1.0) -> str:
            """Pay money back."""
            self.done.append(("refund", order, amount))
            return f"refunded {amount:g} for {order}"

        @tool
        def ask(about: str) -> str:
            """Ask somebody, twice."""
            first = interrupt(f"{about}?")
            second = interrupt(f"{about}, really?")
            self.done.append(f"ask {about}: {first} {second}")
            return f"{first} {second}"

        self.tools = [orders, note, refund, ask]

    def build(self, *calls: Any, inside: Sequence[Any] = (), **settings: Any) -> Callable[[Any], Any]:
        """Return what builds an agent over a saver; its model makes these calls in one message."""

        def turn(messages: Any, tools: Any) -> AIMessage:
            return DONE if any(isinstance(one, ToolMessage) for one in messages) else asks(*calls)

        given = {"effects": {"orders": "read"}, "interrupt_on": {"refund": True}, "mode": "mixed", **settings}
        return lambda saver: agent_of(model_of(turn, turn), self.tools, *inside, agent={"checkpointer": saver}, **given)


def decide(*decisions: Any) -> dict[str, Any]:
    return {"decisions": [{"type": one} if isinstance(one, str) else one for one in decisions]}


def edit(**args: Any) -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": "refund", "args": args}}


def waiting(end: Any) -> Any:
    (one,) = end["__interrupt__"]
    return one.value


def shown(asked: Any) -> list[Any]:
    return [(one["name"], one["args"]) for one in asked["action_requests"]]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def talk_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Talk]:
    """Agents over a SQLite file, opened anew for every run."""
    return lambda build: Talk(build, str(tmp_path / "checkpoints.db"), use_async=request.param)


def test_what_was_approved_runs_once_and_what_ran_before_is_not_repeated(talk_of: Callable[[Any], Talk]) -> None:
    world = World()
    talk = talk_of(world.build(code(PROGRAM)))
    asked = waiting(talk.say(GO))
    assert shown(asked) == [("refund", {"order": 2, "amount": 5.0})]
    assert asked["callgate"]["programs"] == {"c1": PROGRAM}
    assert world.done == ["orders", "note n"]
    assert told(talk.say(Command(resume=decide("approve")))) == ['["n","refunded 5 for 2"]']
    assert world.done == ["orders", "note n", ("refund", 2, 5.0)]


def test_an_edit_a_rejection_and_an_answer_reach_the_program(talk_of: Callable[[Any], Talk]) -> None:
    world = World()
    program = (
        "found = []\nfor n in (1, 2, 3):\n    try:\n        found.append(refund(order=n))\n"
        "    except ApprovalRejected as e:\n        found.append(str(e))\nfound"
    )
    talk = talk_of(world.build(code(program)))
    assert shown(waiting(talk.say(GO))) == [("refund", {"order": 1})]
    assert shown(waiting(talk.say(Command(resume=decide(edit(order=9)))))) == [("refund", {"order": 2})]
    refused = {"type": "reject", "message": "not that one"}
    assert shown(waiting(talk.say(Command(resume=decide(refused))))) == [("refund", {"order": 3})]
    (text,) = told(talk.say(Command(resume=decide({"type": "respond", "message": "did it by hand"}))))
    assert "refunded 1 for 9" in text
    assert "not that one" in text
    assert "did it by hand" in text
    assert world.done == [("refund", 9, 1.0)]


def test_each_task_of_a_message_asks_for_itself_and_is_answered_by_id(talk_of: Callable[[Any], Talk]) -> None:
    world = World()
    two = code("note(text='b')\n[refund(order=3), refund(order=4)]", "c2")
    talk = talk_of(world.build(code(PROGRAM, "c1"), two, ("refund", {"order": 7}, "p1"), ("note", {"text": "x"}, "p2")))
    open_ = {shown(one.value)[0][1]["order"]: one.id for one in talk.say(GO)["__interrupt__"]}
    assert sorted(open_) == [2, 3, 7]
    assert sorted(map(str, world.done)) == ["note b", "note n", "note x", "orders"]
    answers = {open_[2]: decide("approve"), open_[7]: decide({"type": "reject", "message": "no"})}
    end = talk.say(Command(resume=answers))
    assert [shown(one.value)[0][1]["order"] for one in end["__interrupt__"]] == [3]
    assert [one for one in world.done if one[0] == "refund"] == [("refund", 2, 5.0)]
    (left,) = talk.say(Command(resume={open_[3]: decide("approve")}))["__interrupt__"]
    assert shown(left.value) == [("refund", {"order": 4})]
    texts = told(talk.say(Command(resume=decide("approve"))))
    assert texts[:2] == ['["n","refunded 5 for 2"]', '["refunded 1 for 3","refunded 1 for 4"]']
    assert "no" in texts[2]
    assert texts[3] == "x"
    assert sorted(map(str, world.done)) == sorted(
        map(str, ["orders", "note n", "note b", "note x", ("refund", 2, 5.0), ("refund", 3, 1.0), ("refund", 4, 1.0)])
    )


def test_a_tool_that_asks_itself_meets_its_own_answers(talk_of: Callable[[Any], Talk]) -> None:
    world = World()
    talk = talk_of(world.build(code("note(text='n')\n[ask(about='a'), refund(order=1), ask(about='b')]")))
    assert waiting(talk.say(GO)) == "a?"
    assert waiting(talk.say(Command(resume=1))) == "a, really?"
    assert shown(waiting(talk.say(Command(resume=2)))) == [("refund", {"order": 1})]
    assert waiting(talk.say(Command(resume=decide("approve")))) == "b?"
    assert waiting(talk.say(Command(resume=3))) == "b, really?"
    assert told(talk.say(Command(resume=4))) == ['["1 2","refunded 1 for 1","3 4"]']
    assert world.done == ["note n", "ask a: 1 2", ("refund", 1, 1.0), "ask b: 3 4"]


def test_a_gated_plain_call_that_asks_itself_meets_its_own_answers(talk_of: Callable[[Any], Talk]) -> None:
    world = World()
    talk = talk_of(world.build(("ask", {"about": "a"}, "p1"), interrupt_on={"ask": True}))
    assert shown(waiting(talk.say(GO))) == [("ask", {"about": "a"})]
    assert waiting(talk.say(Command(resume=decide("approve")))) == "a?"
    assert waiting(talk.say(Command(resume=1))) == "a, really?"
    assert told(talk.say(Command(resume=2))) == ["1 2"]
    assert world.done == ["ask a: 1 2"]


def test_a_middleware_that_asks_around_a_call_meets_its_own_answer(talk_of: Callable[[Any], Talk]) -> None:
    class Asking(AgentMiddleware):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return self.asked(request) or handler(request)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return self.asked(request) or await handler(request)

        def asked(self, request: Any) -> Any:
            call = request.tool_call
            if call["name"] != "note" or interrupt(call["args"]["text"]) == "yes":
                return None
            return ToolMessage("not noted", tool_call_id=call["id"], status="error")

    world = World()
    program = "note(text='a')\ntry:\n    note(text='b')\nexcept ToolFailed as e:\n    print(e)\nnote(text='c')"
    talk = talk_of(lambda saver: world.build(code(program), inside=[Asking()])(saver))
    assert waiting(talk.say(GO)) == "a"
    assert waiting(talk.say(Command(resume="yes"))) == "b"
    assert waiting(talk.say(Command(resume="no"))) == "c"
    (text,) = told(talk.say(Command(resume="yes")))
    assert "not noted" in text
    assert world.done == ["note a", "note c"]


@both_ways
def test_an_answer_that_does_not_fit_is_not_used(use_async: bool) -> None:
    world = World()
    agent = world.build(code(PROGRAM))(InMemorySaver())
    waiting(go(agent, use_async=use_async))
    again = waiting(go(agent, Command(resume=decide("approve", "approve")), use_async=use_async))
    assert "1 calls wait and the answer holds 2 decisions" in again["action_requests"][0]["description"]
    assert world.done == ["orders", "note n"]
    go(agent, Command(resume=decide("approve")), use_async=use_async)
    assert world.done == ["orders", "note n", ("refund", 2, 5.0)]


@both_ways
def test_without_a_checkpointer_nobody_can_answer_and_nothing_waits(use_async: bool) -> None:
    world = World()
    with pytest.raises(UsageError, match="there is no checkpointer to wait in"):
        go(world.build(code(PROGRAM))(None), use_async=use_async)
    assert world.done == ["orders", "note n"]


def test_a_predicate_is_given_the_state_and_the_exact_call() -> None:
    world, asked = World(), list[Any]()

    def large(request: Any) -> bool:
        asked.append((request.tool_call["id"], len(request.state["messages"])))
        return request.tool_call["args"].get("amount", 0) > 10

    gates = {"refund": {"allowed_decisions": ["approve", "reject"], "when": large}}
    agent = world.build(code("refund(order=1)\nrefund(order=2, amount=50.0)"), interrupt_on=gates)(InMemorySaver())
    asking = waiting(go(agent, use_async=False))
    assert shown(asking) == [("refund", {"order": 2, "amount": 50.0})]
    assert asking["review_configs"] == [{"action_name": "refund", "allowed_decisions": ["approve", "reject"]}]
    assert world.done == [("refund", 1, 1.0)]
    assert ("c1/1", 2) in asked


@both_ways
def test_a_journal_of_the_users_own_holds_it(use_async: bool, tmp_path: Path) -> None:
    world, journal = World(), SqliteJournal(tmp_path / "journal.db")
    saver = InMemorySaver()
    go(world.build(code(PROGRAM), journal=journal)(saver), use_async=use_async)
    state = go(
        world.build(code(PROGRAM), journal=journal)(saver), Command(resume=decide("approve")), use_async=use_async
    )
    (answer,) = [one for one in state["messages"] if isinstance(one, ToolMessage)]
    assert len(journal.read(answer.artifact["journal_key"])) > 5
    assert world.done == ["orders", "note n", ("refund", 2, 5.0)]


def test_a_write_that_a_crash_would_lose_is_refused_where_that_is_asked_for() -> None:
    world = World()
    agent = world.build(code("note(text='n')"), require_durable=True)(InMemorySaver())
    with pytest.raises(Exception, match="Nothing was started"):
        agent.invoke(GO, CONFIG)
    assert world.done == []
