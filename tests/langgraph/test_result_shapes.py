"""The one warning about tools that nobody says the results of."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph_cases import SANDBOX, add

from callgate import Catalogue, ResultShapeWarning, Tool
from callgate.surface import warn_of_unknown_results
from callgate.testing.models import ScriptedChatModel
from callgate_langgraph import CodeActNode

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


@tool
def guess(x: int):
    """Return something."""
    return x


@tool
def anything(x: int) -> Any:
    """Return anything."""
    return x


@tool(extras={"allowed_callers": ["direct"]})
def by_hand(x: int):
    """Return something."""
    return x


TOOLS = [add, guess, anything, by_hand]


def caught(build: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        build()
    return [str(one.message) for one in found if issubclass(one.category, ResultShapeWarning)]


def asked(node: CodeActNode, mode: str | None, *, use_async: bool = False) -> None:
    bound = node.bind_model(ScriptedChatModel(turns=[AIMessage("done")] * 2))
    config = {"configurable": {"callgate_mode": mode} if mode else {}}
    for _ in range(2):
        if use_async:
            asyncio.run(bound.ainvoke("hi", config))
        else:
            bound.invoke("hi", config)


TOLD = (
    "programs cannot know the shape of what these tools return: guess, anything; "
    "annotate the return type (a pydantic model, TypedDict, dataclass, ...) or declare an output schema"
)


@pytest.mark.parametrize("mode", ["code", "mixed"])
def test_a_node_for_programs_names_them_once_when_it_is_built(mode: str) -> None:
    made: list[CodeActNode] = []
    assert caught(lambda: made.append(CodeActNode(TOOLS, sandbox=SANDBOX, mode=mode))) == [TOLD]
    assert caught(lambda: asked(made[0], None)) == []
    routed = caught(lambda: CodeActNode(TOOLS, sandbox=SANDBOX, mode="json", routes={"a": mode}))
    assert routed == [TOLD]


@both_ways
@pytest.mark.parametrize("mode", ["code", "mixed"])
def test_where_programs_may_come_they_are_named_when_the_first_is_asked_for(mode: str, use_async: bool) -> None:
    made: list[CodeActNode] = []
    assert caught(lambda: made.append(CodeActNode(TOOLS, sandbox=SANDBOX, mode="json"))) == []
    assert caught(lambda: asked(made[0], "json", use_async=use_async)) == []
    assert caught(lambda: asked(made[0], mode, use_async=use_async)) == [TOLD]
    assert caught(lambda: asked(made[0], mode, use_async=use_async)) == []


def test_the_warning_points_to_who_builds_the_node() -> None:
    with pytest.warns(ResultShapeWarning) as found:
        CodeActNode(TOOLS, sandbox=SANDBOX, mode="code")
    assert found[0].filename == __file__


def test_no_warning_where_all_is_known() -> None:
    assert caught(lambda: CodeActNode([add, by_hand], sandbox=SANDBOX, mode="code")) == []
    assert caught(lambda: warn_of_unknown_results(Catalogue([]))) == []


def test_of_many_tools_some_are_named() -> None:
    names = [f"tool_{n}" for n in range(50)]
    (text,) = caught(lambda: warn_of_unknown_results(Catalogue([Tool(name=name) for name in names])))
    assert f"return: {', '.join(names[:20])} and 30 more;" in text
