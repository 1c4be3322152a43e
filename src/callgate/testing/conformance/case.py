"""What a check works with: programs run on threads or on an event loop, and guests it speaks with itself."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, cast

from callgate.codec import JSON
from callgate.limits import Limits
from callgate.outcome import Outcome
from callgate.runner import CodeRunner
from callgate.sandboxes.base import (
    CallFrame,
    DropFrame,
    EndFrame,
    FileFrame,
    Frame,
    Guest,
    OutFrame,
    RestFrame,
    Sandbox,
    frame,
)
from callgate.sandboxes.frames import Frames

__all__ = ["WALL", "Case", "Hooks", "Peer", "Runs", "Said", "Watched", "Way"]

T = TypeVar("T")
Way: TypeAlias = Literal["sync", "async"]

WALL = 1_800_000_000.0
"""The wall clock of guests that a check speaks with itself, in seconds since 1970."""


class Hooks(Protocol):
    """What the suite cannot know of a sandbox, or do to it, by itself; see `SandboxConformance`."""

    patience: ClassVar[float]
    brief: ClassVar[float]
    raw: ClassVar[str]

    def lose(self, sandbox: Sandbox) -> None:
        """Make a sandbox go away."""
        ...

    def leftovers(self, sandbox: Sandbox) -> Collection[object]:
        """Return what is there of guests, alive or left behind."""
        ...


class Watched:
    """A sandbox that remembers the guests it gave."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.guests: list[Guest] = []

    @property
    def name(self) -> str:
        """That of the sandbox."""
        return self._sandbox.name

    @property
    def level(self) -> str:
        """That of the sandbox, which may know it only once it has given a guest."""
        return self._sandbox.level

    def start(self, limits: Limits) -> Guest:
        """Return a fresh guest."""
        self.guests.append(self._sandbox.start(limits))
        return self.guests[-1]

    async def astart(self, limits: Limits) -> Guest:
        """The awaitable twin of `start`."""
        self.guests.append(await self._sandbox.astart(limits))
        return self.guests[-1]

    def close(self) -> None:
        """Leave it open: it is others' too."""


@dataclass(kw_only=True)
class Said:
    """Everything a guest said."""

    value: JSON = None
    error: dict[str, JSON] | None = None
    out: str = ""
    calls: list[tuple[str, dict[str, JSON]]] = field(default_factory=list[tuple[str, dict[str, JSON]]])
    drops: list[int] = field(default_factory=list[int])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    frames: list[Frame] = field(default_factory=list[Frame])
    seconds: float = 0.0
    """Program time at the end."""
    stuck: bool = False
    """It waits for what cannot come."""
    gone: bool = False
    """It ended without saying so."""


class Peer:
    """The host's end of one guest, on threads or on an event loop of its own, in simulated time.

    Args:
        sandbox: that starts the guest.
        limits: of the guest.
        way: of speaking with it.
        patience: seconds that it may stay silent.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, way: Way, patience: float) -> None:
        self._runner = asyncio.Runner() if way == "async" else None
        self._limits, self._patience = limits, patience
        self._frames = Frames(limits.frame_mb)
        try:
            self.guest: Guest = self.do(sandbox.astart(limits)) if self._runner else sandbox.start(limits)
        except BaseException:
            self._leave()
            raise

    def do(self, work: Awaitable[T]) -> T:
        """Return what comes of it, on the loop of this peer."""
        assert self._runner is not None

        async def wait() -> T:
            return await work

        return self._runner.run(wait())

    def send(self, data: bytes, timeout: float | None = None) -> None:
        """Send whole frames."""
        timeout = self._patience if timeout is None else timeout
        if self._runner is None:
            self.guest.send(data, timeout)
        else:
            self.do(self.guest.asend(data, timeout))

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Return what comes next, as `Guest.receive` does."""
        timeout = self._patience if timeout is None else timeout
        return self.guest.receive(timeout) if self._runner is None else self.do(self._areceive(timeout))

    async def _areceive(self, timeout: float) -> bytes | None:
        timer = asyncio.get_running_loop().call_later(timeout, self.guest.wake)
        try:
            async with asyncio.timeout(timeout + self._patience):
                return await self.guest.areceive()
        finally:
            timer.cancel()

    def order(self, program: str, *, seed: int = 7, wall: float = WALL) -> None:
        """Send a program; its tools are `echo(value)` and whatever it calls by name."""
        limits = self._limits
        bounds = {name: getattr(limits, name) for name in ("output_kb", "frame_mb", "threads", "disk_mb")}
        tools = {"echo": {"tool": "echo", "params": ["value"]}}
        self.send(frame({"run": {"program": program, "seed": seed, "wall": wall, "tools": tools, "limits": bounds}}))

    def next_frames(self) -> list[Frame] | None:
        """Return the frames of what comes next, None if the guest is gone."""
        data = self.receive()
        assert data is not None, f"the guest said nothing for {self._patience:g} s"
        return list(self._frames.feed(data)) if data else None

    def until(self, kind: type[Frame]) -> list[Frame]:
        """Return the frames up to one of that kind."""
        seen: list[Frame] = []
        while not any(isinstance(one, kind) for one in seen):
            fresh = self.next_frames()
            assert fresh is not None, f"the guest was gone before its {kind.__name__}"
            seen += fresh
        return seen

    def converse(self) -> Said:
        """Answer calls with their arguments and let time pass, until the guest is over."""
        said, running, now = Said(), list[tuple[float, int, JSON]](), 0.0
        while (fresh := self.next_frames()) is not None:
            for one in fresh:
                said.frames.append(one)
                match one:
                    case OutFrame(text=text):
                        said.out += text
                    case CallFrame(n=n, tool=tool, args=args):
                        said.calls.append((tool, args))
                        heapq.heappush(running, (now + (n * 7 % 5 + 1) / 100, n, args.get("value")))
                    case DropFrame(n=n):
                        said.drops.append(n)
                    case FileFrame(name=name, data=data):
                        said.files[name] = data
                    case EndFrame(value=value, error=error):
                        said.value, said.error, said.seconds = value, error, now
                        return said
                    case RestFrame(until=due):
                        if not running and due is None:
                            said.stuck = True
                            return said
                        if running and (due is None or running[0][0] < due):
                            now, n, value = heapq.heappop(running)
                            self.send(frame({"answer": n, "at": now, "value": value}))
                        else:
                            now = max(now, due or 0.0)
                            self.send(frame({"clock": now, "wall": WALL}))
        said.gone = True
        return said

    def close(self) -> None:
        """End the guest and the loop."""
        try:
            self.guest.kill()
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._runner is not None:
            self._runner.close()


