"""The gate's rules, in simulated time, without a sandbox."""

from __future__ import annotations

import json

import pytest
from simulated import Killed, Life, World, call, drop, end, out, rest, tool_of

from callgate.codec import encode
from callgate.errors import ReplayDivergence, ToolFailed
from callgate.limits import Limits
from callgate.steps import End, Pause


def fail(**arguments):
    raise ToolFailed("no luck")


TOOLS = [tool_of("get", "read"), tool_of("put"), tool_of("pay"), tool_of("fail", "read", fail)]


def world(**options):
    return World(tools=options.pop("tools", TOOLS), **options)


def sequence(*calls):
    """A guest that makes calls one after the other and ends with the list of answers."""

    def guest():
        answers = []
        for n, (tool, args) in enumerate(calls, 1):
            event = yield [call(n, tool, **args), rest()]
            while "clock" in event:
                event = yield [rest()]
            assert event["answer"] == n
            answers.append(event.get("value", event.get("error", {}).get("type")))
        yield [end(answers)]

    return guest


def parallel(*calls):
    """A guest that makes all calls at once and ends when each is answered."""

    def guest():
        answers = {}
        event = yield [*(call(n, tool, **args) for n, (tool, args) in enumerate(calls, 1)), rest()]
        while True:
            if "answer" in event:
                answers[event["answer"]] = event.get("value", event.get("error", {}).get("type"))
            if len(answers) == len(calls):
                break
            event = yield [rest()]
        yield [end([answers[n] for n in sorted(answers)])]

    return guest


def test_a_call_is_answered_with_the_tools_value():
    life = Life(world())
    last = life.go(sequence(("get", {"x": 1})))
    assert isinstance(last, End)
    assert (last.status, last.value) == ("completed", '[{"tool":"get","x":1}]')


def test_a_write_is_started_durably_before_it_runs_and_done_before_it_is_answered():
    life = Life(world())
    for lines in range(2, 5):
        one = Life(life.world)
        life.world.done.clear()
        with pytest.raises(Killed):
            one.go(sequence(("put", {"x": 1})), kill_after=lines)
        assert [entry["e"] for entry in one.entries()] == ["started", "done", "ended"][: lines - 1]
        assert len(life.world.done) == (0 if lines == 2 else 1)
        assert not one.passes[0].events or lines == 4


def test_a_read_leaves_only_its_result():
    life = Life(world())
    life.go(sequence(("get", {"x": 1})))
    assert [entry["e"] for entry in life.entries()] == ["done", "ended"]


def test_equal_calls_are_told_apart_by_occurrence():
    life = Life(world())
    life.go(sequence(("get", {"x": 1}), ("get", {"x": 1}), ("get", {"x": 2})))
    assert [entry["n"] for entry in life.entries("done")] == [0, 1, 0]


@pytest.mark.parametrize(
    ("tool", "args", "error"),
    [
        pytest.param("gett", {}, "UnknownTool", id="unknown tool"),
        pytest.param("secret", {}, "NotAllowed", id="direct only"),
        pytest.param("strict", {"y": 1}, "InvalidArguments", id="unknown argument"),
        pytest.param("strict", {}, "InvalidArguments", id="missing argument"),
        pytest.param("strict", {"x": float("nan")}, "InvalidArguments", id="not JSON"),
    ],
)
def test_a_refusal_is_journalled_and_told_to_the_program(tool, args, error):
    strict = {"type": "object", "properties": {"x": {}}, "required": ["x"], "additionalProperties": False}
    tools = [*TOOLS, tool_of("secret", callers=frozenset(["direct"])), tool_of("strict", schema=strict)]
    life = Life(world(tools=tools))
    last = life.go(sequence((tool, args)))
    assert last.value == f'["{error}"]'
    assert life.entries("done")[0]["error"]["type"] == error
    assert life.world.done == []


def test_a_failing_tool_is_an_exception_of_the_program():
    life = Life(world())
    assert life.go(sequence(("fail", {}))).value == '["ToolFailed"]'


