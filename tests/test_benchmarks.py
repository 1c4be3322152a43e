"""What the benchmarks count, and that the tables are made of the figures that are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from callgate.testing import FakeSandbox
from callgate.tokens import ApproximateTokens

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
WORKLOADS = Path(os.environ.get("CALLGATE_WORKLOADS") or ROOT / ".." / "shared" / "workloads")

pytest.importorskip("langgraph")
from callgate_langgraph import CodeActNode  # noqa: E402 - after the check


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def sandbox() -> Iterator[FakeSandbox]:
    with_guests = FakeSandbox()
    yield with_guests
    with_guests.close()


def recorded(name: str) -> list[dict[str, Any]]:
    if not (WORKLOADS / name).is_file():
        pytest.skip(f"no workload {name}; CALLGATE_WORKLOADS names its folder")
    return [json.loads(line) for line in (WORKLOADS / name).read_text(encoding="utf-8").splitlines()]


# ---- figures


@pytest.mark.parametrize("name", ["README.md", "FIGURES.md"])
def test_tables_are_those_of_the_results(name: str) -> None:
    from table import BLOCKS, between_markers

    path, block = next((path, block) for path, block in BLOCKS.items() if path.name == name)
    assert between_markers(path.read_text(encoding="utf-8"), path)[1] == block()


def test_the_readme_says_that_no_model_was_asked() -> None:
    from table import readme_block

    assert "Programs are scripted and no model was asked" in readme_block()
    assert sum(line.startswith("|") for line in readme_block().splitlines()) <= 12


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_are_figures_and_how_they_came_about(path: Path) -> None:
    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, each in value.items():
                yield from (key, *texts(each))
        elif isinstance(value, list):
            for each in value:
                yield from texts(each)
        elif isinstance(value, str):
            yield value

    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["command"] == f"python benchmarks/{path.stem}.py"
    assert {"python", "versions", "tokens"} <= set(kept)
    assert all(len(text) <= 120 for text in texts(kept))


def test_every_recorded_task_ended_alike_in_all_arms() -> None:
    from table import tasks

    played = {name: one for name, one in tasks().items() if "equal" in one}
    assert sum(one["tasks"] for one in played.values()) >= 900
    for name, one in played.items():
        kinds = ("results", "values", "states") if name.startswith("BFCL") else ("results", "values")
        assert one["equal"] == dict.fromkeys(kinds, one["tasks"])


def test_published_json_figures_are_met_within_a_tenth() -> None:
    from table import results

    scenarios = results("vendors")["scenarios"]
    compared = {name: one["published"]["off"] for name, one in scenarios.items() if "off" in one.get("published", {})}
    assert len(compared) == 3
    assert all(abs(off) <= 0.1 for off in compared.values())


def test_exact_figures_are_not_replaced_by_rough_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import figures

    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    for tokens, found in (("characters / 4", 1), ("o200k_base", 2), ("characters / 4", 3)):
        figures.keep("one", {"found": found}, tokens=tokens)
    kept = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert (kept["tokens"], kept["found"]) == ("o200k_base", 2)


# ---- programs made of recordings


def test_programs_pass_on_what_earlier_calls_returned() -> None:
    from programs import Asked, in_order, needs, printing, whole

    calls = [
        Asked(name="find_user", arguments={"email": "ann@example.org"}),
        Asked(name="orders", arguments={"user": "u-831", "from": 1}),
        Asked(name="print", arguments={"text": "order w-17 of u-831"}),
        Asked(name="notify", arguments={"users": [{"id": "u-831"}], "note": "w-17"}),
    ]
    values = [{"user": {"id": "u-831"}}, ["w-17"], None, None]
    known = "My address is ann@example.org"
    needed = needs(calls, list(map(json.dumps, values)), known)
    assert needed == [set(), {0}, set(), {0, 1}]
    assert in_order(needed) == [[0], [1, 2], [3]]
    assert printing(calls[1:3]) == (
        "print(orders(user='u-831', **{'from': 1}))\nprint(call_tool('print', text='order w-17 of u-831'))"
    )
    assert whole(calls, values, needed, known) == (
        """\
