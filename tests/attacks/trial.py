"""Runs an attack once, in whatever sandbox, and says what came of it."""

# Each attack looks many times, and pathlib takes several times as long.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attacks.attack import Attack, Trial, World
from attacks.prelude import source_of
from attacks.stage import Estate, Stage
from attacks.tools import tools_for

from callgate import CodeRunner, ReplayDivergence
from callgate.sandboxes import LocalSandbox
from callgate.sandboxes.base import Sandbox

PATIENCE = 5.0
"""Seconds that a killed process, or a descriptor, may take to be gone."""

ARMED = 10.0
"""Seconds in which a program has to call `note` before its host is killed."""

ANCILLARY = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(12)
"""Room for what comes with a greeting: a descriptor, and credentials."""

LAST_WISH = 1.0
"""Seconds after which nothing of a killed host may be left."""

ROUNDS = 4
"""How often a human answers one action."""


class Meter:
    """The memory, the processes and the descriptors of this process, against how they were.

    Args:
        sandboxes: whose fork servers and spare guests are there whenever nothing runs.
    """

    def __init__(self, sandboxes: Sequence[Sandbox] = ()) -> None:
        self._pools = [one for one in sandboxes if isinstance(one, LocalSandbox)]
        _give_back()
        self._children, self._before, self._descriptors = children(), self._strangers(), self._opened()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        self._memory = _status("VmRSS")

    def grown_mb(self) -> float:
        """Return how far the memory went up in between, in MiB."""
        return (_status("VmHWM") - self._memory) / 1024

    def survivors(self, patience: float = PATIENCE) -> int:
        """Return how many processes there are more, once those that were killed are gone and spares are made."""
        return self._settled(lambda: len(self._strangers() - self._before), patience)

    def left_open(self) -> int:
        """Return how many descriptors there are more."""
        if self._opened() > self._descriptors:
            gc.collect()
        return self._settled(lambda: self._opened() - self._descriptors, PATIENCE)

    def end_survivors(self) -> None:
        """Kill what a trial without a jail left behind; orphans have fallen to this process."""
        for pid in self._strangers() - self._before:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.survivors()

    def _strangers(self) -> set[int]:
        """Return the processes below this one that are no fork server and no spare guest."""
        return descendants() - {pid for one in self._pools for pid in standing(one)}

    def _opened(self) -> int:
        """Return how many descriptors this process has, but for those of spare guests."""
        return open_descriptors() - sum(len(spares(one)) for one in self._pools)

    def _settled(self, count: Callable[[], int], patience: float) -> int:
        deadline, empty = time.monotonic() + patience, 0
        while True:
            more = count()
            # The kernel's lists are no snapshot: who is handed to another parent just then is on neither of two.
            empty = empty + 1 if more <= 0 else 0
            if empty == 2 or time.monotonic() >= deadline:
                return max(more, 0)
            for pid in children() - self._children:  # orphans: this process is their reaper
                with suppress(ChildProcessError):
                    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
            time.sleep(0.005)


def spares(sandbox: LocalSandbox) -> list[socket.socket]:
    """Return the channels of the spare guests that were ordered."""
    pool = sandbox._pool
    return [] if pool is None else [order._channel for _, order in list(pool._waiting)]


def standing(sandbox: LocalSandbox) -> set[int]:
    """Return the processes of the fork server, and the spare guests that have greeted."""
    if (pool := sandbox._pool) is None:
        return set()
    first = pool.server._process.pid
    servers = {first, *(children(first) if "namespaces" in pool.server.layers else ())}
    return servers | {pid for channel in spares(sandbox) if (pid := _greeted(channel)) is not None}