class Runs:
    """A CodeRunner, used on threads or on event loops, a new one each time."""

    def __init__(self, runner: CodeRunner, way: Way) -> None:
        self.runner, self._way = runner, way

    def run(self, program: str, **options: Any) -> Outcome:
        """Run a program to its end or its first pause."""
        if self._way == "sync":
            return self.runner.run(program, **options)
        return asyncio.run(self.runner.arun(program, **options))

    def resume(self, id: str, decisions: dict[str, object] | None = None) -> Outcome:
        """Go on with an action."""
        if self._way == "sync":
            return self.runner.resume(id, decisions)
        return asyncio.run(self.runner.aresume(id, decisions))


class Case:
    """One check's view of a sandbox.

    Args:
        sandbox: that is looked at.
        way: "sync" for threads, "async" for event loops.
        new: makes another sandbox like it.
        hooks: what the subclass does for the suite.
    """

    def __init__(self, sandbox: Sandbox, way: Way, *, new: Callable[[], Sandbox], hooks: Hooks) -> None:
        self.sandbox = sandbox
        self.way: Way = way
        self.patience, self.brief, self.raw = hooks.patience, hooks.brief, hooks.raw
        self.lose, self.leftovers = hooks.lose, hooks.leftovers
        self._new = new

    @property
    def limits(self) -> Limits:
        """What a program gets that is not about limits."""
        return Limits(seconds=self.patience)

    def bounded(self, **bounds: Any) -> Limits:
        """Return the same limits, with some bounds of one's own."""
        return Limits(**cast("dict[str, Any]", {"seconds": self.patience, **bounds}))

    def runner(self, *tools: Any, limits: Limits | None = None, sandbox: Sandbox | None = None, **options: Any) -> Runs:
        """Return a runner in this sandbox, or another one."""
        runner = CodeRunner(tools, sandbox=sandbox or self.sandbox, limits=limits or self.limits, **options)
        return Runs(runner, self.way)

    def run(self, program: str, *tools: Any, limits: Limits | None = None, **options: Any) -> Outcome:
        """Run one program, in a guest and never without one."""
        watched = Watched(self.sandbox)
        outcome = self.runner(*tools, limits=limits, sandbox=watched, **options).run(program)
        assert watched.guests, f"no guest was started for this program; choose another one: {program}"
        return outcome

    def value(self, program: str, *tools: Any, limits: Limits | None = None) -> JSON:
        """Return what a program ends with."""
        outcome = self.run(program, *tools, limits=limits)
        assert outcome.status == "completed", outcome.text
        return outcome.value

    def says(self, program: str, *, seed: int = 7, wall: float = WALL, limits: Limits | None = None) -> Said:
        """Return everything the guest of one program says, in simulated time."""
        with self.peer(limits) as peer:
            peer.order(program, seed=seed, wall=wall)
            return peer.converse()

    @contextmanager
    def peer(self, limits: Limits | None = None, sandbox: Sandbox | None = None) -> Generator[Peer]:
        """Return the host's end of a fresh guest; the guest is over afterwards."""
        peer = Peer(sandbox or self.sandbox, limits or self.limits, self.way, self.patience)
        try:
            yield peer
        finally:
            peer.close()

    @contextmanager
    def another(self) -> Generator[Sandbox]:
        """Return a sandbox of one's own, which is closed afterwards."""
        sandbox = self._new()
        try:
            yield sandbox
        finally:
            with suppress(Exception):
                sandbox.close()