r0 = find_user(email='ann@example.org')
r1 = orders(user=r0['user']['id'], **{'from': 1})
call_tool('print', text='order w-17 of u-831')
notify(users=[{'id': r0['user']['id']}], note=r1[0])""",
        0,
    )


def test_a_part_of_a_text_is_a_literal_and_counted() -> None:
    from programs import Asked, needs, whole

    calls = [Asked(name="read", arguments={}), Asked(name="write", arguments={"text": "hello"})]
    values = ["she said hello", None]
    needed = needs(calls, list(map(json.dumps, values)), "")
    assert whole(calls, values, needed, "") == ("read()\nwrite(text='hello')", 1)


@pytest.mark.parametrize(("name", "alike"), [("bfcl_mt_traces.jsonl", 0.98), ("tau_traces.jsonl", 1.0)])
def test_levels_are_those_of_the_recordings(name: str, alike: float) -> None:
    from programs import Asked, depths, needs

    turns = same = 0
    for task in recorded(name):
        known = ""
        for turn in task.get("turns") or [{**task, "user": task["instruction"]}]:
            known += f" {turn['user']}"
            texts = [one["result"] for one in turn["calls"]]
            calls = [Asked(name=one["name"], arguments=one["args"]) for one in turn["calls"]]
            found = depths(needs(calls, texts, known))
            assert all(ours <= theirs for ours, theirs in zip(found, turn["dep_level"], strict=True))
            turns, same = turns + 1, same + (found == turn["dep_level"])
            known += " " + " ".join(texts)
    assert same / turns >= alike


# ---- tokens


def test_a_conversation_is_charged_request_by_request() -> None:
    from tally import ANSWER, Tally

    from callgate.costs import PER_CALL
    from callgate.history import Message, ModelCall

    call = ModelCall(id="1", name="f", arguments="{}")
    form = 1 + 1 + PER_CALL
    messages = [
        Message(role="user", text="12345678"),
        Message(role="assistant", calls=(call,)),
        Message(role="tool", text="1234"),
        Message(role="assistant"),
    ]
    cost = Tally(ApproximateTokens()).cost(messages, 100)
    first, second = 100 + 2 + 4, form + 4 + 1 + 4
    assert (cost.new, cost.repeated, cost.output) == (first + second, first, form + ANSWER)


def shop(*more: str) -> Any:
    """Return a task with a call that needs another, and with more turns that need none."""
    from arms import Live, Turn
    from programs import Asked

    class Shop:
        id, system = "shop", "Be brief."
        turns = (
            Turn(
                user="What is in the last order of u-1?",
                calls=(
                    Asked(name="orders", arguments={"user": "u-1"}),
                    Asked(name="users", arguments={}),
                    Asked(name="items", arguments={"order": "w-99"}),
                ),
            ),
            *(Turn(user=said, calls=()) for said in more),
        )

        def open(self) -> Live:
            live = Live()
            for name, parameter, value in (
                ("orders", "user", [{"id": "w-99"}] * 40),
                ("users", "group", ["u-1"]),
                ("items", "order", {"tea": 2}),
            ):
                parameters = {"type": "object", "properties": {parameter: {"type": "string"}}}
                schema = {"name": name, "description": "", "parameters": parameters}
                live.add(schema, lambda _value=value, **arguments: _value)
            return live

    return Shop()


def test_the_parts_of_a_saving_add_up_and_nothing_is_cut_off(sandbox: FakeSandbox) -> None:
    from arms import all_arms
    from tally import ARMS, CODE_ARMS, JSON_ARMS, Tally

    arms = all_arms(shop("Thank you."), sandbox)
    assert arms.equal == dict.fromkeys(("results", "values"), True)
    programs = {
        arm: [json.loads(call.arguments)["code"] for one in arms.played[arm].messages for call in one.calls]
        for arm in CODE_ARMS
    }
    assert programs == {
        "code_leveled": ["print(orders(user='u-1'))\nprint(users())", "items(order='w-99')"],
        "code_one_shot": ["r0 = orders(user='u-1')\nusers()\nitems(order=r0[0]['id'])"],
    }
    tally = Tally(ApproximateTokens())
    tally.add(arms)
    figures = tally.figures()
    tokens = figures["tokens_per_task"]
    assert [tokens[arm]["requests"] for arm in ARMS] == [5, 4, 4, 3]
    for code in CODE_ARMS:
        for plain in JSON_ARMS:
            for kind, parts in figures["split"][code][plain].items():
                assert sum(parts.values()) == pytest.approx(tokens[plain][kind] - tokens[code][kind], abs=2)
    assert figures["split"]["code_one_shot"]["json_parallel"]["input"]["payload"] > 100


@pytest.mark.parametrize("code", ["code_leveled", "code_one_shot"])
def test_the_ledger_of_a_node_says_the_same(code: str, sandbox: FakeSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    import arms
    from tally import CODE_ARMS, JSON_ARMS, Tally

    ledgers: list[Any] = []

    def node(*given: Any, **named: Any) -> Any:
        made = CodeActNode(*given, **named)
        ledgers.append(made.ledger)
        return made

    monkeypatch.setattr(arms, "CodeActNode", node)
    tally = Tally(ApproximateTokens())
    tally.add(arms.all_arms(shop(), sandbox))
    account = ledgers[CODE_ARMS.index(code)].total
    assert account.code.input == tally.tokens[code].input
    for plain, kind in zip(JSON_ARMS, ("sequential", "parallel"), strict=True):
        assert account.plain(kind).input == tally.tokens[plain].input
        told = tally.figures()["split"][code][plain]["input"]
        parts = account.saving(kind)
        assert {name: getattr(parts, name).input for name in told} == told


# ---- recorded tasks through a graph


def test_tasks_of_bfcl_are_the_same_in_all_arms(sandbox: FakeSandbox) -> None:
    if not (find_spec("bfcl_eval") and find_spec("mpmath")):
        pytest.skip("BFCL needs `pip install --no-deps bfcl-eval==2026.3.23 mpmath`")
    from arms import all_arms
    from bfcl import tasks_of

    wanted = {"multi_turn_base_0", "multi_turn_base_32", "multi_turn_long_context_103"}
    found = [task for category in ("base", "long_context") for task in tasks_of(category) if task.id in wanted]
    assert len(found) == len(wanted)
    for task in found:
        assert all(all_arms(task, sandbox).equal.values())


def test_a_task_of_tau_bench_is_the_same_in_all_arms(sandbox: FakeSandbox) -> None:
    chained = next(one for one in recorded("tau_traces.jsonl") if sum(one["dep_level"]) > 1)
    from arms import all_arms
    from tau import Task

    tools = json.loads((WORKLOADS / "tau_retail_tools.json").read_text(encoding="utf-8"))
    arms = all_arms(Task(chained, tools), sandbox)
    assert all(arms.equal.values())
    assert arms.chained >= 2
