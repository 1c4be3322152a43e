"""The program's clock, as the gate keeps it: real time without the pauses."""

from __future__ import annotations

__all__ = ["ProgramClock"]

WINDOW = 0.25
"""Seconds after the first question to a human during which new calls still start."""


class ProgramClock:
    """Turns seconds since the pass began into seconds of the program, and knows when its time is up.

    Args:
        seconds: of the program's time that the action may use.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = self.deadline = float(seconds)
        """`deadline`: when time is up, in seconds since the pass began."""
        self.now = 0.0
        """Seconds since the pass began; never goes back."""
        self.skew = 0.0
        """How far the program's clock is behind."""
        self._passed = 0.0
        self._frozen: float | None = None
        self._frozen_since = 0.0
        self._window_end: float | None = None

    def hear(self, now: float) -> None:
        """Take what time it is, in seconds since the pass began."""
        if now > self.now:
            self.now = now

    def time(self) -> float:
        """Return the program's time, in seconds, exactly: a replay compares it with the program's timers."""
        return max(self._passed, self.now - self.skew) if self._frozen is None else self._frozen

    def when(self, moment: float) -> float:
        """Return when, in seconds since the pass began, the program's time has surely come to moment."""
        return moment + self.skew + 1e-9  # what adding may lose

    def strike(self, moment: float) -> None:
        """A timer of the program went off at moment: what follows does not come before it."""
        self._passed = max(self._passed, moment)

    @property
    def up(self) -> bool:
        """Whether the action's time is used up."""
        return self.now >= self.deadline

    @property
    def frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._frozen is not None

    @property
    def closed(self) -> bool:
        """Whether new calls have to wait for the human's answer."""
        return self._window_end is not None and self.now >= self._window_end

    def freeze(self) -> None:
        """Stand still: a human is asked."""
        if self._frozen is None:
            self._frozen, self._frozen_since = self.time(), self.now
            self._window_end = self.now + WINDOW

    def thaw(self) -> None:
        """Go on: nobody is asked any more."""
        if self._frozen is not None:
            self.skew = self.now - self._frozen
            self.deadline += self.now - self._frozen_since
            self._frozen = self._window_end = None

    def reopen(self) -> None:
        """Let calls start although a human is asked: the program has ended and waits for nothing."""
        self._window_end = None

    def go_on_from(self, at: float) -> None:
        """Continue at a program time: the replay is complete, and its time was used before."""
        self.skew = self.now - at
        self._passed = at
        self.deadline = self.now + self._seconds - at