def test_answers_arrive_in_order_of_completion():
    life = Life(world(latency=lambda call: call.arguments["t"]))
    life.go(parallel(("get", {"t": 0.3}), ("get", {"t": 0.1}), ("get", {"t": 0.2})))
    assert [event["answer"] for event in life.passes[0].events] == [2, 3, 1]


def test_a_timer_fires_before_an_answer_that_comes_later():
    def guest():
        event = yield [call(1, "get", t=1.0), rest(0.5)]
        assert event["clock"] == 0.5
        event = yield [rest()]
        yield [end(event["at"])]

    life = Life(world(latency=lambda call: call.arguments["t"]))
    assert float(life.go(guest).value) == pytest.approx(1.0)


def test_a_deadlock_ends_at_once_as_failed():
    def guest():
        yield [rest()]

    last = Life(world()).go(guest)
    assert (last.status, last.error["type"]) == ("failed", "Deadlock")


def test_calls_beyond_the_limit_are_refused_and_a_program_that_goes_on_is_ended():
    life = Life(world(limits=Limits(calls=2)))
    last = life.go(sequence(*[("get", {"x": n}) for n in range(100)]))
    assert (last.status, last.limit) == ("limited", "calls")
    assert len(life.world.done) == 2


def test_an_uncaught_limit_makes_the_outcome_limited():
    def guest():
        yield [end(error={"type": "LimitExceeded", "text": "used up", "limit": "calls"})]

    assert Life(world()).go(guest).status == "limited"


@pytest.mark.parametrize(("kind", "limit"), [("MemoryError", "memory_mb"), ("OSError", "disk_mb"), ("OSError", None)])
def test_an_error_of_the_program_is_failed_unless_a_limit_caused_it(kind, limit):
    def guest():
        yield [end(error={"type": kind, "text": "", "limit": limit})]

    last = Life(world()).go(guest)
    assert (last.status, last.limit) == ("limited" if limit else "failed", limit)


def test_time_inside_a_tool_counts():
    last = Life(world(limits=Limits(seconds=5), latency=lambda call: 60)).go(sequence(("put", {})))
    assert (last.status, last.limit) == ("limited", "seconds")


def test_at_most_parallel_calls_run_together():
    running, most = [], []

    def latency(call):
        running.append(call)
        most.append(len(running) - len(life.world.done))
        return 1

    life = Life(world(limits=Limits(parallel_calls=3), latency=latency))
    life.go(parallel(*[("get", {"x": n}) for n in range(10)]))
    assert max(most) == 3
    assert len(life.world.done) == 10


def test_output_beyond_the_limit_is_counted_and_dropped():
    def guest():
        yield [out("x" * 3000), end(printed=3000)]

    life = Life(world(limits=Limits(output_kb=1)))
    last = life.go(guest)
    assert ("".join(life.passes[0].gate.product.output), last.printed) == ("x" * 1024, 3000)


def test_a_result_above_the_frame_limit_is_an_exception_and_the_action_goes_on():
    tools = [tool_of("big", "read", lambda: "x" * (2 << 20))]
    life = Life(world(tools=tools, limits=Limits(frame_mb=1)))
    assert life.go(sequence(("big", {}))).value == '["LimitExceeded"]'


def test_a_large_result_is_kept_once_beside_the_journal():
    tools = [tool_of("big", "read", lambda: "x" * 300_000)]
    life = Life(world(tools=tools))
    life.go(sequence(("big", {}), ("big", {})))
    assert "value" not in life.entries("done")[0]
    assert life.entries("done")[0]["kept"] == life.entries("done")[1]["kept"]


def test_calls_asked_for_before_the_end_are_carried_out():
    def guest():
        yield [call(1, "put", x=1), end("early")]

    life = Life(world(latency=lambda call: 3))
    assert life.go(guest).value == '"early"'
    assert life.world.done == [("put", {"x": 1})]


def test_a_forged_call_number_ends_the_action():
    def guest():
        yield [call(7, "get"), rest()]

    assert Life(world()).go(guest).error["type"] == "ProtocolError"


# ---- pauses


