"""Tools of several sources, told apart."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

from callgate import Catalogue, CodeRunner, UsageError
from callgate.testing.fake import FakeSandbox
from callgate_langchain import from_langchain
from callgate_langchain.sources import listed

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


class Remote(BaseTool):
    """A tool that goes by its own name, as clients of servers do."""

    name: str = "find"
    description: str = "Find things."
    _calls: list[str] = PrivateAttr(default_factory=list)

    def _run(self, what: str, user: Annotated[str, InjectedToolArg] = "host") -> str:
        self._calls.append(what)
        return f"{self.name} {what} for {user}"


class Awaited(Remote):
    async def _arun(self, what: str, user: Annotated[str, InjectedToolArg] = "host") -> str:
        self._calls.append(what)
        return f"{self.name} {what} awaited"


@tool("find")
def function(what: str, id: Annotated[str, InjectedToolCallId]) -> str:
    """Find it here."""
    return f"{what} {id}"


def other(x: int) -> int:
    """Return x."""
    return x


def run(program: str, tools: Any, *, use_async: bool) -> Any:
    runner = CodeRunner(tools, sandbox=FakeSandbox())
    outcome = asyncio.run(runner.arun(program, id="1")) if use_async else runner.run(program, id="1")
    assert outcome.status == "completed", outcome.text
    return outcome.value


@both_ways
def test_tools_of_one_name_run_each_as_itself(use_async: bool) -> None:
    remote, awaited = Remote(), Awaited()
    tools = from_langchain({"far": [remote, other], "near": [function], "late": [awaited]}, {"far_find": "read"})
    assert [(one.name, one.effect) for one in tools][:2] == [("far_find", "read"), ("other", "write")]
    program = "[far_find(what='a'), near_find(what='b'), late_find(what='c'), other(x=1)]"
    late = "find c awaited" if use_async else "find c for host"
    assert run(program, tools, use_async=use_async) == ["find a for host", "b 1/2", late, 1]
    assert (remote._calls, awaited._calls) == (["a"], ["c"])


@both_ways
def test_the_core_tells_neutral_tools_apart_as_well(use_async: bool) -> None:
    catalogue = Catalogue({"far": from_langchain([Remote()]), "near": from_langchain([function])})
    assert run("[far_find(what='a'), near_find(what='b')]", catalogue, use_async=use_async) == [
        "find a for host",
        "b 1/2",
    ]


def test_a_tool_under_another_name_is_shown_as_itself() -> None:
    remote = Remote()
    shown = convert_to_openai_tool(listed({"far": [remote], "near": [function]})[0])
    own = convert_to_openai_tool(remote)
    assert shown["function"].pop("name") == "far_find"
    assert own["function"].pop("name") == "find"
    assert shown == own


def test_lists_and_names_that_do_not_clash_stay_as_they_are() -> None:
    remote = Remote()
    assert listed([remote, other]) == [remote, other]
    assert listed({"far": [remote]})[0] is remote


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"far": [Remote(), function]}, "source 'far' has two tools called 'find'"),
        ({"find": Remote()}, "mapping of sources to lists"),
        (Remote(), "mapping of sources to lists"),
        (other, "mapping of sources to lists"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(given: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        from_langchain(given)


def test_an_effect_of_a_name_that_two_sources_have_is_refused() -> None:
    with pytest.raises(UsageError, match="effects names find; the tools are: far_find, near_find"):
        from_langchain({"far": [Remote()], "near": [function]}, {"find": "read"})
