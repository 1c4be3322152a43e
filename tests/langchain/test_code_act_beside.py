"""What stands beside a CodeActMiddleware is known when the agent is built; what would guard nothing is refused."""

from __future__ import annotations

import json
from typing import Any

import langchain.agents.factory
import langchain.agents.middleware as shipped
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import after_model, wrap_model_call, wrap_tool_call
from langchain_agents import DONE, SANDBOX, Noting, agent_of, code_act, go, model_of, told
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph_cases import add, asks, code, rows

from callgate import SandboxUnavailable, UsageError
from callgate.testing import ScriptedChatModel


def built(*middleware: Any, tools: Any = (add,), **given: Any) -> Any:
    return create_agent(model_of(), list(tools), middleware=middleware, **given)


@after_model
def looking(state: Any, runtime: Any) -> None:
    """Look at what the model said."""


@wrap_tool_call
def around(request: Any, handler: Any) -> Any:
    return handler(request)


MODEL = ScriptedChatModel(turns=[DONE])

REFUSED: dict[str, tuple[list[Any], str]] = {
    "human in the loop": (
        [shipped.HumanInTheLoopMiddleware({"add": True})],
        "asks about no call of a program; give CodeActMiddleware its interrupt_on",
    ),
    "tool call limit": ([shipped.ToolCallLimitMiddleware(run_limit=3)], "counts no call of a program"),
    "tool selector": ([shipped.LLMToolSelectorMiddleware(model=MODEL)], "picks what tools the model is shown"),
    "provider tool search": ([shipped.ProviderToolSearchMiddleware()], "picks what tools the model is shown"),
    "after the model": ([looking], "looking acts in after_model, where no call of a program is seen"),
}


@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_guards_nothing_is_refused_when_the_agent_is_built(name: str, outside: bool) -> None:
    middleware, why = REFUSED[name]
    with pytest.raises(UsageError, match=why):
        built(*([*middleware, code_act()] if outside else [code_act(), *middleware]))


def test_what_wraps_tool_calls_stands_inside() -> None:
    for one in (Noting(), around, shipped.ToolRetryMiddleware(), shipped.LLMToolEmulator(model=MODEL)):
        with pytest.raises(UsageError, match=f"{one.name} wraps tool calls and stands before CodeActMiddleware"):
            built(one, code_act())
        built(code_act(), one)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UsageError) as raised:
        built(around, code_act(), looking, shipped.ToolCallLimitMiddleware(run_limit=3))
    assert all(one in str(raised.value) for one in ("around wraps", "looking acts", "ToolCallLimitMiddleware counts"))


def test_what_acts_on_messages_alone_stands_anywhere() -> None:
    @wrap_model_call
    def thinking(request: Any, handler: Any) -> Any:
        return handler(request)

    harmless = [
        thinking,
        shipped.ContextEditingMiddleware(),
        shipped.ModelCallLimitMiddleware(run_limit=5),
        shipped.ModelFallbackMiddleware(MODEL),
        shipped.ModelRetryMiddleware(),
        shipped.PIIMiddleware("email"),
        shipped.SummarizationMiddleware(MODEL, trigger=("messages", 50)),
        shipped.TodoListMiddleware(),
        shipped.ToolCallLimitMiddleware(tool_name="execute_code", run_limit=5),
    ]
    for agent in (built(*harmless, code_act()), built(code_act(), *harmless)):
        assert go(agent, use_async=False)["messages"][-1].content == "done"


def test_what_need_not_see_programs_is_named() -> None:
    built(code_act(unseen_by=["looking"]), looking)
    with pytest.raises(UsageError, match="unseen_by names watching, which is no middleware of the agent"):
        built(code_act(unseen_by=["looking", "watching"]), looking)


def test_a_limit_on_programs_holds() -> None:
    model = model_of(asks(code("add(a=1, b=2)", "c1"), code("add(a=1, b=2)", "c2")))
    limit = shipped.ToolCallLimitMiddleware(tool_name="execute_code", run_limit=1)
    first, second = told(go(agent_of(model, [add], limit), use_async=False))
    assert "limit exceeded" in first + second


def test_what_people_may_not_see_is_taken_out_of_what_a_program_prints() -> None:
    pii = shipped.PIIMiddleware("email", apply_to_tool_results=True)

    @tool
    def contact() -> str:
        """Return an address."""
        return "me@example.com"

    model = model_of(asks(code("assert '@' in contact()\ncontact()")))
    (text,) = told(go(agent_of(model, [contact], pii), use_async=False))
    assert "example.com" not in text
    assert "REDACTED" in text


def test_a_to_do_list_is_written_by_a_program() -> None:
    todos = json.dumps([{"content": "one", "status": "pending"}])
    model = model_of(asks(code(f"write_todos(todos={todos})")))
    state = go(agent_of(model, [add], shipped.TodoListMiddleware()), use_async=False)
    assert state["todos"] == [{"content": "one", "status": "pending"}]


# ---- the agent


def test_what_cannot_work_is_told_when_the_agent_is_built() -> None:
    @tool
    def execute_code(code: str) -> str:
        """Have its name."""
        return code

    for tools, settings, why in (
        ([execute_code], {}, "which is the code action's own name"),
        ([add], {"interrupt_on": {"refund": True}}, "refund"),
        ([add], {"effects": {"refund": "read"}}, "effects names refund"),
        ([add], {"mode": "coded"}, 'give "auto", "json", "code" or "mixed"'),
        ([add], {"journal": 3}, "give a SqliteJournal"),
    ):
        with pytest.raises(UsageError, match=why):
            built(code_act(**settings), tools=tools)


def test_a_host_without_a_sandbox_is_told_of_when_the_agent_is_built() -> None:
    class Nowhere(type(SANDBOX)):  # type: ignore[misc]
        def check(self) -> None:
            raise SandboxUnavailable("nothing here isolates")

    with pytest.raises(SandboxUnavailable, match="nothing here isolates"):
        built(code_act(sandbox=Nowhere()))


def test_one_middleware_is_of_one_agent() -> None:
    middleware = code_act()
    built(middleware)
    built(middleware)
    with pytest.raises(UsageError, match="make one for each agent"):
        built(middleware, tools=[add, rows])


def test_functions_are_tools_too() -> None:
    def double(n: int) -> int:
        """Double."""
        return 2 * n

    assert told(go(agent_of(model_of(asks(code("double(n=4)"))), [double]), use_async=False)) == ["8"]


def test_an_agent_built_by_something_else_runs_nothing_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate_langchain.combinations._FACTORY", "elsewhere")
    middleware = code_act()
    agent = built(middleware)
    with pytest.raises(UsageError, match=r"call attach\(tools, middleware\)"):
        go(agent, use_async=False)
    with pytest.raises(UsageError, match="asks about no call of a program"):
        middleware.attach([add], [middleware, shipped.HumanInTheLoopMiddleware({"add": True})])
    middleware.attach([add], [middleware])
    assert isinstance(go(agent, use_async=False)["messages"][-1], AIMessage)


def test_the_frame_that_is_looked_for_is_langchains() -> None:
    assert langchain.agents.factory.create_agent.__name__ == "create_agent"
    assert {"tools", "middleware"} <= set(langchain.agents.factory.create_agent.__code__.co_varnames)
