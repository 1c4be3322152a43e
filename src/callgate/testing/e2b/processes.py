"""The process service of one sandbox, behind the SDK's own server stub.

Like the real one it discards output while nobody listens, kills a process at the deadline of the request that started
it, reads 32 KiB of output at a time, holds a slow listener's output back, and remembers how a process ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.process import process_pb as pb
from e2b.envd.process.process_connect import Process
from protobuf import Oneof

from callgate.testing.e2b.faults import Faults

__all__ = ["Processes"]

T = TypeVar("T")

CHUNK = 1 << 15
QUEUE = 64
"""Pieces that wait for a listener."""

Event = pb.ProcessEvent


@dataclass(slots=True, eq=False)
class _Running:
    """A process and who listens to it."""

    process: asyncio.subprocess.Process
    config: pb.ProcessConfig
    listeners: list[asyncio.Queue[Event | None]] = field(default_factory=list[Any])
    end: Event | None = None
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    lost: int = 0
    """Bytes of output that nobody listened to."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Processes(Process):
    """The `Process` service.

    Args:
        home: the directory that stands for the sandbox's file system.
        environment: of each process.
        faults: what goes wrong.
    """

    def __init__(self, home: Path, environment: dict[str, str], faults: Faults) -> None:
        self._home, self._environment, self._faults = home, environment, faults
        self._running: dict[int, _Running] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.started = 0
        """Processes started so far."""

    # ---- the service

    async def list(self, request: pb.ListRequest, ctx: RequestContext[Any, Any]) -> pb.ListResponse:
        """Return the processes that run."""
        alive = ((pid, one) for pid, one in self._running.items() if one.end is None)
        return pb.ListResponse(processes=[pb.ProcessInfo(config=one.config, pid=pid) for pid, one in alive])

    async def start(self, request: pb.StartRequest, ctx: RequestContext[Any, Any]) -> AsyncIterator[pb.StartResponse]:
        """Start a process and tell what becomes of it."""
        one = await asyncio.shield(self._keep(self._start(request)))
        deadline = ctx.timeout_ms
        if deadline is not None:
            asyncio.get_running_loop().call_later(deadline / 1000, one.kill)
        async for event in self._listen(one, one.listeners[0]):
            yield pb.StartResponse(event=event)

    async def connect(
        self, request: pb.ConnectRequest, ctx: RequestContext[Any, Any]
    ) -> AsyncIterator[pb.ConnectResponse]:
        """Tell what becomes of a process from now on."""
        one = self._find(request.process, ended=True)
        async for event in self._listen(one):
            yield pb.ConnectResponse(event=event)

    async def send_input(self, request: pb.SendInputRequest, ctx: RequestContext[Any, Any]) -> pb.SendInputResponse:
        """Write to a process's input. A client that gives up does not keep it from being written later."""
        one = self._find(request.process)
        await asyncio.shield(self._keep(self._write(one, request.input)))
        return pb.SendInputResponse()

    async def stream_input(
        self, request: AsyncIterator[pb.StreamInputRequest], ctx: RequestContext[Any, Any]
    ) -> pb.StreamInputResponse:
        """Write to a process's input, in order."""
        one: _Running | None = None
        async for message in request:
            match message.event:
                case Oneof(field="start", value=begin):
                    one = self._find(begin.process)
                case Oneof(field="data", value=data) if one is not None:
                    if self._faults.latency:
                        await asyncio.sleep(self._faults.latency)
                    await asyncio.shield(self._keep(self._write(one, data.input)))
                case _:
                    pass
        return pb.StreamInputResponse()

    async def close_stdin(self, request: pb.CloseStdinRequest, ctx: RequestContext[Any, Any]) -> pb.CloseStdinResponse:
        """Close a process's input."""
        if (stdin := self._find(request.process).process.stdin) is not None:
            stdin.close()
        return pb.CloseStdinResponse()

    async def send_signal(self, request: pb.SendSignalRequest, ctx: RequestContext[Any, Any]) -> pb.SendSignalResponse:
        """Send a signal to a process and what it started."""
        self._find(request.process).kill(int(request.signal))
        return pb.SendSignalResponse()

    async def update(self, request: pb.UpdateRequest, ctx: RequestContext[Any, Any]) -> pb.UpdateResponse:
        """Refuse: there are no terminals here."""
        raise ConnectError(Code.UNIMPLEMENTED, "no terminals")

    # ---- for the server

    def kill_all(self) -> None:
        """End every process."""
        self.signal_all(signal.SIGKILL)

    def signal_all(self, number: int) -> None:
        """Send a signal to every process."""
        for one in self._running.values():
            if one.end is None:
                one.kill(number)

    async def close(self) -> None:
        """End every process and everything that belongs to them."""
        self._closed = True
        self.kill_all()
        while self._tasks:  # what starts a process keeps another task for it
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def alive(self) -> int:
        """Return how many processes run."""
        return sum(one.end is None for one in self._running.values())

    def discarded(self) -> int:
        """Return the bytes of output that nobody listened to."""
        return sum(one.lost for one in self._running.values())

    # ---- inside

    async def _start(self, request: pb.StartRequest) -> _Running:
        config = request.process
        if config is None:
            raise ConnectError(Code.INVALID_ARGUMENT, "no process")
        if self._closed:
            raise ConnectError(Code.NOT_FOUND, "the sandbox is over")
        wants_input = request.stdin if request.has_field("stdin") else True
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            config.cmd,
            *config.args,
            stdin=pipe if wants_input else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            cwd=config.cwd or self._home,
            env={**self._environment, **dict(config.envs)},
            start_new_session=True,
        )
        one = _Running(process=process, config=config)
        one.listeners.append(asyncio.Queue(QUEUE))  # nothing is lost of what a process says first
        self._running[process.pid] = one
        if self._closed:
            one.kill()
        self.started += 1
        self._keep(self._pump(one))
        return one

    async def _pump(self, one: _Running) -> None:
        process = one.process
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both are pipes
        await asyncio.gather(self._read(one, process.stdout, "stdout"), self._read(one, process.stderr, "stderr"))
        code = await process.wait()
        told = Event.EndEvent(exit_code=max(code, -1), exited=code >= 0, status=f"exit status {code}")
        one.end = Event(event=Oneof("end", told))
        for listener in one.listeners:
            await listener.put(one.end)
        if process.stdin is not None:
            process.stdin.close()
            with suppress(OSError, TimeoutError):  # the server may be gone before the pipe is
                await asyncio.wait_for(process.stdin.wait_closed(), 1)

    async def _read(self, one: _Running, stream: asyncio.StreamReader, name: str) -> None:
        while data := await stream.read(CHUNK):
            if self._faults.latency:
                await asyncio.sleep(self._faults.latency)
            if not one.listeners or self._faults.mute:
                one.lost += len(data)
                continue
            for piece in self._faults.pieces(data):
                output = Event.DataEvent(output=Oneof(cast("Any", name), piece))
                for listener in list(one.listeners):
                    await listener.put(Event(event=Oneof("data", output)))

    async def _listen(
        self, one: _Running, listener: asyncio.Queue[Event | None] | None = None
    ) -> AsyncGenerator[Event]:
        if listener is None:
            listener = asyncio.Queue(QUEUE)
            one.listeners.append(listener)
        try:
            yield Event(event=Oneof("start", Event.StartEvent(pid=one.process.pid)))
            if one.end is not None and listener.empty():
                yield one.end
                return
            while (event := await listener.get()) is not None:
                yield event
                if event is one.end:
                    return
        finally:
            one.listeners.remove(listener)
            while not listener.empty():  # whoever waits to put something goes on
                listener.get_nowait()

    def _find(self, selector: pb.ProcessSelector | None, *, ended: bool = False) -> _Running:
        pid = selector.selector.value if selector is not None and selector.selector is not None else 0
        one = self._running.get(cast("int", pid))
        if one is None or (one.end is not None and not ended):
            raise ConnectError(Code.NOT_FOUND, f"process with pid {pid} not found")
        return one

    async def _write(self, one: _Running, given: pb.ProcessInput | None) -> None:
        stdin = one.process.stdin
        if stdin is None or given is None or given.input is None:
            raise ConnectError(Code.INTERNAL, "stdin not enabled or closed")
        async with one.writing:
            if self._faults.stall_stdin:
                await asyncio.sleep(self._faults.stall_stdin)
            if self._faults.deaf:
                return
            with suppress(ConnectionError):
                stdin.write(given.input.value)
                await stdin.drain()

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
