"""Stand-ins that note what tools return."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from pydantic import PrivateAttr

from callgate_langchain.raw import capture, capturing

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def run(one: BaseTool, arguments: dict[str, Any], *, use_async: bool, config: Any = None) -> Any:
    asked = {"name": one.name, "args": arguments, "id": "1", "type": "tool_call"}
    with capture("1") as captured:
        stand_in = capturing(one)
        message = asyncio.run(stand_in.ainvoke(asked, config)) if use_async else stand_in.invoke(asked, config)
        return captured.value(message)


@tool
def rows(n: int) -> list[dict[str, int]]:
    """Return rows."""
    return [{"n": n}]


@tool
async def awaited(n: int) -> dict[str, int]:
    """Return n."""
    return {"n": n}


@both_ways
def test_the_value_is_what_the_tool_returned(use_async: bool) -> None:
    assert run(rows, {"n": 1}, use_async=use_async) == [{"n": 1}]


def test_coroutines_are_noted() -> None:
    assert run(awaited, {"n": 1}, use_async=True) == {"n": 1}


class Hungry(BaseTool):
    """Wants everything LangChain hands to a tool."""

    name: str = "hungry"
    description: str = "Take all."
    runs: int = 0
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    def _run(self, x: int, config: RunnableConfig, run_manager: CallbackManagerForToolRun | None = None) -> Any:
        with self._lock:
            self.runs += 1
        return [x, config["tags"], run_manager is not None]


@both_ways
def test_config_and_run_manager_reach_the_tool_as_ever(use_async: bool) -> None:
    one = Hungry()
    assert run(one, {"x": 1}, use_async=use_async, config={"tags": ["a"]}) == [1, ["a"], True]
    assert one.runs == 1


class Both(BaseTool):
    name: str = "both"
    description: str = "Either way."

    def _run(self) -> str:
        return "sync"

    async def _arun(self, run_manager: Any = None) -> list[Any]:
        return ["async", run_manager is not None]


@pytest.mark.parametrize(("use_async", "expected"), [(False, "sync"), (True, ["async", True])])
def test_each_way_runs_its_own_method(use_async: bool, expected: Any) -> None:
    assert run(Both(), {}, use_async=use_async) == expected


def test_a_stand_in_is_its_tool_in_name_class_and_state() -> None:
    one = Hungry()
    stand_in = capturing(one)
    assert isinstance(stand_in, Hungry)
    assert (stand_in.name, type(stand_in).__name__, stand_in.args) == ("hungry", "Hungry", one.args)
    one.runs = 5
    assert stand_in.runs == 5
    assert type(capturing(Hungry())) is type(stand_in)


def test_outside_a_capture_a_stand_in_is_just_the_tool() -> None:
    assert capturing(rows).invoke({"n": 1}) == [{"n": 1}]


def test_calls_of_other_ids_are_not_noted() -> None:
    with capture("other") as captured:
        capturing(rows).invoke({"name": "rows", "args": {"n": 1}, "id": "1", "type": "tool_call"})
    assert captured.made == []


@pytest.mark.parametrize(
    ("artifact", "content", "expected"),
    [
        ({"structured_content": {"result": 3}}, "3", 3),
        ({"structured_content": {"result": 3, "unit": "m"}}, "3 m", {"result": 3, "unit": "m"}),
        ({"structured_content": None}, "text", "text"),
        (None, [{"type": "text", "text": "one"}], "one"),
        (None, [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], None),
        ("anything", "text", "text"),
    ],
)
def test_values_of_messages_nobody_noted(artifact: Any, content: Any, expected: Any) -> None:
    with capture("1") as captured:
        message = ToolMessage(content, tool_call_id="1", artifact=artifact)
        assert captured.value(message) == (content if expected is None else expected)
