"""Carries out what the gate says: one pass of an action, for threads and for asyncio.

Both drivers feed the gate one input at a time and finish its steps before the next one. Tools run beside them; a tool
that returns after the pass is over is still journalled.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

from callgate.calls import CallState, Result, refusal
from callgate.codec import NotJSON, encode_any
from callgate.errors import JournalError, ToolFailed, UsageError
from callgate.gate import Gate
from callgate.journal import JournalStore
from callgate.limits import Limits
from callgate.sandboxes.base import BadFrame, Frames, Guest
from callgate.steps import End, Keep, Notify, Pause, Record, Send, Start, Step
from callgate.tools import Call, Tool
from callgate.workers import Workers

__all__ = ["Invoke", "Pass", "drive", "drive_async"]

logger = logging.getLogger("callgate")

Invoke: TypeAlias = Callable[[Tool, Call], Any]
"""Runs one call of a tool and returns its value; for `drive_async`, an awaitable of it."""

SEND_SECONDS = 10.0
"""How long a guest may take to read what it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass of an action: everything a driver needs."""

    gate: Gate
    guest: Guest
    opening: bytes
    """The `run` frame."""
    store: JournalStore
    key: str
    """Under which the journal's lines are stored."""
    kept: Callable[[str], str]
    """Turns a handle into the key its value is stored under."""
    limits: Limits
    invoke: Invoke
    listen: Callable[[CallState], None] | None
    workers: Workers


def _failed(tool: Tool, call: Call, error: Exception) -> Result:
    """Return what the program is told of an exception of a tool: its text only where it was meant to be seen."""
    if isinstance(error, ToolFailed):
        return refusal("ToolFailed", str(error), tool=tool.name)
    if isinstance(error, NotJSON):
        return refusal("ToolFailed", f"{tool.name} returned what JSON cannot carry: {error}", tool=tool.name)
    logger.warning("tool %s raised in call %s", tool.name, call.id, exc_info=error)
    return refusal("ToolFailed", f"{tool.name} raised {type(error).__name__} (call {call.id})", tool=tool.name)


def _run(invoke: Invoke, start: Start) -> Result | UsageError:
    """Run one call in this thread."""
    try:
        return Result(text=encode_any(invoke(start.tool, start.call)))
    except UsageError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is a result
        return _failed(start.tool, start.call, error)


async def _run_async(invoke: Invoke, start: Start) -> Result | UsageError:
    """Run one call on this loop."""
    try:
        return Result(text=encode_any(await invoke(start.tool, start.call)))
    except UsageError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is a result
        return _failed(start.tool, start.call, error)


class _Clock:
    """Seconds since the pass began, and when to look at the guest's processor time again."""

    def __init__(self, run: Pass) -> None:
        self._began, self._run = time.monotonic(), run
        self._check_at = run.limits.cpu_seconds / 2

    def now(self) -> float:
        return time.monotonic() - self._began

    def look(self) -> list[Step]:
        """Return what the gate says about the time and the guest's processor time, where it is time to look."""
        run, now = self._run, self.now()
        if now >= self._check_at:
            left = run.limits.cpu_seconds - run.guest.cpu_seconds()
            self._check_at = now + max(left / 2, 0.05)  # two cores at most eat half of it until then
            if left <= 0:
                return run.gate.stop("cpu_seconds")
        return run.gate.tick(now) if now >= run.gate.wake_at else []

    def patience(self) -> float:
        """Return the seconds until something has to be done without any input."""
        return max(0.0, min(self._run.gate.wake_at, self._check_at) - self.now())


def _fed(run: Pass, frames: Frames, data: bytes, now: float) -> list[Step]:
    """Feed the gate what a guest sent, or its end."""
    gate = run.gate
    if not data:
        if run.guest.lost():
            return gate.fail("SandboxLost", "the sandbox went away while the program ran", lost=True)
        return gate.fail("ProcessDied", "the program's process died: it crashed or used more memory than its limit")
    try:
        return gate.frames(frames.feed(data), now)
    except BadFrame as error:
        logger.warning("a guest sent a bad frame: %s", error)
        return gate.stop(error.limit) if error.limit else gate.fail("ProtocolError", "the guest broke the protocol")


def _told(run: Pass, call: CallState) -> None:
    if run.listen is not None:
        try:
            run.listen(call)
        except Exception:
            logger.exception("on_event raised")


def drive(run: Pass) -> End | Pause:
    """Run one pass in this thread, tools in threads beside it.

    Raises:
        ReplayDivergence: if the program does not repeat what its journal records.
        JournalError: if another run appended to the journal.
    """
    return _ThreadDriver(run).run()


