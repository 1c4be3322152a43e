"""Which surface is chosen, by what, and that it costs little more than the best one."""

from __future__ import annotations

import importlib
import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callgate import AutoRouter, Facts, Surface, UsageError
from callgate.history import Message, ModelCall, SurfaceKind
from callgate.tokens import ApproximateTokens

WORKLOADS = Path(os.environ.get("CALLGATE_WORKLOADS", Path(__file__).parents[2] / "shared" / "workloads"))

LARGE: dict[SurfaceKind, int] = {"json": 2_300, "code": 640, "mixed": 2_450}
SMALL: dict[SurfaceKind, int] = {"json": 100, "code": 300, "mixed": 250}


def facts(messages: Any = (), definitions: Any = LARGE, **more: Any) -> Facts:
    return Facts(messages=tuple(messages), definitions=definitions, **more)


def turn(
    surface: SurfaceKind | None, *, rounds: int = 1, calls: int = 1, returned: int = 20, name: str = "f"
) -> list[Message]:
    """Return the messages of a turn; sizes are tokens."""
    made = tuple(ModelCall(id=str(n), name=name, arguments='{"a": 1}') for n in range(calls))
    told = [Message(role="tool", text="x" * 4 * returned, answers=str(n)) for n in range(calls)]
    asked = Message(role="assistant", calls=made, surface=surface)
    answer = Message(role="assistant", text="It is done.", surface=surface)
    return [Message(role="user", text="Do it."), *[one for _ in range(rounds) for one in (asked, *told)], answer]


def thread(surface: SurfaceKind | None, *, turns: int = 1, **of_turn: Any) -> list[Message]:
    """Return the messages of some turns, and what the user says next."""
    said = [one for _ in range(turns) for one in turn(surface, **of_turn)]
    return [*said, Message(role="user", text="Again.")]


def test_the_first_turn_goes_by_the_definitions_and_says_what_it_cannot_know() -> None:
    asked = [Message(role="system", text="Be kind."), Message(role="user", text="Hi.")]
    assert AutoRouter().choose(facts(asked)) == Surface(
        kind="code",
        reason="code: the tools take 640 as code, 2,300 as JSON, 2,450 as both (tokens); what turns will need is not "
        "known yet",
    )
    assert AutoRouter().choose(facts(asked, SMALL)).kind == "json"
    assert AutoRouter().choose(facts()).kind == "code"


def test_no_tools_are_shown_plainly() -> None:
    assert AutoRouter().choose(facts(definitions={"json": 0, "code": 250, "mixed": 150})).kind == "json"


@pytest.mark.parametrize(("definitions", "kind"), [({"json": 2_300}, "json"), ({"mixed": 2_450}, "mixed")])
def test_what_alone_can_be_shown_is_shown_with_the_reason(definitions: Any, kind: str) -> None:
    why = {one: "this host cannot run programs" for one in LARGE if one not in definitions}
    assert AutoRouter().choose(facts(definitions=definitions, excluded=why)) == Surface(
        kind=kind, reason=f"{kind}: this host cannot run programs"
    )


def test_of_two_with_programs_the_cheaper_is_chosen() -> None:
    without_json = {key: value for key, value in LARGE.items() if key != "json"}
    assert AutoRouter().choose(facts(definitions=without_json)).kind == "code"
    assert AutoRouter().choose(facts(definitions={"code": 900, "mixed": 250})).kind == "mixed"


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(UsageError, match="no sandbox; no tools"):
        AutoRouter().choose(facts(definitions={}, excluded={"code": "no sandbox", "json": "no tools"}))


@pytest.mark.parametrize("kind", ["json", "code", "mixed"])
def test_a_thread_keeps_its_surface(kind: SurfaceKind) -> None:
    for turns in range(1, 5):
        assert AutoRouter().choose(facts(thread(kind, turns=turns), SMALL)).kind == kind


def test_a_surface_that_cannot_be_shown_any_more_is_not_kept() -> None:
    left: dict[SurfaceKind, int] = {"json": 2_300}
    assert AutoRouter().choose(facts(thread("code"), left, excluded={"code": "gone", "mixed": "gone"})).kind == "json"


def test_calls_of_messages_without_a_record_do_not_count_as_shown() -> None:
    assert AutoRouter().choose(facts(thread(None, turns=3))).kind == "code"


def many_rounds(turns: int) -> list[Message]:
    """Return a thread whose turns make many calls, one after the other."""
    return thread("json", turns=turns, rounds=12)


def test_a_thread_that_would_have_paid_for_the_switch_is_switched() -> None:
    assert AutoRouter().choose(facts(thread("json", turns=1, rounds=2), SMALL)).kind == "json"
    chosen = AutoRouter().choose(facts(many_rounds(4), SMALL))
    assert chosen.kind == "mixed"
    assert "as many turns again would cost" in chosen.reason
    assert "the lost cache included" in chosen.reason
    assert AutoRouter().choose(facts(many_rounds(4), {**SMALL, "mixed": 5_000})).kind == "code"


def test_a_switch_is_not_for_turns_of_one_call() -> None:
    assert AutoRouter().choose(facts(thread("json", turns=40), SMALL)).kind == "json"


def test_a_switch_comes_once() -> None:
    before = many_rounds(4)
    after = [*before, *turn("mixed")[1:], Message(role="user", text="On.")]
    for _ in range(4):
        assert AutoRouter().choose(facts(after, {**SMALL, "code": 20})).kind == "mixed"
        after += [*turn("mixed", rounds=12)[1:], Message(role="user", text="On.")]
    back = [*turn("code"), *many_rounds(6)]  # a user toggled
    assert AutoRouter().choose(facts(back, SMALL)).kind == "json"


