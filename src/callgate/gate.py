"""The gate: the only way from a program to a tool.

A state machine without I/O. A driver feeds it what the guest sends, what tools return, what became durable and what
time it is, and carries out the steps it answers with. Rules about one call stand in `policy`, what a journal says in
`recording`; the rules about order, time and durability stand here. A test can exercise all of them without a sandbox, a
framework or a clock.

Times given to the gate are seconds since the pass began. The program's clock is that time without the pauses: it
stands still from the first question to a human.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from callgate.calls import CallState, Result, Running, asked_for
from callgate.clock import ProgramClock
from callgate.codec import JSON
from callgate.journal import Journal
from callgate.outbox import Outbox
from callgate.policy import Policy
from callgate.product import Product
from callgate.questions import Questions
from callgate.recording import Record as Recorded
from callgate.recording import Recording, Resumed, divergence
from callgate.sandboxes.base import CallFrame, DropFrame, EndFrame, FileFrame, Frame, RestFrame, frame
from callgate.steps import End, Pause, Send, Start, Step, broken, limited

__all__ = ["Gate"]

OVERRUN = 16
"""Refused calls beyond `Limits.calls` after which a program that goes on is ended."""


class Gate:
    """Decides what happens to each call of one code action, in one pass over its program.

    Args:
        action: the prefix of inner ids.
        policy: the rules about single calls.
        journal: the action's lines so far, its header among them; all durable.
        recording: what those lines say.
        wall: seconds since the epoch when the pass began.
        watched: whether anybody listens to what happens to calls.
    """

    def __init__(
        self, *, action: str, policy: Policy, journal: Journal, recording: Recording, wall: float, watched: bool = False
    ) -> None:
        self._action, self._policy, self._limits = action, policy, policy.limits
        self._recording, self._wall = recording, wall
        self.calls: list[CallState] = []
        """Every call of this pass, in the order asked for."""
        self.warnings = recording.warnings
        """Where a replay left what was recorded, reads only."""
        self.product = Product(policy.limits)
        """What the program printed and left."""
        self._seen: Counter[tuple[str, str]] = Counter()
        self._held: deque[CallState] = deque()
        self.running = Running(self._limits)
        self._ready: deque[CallState] = deque()
        self._out = Outbox(journal, watched=watched)
        self._clock = ProgramClock(self._limits.seconds)
        self._asked = Questions(policy, self._out, self._clock)
        self._offset: float = journal.header["wall"]
        self._live = recording.empty
        self._resting = False
        self._until: float | None = None
        self._off_script: CallState | None = None
        self._over = self._closed = False

    # ---- what the driver reports

    def frames(self, frames: Iterable[Frame], now: float) -> list[Step]:
        """Take frames of the guest.

        Raises:
            ReplayDivergence: if a recorded write was not asked for again.
        """
        self._clock.hear(now)
        for one in frames:
            if self._over:
                break
            if not self._in_turn(one):
                self._break("the guest spoke out of turn")
            elif isinstance(one, CallFrame):
                self._on_call(one)
            elif isinstance(one, RestFrame):
                self._resting, self._until = True, one.until
            elif isinstance(one, DropFrame):
                self._on_drop(one.n)
            elif isinstance(one, EndFrame):
                self._on_end(one)
            elif (fault := self.product.take(one)) is not None:
                self._break(fault)
            del one  # or it would be held while the next one is parsed
        return self._settle()

    def returned(self, n: int, result: Result, now: float) -> list[Step]:
        """Take the result of a tool that was started; also after the action is over."""
        self._clock.hear(now)
        call = self.running.take(n)
        if not result.waits:
            self._finish(call, self._policy.fit(call, result))
        else:
            at = self._clock.time() if self._live else self._recording.last_at
            self._asked.wait(call, at, unknown=result.unknown)
            if call is self._off_script:
                self._pause()
        return self._settle()

    def recorded(self, now: float) -> list[Step]:
        """Hear that all lines handed out so far are durable."""
        self._clock.hear(now)
        self._out.recorded()
        return self._settle()

    def tick(self, now: float) -> list[Step]:
        """Hear what time it is."""
        self._clock.hear(now)
        if self._over or not self._clock.up:
            return self._settle()
        if self._asked and not self.running:
            self._pause()
            return self._out.take()
        return self.stop("seconds")

    def stop(self, limit: str) -> list[Step]:
        """End the action because a limit is used up."""
        self._conclude(limited(limit, self.product.printed))
        return self._out.take()

    def fail(self, kind: str, text: str, *, lost: bool = False) -> list[Step]:
        """End the action for a fault outside the program; lost if what it did cannot be known."""
        self._conclude(broken(kind, text, self.product.printed, lost=lost))
        return self._out.take()

    def close(self) -> None:
        """Let nothing start any more; tools that return are still journalled."""
        self._over = self._closed = True

    @property
    def wake_at(self) -> float:
        """When to call `tick` at the latest, in seconds since the pass began."""
        if self._resting and self._live and self._until is not None and not self._clock.frozen:
            return min(self._clock.deadline, self._clock.when(self._until))
        return self._clock.deadline

    @property
    def deadline(self) -> float:
        """When the action's time is up, in seconds since the pass began."""
        return self._clock.deadline

    @property
    def waits_for_one_call(self) -> bool:
        """Whether nothing can happen before the one running call returns or time is up."""
        return self._resting and self._until is None and len(self.running) == 1

    # ---- frames

    def _on_call(self, frame: CallFrame) -> None:
        call = asked_for(frame, self._seen, lambda key: self._recording.name(self._action, key))
        self.calls.append(call)
        if call.n != len(self.calls):
            self._break("the guest numbered its calls wrongly")
        elif call.n > self._limits.calls + OVERRUN:
            self._conclude(limited("calls", self.product.printed))
        elif (record := self._recording.records.get(call.key)) is not None:
            record.met, record.n = True, call.n
            call.recorded, call.ran = True, record.ran
            call.unknown, call.interrupted = record.unknown, record.interrupted
            call.asked = record.asked if record.unknown == (record.why == "unknown") else None
            if record.result is None:
                self._held.append(call)
        else:
            self._held.append(call)

    def _in_turn(self, frame: Frame) -> bool:
        product = self.product
        if self._resting or product.end is not None:
            return False
        return not product.closing or isinstance(frame, FileFrame | EndFrame)

    def _break(self, how: str) -> None:
        self._conclude(broken("ProtocolError", how, self.product.printed))

    def _on_drop(self, n: int) -> None:
        """The program gave up on a call: withdraw a question or a start, never what was started."""
        call = self.calls[n - 1] if n <= len(self.calls) else None
        if call is None or call.dropped:
            self._break("the guest gave up on a call twice, or on none")
        else:
            call.dropped = True
            if not (call.unknown or call.interrupted) and call.status in ("held", "waiting"):
                self._asked.withdraw(call)  # it is passed over when its turn comes
            if not self._asked:
                self._clock.thaw()

    def _on_end(self, frame: EndFrame) -> None:
        if not self._live:
            if missing := self._recording.missing():
                raise divergence(missing, frame.error)
            self._go_live(event=False)
        self.product.close(frame)
        self._clock.reopen()  # what it asked for before it ended is carried out

    # ---- progress

    def _settle(self) -> list[Step]:
        if not self._over:
            if self._live and self._held:
                self._start_held()
            if self.product.end is not None:
                self._finish_up(self.product.end)
            elif self._resting and self._off_script is None:
                if self._live:
                    self._next_event()
                else:
                    self._replay_event()
        return self._out.take()

    def _next_event(self) -> None:
        """Hand the guest at rest exactly one event, if there is one."""
        until = self._until
        if self._ready and not (until is not None and until <= self._ready[0].at):
            call = self._ready.popleft()
            self._answer(call.n, call.at, call.result or Result())
        elif until is not None and until <= self._clock.time():
            self._clock.strike(until)
            self._send({"clock": until, "wall": self._offset})
        elif not self.running and not self._out.waits:
            if self._asked:
                self._pause()
            elif until is None:
                text = "every strand of the program waits for another one: a lock, a queue or a join"
                self._conclude(broken("Deadlock", text, self.product.printed))

    def _finish_up(self, end: End) -> None:
        """The program has ended: wait for what it started, then end."""
        if self.running or self._out.waits or self._held:
            return None
        self._asked.lapse()
        if self._asked:
            return self._pause()
        return self._conclude(end)

    # ---- replay: recorded answers in recorded order, nothing executes

    def _replay_event(self) -> None:
        """Hand the guest at rest the next recorded event, or go live after the last."""
        recording, until = self._recording, self._until
        while True:
            event = recording.next_event(until)
            if event == "clock":
                return self._send({"clock": until, "wall": self._offset})
            if event == "live":
                return self._go_live(event=True)
            if isinstance(event, Resumed):
                recording.order.popleft()
                self._offset = event.wall
                return self._send({"clock": event.at, "wall": event.wall})
            if isinstance(event, Recorded):
                return self._answer_recorded(event)
            if not self._leave_script():
                return None

    def _leave_script(self) -> bool:
        """The guest rests and does not ask for what comes next: reads may differ, writes may not.

        Returns whether to look again; otherwise the guest has its event, or will have it when a new read returns.
        """
        recording = self._recording
        if (call := next(filter(self._is_new_read, self._held), None)) is not None:
            self.warnings.append(f"{call.tool} was not called at this point when the journal was written")
            self._held.remove(call)
            self._off_script = call
            self._start(call)
            return False
        recorded = [one for one in recording.order if isinstance(one, Recorded)]
        if (record := next((one for one in recorded if one.met), None)) is not None:
            self.warnings.append(f"{record.call} was answered earlier than recorded")
            self._answer_recorded(record)
            return False
        if (record := next((one for one in recorded if not one.binds), None)) is not None:
            self.warnings.append(f"{record.call} was not asked for again")
            recording.order.remove(record)
            return True
        raise divergence(recording.missing())

    def _is_new_read(self, call: CallState) -> bool:
        return call.status == "held" and (call.interrupted or not call.recorded) and self._policy.is_plain_read(call)

    def _answer_recorded(self, record: Recorded) -> None:
        self._recording.order.remove(record)
        call = self.calls[record.n - 1]
        call.result = record.result or Result()
        call.status = call.result.status
        self._answer(record.n, record.at, call.result)

    def _go_live(self, *, event: bool) -> None:
        """Every recorded answer is delivered, every recorded write asked for: the program goes on from here."""
        at = self._recording.last_at
        self._live = True
        self._clock.go_on_from(at)
        self._offset = self._wall + self._clock.skew
        resumed: dict[str, JSON] = {"clock": at, "wall": self._offset}
        self._resting = False  # with event, this one is its event, once it is durable
        then = (lambda: self._send(resumed)) if event else None
        self._out.record({"e": "resumed", "at": at, "wall": self._offset}, {}, then)

    # ---- calls

    def _start_held(self) -> None:
        held, closed = self._held, self._clock.closed
        later: list[CallState] = []
        while held and self.running.admits(held[0]):
            call = held.popleft()
            if closed and not self._may_start_late(call):
                later.append(call)
            elif call.status == "held":
                self._start(call)
        held.extendleft(reversed(later))

    def _may_start_late(self, call: CallState) -> bool:
        return call.recorded or self._policy.may_need_human(call)  # an earlier pass asked about it, or started it

    def _start(self, call: CallState) -> None:
        recording = self._recording
        decision = recording.decisions.get(call.key)
        verdict = self._policy.judge(call, decision, rejected=recording.rejected, asked=self._asked.calls)
        if verdict == "ask":
            self._asked.ask(call)
        elif verdict == "run":
            self._execute(call)
        else:
            self._finish(call, self._policy.fit(call, verdict))

    def _execute(self, call: CallState) -> None:
        tool = self._policy.tools[call.tool]
        start = Start(n=call.n, tool=tool, call=call.as_call())
        self.running.add(call)
        call.status = "started"
        self._out.notify(call)
        if tool.effect != "write":
            self._out.add(start)
            return
        ran = f',"ran":{call.ran}' if call.ran is not None else ""
        self._out.record_call("started", call, self._clock.time(), ran, lambda: self._begin(start))
        self._recording.decisions.pop(call.key, None)  # used up: a second unknown outcome is a second question

    def _begin(self, start: Start) -> None:
        if not self._closed:
            self._out.add(start)

    def _finish(self, call: CallState, result: Result) -> None:
        """Record how a call ended; once that is durable it can be answered."""
        call.result = result
        if self._live:  # in a replay the clock does not run: its time is what the journal says
            self._recording.last_at = max(self._recording.last_at, self._clock.time())
        call.at, call.status = self._recording.last_at, result.status
        self._out.notify(call)
        self._out.record_result(call, result, self._over, lambda: self._deliver(call))
        self._recording.decisions.pop(call.key, None)

    def _deliver(self, call: CallState) -> None:
        if self._off_script is call:
            self._off_script = None
            self._answer(call.n, call.at, call.result or Result())
        else:
            self._ready.append(call)

    # ---- ends

    def _pause(self) -> None:
        self._conclude(self._asked.pause(self._clock.time()))

    def _conclude(self, last: End | Pause) -> None:
        """Nothing more of this pass reaches the guest; last follows once everything in front of it is durable."""
        if self._over:
            return
        if isinstance(last, End) and last.status != "lost":
            if self._recording.unresolved(self.calls):
                text = "it is unknown whether a write happened that was started"
                last = broken("UnknownOutcome", text, self.product.printed, lost=True)
            else:
                self._out.record_end(last, self.product, self._limits.shown_chars, self.calls, self.warnings)
        self._over = True  # only now: an end that cannot be written down is followed by another one
        end = last
        self._out.after(lambda: self._out.add(end))

    # ---- small parts

    def _answer(self, n: int, at: float, result: Result) -> None:
        self._resting = False
        self._out.answer(n, at, result)

    def _send(self, fields: dict[str, JSON]) -> None:
        self._resting = False
        self._out.add(Send(frame=frame(fields)))
