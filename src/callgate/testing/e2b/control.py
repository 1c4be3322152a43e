"""The control plane: sandboxes that are made, listed, paused and ended."""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from e2b.envd.filesystem.filesystem_connect import FilesystemASGIApplication
from e2b.envd.process.process_connect import ProcessASGIApplication

from callgate.testing.e2b.faults import Faults
from callgate.testing.e2b.files import Files
from callgate.testing.e2b.http import App, Receive, Scope, Send, reply
from callgate.testing.e2b.processes import Processes

__all__ = ["ControlPlane", "Machine", "read_body"]

ENVD = "0.6.13"
"""The version of the process service that this server behaves like."""

LARGEST = 1 << 27
"""Bytes of one message."""


@dataclass(slots=True, eq=False)
class Machine:
    """One sandbox."""

    id: str
    template: str
    metadata: dict[str, str]
    order: dict[str, Any]
    """What it was made with, as the client sent it."""
    token: str
    home: Path
    environment: dict[str, str]
    files: Files
    processes: Processes
    process_app: App
    files_app: App
    started: float
    ends: float
    state: str = "running"
    timer: asyncio.TimerHandle | None = None
    contexts: dict[str, Any] = field(default_factory=dict[str, Any])

    def told(self) -> dict[str, Any]:
        """Return what the control plane says of it."""
        return {
            "sandboxID": self.id,
            "templateID": self.template,
            "clientID": "loopback",
            "envdVersion": ENVD,
            "envdAccessToken": self.token,
            "domain": None,
            "startedAt": _time(self.started),
            "endAt": _time(self.ends),
            "cpuCount": 2,
            "memoryMB": 512,
            "diskSizeMB": 1024,
            "state": self.state,
            "metadata": self.metadata,
            "home": str(self.home),
        }


