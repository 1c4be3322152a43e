"""Where programs run: by route, fixed when the node is built, and kept by what began there."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from langgraph_cases import SANDBOX, TOOLS, add, answers, asks, call, code, codeact, graph_of, outside

from callgate import Journal, MemoryJournal, SandboxUnavailable
from callgate.testing.fake import FakeSandbox
from callgate_langgraph import CodeActNode, SandboxWarning

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])

PROGRAM = "x = add(a=1, b=2)\nx + 1"


class Cloud(FakeSandbox):
    """Another kind of sandbox."""

    name = "cloud"
    level = "vm"

    def __init__(self, *, there: bool = True) -> None:
        super().__init__()
        self.checks, self._there = 0, there

    def check(self) -> str:
        self.checks += 1
        if not self._there:
            raise SandboxUnavailable("there is no key", missing=["a key"], cure="buy one")
        return self.level


def configured(**configurable: Any) -> Any:
    return {"configurable": configurable}


def began_in(message: ToolMessage, store: MemoryJournal) -> str:
    return Journal(store.read(message.artifact["journal_key"])).header["sandbox"]


@both_ways
def test_programs_of_a_route_run_in_its_sandbox(use_async: bool) -> None:
    store, events = MemoryJournal(), list[dict[str, Any]]()
    node = codeact([add], sandboxes={"analytics": Cloud()}, journal=store, on_event=events.append)
    for n, route in enumerate((None, "analytics", "other")):
        config = outside(route=route, thread_id=str(n))
        (answer,) = answers(call(node, [asks(code(PROGRAM), content=str(n))], config, use_async=use_async))
        assert began_in(answer, store) == ("cloud" if route == "analytics" else "fake")
    told = [(one["sandbox"], one["level"], one["route"]) for one in events if one["type"] == "callgate.sandbox"]
    assert told == [("fake", "L0", None), ("cloud", "vm", "analytics"), ("fake", "L0", None)]


def test_the_route_callable_chooses_the_sandbox_too() -> None:
    store = MemoryJournal()
    node = codeact([add], sandboxes={"analytics": Cloud()}, route=lambda state, config: "analytics", journal=store)
    (answer,) = answers(node.invoke([asks(code(PROGRAM))], outside()))
    assert began_in(answer, store) == "cloud"


@both_ways
def test_a_program_goes_on_in_the_kind_of_sandbox_in_which_it_began(use_async: bool) -> None:
    events: list[dict[str, Any]] = []
    node = codeact([add], sandboxes={"analytics": Cloud()}, interrupt_on={"add": True}, on_event=events.append)
    graph = graph_of(node, checkpointer=InMemorySaver())
    asked = configured(thread_id="1", route="analytics")
    call(graph, {"messages": [asks(code(PROGRAM))]}, asked, use_async=use_async)
    # Whoever answers need not know the route.
    answer: Any = Command(resume={"decisions": [{"type": "approve"}]})
    (message,) = answers(call(graph, answer, configured(thread_id="1"), use_async=use_async))
    assert message.content == "4"
    told = [(one["sandbox"], one["reason"]) for one in events if one["type"] == "callgate.sandbox"]
    assert told == [
        ("cloud", "cloud: set for the route 'analytics'"),
        ("cloud", "cloud: the action began in this kind"),
    ]


def test_auto_goes_by_the_sandbox_of_the_route() -> None:
    with pytest.warns(SandboxWarning, match="for the route 'analytics', tools stay plain: there is no key"):
        node = CodeActNode(TOOLS, sandbox=SANDBOX, sandboxes={"analytics": Cloud(there=False)})
    assert node.surface({}).kind == "code"
    assert node.surface(configured(route="analytics")).kind == "json"
    with pytest.warns(SandboxWarning, match="on this host, tools stay plain"):
        node = CodeActNode(TOOLS, sandbox=Cloud(there=False), sandboxes={"analytics": SANDBOX})
    assert node.surface({}).kind == "json"
    assert node.surface(configured(route="analytics")).kind == "code"


@pytest.mark.parametrize(
    "arguments",
    [{"mode": "code"}, {"mode": "json", "routes": {"analytics": "mixed"}}],
    ids=["the node's mode", "the mode of the route"],
)
def test_code_on_a_route_without_its_sandbox_raises_when_the_node_is_built(arguments: Any) -> None:
    with pytest.raises(SandboxUnavailable, match="there is no key"):
        CodeActNode(TOOLS, sandbox=SANDBOX, sandboxes={"analytics": Cloud(there=False)}, **arguments)


def test_sandboxes_are_looked_at_once_and_only_where_a_mode_may_need_them() -> None:
    used, unused = Cloud(), Cloud(there=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SandboxWarning)
        node = CodeActNode(
            TOOLS,
            sandbox=unused,
            sandboxes={"analytics": used, "reports": used},
            mode="json",
            routes={"analytics": "code", "reports": "auto"},
        )
    for _ in range(2):
        assert node.surface(configured(route="analytics")).kind == "code"
    assert (used.checks, unused.checks) == (1, 0)
    with pytest.raises(SandboxUnavailable, match="there is no key"):
        node.surface(configured(callgate_mode="code"))


def test_plain_tools_of_a_route_need_no_sandbox() -> None:
    never = Cloud(there=False)
    node = CodeActNode(TOOLS, sandbox=SANDBOX, sandboxes={"billing": never}, mode="code", routes={"billing": "json"})
    assert node.surface(configured(route="billing")).kind == "json"
    assert never.checks == 0