def test_nothing_is_switched_within_a_turn() -> None:
    asked = many_rounds(4)
    assert AutoRouter().choose(facts(asked, SMALL)).kind == "mixed"
    for end in range(1, 26):
        within = [*asked, *turn("json", rounds=12)[1 : end + 1]]
        assert AutoRouter().choose(facts(within, SMALL)).kind == "json"
    late = [*asked, Message(role="system", text="Hurry.")]
    assert AutoRouter().choose(facts(late, SMALL)).kind == "mixed"


def test_what_a_program_called_is_not_known_so_plain_tools_are_no_choice_then() -> None:
    mixed = thread("mixed", turns=5, rounds=3, name="execute_code")
    assert AutoRouter().choose(facts(mixed, {"json": 10, "mixed": 2_450})).kind == "mixed"
    assert AutoRouter().choose(facts(thread("mixed", turns=9), {"json": 10, "mixed": 9_000})).kind == "json"


def test_equal_facts_have_equal_answers_whatever_the_router_saw_before() -> None:
    router = AutoRouter()
    given = [facts(many_rounds(turns), sizes) for turns in (1, 4, 8) for sizes in (SMALL, LARGE)]
    fresh = [AutoRouter().choose(one) for one in given]
    assert [router.choose(one) for one in reversed(given)] == fresh[::-1]
    assert [router.choose(one) for one in given] == fresh


def test_a_program_on_the_json_surface_leaves_nothing_to_weigh() -> None:
    called = (ModelCall(id="1", name="execute_code", arguments="{}"),)
    messages = [Message(role="assistant", surface="json", calls=called), Message(role="user")]
    assert AutoRouter().choose(facts(messages, {"json": 10, "code": 5})).kind == "json"


KINDS = st.sampled_from(["json", "code", "mixed"])
CALLS = st.builds(ModelCall, id=st.just("1"), name=st.sampled_from(["f", "execute_code"]), arguments=st.just("{}"))
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    text=st.sampled_from(["", "a", "word " * 900]),
    calls=st.lists(CALLS, max_size=3).map(tuple),
    surface=st.none() | KINDS,
)
SIZES = st.dictionaries(KINDS, st.integers(0, 9_000), min_size=1)


@given(messages=st.lists(MESSAGES, max_size=12), definitions=SIZES)
@settings(max_examples=200, deadline=None)
def test_whatever_the_messages_are_one_of_the_surfaces_is_chosen(messages: Any, definitions: Any) -> None:
    asked = facts(messages, definitions)
    chosen = AutoRouter().choose(asked)
    assert chosen.kind in definitions
    assert chosen.reason.startswith(f"{chosen.kind}: ")
    assert AutoRouter().choose(asked) == chosen


TURNS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3), st.sampled_from([2, 60, 900])), max_size=9)


@given(turns=TURNS, sizes=st.tuples(st.integers(0, 900), st.integers(150, 900)))
@settings(max_examples=60, deadline=None)
def test_a_thread_that_follows_its_router_changes_at_most_once(turns: Any, sizes: Any) -> None:
    definitions: Any = {"json": sizes[0], "code": sizes[1], "mixed": sizes[0] + 150}
    said, shown = list[Message](), list[str]()
    for rounds, calls, returned in turns:
        kind = AutoRouter().choose(facts([*said, Message(role="user", text="Do it.")], definitions)).kind
        said += turn(kind, rounds=rounds, calls=calls, returned=returned)
        shown.append(kind)
    assert sum(before != after for before, after in itertools.pairwise(shown)) <= 1


def test_a_choice_reads_each_message_once() -> None:
    class Noting(ApproximateTokens):
        chars = 0

        def count(self, text: str) -> int:
            self.chars += len(text)
            return super().count(text)

    for turns in (10, 1_000):
        counter = Noting()
        said = thread("json", turns=turns, rounds=2, returned=100)
        AutoRouter(counter).choose(facts(said, SMALL))
        whole = sum(len(one.text) + sum(len(call.name + call.arguments) for call in one.calls) for one in said)
        assert counter.chars == whole


def test_a_long_thread_is_decided_at_once() -> None:
    given = facts(thread("json", turns=10_000), SMALL)
    began = time.perf_counter()
    AutoRouter().choose(given)
    assert time.perf_counter() - began < 5


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("router")


@pytest.mark.parametrize("name", ["BFCL multi-turn", "tau-bench retail", "small catalogues"])
def test_auto_costs_at_most_two_percent_more_than_the_cheapest_surface(name: str, bench: Any) -> None:
    if not (WORKLOADS / "bfcl_mt_traces.jsonl").is_file():
        pytest.skip(f"there is no workload data at {WORKLOADS}; set CALLGATE_WORKLOADS")
    one = bench.SETS[name]
    sample = one.load(WORKLOADS)[:: 20 if name == "BFCL multi-turn" else 12]
    for manner in bench.MANNERS:
        replay = bench.Replay(ApproximateTokens(), ApproximateTokens())
        found = bench.compare(name, sample, manner, replay, AutoRouter())
        assert found.regret <= one.most_regret
        assert max(found.regret_by_turn) <= one.most_regret
        if name == "small catalogues":
            assert found.lead_of_json >= one.least_lead
        else:
            assert found.lead_of_json < 0
