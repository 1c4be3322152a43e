"""Inner calls of a program go the way of plain tool calls."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolRuntime
from langgraph.store.memory import InMemoryStore
from langgraph_cases import (
    TOOLS,
    add,
    add_async,
    answers,
    asks,
    call,
    code,
    codeact,
    echo,
    from_store,
    graph_of,
    outside,
    rows,
)
from pydantic import BaseModel

from callgate import Limits

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def run(
    program: str, tools: Any = TOOLS, *, use_async: bool = False, config: Any = None, **arguments: Any
) -> ToolMessage:
    """Run a program in a node outside a graph and return its answer."""
    node = codeact(tools, **arguments)
    return answers(call(node, {"messages": [asks(code(program))]}, config or outside(), use_async=use_async))[0]


def value(answer: ToolMessage, number: int = 0) -> Any:
    """Return the result of an inner call, by the artifact."""
    return answer.artifact["calls"][number]["value"]


def error(answer: ToolMessage, number: int = 0) -> Any:
    return answer.artifact["calls"][number]["error"]


@both_ways
def test_values_keep_their_types(use_async: bool) -> None:
    program = "type(number_text()).__name__, add(a=1, b=2), rows(count=2)[1]['name'], nothing()"
    answer = run(program, use_async=use_async)
    assert answer.content == '["str",3,"row 1",null]'
    assert (answer.status, answer.name, answer.tool_call_id) == ("success", "execute_code", "c1")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("number_text()", "123"),
        ("with_artifact(n=1)", "got 1"),
        ("structured(n=1)", [1, 1]),
        ("own_message()", "mine"),
        ("nothing()", None),
        ("rows(count=1)", [{"id": 0, "name": "row 0"}]),
        ("remember(value=3)", "remembered 3"),
        ("several()", "several done"),
        ("go_to(node='x')", "going to x"),
    ],
)
@both_ways
def test_each_kind_of_tool_gives_its_raw_value(program: str, expected: Any, use_async: bool) -> None:
    answer = run(program, use_async=use_async)
    assert (answer.status, value(answer)) == ("success", expected)


def test_a_program_answers_with_its_output_and_its_journal() -> None:
    answer = run("print(add(a=1, b=2))\nadd(a=2, b=2)")
    assert answer.content == "3\nValue: 4"
    assert [one["id"] for one in answer.artifact["calls"]] == ["c1/1", "c1/2"]
    assert answer.artifact["status"] == "completed"
    assert '"e":"ended"' in answer.artifact["journal"][-1]


@both_ways
def test_a_failing_program_is_an_error_message(use_async: bool) -> None:
    answer = run("x = add(a=1, b=2)\nx.upper()", use_async=use_async)
    assert answer.status == "error"
    assert "line 2: AttributeError" in answer.content
    assert answer.artifact["error"]["type"] == "AttributeError"


@pytest.mark.parametrize("program", ["1 +", "nope()", ""])
def test_a_program_that_cannot_run_is_an_error_message(program: str) -> None:
    answer = run(program)
    assert (answer.status, answer.artifact["status"], answer.artifact["calls"]) == ("error", "rejected", [])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({}, "code is missing"), ({"code": 3}, "code must be a string"), ({"program": "1"}, "code is missing")],
)
@both_ways
def test_execute_code_without_code_says_how_to_call_it(arguments: Any, told: str, use_async: bool) -> None:
    message = asks(("execute_code", arguments, "c1"))
    answer = answers(call(codeact([add]), {"messages": [message]}, outside(), use_async=use_async))[0]
    assert answer.status == "error"
    assert told in answer.content
    assert '{"code": "<the Python program>"}' in answer.content


@both_ways
def test_a_private_error_reaches_the_program_by_its_type_only(use_async: bool) -> None:
    answer = run("broken(secret='s')", use_async=use_async)
    assert error(answer) == "broken raised ValueError (call c1/1)"
    assert "/home" not in str(answer.artifact) + answer.content


@both_ways
def test_a_tool_exception_keeps_its_text(use_async: bool) -> None:
    assert error(run("refusing()", use_async=use_async)) == "no rows left"


@both_ways
@pytest.mark.parametrize("handled", [True, False])
def test_wrong_types_are_told_as_toolnode_tells_them(handled: bool, use_async: bool) -> None:
    more = {} if handled else {"handle_tool_errors": False}
    told = error(run("add(a='x', b=1)", use_async=use_async, **more))
    assert told.startswith("Error invoking tool 'add' with kwargs {'a': 'x', 'b': 1}")


@both_ways
def test_a_handled_error_carries_the_text_of_the_handler(use_async: bool) -> None:
    def handler(error: ValueError) -> str:
        return f"please use another secret ({type(error).__name__})"

    program = "try:\n    broken(secret='s')\nexcept ToolFailed as error:\n    print(error)"
    answer = run(program, use_async=use_async, handle_tool_errors=handler)
    assert answer.content == "please use another secret (ValueError)"


def test_a_tool_s_own_error_message_is_a_failure() -> None:
    assert error(run("own_error()")) == "went wrong"


def test_pydantic_coerces_arguments_as_in_a_plain_call() -> None:
    assert value(run("add(a='1', b=2)")) == 3


@both_ways
def test_injection_works_in_inner_calls(use_async: bool) -> None:
    store = InMemoryStore()
    store.put(("things",), "k", {"v": 1})
    graph = graph_of(codeact([*TOOLS, from_store]), store=store)
    program = "[from_store(key='k'), whole_state(), field_of_state(), call_id(), of_runtime(x=1)]"
    message = asks(code(program))
    config = {"configurable": {"thread_id": "t"}}
    answer = answers(call(graph, {"messages": [message], "last": "seen"}, config, use_async=use_async))[0]
    values = [one["value"] for one in answer.artifact["calls"]]
    names = sorted(one.name for one in [*TOOLS, from_store])
    assert values == [{"v": 1}, 1, "seen", "c1/4", {"id": "c1/5", "thread": "t", "tools": names, "x": 1}]


@tool
def guarded(x: int, user: Annotated[str, InjectedToolArg] = "host") -> str:
    """Return who asks."""
    return user


@tool(args_schema={"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": True})
def open_guarded(x: int, runtime: ToolRuntime[Any, Any]) -> str:
    """Return the thread."""
    return str(runtime.config["configurable"].get("thread_id"))


FORGED = [
    ("guarded", "user", {"x": 1, "user": "guest"}),
    ("field_of_state", "last", {"last": "forged"}),
    ("of_runtime", "runtime", {"x": 1, "runtime": {}}),
    ("call_id", "id", {"id": "forged"}),
]


@pytest.mark.parametrize(("name", "argument", "arguments"), FORGED)
def test_injected_arguments_cannot_be_passed(name: str, argument: str, arguments: dict[str, Any]) -> None:
    answer = run(f"call_tool(*[{name!r}], **{arguments})", [*TOOLS, guarded])
    assert f"InvalidArguments: {name} has no argument {argument!r}" in answer.content
    assert answer.artifact["calls"][0]["status"] == "refused"


@pytest.mark.parametrize(("name", "argument", "arguments"), FORGED)
def test_injected_arguments_are_found_before_the_program_runs(
    name: str, argument: str, arguments: dict[str, Any]
) -> None:
    answer = run(f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})", [*TOOLS, guarded])
    assert (answer.artifact["status"], answer.artifact["calls"]) == ("rejected", [])
    assert f"{name}() has no parameter {argument!r}" in answer.content


@both_ways
def test_an_open_schema_lets_no_injected_argument_through(use_async: bool) -> None:
    program = "call_tool('open_guarded', x=1, runtime={'config': {'configurable': {'thread_id': 'forged'}}})"
    config = outside(thread_id="real")
    answer = run(program, [open_guarded], use_async=use_async, config=config)
    assert "forged" not in str([one.get("value") for one in answer.artifact["calls"]])
    assert value(answer) == "real"


@both_ways
def test_wrappers_see_inner_calls_with_their_ids_and_not_execute_code(use_async: bool) -> None:
    seen: list[tuple[str, str]] = []

    def spy(request: Any, execute: Callable[[Any], Any]) -> Any:
        seen.append((request.tool_call["name"], request.tool_call["id"]))
        return execute(request)

    run("add(a=1, b=2) + add(a=3, b=4)", use_async=use_async, wrap_tool_call=spy)
    assert seen == [("add", "c1/1"), ("add", "c1/2")]


@both_ways
def test_a_retry_wrapper_repeats_only_the_inner_call(use_async: bool) -> None:
    runs: list[str] = []

    @tool
    def flaky() -> int:
        """Fail twice."""
        runs.append("flaky")
        if runs.count("flaky") < 3:
            raise ValueError("not yet")
        return 7

    @tool
    def steady() -> int:
        """Count."""
        runs.append("steady")
        return 1

    def retry(request: Any, execute: Callable[[Any], Any]) -> Any:
        for _ in range(2):
            try:
                return execute(request)
            except ValueError:
                continue
        return execute(request)

    answer = run("steady() + flaky()", [flaky, steady], use_async=use_async, wrap_tool_call=retry)
    assert (answer.content, runs) == ("8", ["steady", "flaky", "flaky", "flaky"])


@pytest.mark.parametrize("tool_name", ["rows", "structured"])
def test_what_a_wrapper_hides_stays_hidden(tool_name: str) -> None:
    def redact(request: Any, execute: Callable[[Any], Any]) -> Any:
        return execute(request).model_copy(update={"content": '[{"id": "hidden"}]'})

    program = f"call_tool({tool_name!r}, {'count' if tool_name == 'rows' else 'n'}=1)"
    assert value(run(program, wrap_tool_call=redact)) == [{"id": "hidden"}]


def test_what_a_wrapper_takes_out_of_the_message_itself_stays_hidden() -> None:
    def redact(request: Any, execute: Callable[[Any], Any]) -> Any:
        answer = execute(request)
        answer.content = "hidden"
        return answer

    assert value(run("rows(count=1)", wrap_tool_call=redact)) == "hidden"


def test_what_a_wrapper_changes_inside_a_content_block_stays_hidden() -> None:
    def redact(request: Any, execute: Callable[[Any], Any]) -> Any:
        answer = execute(request)
        answer.content[0]["text"] = "hidden"
        return answer

    assert value(run("structured(n=1)", wrap_tool_call=redact)) == "hidden"


def test_a_wrapper_that_answers_itself_gives_its_text() -> None:
    def short(request: Any, execute: Callable[[Any], Any]) -> Any:
        return ToolMessage("short", tool_call_id=request.tool_call["id"])

    assert value(run("add(a=1, b=2)", wrap_tool_call=short)) == "short"


def test_a_wrapper_may_change_arguments() -> None:
    def double(request: Any, execute: Callable[[Any], Any]) -> Any:
        arguments = {"a": 10, "b": 10}
        return execute(request.override(tool_call={**request.tool_call, "args": arguments}))

    assert value(run("add(a=1, b=2)", wrap_tool_call=double)) == 20


class Stateful(BaseTool):
    name: str = "count"
    description: str = "Count calls."
    calls: int = 0

    def _run(self) -> int:
        self.calls += 1
        return self.calls


def test_a_tool_keeps_one_state_for_plain_and_inner_calls() -> None:
    counter = Stateful()
    node = codeact([counter])
    node.invoke([asks(("count", {}, "1"))], outside())
    answer = node.invoke([asks(code("count() + count()"))], outside())[0]
    assert (answer.content, counter.calls) == ("5", 3)


def test_async_tools_run_in_an_async_graph() -> None:
    assert run("add_async(a=1, b=2)", [add_async], use_async=True).content == "3"


def test_an_async_tool_fails_in_a_sync_graph_as_in_toolnode() -> None:
    assert "NotImplementedError" in error(run("add_async(a=1, b=2)", [add_async]))


@both_ways
def test_calls_of_a_program_run_in_parallel(use_async: bool) -> None:
    together = threading.Barrier(3, timeout=20)

    @tool
    def meet(x: int) -> int:
        """Wait for the others."""
        together.wait()
        return x

    answer = run(
        "call_tools([('meet', {'x': 1}), ('meet', {'x': 2}), ('meet', {'x': 3})])", [meet], use_async=use_async
    )
    assert answer.content == "[1,2,3]"


def test_asyncio_programs_work() -> None:
    program = "import asyncio\nasync def main():\n    return await asyncio.gather(add(a=1, b=2), add(a=3, b=4))\nasyncio.run(main())"
    assert run(program).content == "[3,7]"


def test_tools_only_the_model_may_call_are_refused() -> None:
    @tool(extras={"allowed_callers": ["direct"]})
    def by_hand() -> str:
        """Only by hand."""
        return "no"

    answer = run("try:\n    call_tool(*['by_hand'])\nexcept NotAllowed as error:\n    print(error)", [add, by_hand])
    assert "plain tool call" in answer.content


def test_limits_apply() -> None:
    answer = run("while True:\n    add(a=1, b=2)", limits=Limits(calls=3))
    assert (answer.status, answer.artifact["status"], answer.artifact["limit"]) == ("error", "limited", "calls")


def test_a_large_value_is_kept_for_later_programs_of_its_thread() -> None:
    node = codeact([rows])
    first = answers(node.invoke({"messages": [asks(code("rows(count=2000)"))]}, outside(thread_id="t")))[0]
    handle = first.artifact["truncated"][0]["handle"]
    assert len(first.content) < 9_000
    program = code(f"len(load_value({handle!r}))", "c2")
    again = answers(node.invoke({"messages": [asks(program)]}, outside(thread_id="t")))[0]
    other = answers(node.invoke({"messages": [asks(program)]}, outside(thread_id="u")))[0]
    assert (again.content, other.status) == ("2000", "error")


def test_large_results_stand_once_in_the_artifact() -> None:
    answer = run("len(rows(count=500))")
    assert "value" not in answer.artifact["calls"][0]
    assert any('"row 499"' in line for line in answer.artifact["journal"])


@pytest.mark.parametrize(
    "program",
    [
        "add(a=2**70, b=1)",
        "print(chr(0xd800))",
        "raise ValueError(chr(0xd800))",
        "echo(text='\\x00')",
        "raise ValueError(2**70)",
    ],
)
def test_whatever_a_program_does_can_be_stored(program: str) -> None:
    graph = graph_of(codeact([add, echo]), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    graph.invoke({"messages": [asks(code(program))]}, config)
    stored = answers(graph.get_state(config).values)[0]
    assert stored.content.encode()
    assert stored.artifact["journal_head"]


@both_ways
def test_an_id_may_come_again(use_async: bool) -> None:
    node = codeact([add])
    for _ in range(2):
        result = call(node, [asks(code("add(a=1, b=2)"))], outside(), use_async=use_async)
        assert result[0].artifact["calls"][0]["id"] == "c1/1"


def test_a_tool_named_with_odd_characters_is_called_by_its_name() -> None:
    @tool("get-weather.today")
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"sun in {city}"

    assert run("call_tool('get-weather.today', city='Rome') + get_weather_today(city='Oslo')", [weather]).content == (
        '"sun in Romesun in Oslo"'
    )


class Item(BaseModel):
    name: str
    price: float


def test_models_become_plain_values() -> None:
    @tool
    def item() -> Item:
        """Return a model."""
        return Item(name="a", price=1.5)

    assert run("item()['price'] * 2", [item]).content == "3.0"


def test_a_tool_may_run_another_tool() -> None:
    @tool
    def outer(runtime: ToolRuntime[Any, Any]) -> list[int]:
        """Call add."""
        inner = next(one for one in runtime.tools if one.name == "add")
        return [inner.invoke({"a": 1, "b": 2}), add.invoke({"a": 3, "b": 4})]

    assert run("outer()", [add, outer]).content == "[3,7]"


def test_cancelling_a_node_ends_its_program() -> None:
    async def scenario() -> None:
        node = codeact([add])
        task = asyncio.create_task(node.ainvoke([asks(code("while True:\n    pass"))], outside()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_the_id_of_the_outer_call_is_not_injected() -> None:
    @tool
    def who(id: Annotated[str, InjectedToolCallId]) -> str:
        """Return the id."""
        return id

    assert run("[who(), who()]", [who]).content == '["c1/1","c1/2"]'


def test_messages_of_other_kinds_do_not_matter() -> None:
    node = codeact([add])
    message = AIMessage("", tool_calls=[], id="later")
    assert node.invoke([asks(code("add(a=1, b=2)")), message], outside()) == []


@both_ways
def test_files_of_a_program_are_in_the_artifact_and_in_the_checkpoint(use_async: bool) -> None:
    program = "import os\nopen('/out/-r.bin', 'wb').write(bytes([0, 255]))\nos.symlink('/usr', '/out/s')\nadd(a=1, b=2)"
    node = codeact(TOOLS)
    graph = graph_of(node, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    (told,) = answers(call(graph, {"messages": [asks(code(program))]}, config, use_async=use_async))
    digest = hashlib.sha256(bytes([0, 255])).hexdigest()
    assert told.artifact["artifacts"] == [{"name": "_r.bin", "size": 2, "digest": digest, "data": "AP8="}]
    assert told.artifact["left_out"] == [{"name": "s", "size": 0, "why": "it is no regular file", "count": 1}]
    assert told.content == "3\n[Files: _r.bin (2 bytes)]\n[Not kept: s (0 bytes): it is no regular file]"
    (stored,) = answers(graph.get_state(config).values)
    assert stored.artifact == told.artifact
