"""Each rule of pausing, identity, replay and crashes has a life that goes wrong when the rule is taken out.

A row names a rule, takes it out of the small function that keeps it, and has a life that holds with it and not
without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import simulated
import test_gate
from simulated import Killed, Life, call, drop, end, rest, tool_of
from test_gate import parallel, sequence, world

from callgate import clock, gate, recording
from callgate.clock import ProgramClock
from callgate.errors import ReplayDivergence, ToolFailed
from callgate.gate import Gate
from callgate.outbox import Outbox
from callgate.policy import Policy
from callgate.questions import Questions
from callgate.recording import Record, Recording, Resumed
from callgate.steps import End, Pause

# ---- lives


def crashed(life: Life, guest: Any, lines: int) -> None:
    with pytest.raises(Killed):
        life.go(guest, kill_after=lines)


def an_unknown_write_waits_for_a_human() -> None:
    life = Life(world())
    crashed(life, sequence(("put", {"x": 1})), 2)
    assert isinstance(life.go(sequence(("put", {"x": 1}))), Pause)
    assert life.world.done == []


def run_again_is_for_one_attempt() -> None:
    test_gate.test_run_again_holds_for_one_attempt_only()


def a_write_starts_when_that_is_durable() -> None:
    life = Life(world())
    crashed(life, sequence(("put", {"x": 1})), 2)
    assert life.passes[0]._running == [], "the tool ran before its line was durable"


def an_answer_leaves_when_it_is_durable() -> None:
    life = Life(world())
    crashed(life, sequence(("put", {"x": 1})), 3)
    assert life.passes[0]._event is None, "the guest was answered before that was durable"


def a_failure_is_an_outcome() -> None:
    tries: list[int] = []

    def answer(**arguments: Any) -> None:
        tries.append(1)
        raise ToolFailed("declined")

    life = Life(world(tools=[tool_of("charge", "write", answer), tool_of("pay")], interrupt_on={"pay": True}))
    guest = sequence(("charge", {}), ("pay", {}))
    life.go(guest)
    life.decide({"a/2": "approve"})
    assert life.go(guest).status == "completed"
    assert len(tries) == 1


def answers_come_in_recorded_order() -> None:
    def guest() -> Any:
        first = yield [call(1, "get", x=1), call(2, "get", x=2), rest()]
        second = yield [rest()]
        event = yield [call(3, "put", x=[first["answer"], second["answer"]]), rest()]
        event = yield [call(4, "pay"), rest()]
        while event.get("answer") != 4:
            event = yield [rest()]
        yield [end("over")]

    life = Life(world(interrupt_on={"pay": True}, latency=lambda call: 1.0 if call.arguments == {"x": 1} else 0.1))
    life.go(guest)
    life.decide({"a/4": "approve"})
    assert life.go(guest).status == "completed"


def timers_that_were_due_come_before_an_answer() -> None:
    def guest() -> Any:
        event = yield [call(1, "get"), rest(0.5)]
        late = "clock" in event
        while "answer" not in event:
            event = yield [rest()]
        event = yield [call(2, "put", late=late), rest()]
        event = yield [call(3, "pay"), rest()]
        while event.get("answer") != 3:
            event = yield [rest()]
        yield [end(late)]

    life = Life(world(interrupt_on={"pay": True}, latency=lambda call: 1.0))
    life.go(guest)
    life.decide({"a/3": "approve"})
    assert life.go(guest).value == "true"


def a_write_that_was_started_is_asked_for_before_a_quicker_read_answers() -> None:
    def guest() -> Any:
        event = yield [call(1, "get"), rest(0.1)]
        event = yield [call(2, "put", quick="answer" in event), rest()]
        while event.get("answer") != 2:
            event = yield [rest()]
        yield [end("over")]

    latencies = iter([5.0, 1.0, 0.001, 1.0, 1.0, 1.0])
    life = Life(world(latency=lambda call: next(latencies)))
    crashed(life, guest, 2)
    last = life.go(guest)
    while isinstance(last, Pause):
        life.decide({one.id: "run again" for one in last.waiting})
        last = life.go(guest)
    assert last.status == "completed"


def nothing_executes_before_a_divergence() -> None:
    life = Life(world(interrupt_on={"pay": True}))
    life.go(sequence(("put", {"x": 1}), ("pay", {})))
    before = (list(life.world.done), list(life.lines))
    with pytest.raises(ReplayDivergence):
        life.go(parallel(("put", {"x": 7}), ("put", {"x": 1})))
    assert (life.world.done, life.lines) == before


def a_recorded_write_has_to_be_asked_for_again() -> None:
    life = Life(world(interrupt_on={"pay": True}))
    life.go(sequence(("put", {"x": 1}), ("pay", {})))
    with pytest.raises(ReplayDivergence):
        life.go(sequence(("get", {"x": 1})))


def reads_may_differ() -> None:
    test_gate.test_reads_may_differ_with_a_warning([("get", {"x": 7}), ("pay", {})])


def a_label_never_moves_to_another_call() -> None:
    """The second pass asks in another order; the human sees one call and must not have approved the other."""
    life = Life(world(interrupt_on={"pay": True}))
    life.go(parallel(("pay", {"x": 1}), ("pay", {"x": 2})))
    swapped = parallel(("pay", {"x": 2}), ("pay", {"x": 1}))
    paused = life.go(swapped)
    (seen,) = [one for one in paused.waiting if one.arguments == {"x": 2}]
    life.decide({seen.id: "approve"})
    life.go(swapped)
    assert life.world.done == [("pay", {"x": 2})]


def an_approval_is_for_the_tool_that_was_shown() -> None:
    test_gate.test_an_approval_holds_only_for_the_tool_that_was_shown()


def a_rejected_call_stays_rejected() -> None:
    life = Life(world(interrupt_on={"pay": True}))
    guest = sequence(("pay", {"x": 1}), ("pay", {"x": 1}))
    life.go(guest)
    life.decide({"a/1": "reject"})
    assert isinstance(life.go(guest), End)


def equal_calls_are_two_calls() -> None:
    numbers = iter(range(9))
    tools = [tool_of("ticket", "write", lambda: next(numbers)), tool_of("pay", "write", lambda: "paid")]
    life = Life(world(tools=tools, interrupt_on={"pay": True}))
    guest = sequence(("ticket", {}), ("ticket", {}), ("pay", {}))
    life.go(guest)
    life.decide({"a/3": "approve"})
    last = life.go(guest)
    assert isinstance(last, End)
    assert last.value == '[0,1,"paid"]'


def the_clock_stands_still_while_a_human_is_asked() -> None:
    """Another call runs for so long that the timeout around the question would go off."""

    def guest() -> Any:
        event = yield [call(1, "pay"), call(2, "get"), rest(4.0)]
        assert "clock" not in event, "the timeout fired while a human thought"
        while event.get("answer") != 1:
            event = yield [rest(4.0)]
            assert "wall" in event or "clock" not in event or event["clock"] < 4.0
        yield [end("in time")]

    life = Life(world(interrupt_on={"pay": True}, latency=lambda call: 3.0 if call.tool == "pay" else 10.0))
    assert isinstance(life.go(guest), Pause)


def a_program_that_polls_does_not_keep_its_question_from_a_human() -> None:
    def guest() -> Any:
        event = yield [call(1, "pay"), call(2, "get"), rest()]
        for n in range(3, 200):
            assert "answer" in event
            event = yield [call(n, "get"), rest()]
        yield [end("gave up")]

    life = Life(world(interrupt_on={"pay": True}))
    assert isinstance(life.go(guest), Pause)
    assert len(life.world.done) < 50


def a_short_read_in_front_of_a_second_question_still_runs() -> None:
    def guest() -> Any:
        event = yield [call(1, "pay", x=1), call(2, "get"), rest()]
        assert event["answer"] == 2
        event = yield [call(3, "get", x=3), rest()]
        assert event["answer"] == 3
        event = yield [call(4, "pay", x=4), rest()]
        yield [end("over")]

    life = Life(world(interrupt_on={"pay": True}))
    assert [one.arguments["x"] for one in life.go(guest).waiting] == [1, 4]


def what_the_program_gave_up_on_is_asked_no_more() -> None:
    def guest() -> Any:
        event = yield [call(1, "pay"), call(2, "get"), rest()]
        assert event["answer"] == 2
        event = yield [drop(1), call(3, "put", x=1), rest()]
        assert event["answer"] == 3
        yield [end("over")]

    assert isinstance(Life(world(interrupt_on={"pay": True})).go(guest), End)


def what_was_started_is_asked_although_the_program_gave_up_on_it() -> None:
    def guest() -> Any:
        yield [call(1, "put", x=1), rest(0.5)]
        yield [drop(1), end("gave up")]

    life = Life(world(latency=lambda call: 9.0))
    crashed(life, guest, 2)
    last = life.go(guest)
    assert isinstance(last, Pause)
    assert [one.unknown for one in last.waiting] == [True]


def approvals_lapse_when_the_program_has_ended() -> None:
    def guest() -> Any:
        yield [call(1, "pay"), end("over")]

    assert isinstance(Life(world(interrupt_on={"pay": True})).go(guest), End)


def what_was_asked_for_before_the_end_is_carried_out() -> None:
    def guest() -> Any:
        event = yield [call(1, "pay"), call(2, "get"), rest()]
        assert event["answer"] == 2  # after the window in which calls start beside a question
        yield [call(3, "put", x=1), end("over")]

    life = Life(world(interrupt_on={"pay": True}, latency=lambda call: 1.0))
    assert isinstance(life.go(guest), End)
    assert ("put", {"x": 1}) in life.world.done


def an_end_without_a_recorded_write_is_a_divergence() -> None:
    test_gate.test_a_program_that_ends_without_a_recorded_write_diverges()


def a_resumption_is_handed_over_again() -> None:
    """A program writes what time it is after a resumption; the next pass has to see the same."""

    def guest() -> Any:
        event = yield [call(1, "get"), rest()]
        while "wall" not in event:
            event = yield [rest()]
        event = yield [call(2, "put", wall=event["wall"]), rest()]
        while event.get("answer") != 2:
            event = yield [rest()]
        event = yield [call(3, "pay"), rest()]
        while event.get("answer") != 3:
            event = yield [rest()]
        yield [end("over")]

    life = Life(world(interrupt_on={"pay": True}))
    crashed(life, guest, 2)  # the read is done, nothing else
    assert isinstance(life.go(guest), Pause)
    life.decide({"a/3": "approve"})
    assert life.go(guest).status == "completed"


def the_clock_goes_on_from_where_it_was() -> None:
    test_gate.test_the_clock_continues_and_wall_time_moves_on_after_a_resume()


def no_action_ends_while_a_write_is_unknown() -> None:
    test_gate.test_an_action_with_an_unknown_outcome_never_just_fails()


# ---- rules taken out

Patch = Callable[[pytest.MonkeyPatch], None]


def function(owner: Any, name: str, new: Callable[..., Any]) -> Patch:
    """Put new in the place of a function; it is given the function first."""

    def take_out(patch: pytest.MonkeyPatch) -> None:
        old = getattr(owner, name)
        patch.setattr(owner, name, lambda *given, **named: new(old, *given, **named))

    return take_out


def value(owner: Any, name: str, new: Any) -> Patch:
    return lambda patch: patch.setattr(owner, name, new)


def run_unasked(judge: Any, policy: Policy, one: Any, decision: Any, **known: Any) -> Any:
    return "run" if one.unknown and decision is None else judge(policy, one, decision, **known)


class Sticky(dict[Any, Any]):
    """Decisions that are not used up."""

    def pop(self, key: Any, default: Any = None) -> Any:
        return self.get(key, default)


def keep_decisions(init: Any, self: Recording, *given: Any, **named: Any) -> None:
    init(self, *given, **named)
    self.decisions = Sticky()


def write_and_go_on(
    record: Any, self: Outbox, kind: str, one: Any, at: float, parts: str = "", then: Any = None
) -> None:
    record(self, kind, one, at, parts)
    if then is not None:
        then()


def forget_failures(read: Any, found: Recording, entry: Any, kept: Any) -> Record:
    if entry["e"] == "done" and "error" in entry:
        return found.records[entry["tool"], entry["key"], entry["n"]]
    return read(found, entry, kept)


def newest_first(read: Any, *given: Any) -> Recording:
    found = read(*given)
    found.order = type(found.order)(reversed(found.order))
    return found


def without_resumptions(read: Any, *given: Any) -> Recording:
    found = read(*given)
    found.order = type(found.order)(one for one in found.order if not isinstance(one, Resumed))
    return found


def answers_first(event: Any, self: Recording, until: float | None) -> Any:
    return event(self, None if self.order else until)


def without_the_time_of_starts(read: Any, entry: Any, *given: Any) -> None:
    read({**entry, "at": 0.0} if entry["e"] == "started" else entry, *given)


def start_in_replay(settle: Any, self: Gate) -> Any:
    self._start_held()
    return settle(self)


def name_by_position() -> Callable[..., str]:
    asked: Counter[int] = Counter()

    def name(_: Any, self: Recording, action: str, key: Any) -> str:
        asked[id(self)] += 1
        return f"{action}/{asked[id(self)]}"

    return name


def window_without_freezing(_: Any, self: ProgramClock) -> None:
    if self._window_end is None:
        self._window_end = self.now + clock.WINDOW


def drop_what_was_started(on_drop: Any, self: Gate, n: int) -> None:
    self.calls[n - 1].unknown = False
    on_drop(self, n)


RULES: dict[str, tuple[Patch, Callable[[], None]]] = {
    "a write of unknown outcome is never run unasked": (
        function(Policy, "judge", run_unasked),
        an_unknown_write_waits_for_a_human,
    ),
    "a decision is used up by the start it causes": (
        function(Recording, "__init__", keep_decisions),
        run_again_is_for_one_attempt,
    ),
    "a start is durable before the tool is invoked": (
        function(Outbox, "record_call", write_and_go_on),
        a_write_starts_when_that_is_durable,
    ),
    "a result is durable before the guest is answered": (
        function(Outbox, "record_call", write_and_go_on),
        an_answer_leaves_when_it_is_durable,
    ),
    "failures are recorded and replayed": (
        function(recording, "_called", forget_failures),
        a_failure_is_an_outcome,
    ),
    "no action ends while it is unknown whether a write happened": (
        function(Recording, "unresolved", lambda *_: False),
        no_action_ends_while_a_write_is_unknown,
    ),
    "equal calls are told apart by occurrence": (
        function(gate, "asked_for", lambda asked_for, frame, seen, name: asked_for(frame, Counter(), name)),
        equal_calls_are_two_calls,
    ),
    "a label never moves to another call": (
        function(Recording, "name", name_by_position()),
        a_label_never_moves_to_another_call,
    ),
    "recorded answers come in recorded order": (
        function(simulated, "read_recording", newest_first),
        answers_come_in_recorded_order,
    ),
    "timers that were due come before an answer": (
        function(Recording, "next_event", answers_first),
        timers_that_were_due_come_before_an_answer,
    ),
    "a start has its time, and timers up to it go first": (
        function(recording, "_read", without_the_time_of_starts),
        a_write_that_was_started_is_asked_for_before_a_quicker_read_answers,
    ),
    "nothing executes until replay is complete": (
        function(Gate, "_settle", start_in_replay),
        nothing_executes_before_a_divergence,
    ),
    "a recorded write has to be asked for again": (
        function(Recording, "missing", lambda *_: []),
        a_recorded_write_has_to_be_asked_for_again,
    ),
    "a program may not end without a recorded write": (
        function(Recording, "missing", lambda *_: []),
        an_end_without_a_recorded_write_is_a_divergence,
    ),
    "writes bind": (value(Record, "binds", property(lambda self: False)), a_recorded_write_has_to_be_asked_for_again),
    "reads do not bind": (value(Record, "binds", property(lambda self: True)), reads_may_differ),
    "a resumption is an event of the replay": (
        function(simulated, "read_recording", without_resumptions),
        a_resumption_is_handed_over_again,
    ),
    "the clock continues from the last time": (
        function(ProgramClock, "go_on_from", lambda go_on, self, at: go_on(self, 0.0)),
        the_clock_goes_on_from_where_it_was,
    ),
    "the clock stands still while a human is asked": (
        function(ProgramClock, "freeze", window_without_freezing),
        the_clock_stands_still_while_a_human_is_asked,
    ),
    "new calls start for a short window beside a question": (
        value(clock, "WINDOW", 0.0),
        a_short_read_in_front_of_a_second_question_still_runs,
    ),
    "after it none does": (
        value(ProgramClock, "closed", property(lambda self: False)),
        a_program_that_polls_does_not_keep_its_question_from_a_human,
    ),
    "an approval holds for the tool that was shown": (
        function(Policy, "shown", lambda *_: "any"),
        an_approval_is_for_the_tool_that_was_shown,
    ),
    "a rejected call stays rejected": (
        function(Policy, "_refuse_question", lambda refuse, self, one, rejected, asked: refuse(self, one, (), asked)),
        a_rejected_call_stays_rejected,
    ),
    "a call that the program gave up on withdraws its question": (
        function(Questions, "withdraw", lambda *_: None),
        what_the_program_gave_up_on_is_asked_no_more,
    ),
    "what was started is asked about all the same": (
        function(Gate, "_on_drop", drop_what_was_started),
        what_was_started_is_asked_although_the_program_gave_up_on_it,
    ),
    "approvals lapse when the program has ended": (
        function(Questions, "lapse", lambda *_: None),
        approvals_lapse_when_the_program_has_ended,
    ),
    "calls asked for before the end are carried out": (
        function(ProgramClock, "reopen", lambda *_: None),
        what_was_asked_for_before_the_end_is_carried_out,
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_life_goes_wrong_without_the_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out, life = RULES[rule]
    life()
    take_out(monkeypatch)
    with pytest.raises((AssertionError, ReplayDivergence, pytest.fail.Exception)):
        life()
