"""Drives one pass of an action on an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, ClassVar, cast

from callgate.calls import Result
from callgate.driver import Clock, Invoke, Pass, Unread, failed, fed, logger, result_of, told, unread
from callgate.errors import JournalError, ToolWaits, UsageError
from callgate.journal import JournalStore
from callgate.sandboxes.frames import Frames
from callgate.steps import End, Keep, Notify, Pause, Record, Send, Start, Step

__all__ = ["drive_async"]


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
        self._pass, self._clock = run, Clock(run)
        self._frames = Frames(run.limits.frame_mb)
        self._returned: deque[tuple[int, Result | UsageError]] = deque()
        self._last: End | Pause | None = None
        self._over = False
        self._gone = False
        """Whether the guest has said how it ended and is gone: only tools are waited for."""
        self._news = asyncio.Event()
        self._own: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> End | Pause:
        run, gate, guest = self._pass, self._pass.gate, self._pass.guest
        try:
            try:
                await self._send(run.opening)
                while self._last is None:
                    await self._hear()
            except Unread:
                await self._carry_out(unread(run, self._clock.now()))
            if self._last is None:
                raise AssertionError("a pass ended without saying how")
            return self._last
        except asyncio.CancelledError:
            for task in self._own:
                task.cancel()
            raise
        finally:
            self._over = True
            guest.kill()
            gate.close()
            if self._returned:
                self._keep_running(self._leftovers())

    async def _hear(self) -> None:
        data = await self._receive()
        while self._returned and self._last is None:
            await self._take(*self._returned.popleft())
        if data is not None and self._last is None:
            await self._carry_out(fed(self._pass, self._clock, self._frames, data))
        if self._last is None:
            await self._carry_out(self._clock.look())

    async def _receive(self) -> bytes | None:
        """Return what the guest sends next; nothing any more of one that said how it ended and is gone."""
        wake = self._news.set if self._gone else self._pass.guest.wake
        timer = asyncio.get_running_loop().call_later(self._clock.patience(), wake)
        try:
            if self._gone:
                await self._news.wait()
                self._news.clear()
                return None
            data = await self._pass.guest.areceive()
        finally:
            timer.cancel()
        if data == b"" and self._pass.gate.product.end is not None:
            self._gone = True
            return None
        return data

    async def _send(self, frame: bytes) -> None:
        try:
            await self._pass.guest.asend(frame, self._clock.send_seconds())
        except TimeoutError:
            raise Unread from None

    async def _take(self, n: int, result: Result | UsageError) -> None:
        gate = self._pass.gate
        if isinstance(result, UsageError):
            await self._carry_out(gate.fail("UsageError", str(result)))
        else:
            await self._carry_out(gate.returned(n, result, self._clock.now()))

    def _keep_running(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def _carry_out(self, steps: list[Step]) -> None:
        run = self._pass
        for step in steps:  # grows while it is carried out
            if isinstance(step, Send):
                await self._send(step.frame)
            elif isinstance(step, Record):
                await run.store.aappend(run.key, step.position, step.lines)
                steps.extend(run.gate.recorded(self._clock.now()))
            elif isinstance(step, Start):
                self._own.add(self._keep_running(self._work(step)))
            elif isinstance(step, Notify):
                told(run, step.call)
            elif isinstance(step, Keep):
                await _keep(run.store, run.kept(step.handle), step.text)
            else:
                self._last = step

    async def _work(self, start: Start) -> None:
        result = await run_call_async(self._pass.invoke, start)
        self._own.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if self._over:
            await self._late(start.n, result)
        else:
            self._returned.append((start.n, result))
            self._news.set()
            self._pass.guest.wake()

    async def _leftovers(self) -> None:
        while self._returned:
            await self._late(*self._returned.popleft())

    async def _late(self, n: int, result: Result | UsageError) -> None:
        """Journal a tool that returned after the pass was over."""
        if isinstance(result, Result):
            async with self._one_at_a_time:
                try:
                    await self._carry_out(self._pass.gate.returned(n, result, self._clock.now()))
                except Exception:  # noqa: BLE001 - the action has its outcome; there is nobody to raise to
                    logger.exception("a tool returned after its action was over, and could not be journalled")


async def _keep(store: JournalStore, key: str, text: str) -> None:
    """Keep a value once; another action may keep the same one at the same time."""
    try:
        if not await store.aread(key):
            await store.aappend(key, 0, [text])
    except JournalError:
        if await store.aread(key) != [text]:
            raise


async def run_call_async(invoke: Invoke, start: Start) -> Result | UsageError:
    """Run one call on this loop."""
    try:
        return result_of(await invoke(start.tool, start.call))
    except UsageError as error:
        return error
    except ToolWaits:
        return Result(waits=True)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # it is we who are cancelled, not something inside the tool
        return failed(start.tool, start.call, error)
    except GeneratorExit:
        raise  # the loop is closed with the tool still running
    except BaseException as error:  # noqa: BLE001 - whatever a tool raises is a result, SystemExit too
        return failed(start.tool, start.call, error)
