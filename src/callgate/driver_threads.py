"""Drives one pass of an action on threads."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from functools import partial

from callgate.calls import Result
from callgate.driver import Clock, Pass, Unread, fed, logger, run_call, told, unread
from callgate.errors import JournalError, UsageError
from callgate.journal import JournalStore
from callgate.sandboxes.frames import Frames
from callgate.steps import End, Keep, Notify, Pause, Record, Send, Start, Step

__all__ = ["drive"]

STEP_DOWN = 0.5
"""Seconds that an interrupted caller waits for the thread that leads to leave the gate alone."""

PATIENCE = 0.02
"""Seconds after which the thread that leads a pass and runs a tool itself is relieved."""


def drive(run: Pass) -> End | Pause:
    """Run one pass in this thread, tools in threads beside it.

    Raises:
        ReplayDivergence: if the program does not repeat what its journal records.
        JournalError: if another run appended to the journal.
    """
    return _ThreadDriver(run).run()


class _ThreadDriver:
    """Runs a pass on worker threads, of which one at a time leads: it alone touches the gate.

    A call that nothing else happens beside is run by the leader itself, for a hop to another thread and back costs more
    than the gate does. Should such a tool take its time, the caller, who only watches, lets another thread lead.
    """

    def __init__(self, run: Pass) -> None:
        self._pass, self._clock = run, Clock(run)
        self._context = contextvars.copy_context()
        self._frames = Frames(run.limits.frame_mb)
        self._returned: deque[tuple[int, Result | UsageError]] = deque()
        self._last: End | Pause | None = None
        self._error: BaseException | None = None
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self._over = False
        self._gone = False
        """Whether the guest has said how it ended and is gone: only tools are waited for."""
        self._news = threading.Event()
        self._turn = 0
        """Counts leaders; one whose turn is over touches nothing any more."""
        self._alone: Start | None = None
        """The call the leader has to run itself."""
        self._alone_since: float | None = None
        self._slow: set[str] = set()
        """Tools that made a leader late once."""

    def run(self) -> End | Pause:
        guest = self._pass.guest
        try:
            self._pass.workers.submit(partial(self._lead, 0))
            while not self._finished.wait(PATIENCE):
                self._relieve()
        finally:
            with self._lock:
                self._turn += 1
            guest.kill()
            self._pass.gate.close()
            self._finished.wait(STEP_DOWN)
            self._close()
        if self._error is not None:
            raise self._error
        if self._last is None:
            raise AssertionError("a pass ended without saying how")
        return self._last

    def _relieve(self) -> None:
        """Let another thread lead if the leader is busy with a tool."""
        with self._lock:
            start, since = self._alone, self._alone_since
            if start is not None and since is not None and time.monotonic() - since > PATIENCE:
                self._slow.add(start.tool.name)
                self._alone = self._alone_since = None
                self._turn += 1
                self._pass.workers.submit(partial(self._lead, self._turn))

    def _lead(self, turn: int) -> None:
        try:
            try:
                if turn == 0:
                    self._send(self._pass.opening)
                while self._last is None and self._turn == turn:
                    if self._alone is None:
                        self._hear()
                    elif not self._run_alone(self._alone, turn):
                        return
            except Unread:
                self._carry_out(unread(self._pass, self._clock.now()))
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._error = error
        self._finished.set()

    def _send(self, frame: bytes) -> None:
        try:
            self._pass.guest.send(frame, self._clock.send_seconds())
        except TimeoutError:
            raise Unread from None

    def _hear(self) -> None:
        data = self._receive()
        while self._returned and self._last is None:
            self._take(*self._returned.popleft())
        if data is not None and self._last is None:
            self._carry_out(fed(self._pass, self._clock, self._frames, data))
        if self._last is None:
            self._carry_out(self._clock.look())

    def _receive(self) -> bytes | None:
        """Return what the guest sends next; nothing any more of one that said how it ended and is gone."""
        if self._gone:
            self._news.wait(self._clock.patience())
            self._news.clear()
            return None
        data = self._pass.guest.receive(self._clock.patience())
        if data == b"" and self._pass.gate.product.end is not None:
            self._gone = True
            return None
        return data

    def _run_alone(self, start: Start, turn: int) -> bool:
        """Run a call in this thread; False if another thread leads since."""
        self._alone_since = time.monotonic()
        result = self._context.copy().run(run_call, self._pass.invoke, start)
        with self._lock:
            relieved = self._turn != turn
            if not relieved:
                self._alone = self._alone_since = None
        if relieved:
            self._hand_over(start.n, result)
        else:
            self._take(start.n, result)
        return not relieved

    def _carry_out(self, steps: list[Step]) -> None:
        run = self._pass
        for step in steps:  # grows while it is carried out
            if isinstance(step, Send):
                self._send(step.frame)
            elif isinstance(step, Record):
                run.store.append(run.key, step.position, step.lines)
                steps.extend(run.gate.recorded(self._clock.now()))
            elif isinstance(step, Start):
                if run.gate.waits_for_one_call and step.tool.name not in self._slow:
                    self._alone = step
                else:
                    run.workers.submit(partial(self._work, step))
            elif isinstance(step, Notify):
                self._context.copy().run(told, run, step.call)
            elif isinstance(step, Keep):
                keep(run.store, run.kept(step.handle), step.text)
            else:
                self._last = step

    def _work(self, start: Start) -> None:
        self._hand_over(start.n, self._context.copy().run(run_call, self._pass.invoke, start))

    def _hand_over(self, n: int, result: Result | UsageError) -> None:
        """Give a result to the leader, or journal it where nobody leads any more."""
        with self._lock:
            if self._over:
                self._late(n, result)
            else:
                self._returned.append((n, result))
                self._news.set()
                self._pass.guest.wake()

    def _take(self, n: int, result: Result | UsageError) -> None:
        gate = self._pass.gate
        if isinstance(result, UsageError):
            self._carry_out(gate.fail("UsageError", str(result)))
        else:
            self._carry_out(gate.returned(n, result, self._clock.now()))

    def _close(self) -> None:
        with self._lock:
            self._over = True
            while self._returned:
                self._late(*self._returned.popleft())

    def _late(self, n: int, result: Result | UsageError) -> None:
        """Journal a tool that returned after the pass was over."""
        if isinstance(result, Result):
            try:
                self._carry_out(self._pass.gate.returned(n, result, self._clock.now()))
            except Exception:  # noqa: BLE001 - the action has its outcome; there is nobody to raise to
                logger.exception("a tool returned after its action was over, and could not be journalled")


def keep(store: JournalStore, key: str, text: str) -> None:
    """Keep a value once; another action may keep the same one at the same time."""
    try:
        if not store.read(key):
            store.append(key, 0, [text])
    except JournalError:
        if store.read(key) != [text]:
            raise
