"""The journal of a running graph: where it stands, who sees it, and what outlives the node."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy
from langgraph_durable import (
    ANSWER,
    SANDBOX,
    SHAPES,
    WRITES,
    Life,
    answers,
    answers_in,
    config_of,
    graph_of,
    happened,
    writes,
)
from langgraph_savers import aopen_saver, open_saver
from typing_extensions import TypedDict

from callgate import CodeRunner, Limits, tool
from callgate_langgraph.checkpoint_journal import CheckpointJournal, checkpoint_journal
from callgate_langgraph.placement import Place, place_of

MODES = ["values", "updates", "tasks", "checkpoints", "debug", "custom", "messages"]
OURS = ("__callgate__", "callgate:", "callgate-", '"prev"', "nonce")
"""What rows, their places and the lines in them are made of."""


def life_in(folder: Path, **given: Any) -> Life:
    return Life(kind="", address="", thread=uuid.uuid4().hex, ledger=str(folder / uuid.uuid4().hex), **given)


# ---- who sees it


def nothing_of_ours(shown: object) -> bool:
    return not any(part in repr(shown) for part in OURS)


@pytest.mark.parametrize("shape", ["plain", "sub", "send", "task"])
def test_no_stream_state_or_history_shows_the_journal(shape: str, saver: Any, tmp_path: Path) -> None:
    life = life_in(tmp_path, shape=shape)
    graph, shown, modes = graph_of(life, saver), [], set()
    for given in ({"note": "go"}, Command(resume=["approve"]), Command(resume=["approve"])):
        streamed = list(graph.stream(given, config_of(life), stream_mode=MODES, subgraphs=True))
        modes |= {mode for _, mode, _ in streamed}
        shown += streamed
        shown.append(graph.get_state(config_of(life), subgraphs=True))
    shown += list(graph.get_state_history(config_of(life)))
    assert happened(life) == WRITES
    assert modes >= {"values", "updates", "tasks", "checkpoints", "debug"}
    assert nothing_of_ours(shown)


@pytest.mark.parametrize("kind", ["memory", "asqlite", "apostgres"])
async def test_no_awaited_stream_or_event_shows_the_journal(
    kind: str, address_of: Callable[[str], str], tmp_path: Path
) -> None:
    async with aopen_saver(kind, address_of(kind)) as saver:
        life = life_in(tmp_path, is_async=True)
        graph, shown = graph_of(life, saver), []
        shown += [one async for one in graph.astream({"note": "go"}, config_of(life), stream_mode=MODES)]
        answer = Command(resume=["approve"])
        shown += [one async for one in graph.astream_events(answer, config_of(life), version="v2")]
        shown += [one async for one in graph.astream(answer, config_of(life), stream_mode=MODES, subgraphs=True)]
        shown += [one async for one in graph.aget_state_history(config_of(life))]
    assert happened(life) == WRITES
    assert nothing_of_ours(shown)


def test_the_checkpoints_of_the_graph_stay_as_small_as_they_were(saver: Any, tmp_path: Path) -> None:
    life = life_in(tmp_path)
    graph = graph_of(life, saver)
    graph.invoke({"note": "go"}, config_of(life))
    assert nothing_of_ours(saver.get_tuple(config_of(life)))
    listed = list(saver.list({"configurable": {"thread_id": life.thread, "checkpoint_ns": ""}}))
    assert nothing_of_ours(listed)


def test_deleting_the_thread_of_a_graph_deletes_its_journal(saver: Any, tmp_path: Path) -> None:
    life = life_in(tmp_path)
    graph_of(life, saver).invoke({"note": "go"}, config_of(life))
    everything = {"configurable": {"thread_id": life.thread}}
    assert any(one.metadata["source"] == "callgate" for one in saver.list(everything))
    saver.delete_thread(life.thread)
    assert list(saver.list(everything)) == []


def test_pruning_a_thread_keeps_the_journal_of_the_pause_it_is_in(
    address_of: Callable[[str], str], tmp_path: Path
) -> None:
    with open_saver("postgres", address_of("postgres")) as saver:
        life = life_in(tmp_path)
        graph = graph_of(life, saver)
        graph.invoke({"note": "go"}, config_of(life))
        graph.invoke(Command(resume=["approve"]), config_of(life))
        saver.prune([life.thread])
        assert answers_in(graph.invoke(Command(resume=["approve"]), config_of(life))) == [ANSWER]
        assert happened(life) == WRITES
        everything = {"configurable": {"thread_id": life.thread}}
        assert any(one.metadata["source"] == "callgate" for one in saver.list(everything))
        graph.invoke({"note": "go"}, config_of(life))
        saver.prune([life.thread])
        heads = {one.metadata["parents"][""] for one in saver.list(everything) if one.metadata["source"] == "callgate"}
        assert heads == {graph.get_state(config_of(life)).config["configurable"]["checkpoint_id"]}


# ---- where it stands


class Seen:
    """A node that notes where it stands."""

    def __init__(self) -> None:
        self.places: list[Place | None] = []
        self.configs: list[RunnableConfig] = []
        self.infos: list[Any] = []

    def __call__(self, state: Any, runtime: Runtime, config: RunnableConfig) -> dict[str, Any]:
        self.places.append(place_of(runtime, config))
        self.configs.append(config)
        self.infos.append(runtime.execution_info)
        return {}


class Noted(TypedDict, total=False):
    note: str


def graph_with(node: Any, checkpointer: Any, **given: Any) -> Any:
    builder = StateGraph(Noted)
    builder.add_node("node", node, **given)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=checkpointer)


@pytest.mark.parametrize("own", [None, True, InMemorySaver()], ids=["inherits", "True", "its own"])
def test_a_nested_node_stands_at_a_checkpoint_that_the_outer_saver_holds(own: Any) -> None:
    """What the journal takes from LangGraph: it fails where a new version hands something else."""
    seen, saver = Seen(), InMemorySaver()
    outer = graph_with(graph_with(seen, own), saver)
    outer.invoke({"note": "go"}, {"configurable": {"thread_id": "1"}}, durability="sync")
    (place,) = seen.places
    assert place is not None
    assert place.saver is saver
    assert (place.thread, place.node) == ("1", "node")
    found = saver.get_tuple(place.own())
    assert found is not None
    assert found.metadata["parents"] == dict(place.ancestors)
    assert [saver.get_tuple(place.config(*one)) is not None for one in place.ancestors] == [True]
    assert place.root == place.ancestors[0]
    assert not place.only_at_exit
    assert not place.may_fork


def test_a_retry_stands_at_the_same_place() -> None:
    class Failing(Seen):
        def __call__(self, state: Any, runtime: Runtime, config: RunnableConfig) -> dict[str, Any]:
            super().__call__(state, runtime, config)
            if len(self.places) < 3:
                raise ConnectionError
            return {}

    seen = Failing()
    policy = RetryPolicy(initial_interval=0.001, max_attempts=3, jitter=False)
    graph = graph_with(seen, InMemorySaver(), retry_policy=policy)
    graph.invoke({"note": "go"}, {"configurable": {"thread_id": "1"}})
    assert len(seen.places) == 3
    assert seen.places[0] == seen.places[1] == seen.places[2]


def test_only_at_exit_and_forks_are_known() -> None:
    seen, saver = Seen(), InMemorySaver()
    graph, config = graph_with(seen, saver), {"configurable": {"thread_id": "1"}}
    graph.invoke({"note": "go"}, config, durability="exit")
    first = list(graph.get_state_history(config))[-1]
    graph.invoke({"note": "go"}, config)
    graph.invoke(None, first.config)
    assert [(one.only_at_exit, one.may_fork) for one in seen.places if one] == [(True, False), (False, False)]
    history = [one for one in graph.get_state_history(config) if one.next == ("node",)]
    graph.invoke(None, history[0].config)
    assert seen.places[-1] is not None
    assert seen.places[-1].may_fork


def test_without_a_checkpointer_there_is_no_journal() -> None:
    seen = Seen()
    graph_with(seen, None).invoke({"note": "go"}, {"configurable": {"thread_id": "1"}})
    assert seen.places == [None]
    assert checkpoint_journal(Runtime(), {}) is None


# ---- what outlives the node


@tool(effect="read")
def lines(count: int) -> list[str]:
    """Return lines."""
    return [f"line {n}" for n in range(count)]


class Programs(TypedDict, total=False):
    programs: list[str]
    answers: Annotated[list[Any], lambda left, right: [*(left or []), *right]]


def graph_of_programs(saver: Any) -> Any:
    """Return a graph that runs the programs of its input, each in a step of its own."""

    def node(state: Programs, runtime: Runtime, config: RunnableConfig) -> Any:
        journal = checkpoint_journal(runtime, config)
        assert isinstance(journal, CheckpointJournal)
        runner = CodeRunner([lines], sandbox=SANDBOX, limits=Limits(shown_chars=100), journal=journal)
        first, *rest = state["programs"]
        outcome = runner.run(first, thread=config["configurable"]["thread_id"])
        handles = [one.handle for one in outcome.truncated]
        return {"programs": rest, "answers": [[outcome.text, handles]]}

    builder = StateGraph(Programs)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_conditional_edges("node", lambda state: "node" if state["programs"] else "__end__")
    return builder.compile(checkpointer=saver)


def test_a_value_kept_in_one_step_is_loaded_in_a_later_one(saver: Any) -> None:
    graph, config = graph_of_programs(saver), {"configurable": {"thread_id": uuid.uuid4().hex}}
    ((_, (handle,)),) = graph.invoke({"programs": ["lines(count=40_000)"]}, config)["answers"]
    load = f"len(load_value({handle!r}))"
    assert graph.invoke({"programs": [load, load]}, config)["answers"][1:] == [["40000", []]] * 2
    other = {"configurable": {"thread_id": uuid.uuid4().hex}}
    ((refused, _),) = graph.invoke({"programs": [load]}, other)["answers"]
    assert "no value is kept" in refused
    saver.delete_thread(config["configurable"]["thread_id"])
    ((refused, _),) = graph.invoke({"programs": [load]}, config)["answers"]
    assert "no value is kept" in refused


def test_a_large_result_is_replayed_from_where_it_is_kept(saver: Any) -> None:
    """A result above 256 KiB lies beside the journal, which must find it when the action goes on."""
    seen: list[Any] = []

    def node(state: Noted, runtime: Runtime, config: RunnableConfig) -> Any:
        journal = checkpoint_journal(runtime, config)
        assert journal is not None
        runner = CodeRunner([lines, pay], sandbox=SANDBOX, interrupt_on={"pay": True}, journal=journal)
        if not journal.read("a"):
            outcome = runner.run("rows = lines(count=40_000)\npay()\nlen(rows)", id="a")
            assert outcome.status == "paused"
            raise ConnectionError
        seen.append(runner.resume("a", {"a/2": "approve"}).value)
        return {}

    @tool
    def pay() -> None:
        """Pay."""

    policy = RetryPolicy(initial_interval=0.001, max_attempts=2, jitter=False)
    graph_with(node, saver, retry_policy=policy).invoke(
        {"note": "go"}, {"configurable": {"thread_id": uuid.uuid4().hex}}
    )
    assert seen == [40_000]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_runs_through_in_one_process(shape: str, saver: Any, tmp_path: Path) -> None:
    life = life_in(tmp_path, shape=shape, actions=2 if shape in ("send", "two", "function") else 1)
    graph, given = graph_of(life, saver), {"note": "go"}
    for _ in range(6):
        result = graph.invoke(given, config_of(life))
        asked = result.get("__interrupt__", ())
        if not asked:
            break
        given = Command(resume={one.id: ["approve"] * len(one.value) for one in asked})
    assert answers_in(result) == answers(life.actions)
    assert happened(life) == writes(life.actions)