class _ThreadDriver:
    def __init__(self, run: Pass) -> None:
        self._pass, self._clock = run, _Clock(run)
        self._frames = Frames(run.limits.frame_mb)
        self._returned: deque[tuple[int, Result | UsageError]] = deque()
        self._last: End | Pause | None = None
        self._over = False
        self._lock = threading.Lock()

    def run(self) -> End | Pause:
        run, gate, guest = self._pass, self._pass.gate, self._pass.guest
        try:
            guest.send(run.opening, SEND_SECONDS)
            while self._last is None:
                data = guest.receive(self._clock.patience())
                while self._returned and self._last is None:
                    self._take(*self._returned.popleft())
                if data is not None and self._last is None:
                    self._carry_out(_fed(run, self._frames, data, self._clock.now()))
                if self._last is None:
                    self._carry_out(self._clock.look())
            return self._last
        except TimeoutError:
            self._carry_out(gate.fail("ProtocolError", "the guest does not read what it is sent"))
            assert self._last is not None  # noqa: S101 - fail() always ends the pass
            return self._last
        finally:
            guest.kill()
            gate.close()
            self._close()

    def _carry_out(self, steps: list[Step]) -> None:
        run = self._pass
        for step in steps:  # grows while it is carried out
            if isinstance(step, Send):
                run.guest.send(step.frame, SEND_SECONDS)
            elif isinstance(step, Record):
                run.store.append(run.key, step.position, step.lines)
                steps.extend(run.gate.recorded(self._clock.now()))
            elif isinstance(step, Start):
                run.workers.submit(partial(self._work, step, contextvars.copy_context()))
            elif isinstance(step, Notify):
                _told(run, step.call)
            elif isinstance(step, Keep):
                key = run.kept(step.handle)
                if not run.store.read(key):
                    run.store.append(key, 0, [step.text])
            else:
                self._last = step

    def _work(self, start: Start, context: contextvars.Context) -> None:
        result = context.run(_run, self._pass.invoke, start)
        with self._lock:
            if not self._over:
                self._returned.append((start.n, result))
                self._pass.guest.wake()
                return
            self._late(start.n, result)

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
            except JournalError:
                logger.exception("a tool returned after its action was over, and its journal had gone on")


async def drive_async(run: Pass) -> End | Pause:
    """Run one pass on the running event loop; `run.invoke` returns awaitables. Cancelling it kills the guest.

    Raises:
        ReplayDivergence: if the program does not repeat what its journal records.
        JournalError: if another run appended to the journal.
    """
    return await _LoopDriver(run).run()


class _LoopDriver:
    _unfinished: ClassVar[set[asyncio.Task[None]]] = set()
    """Tools still running; asyncio itself keeps tasks by weak reference only."""

    def __init__(self, run: Pass) -> None:
        self._pass, self._clock = run, _Clock(run)
        self._frames = Frames(run.limits.frame_mb)
        self._inbox: deque[bytes | tuple[int, Result | UsageError]] = deque()
        self._arrived = asyncio.Event()
        self._last: End | Pause | None = None
        self._over = False
        self._own: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> End | Pause:
        run, gate, guest = self._pass, self._pass.gate, self._pass.guest
        reader = asyncio.create_task(self._read())
        try:
            await guest.asend(run.opening, SEND_SECONDS)
            while self._last is None:
                if not self._inbox:
                    await self._wait()
                while self._inbox and self._last is None:
                    await self._take(self._inbox.popleft())
                if self._last is None:
                    await self._carry_out(self._clock.look())
            self._over = True
            for arrived in self._inbox:
                if isinstance(arrived, tuple):
                    await self._late(*arrived)
            return self._last
        except TimeoutError:
            await self._carry_out(gate.fail("ProtocolError", "the guest does not read what it is sent"))
            assert self._last is not None  # noqa: S101 - fail() always ends the pass
            return self._last
        except asyncio.CancelledError:
            for task in self._own:
                task.cancel()
            raise
        finally:
            self._over = True
            self._stop_timer()
            reader.cancel()
            guest.kill()
            gate.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._own.discard(task)
        self._unfinished.discard(task)

    async def _read(self) -> None:
        data = b"-"
        while data:
            data = await self._pass.guest.areceive()
            self._inbox.append(data)
            self._arrived.set()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        moment = loop.time() + self._clock.patience()
        if self._timer is None or self._timer.cancelled() or not loop.time() < self._timer.when() <= moment:
            self._stop_timer()
            self._timer = loop.call_at(moment, self._arrived.set)
        await self._arrived.wait()
        self._arrived.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _take(self, arrived: bytes | tuple[int, Result | UsageError]) -> None:
        gate = self._pass.gate
        if isinstance(arrived, bytes):
            await self._carry_out(_fed(self._pass, self._frames, arrived, self._clock.now()))
        elif isinstance(arrived[1], UsageError):
            await self._carry_out(gate.fail("UsageError", str(arrived[1])))
        else:
            await self._carry_out(gate.returned(arrived[0], arrived[1], self._clock.now()))

    async def _carry_out(self, steps: list[Step]) -> None:
        run = self._pass
        for step in steps:  # grows while it is carried out
            if isinstance(step, Send):
                await run.guest.asend(step.frame, SEND_SECONDS)
            elif isinstance(step, Record):
                await run.store.aappend(run.key, step.position, step.lines)
                steps.extend(run.gate.recorded(self._clock.now()))
            elif isinstance(step, Start):
                task = asyncio.create_task(self._work(step))
                self._own.add(task)
                self._unfinished.add(task)
                task.add_done_callback(self._forget)
            elif isinstance(step, Notify):
                _told(run, step.call)
            elif isinstance(step, Keep):
                key = run.kept(step.handle)
                if not await run.store.aread(key):
                    await run.store.aappend(key, 0, [step.text])
            else:
                self._last = step

    async def _work(self, start: Start) -> None:
        result = await _run_async(self._pass.invoke, start)
        if not self._over:
            self._inbox.append((start.n, result))
            self._arrived.set()
        else:
            await self._late(start.n, result)

    async def _late(self, n: int, result: Result | UsageError) -> None:
        """Journal a tool that returned after the pass was over."""
        if isinstance(result, Result):
            async with self._one_at_a_time:
                try:
                    await self._carry_out(self._pass.gate.returned(n, result, self._clock.now()))
                except JournalError:
                    logger.exception("a tool returned after its action was over, and its journal had gone on")
