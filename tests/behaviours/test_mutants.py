"""The suite can fail: each adapter with a fault is found by a check that is named for it."""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import secrets
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from behaviours.adapters import UPSTREAM, Agent, LangChainTool, LlamaIndexTool, Middleware, Node
from behaviours.case import Case
from behaviours.suite import FAKE, Behaviours

pytestmark = [UPSTREAM, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Change = Callable[[Any], Any]
"""From what there is to what is there in its place."""


def giving(value: Any) -> Change:
    """Return a function that answers with a value whatever it is asked."""

    def change(own: Any) -> Any:
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return value

        return awaited if inspect.iscoroutinefunction(own) else lambda *args, **kwargs: value

    return change


def without(option: str) -> Change:
    """Return a class that does not heed an option."""
    return lambda own: lambda *args, **kwargs: own(*args, **{**kwargs, option: None})


def after(change: Change) -> Change:
    """Return a function whose answer is changed."""

    def around(own: Any) -> Any:
        @functools.wraps(own)
        def changed(*args: Any, **kwargs: Any) -> Any:
            return change(own(*args, **kwargs))

        return changed

    return around


def reversed_values(decisions: dict[str, object]) -> dict[str, object]:
    return dict(zip(decisions, reversed(decisions.values()), strict=True))


def approving(own: Any) -> Any:
    return lambda self, given, question: own(self, {"type": "approve"}, question)


def with_traceback(own: Any) -> Any:
    def told(error: Exception) -> Exception:
        known = own(error)
        return (
            type(known)("".join(traceback.format_exception(error))) if type(known).__name__ == "ToolFailed" else known
        )

    return told


def new_key(own: Any) -> Any:
    async def key_of(context: Any) -> tuple[str, str, str]:
        scope, key, asked = await own(context)
        return scope, f"{key}/{secrets.token_hex(4)}", asked

    return key_of


def new_name(own: Any) -> Any:
    return lambda self, kind, *parts: own(self, kind, *parts, secrets.token_hex(4))


LG, LC, LI = "callgate_langgraph", "callgate_langchain", "callgate_llama_index"

FOUND: dict[str, tuple[type[Behaviours], str, Change, str]] = {
    "results are texts": (Node, f"{LC}.raw:Capture.value", lambda own: lambda self, answer: str(answer.content), "test_text_that_looks_like_json_stays_text"),
    "nobody is asked about programs": (Node, f"{LG}.approvals:Approvals.for_programs", giving({}), "test_what_is_approved_runs_once_and_nothing_before_it_again"),
    "nobody is asked about plain calls": (Middleware, f"{LG}.approvals:Approvals.wants", giving(False), "test_a_plain_call_is_asked_about_by_the_same_rules"),
    "every decision is approve": (Middleware, f"{LG}.approvals:Approvals._decision", approving, "test_a_rejected_call_is_an_exception_and_does_not_run"),
    "the journal is not found again": (Node, f"{LG}.keeping:Keeping.key", new_name, "test_a_pause_survives_its_process"),
    "writes count as idempotent": (Middleware, f"{LC}.convert:_effect", giving("idempotent"), "test_a_write_that_a_crash_cut_off_is_asked_about"),
    "state is not handed on": (Node, f"{LG}.state:SeenState.apply", giving(None), "test_what_a_tool_changes_later_calls_see"),
    "surfaces are not recorded": (Middleware, f"{LC}.code_act:recorded", lambda own: lambda message, record: message, "test_what_the_model_was_shown_is_recorded"),
    "the stream is silent": (Node, f"{LG}.engine:Engine._tell", giving(None), "test_the_stream_tells_of_each_call"),
    "the toggle is not heeded": (Node, f"{LG}.modes:checked_mode", giving("code"), "test_an_invocation_sets_its_mode"),
    "injected arguments are shown": (LangChainTool, f"{LC}.convert:input_schema", lambda own: lambda tool: tool.get_input_jsonschema(), "test_fixed_arguments_are_not_shown"),
    "failures are no errors": (LangChainTool, f"{LC}.plain_tool:_marked", lambda own: lambda message: message, "test_a_mistake_of_the_program_is_told_with_its_line"),
    "limits are not heeded": (LangChainTool, f"{LC}.plain_tool:CodeRunner", without("limits"), "test_calls_are_bounded"),
    "names of arguments are not looked at": (Agent, "callgate.tools:Tool.fault", giving(None), "test_arguments_that_are_not_there_are_an_exception"),
    "tracebacks are told": (Agent, f"{LI}.convert:told", with_traceback, "test_nothing_of_the_host_is_told"),
    "decisions reach other calls": (Agent, f"{LI}.approvals:Approvals.read", after(reversed_values), "test_calls_that_wait_at_once_are_decided_one_by_one"),
    "a step is another one when it is entered anew": (LlamaIndexTool, f"{LI}.tool:key_of", new_key, "test_what_is_approved_runs_once_and_nothing_before_it_again"),
    "the stream of a workflow is silent": (LlamaIndexTool, f"{LI}.actions:CodeAction._tell", giving(None), "test_the_stream_tells_of_failures"),
    "plain calls pass by": (Agent, f"{LI}.approvals:Approvals.__contains__", giving(False), "test_a_plain_call_is_asked_about_by_the_same_rules"),
    "nothing is counted": (Agent, f"{LI}.agent:CallgateAgent._count", giving(None), "test_an_action_is_counted_with_its_calls"),
}  # fmt: skip
"""Its fault: the adapter, what is changed of it and how, and the check that finds it."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="callgate")


@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_is_found(fault: str, tmp_path: Path) -> None:
    adapter, place, change, check = FOUND[fault]
    case = Case(adapter.made(tmp_path, adapter.ways[0]), FAKE)
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    owner = functools.reduce(getattr, outer, importlib.import_module(module))
    try:
        with patch.object(owner, name, change(getattr(owner, name))), pytest.raises(AssertionError):
            getattr(adapter(), check)(case)
    finally:
        case.close()
