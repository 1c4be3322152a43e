"""Inner calls are visible as they happen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.prebuilt import ToolRuntime
from langgraph_cases import add, asks, call, code, codeact, graph_of, outside

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def chunks_of(graph: Any, message: Any, *, use_async: bool, **arguments: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [chunk async for chunk in graph.astream({"messages": [message]}, **arguments)]

    if use_async:
        return asyncio.run(collect())
    return list(graph.stream({"messages": [message]}, **arguments))


@both_ways
def test_custom_streams_tell_of_inner_calls(use_async: bool) -> None:
    message = asks(code("add(a=1, b=2)\nadd(a=3, b=4)"))
    told = chunks_of(graph_of(codeact([add])), message, use_async=use_async, stream_mode="custom")
    assert {one["type"] for one in told} == {"callgate.durability", "callgate.call"}
    told = [one for one in told if one["type"] == "callgate.call"]
    assert [(one["id"], one["status"]) for one in told if one["status"] == "done"] == [
        ("c1/1", "done"),
        ("c1/2", "done"),
    ]
    assert told[0]["tool"] == "add"
    assert told[0]["arguments"] == {"a": 1, "b": 2}


@both_ways
def test_events_of_programs_beside_one_another_go_to_the_own_stream(use_async: bool) -> None:
    message = asks(code("add(a=1, b=2)", "c1"), code("add(a=3, b=4)", "c2"))
    told = chunks_of(graph_of(codeact([add])), message, use_async=use_async, stream_mode="custom")
    assert {one["id"] for one in told if one["type"] == "callgate.call"} == {"c1/1", "c2/1"}


def test_an_event_is_told_while_the_program_runs() -> None:
    seen: list[str] = []

    @tool
    def second() -> list[str]:
        """Return what was seen so far."""
        return list(seen)

    node = codeact([add, second], on_event=lambda event: seen.append(f"{event.get('id')} {event.get('status')}"))
    answer = node.invoke([asks(code("add(a=1, b=2)\nsecond()"))], outside())[0]
    assert "c1/1 done" in answer.artifact["calls"][1]["value"]


def test_a_listener_that_raises_changes_nothing() -> None:
    def listener(event: Any) -> None:
        raise RuntimeError(event["id"])

    answer = codeact([add], on_event=listener).invoke([asks(code("add(a=1, b=2)"))], outside())[0]
    assert answer.content == "3"


@both_ways
def test_the_tools_stream_tells_of_the_program_and_its_calls(use_async: bool) -> None:
    @tool
    def slow(runtime: ToolRuntime[Any, Any]) -> str:
        """Emit a delta."""
        runtime.emit_output_delta("half")
        return "whole"

    told = chunks_of(graph_of(codeact([slow])), asks(code("slow()")), use_async=use_async, stream_mode="tools")
    events = [(one["event"], one["tool_call_id"]) for one in told]
    assert events == [
        ("tool-started", "c1"),
        ("tool-started", "c1/1"),
        ("tool-output-delta", "c1/1"),
        ("tool-finished", "c1/1"),
        ("tool-finished", "c1"),
    ]


@both_ways
def test_tools_write_to_the_graph_s_stream(use_async: bool) -> None:
    @tool
    def writing(runtime: ToolRuntime[Any, Any]) -> str:
        """Write to the stream both ways."""
        runtime.stream_writer("from the runtime")
        get_stream_writer()("from the context")
        return "written"

    message = asks(code("writing()"))
    told = chunks_of(graph_of(codeact([writing])), message, use_async=use_async, stream_mode="custom")
    assert [one for one in told if isinstance(one, str)] == ["from the runtime", "from the context"]


class Spans(BaseCallbackHandler):
    def __init__(self) -> None:
        self.parents: dict[Any, Any] = {}
        self.names: dict[Any, str] = {}
        self.inputs: list[Any] = []
        self.ended: list[Any] = []

    def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: Any, parent_run_id: Any = None, **rest: Any
    ) -> None:
        self.names[run_id], self.parents[run_id] = serialized["name"], parent_run_id
        self.inputs.append(rest.get("inputs"))

    def on_tool_end(self, output: Any, **rest: Any) -> None:
        self.ended.append(output)


@both_ways
def test_callbacks_see_inner_calls_below_the_program(use_async: bool) -> None:
    spans = Spans()
    graph = graph_of(codeact([add]))
    call(graph, {"messages": [asks(code("add(a=1, b=2)"))]}, {"callbacks": [spans]}, use_async=use_async)
    (program, inner) = spans.names
    assert list(spans.names.values()) == ["execute_code", "add"]
    assert spans.parents[inner] == program
    assert spans.inputs == [{"code": "add(a=1, b=2)"}, {"a": 1, "b": 2}]
    assert [one.content for one in spans.ended] == ["3", "3"]


def test_updates_are_streamed_once_per_node_run() -> None:
    message = asks(code("add(a=1, b=2)"))
    (chunk,) = graph_of(codeact([add])).stream({"messages": [message]}, stream_mode="updates")
    assert list(chunk) == ["tools"]
