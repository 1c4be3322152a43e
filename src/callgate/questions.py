"""The calls of a pass that wait for a human."""

from __future__ import annotations

from collections.abc import Collection

from callgate.calls import CallState, Key
from callgate.clock import ProgramClock
from callgate.outbox import Outbox
from callgate.policy import Policy
from callgate.steps import Pause

__all__ = ["Questions"]


class Questions:
    """What is asked, until it is answered, withdrawn or put into a pause.

    Args:
        policy: says what a human is shown.
        out: where questions are written.
        clock: stands still from the first question on.
    """

    def __init__(self, policy: Policy, out: Outbox, clock: ProgramClock) -> None:
        self._policy, self._out, self._clock = policy, out, clock
        self._asked: dict[Key, CallState] = {}

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def calls(self) -> Collection[CallState]:
        """The calls that wait."""
        return self._asked.values()

    def ask(self, call: CallState) -> None:
        """Ask about a call."""
        call.status = "waiting"
        self._asked[call.key] = call
        self._clock.freeze()
        self._out.notify(call)

    def wait(self, call: CallState, at: float, *, unknown: bool) -> None:
        """Ask how a call ended, where that is unknown; else write, as of program time at, that its tool waits."""
        if unknown:
            call.unknown = True
            return self.ask(call)
        call.status = "interrupted"
        self._asked[call.key] = call
        self._clock.freeze()
        self._out.record_call("interrupted", call, at, f',"ran":{call.ran}' if call.ran is not None else "")
        return self._out.notify(call)

    def withdraw(self, call: CallState) -> None:
        """The program no longer waits for a call."""
        call.status = "withdrawn"
        self._asked.pop(call.key, None)

    def lapse(self) -> None:
        """Withdraw every approval: the program has ended. What may have happened still has to be told."""
        for call in [call for call in self._asked.values() if call.status == "waiting" and not call.unknown]:
            self.withdraw(call)

    def pause(self, at: float) -> Pause:
        """Write the questions that the journal does not hold yet, as of program time at, and return them all."""
        for call in self._asked.values():
            shown = self._policy.shown(call)
            if call.status == "waiting" and call.asked != shown:
                parts = f',"why":"{"unknown" if call.unknown else "approval"}","schema":"{shown}"'
                self._out.record_call("asked", call, at, parts)
        return Pause(waiting=tuple(map(self._policy.question, self._asked.values())))