class ControlPlane:
    """Makes and ends sandboxes.

    Args:
        api_key: that requests must carry.
        environment: of the processes in sandboxes.
        faults: what goes wrong.
        drop: cuts the connections of a sandbox.
    """

    def __init__(
        self, api_key: str, environment: Mapping[str, str], faults: Faults, drop: Callable[[Machine], None]
    ) -> None:
        self._api_key, self._environment, self._faults, self._drop = api_key, dict(environment), faults, drop
        self.machines: dict[str, Machine] = {}
        self.most: int | None = None
        """Sandboxes that may run at once; a further one is refused with 429."""
        self.made = 0
        self._keys: dict[str, str] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if headers.get("x-api-key") != self._api_key:
            await _error(send, 401, "invalid API key")
            return
        body = await read_body(receive)
        given: dict[str, Any] = json.loads(body) if body else {}
        parts = [part for part in scope["path"].split("/") if part and part != "v2"]
        method = scope["method"]
        match method, parts:
            case "POST", ["sandboxes"]:
                await self._create(given, headers.get("idempotency-key"), send)
            case "GET", ["sandboxes"]:
                await self._list(parse_qs(scope["query_string"].decode()), send)
            case _, ["sandboxes", id, *action]:
                machine = self.machines.get(id)
                if machine is None:
                    await _error(send, 404, f"sandbox {id} not found")
                else:
                    await self._act(machine, method, "/".join(action), given, send)
            case _:
                await _error(send, 404, "unknown path")

    async def _create(self, given: dict[str, Any], key: str | None, send: Send) -> None:
        if key is not None and (known := self.machines.get(self._keys.get(key, ""))) is not None:
            await _answer(send, 201, known.told())
            return
        if self.most is not None and sum(one.state == "running" for one in self.machines.values()) >= self.most:
            await _error(send, 429, "you have reached the maximum number of concurrent sandboxes")
            return
        machine = self._make(given)
        if key is not None:
            self._keys[key] = machine.id
        await _answer(send, 201, machine.told())

    def _make(self, given: dict[str, Any]) -> Machine:
        home = Path(tempfile.mkdtemp(prefix="callgate-e2b-")).resolve()
        for name in ("tmp", "out"):
            (home / name).mkdir()
        # A login shell sets PATH anew; this is what a template's own profile would do.
        (home / ".bash_profile").write_text(f"export PATH={shlex.quote(self._environment['PATH'])}\n")
        stands_in = {"HOME": str(home), "CALLGATE_LOOPBACK": str(home / "tmp")}
        environment: dict[str, str] = {**self._environment, **stands_in, **(given.get("envVars") or {})}
        processes, files = Processes(home, environment, self._faults), Files(home)
        now = time.time()
        machine = Machine(
            id=f"i{secrets.token_hex(10)}",
            template=given.get("templateID", "base"),
            metadata=dict(given.get("metadata") or {}),
            order=given,
            token=secrets.token_hex(16),
            home=home,
            environment=environment,
            files=files,
            processes=processes,
            process_app=ProcessASGIApplication(processes, read_max_bytes=LARGEST),
            files_app=FilesystemASGIApplication(files),
            started=now,
            ends=now,
        )
        self.machines[machine.id] = machine
        self.made += 1
        self._until(machine, given.get("timeout", 15))
        return machine

    async def _list(self, query: dict[str, list[str]], send: Send) -> None:
        wanted = dict(parse_qsl(query.get("metadata", [""])[0]))
        states = query.get("state", ["running,paused"])[0].split(",")
        found = [
            one.told()
            for one in self.machines.values()
            if one.state in states and wanted.items() <= one.metadata.items()
        ]
        await _answer(send, 200, found)

    async def _act(self, machine: Machine, method: str, action: str, given: dict[str, Any], send: Send) -> None:
        match method, action:
            case "GET", "":
                await _answer(send, 200, machine.told())
            case "DELETE", "":
                await self.end(machine)
                await reply(send, 204)
            case "POST", "timeout":
                self._until(machine, given["timeout"])
                await reply(send, 204)
            case "POST", "pause":
                if machine.state == "paused":
                    await _error(send, 409, "sandbox is already paused")
                    return
                self.pause(machine)
                await reply(send, 204)
            case "POST", "connect" | "resume":
                resumed = machine.state == "paused"
                if resumed:
                    machine.state = "running"
                    machine.processes.signal_all(signal.SIGCONT)
                self._until(machine, max(given.get("timeout", 300), 0 if resumed else machine.ends - time.time()))
                await _answer(send, 201 if resumed else 200, machine.told())
            case "PUT", "network":
                machine.order["network"] = given
                await reply(send, 204)
            case _:
                await _error(send, 404, "unknown path")

    def pause(self, machine: Machine) -> None:
        """Freeze a sandbox and cut its connections."""
        machine.state = "paused"
        if machine.timer is not None:
            machine.timer.cancel()
        machine.processes.signal_all(signal.SIGSTOP)
        self._drop(machine)

    async def end(self, machine: Machine) -> None:
        """End a sandbox with everything in it, also where who asked for it goes away meanwhile."""
        await asyncio.shield(self._begin_end(machine))

    def _begin_end(self, machine: Machine) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._end(machine))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _end(self, machine: Machine) -> None:
        self.machines.pop(machine.id, None)
        if machine.timer is not None:
            machine.timer.cancel()
        machine.processes.kill_all()
        self._drop(machine)
        await machine.processes.close()
        for context in machine.contexts.values():
            await context.close()
        await asyncio.to_thread(shutil.rmtree, machine.home, ignore_errors=True)

    async def close(self) -> None:
        """End every sandbox."""
        for machine in list(self.machines.values()):
            self._begin_end(machine)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _until(self, machine: Machine, seconds: float) -> None:
        machine.ends = time.time() + seconds
        if machine.timer is not None:
            machine.timer.cancel()
        machine.timer = asyncio.get_running_loop().call_later(seconds, self._expire, machine)

    def _expire(self, machine: Machine) -> None:
        if machine.order.get("autoPause"):
            self.pause(machine)
            return
        self._begin_end(machine)


async def read_body(receive: Receive) -> bytes:
    """Return the body of a request."""
    parts: list[bytes] = []
    with suppress(KeyError):  # a client that is gone
        while True:
            message = await receive()
            parts.append(message["body"])
            if not message["more_body"]:
                break
    return b"".join(parts)


async def _answer(send: Send, status: int, told: Any) -> None:
    await reply(send, status, json.dumps(told).encode())


async def _error(send: Send, status: int, message: str) -> None:
    await _answer(send, status, {"code": status, "message": message})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
