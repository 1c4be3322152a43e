"""Sandboxes with one fault each, around a FakeSandbox that has none: what the suite has to find."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from callgate.errors import LimitExceeded
from callgate.limits import Limits
from callgate.sandboxes.base import frame
from callgate.testing import FakeSandbox


def frames(data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the frames of whole ones, parsed and as they are."""
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        yield json.loads(data[4:size]), data[:size]
        data = data[size:]


class Guest:
    """Passes everything on; `said` is what the host says, `heard` what the guest says."""

    def __init__(self, inner: Any, sandbox: Mutant) -> None:
        self.inner, self.sandbox = inner, sandbox

    def said(self, data: bytes) -> bytes:
        return data

    def heard(self, data: bytes) -> bytes:
        return data

    def send(self, data: bytes, timeout: float | None) -> None:
        self.inner.send(self.said(data), timeout)

    async def asend(self, data: bytes, timeout: float | None) -> None:
        await self.inner.asend(self.said(data), timeout)

    def receive(self, timeout: float | None) -> bytes | None:
        while data := self.inner.receive(timeout):
            if kept := self.heard(data):
                return kept
        return data

    async def areceive(self) -> bytes | None:
        while data := await self.inner.areceive():
            if kept := self.heard(data):
                return kept
        return data

    def wake(self) -> None:
        self.inner.wake()

    def cpu_seconds(self) -> float:
        return self.inner.cpu_seconds()

    def kill(self) -> None:
        self.inner.kill()

    def lost(self) -> bool:
        return self.inner.lost()


class Mutant:
    """A sandbox whose guests have a fault; here they have none."""

    name, level = "mutant", "L0"
    guest: type[Guest] = Guest

    def __init__(self) -> None:
        self.inner = FakeSandbox()
        self.guests: list[Guest] = []

    def start(self, limits: Limits) -> Guest:
        self.guests.append(self.guest(self.inner.start(limits), self))
        return self.guests[-1]

    async def astart(self, limits: Limits) -> Guest:
        self.guests.append(self.guest(await self.inner.astart(limits), self))
        return self.guests[-1]

    def close(self) -> None:
        self.inner.close()

    def lose(self) -> None:
        self.inner.lose()

    @property
    def _guests(self) -> Any:
        return self.inner._guests

    @classmethod
    def of(cls, guest: type[Guest]) -> type[Self]:
        """Return a sandbox with such guests."""
        return type(guest.__name__, (cls,), {"guest": guest})


# ---- bytes


class LosesAnswers(Guest):
    count = 0

    def said(self, data: bytes) -> bytes:
        self.count += b'{"answer"' in data[:20]
        return b"" if self.count == 3 and b'{"answer"' in data[:20] else data


class AnswersTwice(Guest):
    def said(self, data: bytes) -> bytes:
        return data * 2 if b'{"answer"' in data[:20] else data


class AsksTwice(Guest):
    def heard(self, data: bytes) -> bytes:
        return data * 2 if b'{"call"' in data[:20] else data


class LosesBytes(Guest):
    def heard(self, data: bytes) -> bytes:
        return data[:-1] if len(data) > 60_000 else data


class LosesBytesOnLoops(Guest):
    async def areceive(self) -> bytes | None:
        data = await super().areceive()
        return data[1:] if data and len(data) > 60_000 else data


class Reorders(Guest):
    late = b""

    def heard(self, data: bytes) -> bytes:
        if len(data) == 1 << 16 and not self.late:
            self.late = data
            return b""
        late, self.late = self.late, b""
        return data + late


class LosesOutput(Guest):
    def heard(self, data: bytes) -> bytes:
        return b"".join(whole for one, whole in frames(data) if "out" not in one)


class LosesFiles(Guest):
    held = b""

    def heard(self, data: bytes) -> bytes:
        self.held += data
        kept = b""
        while len(self.held) >= 4 and len(self.held) >= (size := 4 + int.from_bytes(self.held[:4], "big")):
            kept += self.held[:size] if self.held[4:12] != b'{"file":' else b""
            self.held = self.held[size:]
        return kept


class LosesOnCancel(Guest):
    async def areceive(self) -> bytes | None:
        data = await super().areceive()
        await asyncio.sleep(0.003)
        return data


class Crosses(Guest):
    """Its answers go to the guest that was started last."""

    def send(self, data: bytes, timeout: float | None) -> None:
        to = self.sandbox.guests[-1] if b'{"answer"' in data[:20] else self
        to.inner.send(data, timeout)

    async def asend(self, data: bytes, timeout: float | None) -> None:
        self.send(data, timeout)


# ---- what brings the program


