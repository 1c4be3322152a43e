"""Every Python block of the README runs as it stands."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callgate.sandboxes import Sandbox

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks() -> Iterator[Any]:
    for found in re.finditer(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        line = README.count("\n", 0, found.start(1)) + 1
        if "import" not in found[1]:
            continue  # see test_each_line_of_other_frameworks_runs
        yield pytest.param("\n" * (line - 1) + found[1], id=f"line {line}")


def answers(messages: list[Any], tools: list[dict[str, Any]]) -> Any:
    """Play a model that asks for the orders once, in the way it is offered, and then answers."""
    from langchain_core.messages import AIMessage

    if len(messages) > 1:
        return AIMessage("150")
    if tools[0]["function"]["name"] == "execute_code":
        args = {"code": "orders = list_orders(user='u1')\nsum(order['total'] for order in orders)"}
        return AIMessage("", tool_calls=[{"name": "execute_code", "args": args, "id": "call-1"}])
    return AIMessage("", tool_calls=[{"name": "list_orders", "args": {"user": "u1"}, "id": "call-1"}])


def scripted_model() -> Any:
    from callgate.testing import ScriptedChatModel

    return ScriptedChatModel(turns=[answers, answers])


@pytest.mark.parametrize("block", list(blocks()))
def test_a_block_runs(block: str, jail: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    if "langgraph" in block:
        if importlib.util.find_spec("langgraph") is None:
            pytest.skip("langgraph is not installed")
        names["model"] = scripted_model()
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), names)
    if "model" in names:
        assert names["model"].tools_seen() == [["execute_code"], ["execute_code"]]


def test_there_are_blocks() -> None:
    assert len(list(blocks())) >= 2


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # of LlamaIndex's own making
def test_each_line_of_other_frameworks_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
    pytest.importorskip("llama_index.core", reason="llama-index-core is not installed")
    pytest.importorskip("e2b", reason="e2b is not installed")
    import callgate_langchain
    from callgate.testing import ScriptedLLM
    from callgate_langgraph import CodeActNode
    from callgate_llama_index import CallgateAgent

    def look_up(key: str) -> str:
        """Return what belongs to a key."""
        return key

    monkeypatch.setenv("E2B_API_KEY", "e2b_0000")  # nothing is asked before a program runs
    names = {
        "create_agent": agents.create_agent,
        "CodeActMiddleware": callgate_langchain.CodeActMiddleware,
        "code_tool": callgate_langchain.code_tool,
        "CallgateAgent": CallgateAgent,
        "CodeActNode": CodeActNode,
        "model": scripted_model(),
        "llm": ScriptedLLM(turns=[]),
        "tools": [look_up],
    }
    (block,) = re.findall(r"^```python\n(agent = .*?)^```$", README, re.MULTILINE | re.DOTALL)
    exec(compile(block, "README.md", "exec"), names)
    assert isinstance(names["agent"], CallgateAgent)
    assert isinstance(names["node"], CodeActNode)