def test_a_gated_call_pauses_and_runs_once_approved():
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("put", {"x": 1}), ("pay", {"y": 2}), ("put", {"x": 3}))
    paused = life.go(guest)
    assert isinstance(paused, Pause)
    assert [(one.id, one.arguments) for one in paused.waiting] == [("a/2", {"y": 2})]
    assert life.world.done == [("put", {"x": 1})]
    life.decide({"a/2": "approve"})
    assert life.go(guest).status == "completed"
    assert life.world.done == [("put", {"x": 1}), ("pay", {"y": 2}), ("put", {"x": 3})]


@pytest.mark.parametrize(
    ("decision", "answer", "ran"),
    [
        ({"type": "edit", "edited_action": {"name": "pay", "args": {"y": 9}}}, {"tool": "pay", "y": 9}, {"y": 9}),
        ({"type": "reject", "message": "too much"}, "ApprovalRejected", None),
        ({"type": "respond", "message": "paid by hand"}, "paid by hand", None),
    ],
)
def test_decisions(decision, answer, ran):
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("pay", {"y": 2}))
    life.go(guest)
    life.decide({"a/1": decision})
    assert life.go(guest).value == encode([answer])
    assert life.world.done == ([("pay", ran)] if ran else [])


def test_all_waiting_calls_are_asked_in_one_pause():
    life = Life(world(interrupt_on={"pay": True}))
    paused = life.go(parallel(("pay", {"x": 1}), ("get", {}), ("pay", {"x": 2})))
    assert [one.arguments for one in paused.waiting] == [{"x": 1}, {"x": 2}]


def test_a_running_tool_finishes_before_the_pause():
    life = Life(world(interrupt_on={"pay": True}, latency=lambda call: 5))
    life.go(parallel(("put", {"x": 1}), ("pay", {"x": 2})))
    assert [entry["e"] for entry in life.entries()] == ["started", "done", "asked"]


def test_a_decision_reaches_its_call_and_no_other():
    life = Life(world(interrupt_on={"pay": True}))
    guest = parallel(("pay", {"x": 1}), ("pay", {"x": 2}))
    life.go(guest)
    life.decide({"a/2": {"type": "reject"}, "a/1": "approve"})
    assert life.go(guest).value == '[{"tool":"pay","x":1},"ApprovalRejected"]'


def test_a_call_left_undecided_waits_on():
    life = Life(world(interrupt_on={"pay": True}))
    guest = parallel(("pay", {"x": 1}), ("pay", {"x": 2}))
    life.go(guest)
    life.decide({"a/1": "approve"})
    paused = life.go(guest)
    assert [one.id for one in paused.waiting] == ["a/2"]
    life.decide({"a/2": "approve"})
    assert life.go(guest).status == "completed"
    assert sorted(arguments["x"] for _, arguments in life.world.done) == [1, 2]


def test_a_rejected_call_stays_rejected_for_the_action():
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("pay", {"x": 1}), ("pay", {"x": 1}), ("pay", {"x": 1}))
    life.go(guest)
    life.decide({"a/1": "reject"})
    assert life.go(guest).value == '["ApprovalRejected","ApprovalRejected","ApprovalRejected"]'


def test_the_programs_clock_stands_still_while_a_human_is_asked():
    def guest():
        event = yield [call(1, "pay"), rest(4.0)]
        assert "clock" not in event or event["clock"] < 4.0, "the timeout fired while a human thought"
        while "answer" not in event:
            event = yield [rest(4.0)]
        yield [end(event["at"])]

    life = Life(world(interrupt_on={"pay": True}))
    assert isinstance(life.go(guest), Pause)
    life.decide({"a/1": "approve"})
    assert float(life.go(guest).value) < 1


def test_a_call_the_program_gave_up_on_withdraws_its_question():
    def guest():
        event = yield [call(1, "pay"), call(2, "get"), rest()]
        assert event["answer"] == 2
        yield [drop(1), end("done")]

    last = Life(world(interrupt_on={"pay": True})).go(guest)
    assert (last.status, last.value) == ("completed", '"done"')


