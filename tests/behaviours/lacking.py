"""What comes of it where an adapter lacks something: a clear error, or what its framework does anyway."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Mapping

import pytest
from behaviours.approval import asking
from behaviours.case import Case
from behaviours.host import code
from behaviours.resume import cut

__all__ = ["LACKING"]

Lacks = Mapping[str, str]


def argument_types(case: Case, lacks: Lacks) -> None:
    """The tool is given what was written, and so it is by a plain call."""
    case.plain([("pay", {"amount": "much"})], "pay")
    case.run("[pay(amount='much')]", "pay")
    assert case.did == [("pay", "much", "nobody")] * 2


def threads(case: Case, lacks: Lacks) -> None:
    """The framework says so, by an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the framework has made a coroutine by then, which nobody awaits
        with pytest.raises(RuntimeError, match="event loop"):
            case.life("look").agent.run(user_msg="go")
        gc.collect()


def modes(case: Case, lacks: Lacks) -> None:
    """What an invocation sets changes nothing."""
    life = case.life("look")
    life.go("json")
    assert life.shown() == [["execute_code"]]


def state(case: Case, lacks: Lacks) -> None:
    """The model is told which adapter can, and the tool does not run."""
    ran = case.run("[whoami(question='q')]", "whoami", state={"account": "alice"})
    assert "whoami needs account from a graph: use callgate_langgraph.CodeActNode" in ran.answer
    assert case.did == []


def call_id(case: Case, lacks: Lacks) -> None:
    """What nobody gives to the tool is an argument like any other."""
    life = case.life("ticket")
    life.go()
    assert "def ticket(text: str, call: str)" in str(life.definitions())


def wrappers(case: Case, lacks: Lacks) -> None:
    """At most the program is seen, as a call."""
    seen = list[tuple[str, ...]]()
    case.run("look(n=1)\nlook(n=2)", wrapper=lambda *call: seen.append(call))
    assert set(seen) <= {("execute_code", "call-1")}


def approval(case: Case, lacks: Lacks) -> None:
    """`interrupt_on` is no argument of it: nobody can believe that it asks."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'interrupt_on'"):
        case.life("look", interrupt_on={"look": True})


def plain_approval(case: Case, lacks: Lacks) -> None:
    """A plain call is the agent's own, and runs as it would without callgate."""
    options = {} if "approval" in lacks else {"interrupt_on": {"pay": True}}
    ran = case.life("pay", [("pay", {"amount": 5})], mode="mixed", **options).go()
    assert (ran.asked, ran.answers) == ([], {"call-1": "paid 5"})


def one_question(case: Case, lacks: Lacks) -> None:
    """Each program of a message asks for itself."""
    if "approval" in lacks:
        return
    ran = asking(case, [code("pay(amount=1)\n1"), code("pay(amount=2)\n2")]).go()
    assert (ran.questions, len(ran.asked)) == (2, 2)


def resume(case: Case, lacks: Lacks) -> None:
    """It begins anew, and what it did before the crash is done twice."""
    life = case.life("write look", [code("write(text='a')\nx = look(n=1)\nwrite(text='b')\n[x]")])
    _, ran = cut(case, life, "look")
    assert ran.answers == {"call-1": "[1]"}
    assert case.did == [("write", "a"), ("look", 1)] * 2 + [("write", "b")]


def ledger(case: Case, lacks: Lacks) -> None:
    """There is none to read."""
    assert case.life("look").ledger is None


def record(case: Case, lacks: Lacks) -> None:
    """Nothing says more than the tools of a request do."""
    life = case.life("look", mode="mixed")
    assert life.go().surfaces == []
    assert life.shown() == [["look", "execute_code"]]


LACKING: Mapping[str, Callable[[Case, Lacks], None]] = {
    "threads": threads,
    "modes": modes,
    "argument_types": argument_types,
    "state": state,
    "call_id": call_id,
    "wrappers": wrappers,
    "approval": approval,
    "plain_approval": plain_approval,
    "one_question": one_question,
    "resume": resume,
    "ledger": ledger,
    "record": record,
}
"""Capability to the check of what there is in its place."""