def ordering(change: Callable[[dict[str, Any]], None]) -> type[Guest]:
    """Return a guest whose order is changed."""

    class Ordered(Guest):
        def said(self, data: bytes) -> bytes:
            if data[4:10] != b'{"run"':
                return data
            run = json.loads(data[4:])["run"]
            change(run)
            return frame({"run": run})

    return Ordered


earlier: list[str] = []


def keeps_state(run: dict[str, Any]) -> None:
    before = "\n".join(earlier)
    earlier[:] = [run["program"]]
    run["program"] = f"{before}\n{run['program']}"


def shows_environment(run: dict[str, Any]) -> None:
    run["program"] = f"import os; os.environ.update({dict(os.environ)!r})\n{run['program']}"


def ascii_only(run: dict[str, Any]) -> None:
    run["program"] = run["program"].encode("ascii", "replace").decode()


def own_seed(run: dict[str, Any]) -> None:
    run["seed"] = random.SystemRandom().getrandbits(60)


def own_clock(run: dict[str, Any]) -> None:
    run["wall"] = time.time()


def no_limits(run: dict[str, Any]) -> None:
    run["limits"]["threads"] = 10_000


# ---- what a driver relies on


class IgnoresKill(Guest):
    def kill(self) -> None:
        """Do nothing."""


class LeavesProcesses(Guest):
    over = False

    def kill(self) -> None:
        self.over = True
        self.inner.wake()

    def receive(self, timeout: float | None) -> bytes | None:
        return b"" if self.over else super().receive(timeout)

    async def areceive(self) -> bytes | None:
        return b"" if self.over else await super().areceive()


class Dawdles(Guest):
    def receive(self, timeout: float | None) -> bytes | None:
        return super().receive(None if timeout is None else timeout + 1)


class IgnoresWake(Guest):
    def wake(self) -> None:
        """Do nothing."""


class WakesTwice(Guest):
    woken = 0

    def wake(self) -> None:
        self.woken += 1
        self.inner.wake()

    def receive(self, timeout: float | None) -> bytes | None:
        if self.woken:
            self.woken -= 1
            return None
        return super().receive(timeout)


class TakesSilenceForDeath(Guest):
    def receive(self, timeout: float | None) -> bytes | None:
        data = super().receive(min(0.2, timeout or 0.2))
        return b"" if data is None and (timeout is None or timeout > 0.2) else data


class TellsNoTime(Guest):
    def cpu_seconds(self) -> float:
        return 0.0


class IsNeverLost(Guest):
    def lost(self) -> bool:
        return False


class IsAlwaysLost(Guest):
    def lost(self) -> bool:
        return True


class Buffers(Guest):
    """Takes whatever is sent, and never says that nobody reads it."""

    def send(self, data: bytes, timeout: float | None) -> None:
        if len(data) < 1 << 20:
            super().send(data, timeout)

    async def asend(self, data: bytes, timeout: float | None) -> None:
        self.send(data, timeout)


# ---- sandboxes


class Shares(FakeSandbox):
    """Its guests work in one directory, which stays."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="callgate-mutant-")
        for name in ("tmp", "out"):
            Path(self.folder, name).mkdir()

    def start(self, limits: Limits) -> Any:
        ours = patch.object(tempfile, "mkdtemp", lambda prefix: self.folder)
        with ours, patch.object(os, "mkdir", lambda path: None):
            return super().start(limits)

    def _end(self, pid: int, folder: str) -> None:
        with patch.object(shutil, "rmtree"):
            super()._end(pid, folder)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class StaysOpen(Mutant):
    def close(self) -> None:
        """Do nothing."""


class OneAtATime(Mutant):
    def __init__(self) -> None:
        super().__init__()
        lock = self.lock = threading.Lock()

        class Leaving(Guest):
            def kill(self) -> None:
                super().kill()
                with suppress(RuntimeError):
                    lock.release()

        self.guest = Leaving

    def start(self, limits: Limits) -> Guest:
        if not self.lock.acquire(timeout=0.3):
            raise LimitExceeded("one at a time", tool="", limit="guests")
        return super().start(limits)

    async def astart(self, limits: Limits) -> Guest:
        return await asyncio.to_thread(self.start, limits)


class LeaksDescriptors(Mutant):
    def start(self, limits: Limits) -> Guest:
        self.kept = [*getattr(self, "kept", []), socket.socketpair()]
        return super().start(limits)

    def close(self) -> None:
        for one, other in getattr(self, "kept", []):
            one.close()
            other.close()
        super().close()


class LeaksTasks(Mutant):
    async def astart(self, limits: Limits) -> Guest:
        self.tasks = [*getattr(self, "tasks", []), asyncio.create_task(asyncio.sleep(600))]
        return await super().astart(limits)


class Nameless(Mutant):
    name = ""