def test_no_more_than_pending_approvals_wait():
    life = Life(world(interrupt_on={"pay": True}, limits=Limits(pending_approvals=2)))
    paused = life.go(parallel(*[("pay", {"x": n}) for n in range(5)]))
    assert len(paused.waiting) == 2
    assert [entry["error"]["limit"] for entry in life.entries("done")] == ["pending_approvals"] * 3


def test_when_decides_per_call_and_fails_closed():
    def when(call):
        return call.arguments["amount"] > 10

    life = Life(world(interrupt_on={"pay": {"when": when}}))
    paused = life.go(sequence(("pay", {"amount": 5}), ("pay", {"amount": 50})))
    assert [one.arguments for one in paused.waiting] == [{"amount": 50}]
    broken = Life(world(interrupt_on={"pay": {"when": lambda call: 1 / 0}}))
    assert isinstance(broken.go(sequence(("pay", {}))), Pause)


def test_an_approval_holds_only_for_the_tool_that_was_shown():
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("pay", {"x": 1}))
    life.go(guest)
    life.decide({"a/1": "approve"})
    changed = {"type": "object", "properties": {"x": {"description": "now in dollars"}}}
    life.world.tools = [tool_of("pay", schema=changed)]
    assert isinstance(life.go(guest), Pause)
    assert life.world.done == []


# ---- replay and crashes


def test_a_write_of_unknown_outcome_is_never_repeated_and_a_human_is_asked():
    life = Life(world())
    guest = sequence(("put", {"x": 1}), ("put", {"x": 2}))
    with pytest.raises(Killed):
        life.go(guest, kill_after=2)
    paused = life.go(guest)
    assert [(one.id, one.unknown) for one in paused.waiting] == [("a/1", True)]
    assert life.world.done == []


@pytest.mark.parametrize(
    ("decision", "answer", "times"),
    [
        ({"type": "done", "value": {"paid": True}}, {"paid": True}, 0),
        ({"type": "failed", "message": "bounced"}, "ToolFailed", 0),
        ("run again", {"tool": "put", "x": 1}, 1),
    ],
)
def test_decisions_about_an_unknown_outcome(decision, answer, times):
    life = Life(world())
    guest = sequence(("put", {"x": 1}))
    with pytest.raises(Killed):
        life.go(guest, kill_after=2)
    life.go(guest)
    life.decide({"a/1": decision})
    assert life.go(guest).value == encode([answer])
    assert len(life.world.done) == times


def test_run_again_holds_for_one_attempt_only():
    life = Life(world())
    guest = sequence(("put", {"x": 1}))
    with pytest.raises(Killed):
        life.go(guest, kill_after=2)
    life.go(guest)
    life.decide({"a/1": "run again"})
    with pytest.raises(Killed):
        life.go(guest, kill_after=len(life.lines) + 2)  # resumed, started
    assert isinstance(life.go(guest), Pause)
    assert life.world.done == []


def test_reads_are_simply_called_again():
    life = Life(world())
    guest = sequence(("get", {"x": 1}), ("put", {"x": 2}))
    with pytest.raises(Killed):
        life.go(guest, kill_after=2)
    assert life.go(guest).status == "completed"


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_every_line_no_write_is_doubled_and_the_end_is_the_same(seed):
    guest = sequence(*[("put" if n % 3 else "get", {"x": n % (2 + seed % 3)}) for n in range(6)])
    plain = Life(world())
    expected = plain.go(guest).value
    for lines in range(2, len(plain.lines) + 1):
        life = Life(world())
        with pytest.raises(Killed):
            life.go(guest, kill_after=lines)
        if life.entries("ended"):
            continue
        last = life.go(guest)
        while isinstance(last, Pause):
            happened = len([1 for tool, _ in life.world.done if tool == "put"])
            recorded = len([1 for entry in life.entries("done") if entry["tool"] == "put"])
            waiting = last.waiting[0]
            value = {"tool": "put", **waiting.arguments}
            decision = {"type": "done", "value": value} if happened > recorded else "run again"
            life.decide({waiting.id: decision})
            last = life.go(guest)
        assert last.value == expected
        assert [done for done in life.world.done if done[0] == "put"] == [
            done for done in plain.world.done if done[0] == "put"
        ]


