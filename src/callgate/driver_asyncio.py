"""Drives one pass of an action on an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import ClassVar, cast

from callgate.calls import Result
from callgate.codec import encode_any
from callgate.driver import Clock, Invoke, Pass, failed, fed, logger, told, unread
from callgate.errors import JournalError, UsageError
from callgate.journal import JournalStore
from callgate.sandboxes.base import Frames
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
        self._inbox: deque[bytes | tuple[int, Result | UsageError]] = deque()
        self._arrived = asyncio.Event()
        self._last: End | Pause | None = None
        self._over = False
        self._own: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> End | Pause:
        run, gate, guest = self._pass, self._pass.gate, self._pass.guest
        try:
            await guest.asend(run.opening, self._clock.send_seconds())
            while self._last is None:
                if not self._inbox:
                    await self._wait()
                while self._inbox and self._last is None:
                    await self._take(self._inbox.popleft())
                    await self._carry_out(self._clock.look())
                    if self._inbox:
                        await asyncio.sleep(0)  # a guest that talks without end must not hold up the loop
                if self._last is None:
                    await self._carry_out(self._clock.look())
            self._over = True
            for arrived in self._inbox:
                if isinstance(arrived, tuple):
                    await self._late(*arrived)
            return self._last
        except TimeoutError:
            await self._carry_out(unread(run, self._clock.now()))
            assert self._last is not None  # noqa: S101 - fail() always ends the pass
            return self._last
        except asyncio.CancelledError:
            for task in self._own:
                task.cancel()
            raise
        finally:
            self._over = True
            self._stop_reader()
            guest.kill()
            gate.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._own.discard(task)
        self._unfinished.discard(task)

    async def _wait(self) -> None:
        """Wait for the guest, for a tool, or until it is time to look at the clock."""
        if not self._own:
            self._stop_reader()
            if not self._inbox:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._clock.patience()):
                        self._inbox.append(await self._pass.guest.areceive())
            return
        if self._reader is None and not self._pass.gate.waits_for_one_call:
            self._reader = asyncio.create_task(self._read())
        timer = asyncio.get_running_loop().call_later(self._clock.patience(), self._arrived.set)
        await self._arrived.wait()
        self._arrived.clear()
        timer.cancel()

    async def _read(self) -> None:
        data = b"-"
        while data:
            data = await self._pass.guest.areceive()
            self._inbox.append(data)
            self._arrived.set()
            await asyncio.sleep(0)

    def _stop_reader(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    async def _take(self, arrived: bytes | tuple[int, Result | UsageError]) -> None:
        gate = self._pass.gate
        if isinstance(arrived, bytes):
            await self._carry_out(fed(self._pass, self._frames, arrived, self._clock.now()))
        elif isinstance(arrived[1], UsageError):
            await self._carry_out(gate.fail("UsageError", str(arrived[1])))
        else:
            await self._carry_out(gate.returned(arrived[0], arrived[1], self._clock.now()))

    async def _carry_out(self, steps: list[Step]) -> None:
        run = self._pass
        for step in steps:  # grows while it is carried out
            if isinstance(step, Send):
                await run.guest.asend(step.frame, self._clock.send_seconds())
            elif isinstance(step, Record):
                await run.store.aappend(run.key, step.position, step.lines)
                steps.extend(run.gate.recorded(self._clock.now()))
            elif isinstance(step, Start):
                task = asyncio.create_task(self._work(step))
                self._own.add(task)
                self._unfinished.add(task)
                task.add_done_callback(self._forget)
            elif isinstance(step, Notify):
                told(run, step.call)
            elif isinstance(step, Keep):
                await _keep(run.store, run.kept(step.handle), step.text)
            else:
                self._last = step

    async def _work(self, start: Start) -> None:
        result = await run_call_async(self._pass.invoke, start)
        self._own.discard(cast("asyncio.Task[None]", asyncio.current_task()))
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
        return Result(text=encode_any(await invoke(start.tool, start.call)))
    except UsageError as error:
        return error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # it is we who are cancelled, not something inside the tool
        return failed(start.tool, start.call, error)
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is a result
        return failed(start.tool, start.call, error)