def _greeted(channel: socket.socket) -> int | None:
    """Return the number of a guest by its greeting, which stays where it is; None of one that is not there."""
    try:
        _, ancillary, _, _ = channel.recvmsg(1, ANCILLARY, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return None
    for _, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:  # peeking opens it once more
            os.close(struct.unpack("i", content)[0])
    return next((struct.unpack("iII", one)[0] for _, kind, one in ancillary if kind == socket.SCM_CREDENTIALS), None)


def _give_back() -> None:
    """Return what is free, or what comes next would not show."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc's
        trim(0)


def open_descriptors() -> int:
    """Return how many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def children(pid: int | str = "self") -> set[int]:
    """Return the children of a process, this one by default."""
    found: set[int] = set()
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found |= set(map(int, file.read().split()))
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        pass
    return found


def descendants() -> set[int]:
    """Return the processes below this one."""
    found: set[int] = set()
    todo = children()
    while todo:
        found |= todo
        todo = set().union(*map(children, todo)) - found
    return found


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise AssertionError(field)


class Host:
    """A runner over one stage, as long as an attack takes."""

    def __init__(self, attack: Attack, estate: Estate, world: World, sandbox: Sandbox, driver: str) -> None:
        self.stage, self.world, self.attack, self._driver = (
            Stage(estate, sockets=attack.category == "network"),
            world,
            attack,
            driver,
        )
        self.tell: int | None = None
        self._effects: list[tuple[str, Any]] = []
        self._runner = CodeRunner(
            tools_for(self.stage, self._effects, world, self._noted),
            sandbox=sandbox,
            limits=world.limits,
            interrupt_on=dict.fromkeys(world.asks_for, True),
        )

    def _noted(self) -> None:
        if self.tell is not None:
            os.write(self.tell, b"!")

    def run(self) -> Trial:
        """Run the attack and all that belongs to it."""
        if self.attack.beside is not None:
            return self._run_both(self.attack.program, self.attack.beside)
        trial = self.program(self.attack.program, thread=self.world.thread)
        if self.attack.after is not None:
            handles = [cut.handle for cut in trial.outcome.truncated] if trial.outcome is not None else []
            trial.second = self.program(self.attack.after, thread=self.world.next_thread, handles=handles)
        return trial

    def program(self, program: str, *, thread: str = "", handles: Any = ()) -> Trial:
        """Run one program, and answer for the humans it has to wait for."""
        trial = Trial(attack=self.attack, stage=self.stage, effects=self._effects)
        source = source_of(self.attack, program, {**self.stage.bait(), "handles": list(handles)})
        began = time.monotonic()
        try:
            outcome = self._drive("run", source, thread=thread)
            for _ in range(ROUNDS if self.world.decide is not None else 0):
                if outcome.status != "paused":
                    break
                outcome = self._drive("resume", outcome.id, self._decided(trial, outcome.waiting))
        except ReplayDivergence:
            trial.status = "diverged"
            return trial
        except Exception as error:
            trial.raised = f"{type(error).__name__}: {error}"
            return trial
        finally:
            trial.seconds = time.monotonic() - began
        trial.outcome, trial.status, trial.value = outcome, outcome.status, outcome.value
        trial.output, trial.text, trial.limit = outcome.stdout, outcome.text, outcome.limit
        trial.waiting = len(outcome.waiting)
        trial.error = (outcome.error.type, outcome.error.text) if outcome.error is not None else None
        return trial

    def _decided(self, trial: Trial, waiting: Any) -> Mapping[str, object]:
        assert self.world.decide is not None
        decisions = {one.id: self.world.decide(one) for one in waiting}
        trial.approved += [(one.tool, one.arguments) for one in waiting if decisions[one.id] == "approve"]
        return decisions

    def _drive(self, what: str, *arguments: Any, **named: Any) -> Any:
        if self._driver == "threads":
            return getattr(self._runner, what)(*arguments, **named)
        return asyncio.run(getattr(self._runner, f"a{what}")(*arguments, **named))

    def _run_both(self, program: str, beside: str) -> Trial:
        found: list[Trial] = []
        other = threading.Thread(target=lambda: found.append(self.program(beside)))
        other.start()
        trial = self.program(program)
        other.join()
        trial.second = found[0]
        return trial


def run(
    attack: Attack,
    sandbox: Sandbox,
    estate: Estate,
    world: World,
    driver: str,
    meter: Meter,
    patience: float = PATIENCE,
) -> Trial:
    """Run an attack in a sandbox. The stage is the caller's to close."""
    host = Host(attack, estate, world, sandbox, driver)
    trial = _run_and_kill(host) if world.killed else host.run()
    trial.grew_mb = meter.grown_mb()
    trial.survivors = meter.survivors(min(LAST_WISH, patience) if world.killed else patience)
    return trial


def _run_and_kill(host: Host) -> Trial:
    """Run in a forked child, and kill that once the program says that it is ready."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            host.tell = tell
            host.run()
        finally:
            os._exit(1)
    os.close(tell)
    armed = bool(select.select([ready], [], [], ARMED)[0])
    os.close(ready)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Trial(attack=host.attack, stage=host.stage, value=armed)