def test_a_recorded_write_that_is_not_asked_for_again_diverges_and_nothing_runs():
    life = Life(world(interrupt_on={"pay": True}))
    life.go(sequence(("put", {"x": 1}), ("pay", {})))
    life.decide({"a/2": "approve"})
    with pytest.raises(ReplayDivergence, match="put"):
        life.go(sequence(("put", {"x": 2}), ("pay", {})))
    assert life.world.done == [("put", {"x": 1})]


def test_a_program_that_ends_without_a_recorded_write_diverges():
    life = Life(world(interrupt_on={"pay": True}))
    life.go(sequence(("put", {"x": 1}), ("pay", {})))
    with pytest.raises(ReplayDivergence):
        life.go(sequence())


@pytest.mark.parametrize(
    "second",
    [
        pytest.param([("get", {"x": 1}), ("get", {"x": 9}), ("pay", {})], id="one more read"),
        pytest.param([("pay", {})], id="one read less"),
        pytest.param([("get", {"x": 7}), ("pay", {})], id="another read"),
    ],
)
def test_reads_may_differ_with_a_warning(second):
    life = Life(world(interrupt_on={"pay": True}))
    life.go(sequence(("get", {"x": 1}), ("pay", {})))
    waiting = life.entries("asked")[0]["call"]
    life.decide({waiting: "approve"})
    last = life.go(sequence(*second))
    assert last.status == "completed"
    assert [tool for tool, _ in life.world.done].count("pay") == 1


def test_an_executed_call_is_answered_from_the_record_whatever_policy_says_today():
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("put", {"x": 1}), ("pay", {}))
    life.go(guest)
    life.world.interrupt_on = {"pay": True, "put": True}
    life.decide({"a/2": "approve"})
    assert life.go(guest).status == "completed"


def test_the_clock_continues_and_wall_time_moves_on_after_a_resume():
    def guest():
        event = yield [rest(10.0)]
        event = yield [call(1, "pay"), rest()]
        walls = [event.get("wall")]
        while "answer" not in event:
            event = yield [rest()]
            walls.append(event.get("wall"))
        yield [end([event["at"], walls[0]])]

    life = Life(world(interrupt_on={"pay": True}))
    life.go(guest)
    life.decide({"a/1": "approve"})
    at, wall = json.loads(life.go(guest).value)
    assert 10 <= at < 11
    assert wall == pytest.approx(2_000_000.0 - at, abs=1)


@pytest.mark.parametrize("moment", [0.1234567, 0.1 + 0.02, 1 / 3])
def test_a_timer_that_led_to_a_write_goes_off_again_before_an_answer_of_the_same_moment(moment):
    def guest():
        event = yield [call(1, "get", t=moment), rest(moment)]
        first = "answer" in event
        event = yield [call(2, "pay" if first else "put", x=1), rest()]
        while event.get("answer") != 2:
            event = yield [rest()]
        yield [end(first)]

    world_ = world(latency=lambda call: call.arguments.get("t", 0.01))
    life = Life(world_)
    with pytest.raises(Killed):
        life.go(guest, kill_after=3)
    last = life.go(guest)
    while isinstance(last, Pause):
        life.decide({one.id: "run again" for one in last.waiting})
        last = life.go(guest)
    assert last.status == "completed"


def test_a_second_replay_hands_over_the_same_events_as_the_first():
    def guest():
        seen = []
        event = yield [call(1, "put", x=1), rest(0.5)]
        for n in range(2, 5):
            seen.append(event)
            event = yield [call(n, "pay", x=n), rest(n * 1.0)]
        seen.append(event)
        yield [end(seen)]

    life = Life(world(interrupt_on={"pay": True}))
    last = life.go(guest)
    for _ in range(6):
        if isinstance(last, End):
            break
        before = life.passes[-1].events
        life.decide({one.id: "approve" for one in last.waiting})
        last = life.go(guest)
        assert life.passes[-1].events[: len(before)] == before


