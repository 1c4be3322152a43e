"""Which tools a program can reach is told before it runs, and never too few of them."""

from __future__ import annotations

import asyncio

import pytest

from callgate import Catalogue, CodeRunner, Tool, tool
from callgate.reach import Reach, reach
from callgate.testing import FakeSandbox


@tool(effect="read")
def rows(count: int = 3) -> list[int]:
    """Return rows."""
    return list(range(count))


@tool
def refund(order: int) -> str:
    """Pay money back."""
    return f"refunded {order}"


CATALOGUE = Catalogue(
    [rows, refund, Tool(name="send-mail"), Tool(name="plain", callers=frozenset(("direct",))), Tool(name="class")]
)
ALL = ("rows", "refund", "send-mail", "class")

SEEN = {
    "nothing": ("1 + 1", ()),
    "a function": ("refund(order=1)", ("refund",)),
    "one in a branch": (
        "if False:\n    rows()\ndef f():\n    return [refund(order=n) for n in ()]",
        ("rows", "refund"),
    ),
    "an alias": ("pay = refund\npay(order=1)", ("refund",)),
    "passed on": ("list(map(refund, []))", ("refund",)),
    "a name as text": ("call_tool('refund', order=1)", ("refund",)),
    "awaited": ("await acall_tool('send-mail')", ("send-mail",)),
    "a sanitised function": ("send_mail()\ntool_class()", ("send-mail", "class")),
    "a function's name as text": ("call_tool('send_mail')", ("send-mail",)),
    "several": ("call_tools([('rows', {}), ['refund', {'order': 1}]])", ("rows", "refund")),
    "a comprehension": ("call_tools([('refund', {'order': n}) for n in range(3)])", ("refund",)),
    "one that code may not call": ("call_tool('plain')", ()),
    "no tool": ("call_tool('nope')", ()),
    "text that is no call": ("print('refund(order=1)')  # refund", ()),
    "what does not compile": ("refund(", ()),
}
UNSEEN = {
    "a made-up name": "call_tool(name_of())",
    "joined text": "call_tool('re' + 'fund', order=1)",
    "formatted": "call_tool(f'{x}')",
    "unpacked": "call_tool(*given)",
    "keywords": "call_tool(**given)",
    "a list from elsewhere": "call_tools(todo)",
    "an unpacked list": "call_tools([*todo])",
    "an item from elsewhere": "call_tools([('rows', {}), one])",
    "call_tool as a value": "run = call_tool\nrun('rows')",
    "eval": "eval('refund(order=1)')",
    "globals": "globals()['refund'](order=1)",
    "a function's globals": "(lambda: 0).__globals__['refund']",
    "too deep to look at": "x = " + "+".join("1" for _ in range(1_500)),
}


@pytest.mark.parametrize("name", SEEN)
def test_the_tools_a_program_names(name: str) -> None:
    program, tools = SEEN[name]
    assert reach(program, CATALOGUE) == Reach(tools=tools)


@pytest.mark.parametrize("name", UNSEEN)
def test_any_tool_where_the_text_leaves_it_open(name: str) -> None:
    assert reach(UNSEEN[name], CATALOGUE) == Reach(tools=ALL, any=True)


@pytest.mark.parametrize("use_async", [False, True], ids=["run", "arun"])
def test_a_runner_tells_it_before_anything_runs(use_async: bool) -> None:
    told: list[dict[str, object]] = []
    runner = CodeRunner([rows, refund], sandbox=FakeSandbox(), interrupt_on={"refund": True}, on_event=told.append)
    program = "rows()\nif False:\n    refund(order=1)"
    outcome = asyncio.run(runner.arun(program, id="a")) if use_async else runner.run(program, id="a")
    assert told[0] == {"type": "callgate.reach", "id": "a", "tools": ["refund"], "any": False}
    assert outcome.reachable == ("refund",)
    assert runner.run("rows()").reachable == ()


def test_nothing_is_told_where_nothing_is_gated_or_nothing_runs() -> None:
    told: list[dict[str, object]] = []
    CodeRunner([rows], sandbox=FakeSandbox(), on_event=told.append).run("1 + 1")
    CodeRunner([rows], sandbox=FakeSandbox(), interrupt_on={"rows": True}, on_event=told.append).run("rows(")
    assert told == []


def test_a_listener_that_raises_stops_nothing() -> None:
    def listener(event: object) -> None:
        raise RuntimeError(event)

    runner = CodeRunner([rows], sandbox=FakeSandbox(), interrupt_on={"rows": True}, on_event=listener)
    assert runner.run("1 + 1").value == 2
