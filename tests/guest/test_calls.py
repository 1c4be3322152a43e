"""Calling tools from a program."""

from __future__ import annotations

from typing import Any

import pytest
from guest.harness import Fault, Tool, run


def fail(kind: str, text: str = "no", limit: str | None = None) -> Tool:
    def answer(**_: Any) -> Any:
        raise Fault(type=kind, text=text, limit=limit)

    return Tool(answer=answer, params=("x",))


def test_a_call_returns_the_json_value_of_its_answer() -> None:
    result = run("call_tool('echo', a=[1, None, {'b': 1.5}], b='ü')")
    assert result.value == {"a": [1, None, {"b": 1.5}], "b": "ü"}
    assert result.calls == [("echo", {"a": [1, None, {"b": 1.5}], "b": "ü"})]


def test_call_and_rest_leave_in_one_piece_so_one_event_answers_both() -> None:
    result = run("[f(i) for i in range(3)]")
    assert [type(one).__name__ for one in result.transcript] == ["CallFrame", "RestFrame"] * 3 + ["EndFrame"]


def test_a_parameter_may_be_called_name_or_self() -> None:
    result = run("call_tool('echo', name=1, self=2), describe_tool('f')")
    assert result.calls == [("echo", {"name": 1, "self": 2}), ("describe_tool", {"name": "f"})]


@pytest.mark.parametrize(
    ("expression", "call"),
    [
        ("f(5)", ("f", {"x": 5})),
        ("echo(1, 2)", ("echo", {"a": 1, "b": 2})),
        ("echo(1, b=2)", ("echo", {"a": 1, "b": 2})),
        ("echo(c=3)", ("echo", {"c": 3})),
        ("load_value('h1')", ("load_value", {"handle": "h1"})),
        ("search_tools('mail')", ("search_tools", {"query": "mail"})),
        ("describe_tool(name='f')", ("describe_tool", {"name": "f"})),
        ("__import__('functools').partial(f, 5)()", ("f", {"x": 5})),
    ],
)
def test_functions_map_positional_arguments_to_parameters(expression: str, call: Any) -> None:
    result = run(expression)
    assert (result.error, result.calls) == (None, [call])


@pytest.mark.parametrize(
    ("expression", "kind", "text"),
    [
        ("call_tool('f', {'x': 1})", "TypeError", "arguments are passed by name: call_tool('f', x=...)"),
        ("call_tool('f', 1)", "TypeError", "arguments are passed by name: call_tool('f', argument=...)"),
        ("call_tool(f)", "TypeError", "a tool is called by its name, a string, not <tool f(x)>"),
        ("echo(1, 2, 3)", "TypeError", "echo() has 2 parameters (a, b), got 3"),
        ("echo(1, a=2)", "TypeError", "echo() got 'a' twice; its parameters are (a, b)"),
        ("call_tools(['f'])", "TypeError", "call_tools() takes pairs: [('name', {'argument': ...}), ...], not 'f'"),
        ("f(x=object)", "InvalidArguments", "f: type is not JSON"),
        ("call_tools([('f', {'x': 1}), ('f', {'x': {1: 2}})])", "InvalidArguments", "f: the key 1 is no string"),
        ("f(float('nan'))", "InvalidArguments", "f: NaN"),
    ],
)
def test_a_call_that_cannot_be_sent_raises_and_nothing_is_sent(expression: str, kind: str, text: str) -> None:
    result = run(expression)
    assert result.calls == []
    assert result.error is not None
    assert result.error["type"] == kind
    assert result.error["text"].startswith(text)


def test_a_stub_has_a_name_a_doc_a_signature_and_a_repr() -> None:
    result = run("import inspect\n[echo.__name__, str(inspect.signature(echo)), repr(echo), echo.__doc__]")
    assert result.value == [
        "echo",
        "(a, b)",
        "<tool echo(a, b)>",
        "echo(a, b): call the tool 'echo'; see describe_tool('echo').",
    ]


@pytest.mark.parametrize(
    "kind",
    ["Refused", "UnknownTool", "NotAllowed", "InvalidArguments", "ApprovalRejected", "LimitExceeded", "ToolFailed"],
)
def test_an_error_answer_is_raised_as_the_exception_of_its_name(kind: str) -> None:
    program = (
        f"try:\n    f(1)\nexcept {kind} as e:\n    r = [type(e).__name__, str(e), e.tool, isinstance(e, Refused)]\nr"
    )
    result = run(program, tools={"f": fail(kind)})
    assert result.value == [kind, "no", "f", kind != "ToolFailed"]


def test_an_uncaught_limit_keeps_its_name() -> None:
    result = run("x = 1\nf(1)", tools={"f": fail("LimitExceeded", "256 calls", "calls")})
    assert result.error == {
        "type": "LimitExceeded",
        "text": "256 calls",
        "line": 2,
        "trace": [[2, "<module>"]],
        "limit": "calls",
    }


def test_call_tools_runs_in_parallel_and_answers_in_order() -> None:
    result = run("call_tools([('g', {'x': 1}), ('f', {'x': 2}), ('g', {'x': 3})])")
    assert result.value == [1, 2, 3]
    assert result.seconds == pytest.approx(0.02)


def test_call_tools_of_nothing_is_nothing() -> None:
    assert run("call_tools([])").value == []


def test_call_tools_waits_for_all_and_raises_the_first_failure_in_order() -> None:
    tools = {"a": fail("ToolFailed", "late"), "b": fail("ToolFailed", "early"), "c": Tool(seconds=3.0)}
    tools["a"].seconds = 1.0
    program = "try:\n    call_tools([('c', {}), ('a', {}), ('b', {})])\nexcept ToolFailed as e:\n    r = str(e)\nr"
    result = run(program, tools=tools)
    assert (result.value, result.seconds) == ("late", 3.0)


def test_acall_tool_drops_its_call_when_cancelled_and_only_then() -> None:
    program = """
import asyncio
async def main():
    try:
        await asyncio.wait_for(acall_tool('slow', x=1), 1)
    except TimeoutError:
        return await acall_tool('f', x=2)
asyncio.run(main())
"""
    result = run(program)
    assert (result.value, result.drops) == (2, [1])


def test_acall_tools_under_await_runs_in_parallel() -> None:
    result = run("await call_tools([('g', {'x': 1}), ('g', {'x': 2})])")
    assert (result.value, result.seconds) == ([1, 2], pytest.approx(0.02))


def test_exceptions_and_tools_can_be_pickled() -> None:
    program = """
import pickle
e = pickle.loads(pickle.dumps(NotAllowed('no')))
[type(e) is NotAllowed, str(e), pickle.loads(pickle.dumps(f)) is f]
"""
    assert run(program).value == [True, "no", True]


def test_a_large_answer_and_large_arguments_arrive_whole() -> None:
    program = "rows = big()\nlen(call_tool('echo', rows=rows)['rows'])"
    rows = [{"id": i, "text": "x" * 200} for i in range(20_000)]
    result = run(program, tools={"big": Tool(answer=lambda: rows), "echo": Tool()})
    assert (result.error, result.value) == (None, 20_000)
