"""The first of several sandboxes that can be had here."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence

from callgate.errors import SandboxUnavailable, UsageError
from callgate.limits import Limits
from callgate.sandboxes.base import Guest, Sandbox

__all__ = ["AutoSandbox"]

logger = logging.getLogger("callgate")

_LIST_IT = 'programs and their data go to E2B only where it is listed: sandbox=["local", "e2b"]'


class AutoSandbox:
    """Chooses among sandboxes once, at the first use: the first whose `check` does not say that it is unavailable.

    A journal's header names the sandbox that was chosen, and its level, not this one.

    Args:
        candidates: sandboxes, in the order in which they are preferred.

    Raises:
        UsageError: for no candidates.
    """

    def __init__(self, candidates: Sequence[Sandbox]) -> None:
        if not candidates:
            raise UsageError('sandbox=[]: list at least one, as in sandbox=["local", "e2b"]')
        self.candidates = tuple(candidates)
        self._lock, self._process = threading.Lock(), os.getpid()
        self._chosen: Sandbox | None = None
        self._reason = ""

    @property
    def chosen(self) -> Sandbox:
        """The sandbox that was chosen; chooses if need be.

        Raises:
            SandboxUnavailable: if none of them can be had, with what each lacks.
        """
        if self._process != os.getpid():  # forked, maybe while another thread was choosing
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            if self._chosen is None:
                self._chosen = self._choose()
                logger.info("sandbox: %s", self._reason)
            return self._chosen

    @property
    def preferred(self) -> tuple[Sandbox, ...]:
        """The candidates in their order, but for the one that was chosen, if one was: that comes first."""
        chosen = self._chosen
        return self.candidates if chosen is None else (chosen, *(one for one in self.candidates if one is not chosen))

    @property
    def reason(self) -> str:
        """Why it was chosen, in a sentence for people."""
        _ = self.chosen
        return self._reason

    @property
    def name(self) -> str:
        """The name of the one that was chosen."""
        return self.chosen.name

    @property
    def level(self) -> str:
        """The level of the one that was chosen."""
        return self.chosen.level

    def check(self) -> str:
        """Choose, unless that was done, and return the level.

        Raises:
            SandboxUnavailable: if none can be had.
        """
        return self.level

    def start(self, limits: Limits) -> Guest:
        """Return a fresh guest of the one that was chosen; see `Sandbox.start`."""
        return self.chosen.start(limits)

    async def astart(self, limits: Limits) -> Guest:
        """The awaitable twin of `start`."""
        return await (self._chosen or await asyncio.to_thread(lambda: self.chosen)).astart(limits)

    def close(self) -> None:
        """Close every candidate."""
        for one in self.candidates:
            one.close()

    def _choose(self) -> Sandbox:
        refusals: list[SandboxUnavailable] = []
        for one in self.candidates:
            check: Callable[[], object] = getattr(one, "check", lambda: None)
            try:
                check()
            except SandboxUnavailable as refusal:
                refusals.append(refusal)
                continue
            self._reason = f"{one.name}, the first that can be had" if not refusals else f"{one.name}: {refusals[0]}"
            return one
        if len(self.candidates) == 1:
            only = refusals[0]
            if self.candidates[0].name == "e2b":
                raise only
            text = f"{only}; {_LIST_IT}"
            raise SandboxUnavailable(text, missing=only.missing, reasons=only.reasons, cure=only.cure) from only
        text = "none of the listed sandboxes can be had: " + "; ".join(map(str, refusals))
        missing = [one for refusal in refusals for one in refusal.missing]
        raise SandboxUnavailable(text, missing=missing, cure=refusals[0].cure) from refusals[0]