def test_a_tool_that_returns_after_the_end_is_journalled_as_undelivered():
    life = Life(world(limits=Limits(seconds=1), latency=lambda call: 50))
    life.go(sequence(("put", {"x": 1})))
    one = life.passes[0]
    _, n, start = one._running[0]
    one.now = 50
    one._carry_out(one.gate.returned(n, one._execute(start), 50))
    assert life.entries()[-1]["undelivered"] is True


# ---- what a human said holds, whatever changed since


@pytest.mark.parametrize("rule", [{"pay": {"when": lambda call: False}}, {}], ids=["when turned false", "rule removed"])
@pytest.mark.parametrize(
    ("decision", "ran"),
    [
        ("reject", []),
        ({"type": "edit", "edited_action": {"name": "pay", "args": {"x": 99}}}, [("pay", {"x": 99})]),
    ],
    ids=["reject", "edit"],
)
def test_a_decision_holds_although_the_rule_changed(rule, decision, ran):
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("pay", {"x": 1}))
    life.go(guest)
    life.decide({"a/1": decision})
    life.world.interrupt_on = rule
    life.go(guest)
    assert life.world.done == ran


def test_a_call_that_was_asked_for_waits_although_the_rule_is_gone():
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("pay", {"x": 1}))
    life.go(guest)
    life.world.interrupt_on = {}
    assert isinstance(life.go(guest), Pause)
    assert life.world.done == []


def test_an_approval_of_another_schema_is_used_up_by_the_new_question():
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("pay", {"x": 1}))
    life.go(guest)
    life.decide({"a/1": "approve"})
    changed = {"type": "object", "properties": {"x": {"description": "now in dollars"}}}
    life.world.tools = [tool_of("pay", schema=changed)]
    assert isinstance(life.go(guest), Pause)
    assert isinstance(life.go(guest), Pause)
    assert life.world.done == []
    life.decide({"a/1": "reject"})
    assert life.go(guest).value == '["ApprovalRejected"]'


def test_looking_at_an_unknown_outcome_again_asks_no_second_question():
    life = Life(world())
    guest = sequence(("put", {"x": 1}))
    with pytest.raises(Killed):
        life.go(guest, kill_after=2)
    for _ in range(3):
        assert isinstance(life.go(guest), Pause)
    assert len(life.entries("asked")) == 1


def test_an_unknown_outcome_may_be_told_before_anybody_looked():
    life = Life(world())
    guest = sequence(("put", {"x": 1}))
    with pytest.raises(Killed):
        life.go(guest, kill_after=2)
    life.decide({"a/1": {"type": "done", "value": 7}})
    assert life.go(guest).value == "[7]"


def test_an_action_with_an_unknown_outcome_never_just_fails():
    def broken():
        yield [call(1, "put", x=1), call(5, "put", x=2)]

    life = Life(world())
    with pytest.raises(Killed):
        life.go(sequence(("put", {"x": 1})), kill_after=2)
    assert life.go(broken).status == "lost"
    assert not life.entries("ended")
    assert isinstance(life.go(sequence(("put", {"x": 1}))), Pause)


def test_a_result_by_decision_keeps_the_frame_limit():
    life = Life(world(interrupt_on={"pay": True}, limits=Limits(frame_mb=1)))
    guest = sequence(("pay", {}))
    life.go(guest)
    life.decide({"a/1": {"type": "respond", "message": "x" * (2 << 20)}})
    assert life.go(guest).value == '["LimitExceeded"]'


def test_time_with_a_question_that_was_withdrawn_does_not_count():
    def guest():
        event = yield [call(1, "pay"), call(2, "get"), rest()]
        assert event["answer"] == 2
        event = yield [drop(1), rest(4.0)]
        yield [end("done")]

    life = Life(world(interrupt_on={"pay": True}, limits=Limits(seconds=6), latency=lambda call: 5))
    assert life.go(guest).status == "completed"
