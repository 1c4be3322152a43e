"""The chat model that plays a script."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from callgate import UsageError
from callgate.testing import ScriptedChatModel


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def test_it_says_its_turns_and_remembers_what_it_saw() -> None:
    model = ScriptedChatModel(turns=[AIMessage("one"), lambda messages, tools: AIMessage(f"{messages[-1].content}!")])
    assert model.invoke("hi").content == "one"
    assert model.bind_tools([add]).invoke([HumanMessage("ho")]).content == "ho!"
    assert model.tools_seen() == [[], ["add"]]
    assert [messages[-1].content for messages, _ in model.seen] == ["hi", "ho"]


def test_a_call_too_many_says_so() -> None:
    model = ScriptedChatModel(turns=[AIMessage("one")])
    model.invoke("hi")
    with pytest.raises(UsageError, match="1 turns, and the model is called once more"):
        model.invoke("hi")


async def test_it_works_awaited() -> None:
    model: Any = ScriptedChatModel(turns=[AIMessage("one")])
    assert (await model.ainvoke("hi")).content == "one"


def test_callgate_testing_needs_no_langchain() -> None:
    program = "import sys; sys.modules['langchain_core'] = None; import callgate.testing as t; t.FakeSandbox"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})
