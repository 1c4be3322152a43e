"""The loopback server as a whole."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs

from callgate.testing.e2b.control import ControlPlane, Machine, read_body
from callgate.testing.e2b.faults import Faults
from callgate.testing.e2b.files import read_upload, told
from callgate.testing.e2b.http import Connection, Receive, Scope, Send, reply
from callgate.testing.e2b.notebook import answer_notebook

__all__ = ["LoopbackE2B"]

T = TypeVar("T")

NOT_FOUND = b'{"sandboxId": "%s", "message": "The sandbox was not found", "code": 502}'
NOTEBOOK_PORT = "49999"
LATE = ("/process.Process/SendInput", "/files", "/sandboxes", "/v2/sandboxes")
"""Requests that slow networks make late as a whole; what comes in pieces is late piece by piece."""


class LoopbackE2B:
    """Serves sandboxes to the E2B SDK on a loopback port of this machine, without any isolation.

    What "runs in a sandbox" runs as an ordinary process of this machine and this user, in a directory of its own that
    stands for the sandbox's file system. Never give it a program that a model wrote.

    Used as a context manager, or by `close`. It has one thread of its own. All methods may be called from any thread.

    Args:
        faults: what goes wrong; None is nothing.
        api_key: that clients must send; None makes one up.
        port: to listen on; 0 takes a free one.
        environment: more of it for the processes in sandboxes.

    Attributes:
        url: of the control plane and of everything in sandboxes.
        options: what `e2b.E2B` and `E2BSandbox` take to find it.
        faults: what goes wrong.
    """

    def __init__(
        self,
        *,
        faults: Faults | None = None,
        api_key: str | None = None,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.api_key = api_key or f"e2b_{secrets.token_hex(20)}"
        self.requests: list[str] = []
        """Method and path of each request so far."""
        self._connections: set[Connection] = set()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self._control = ControlPlane(
            self.api_key, {"PATH": path, "LANG": "C.UTF-8", **(environment or {})}, self.faults, self._drop
        )
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.options: dict[str, str] = {"api_key": self.api_key, "api_url": self.url, "sandbox_url": self.url}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="callgate-loopback-e2b", daemon=True)
        self._closed = False
        self._thread.start()
        self._do(self._listen)

    # ---- what there is

    def sandboxes(self, state: str | None = None) -> list[dict[str, Any]]:
        """Return what the control plane says of each sandbox there is, with its `order`."""
        return self._do(
            lambda: [
                {**one.told(), "order": one.order}
                for one in self._control.machines.values()
                if state is None or one.state == state
            ]
        )

    @property
    def made(self) -> int:
        """Sandboxes made so far."""
        return self._control.made

    def processes(self) -> int:
        """Return how many processes run in sandboxes, those that others started not counted."""
        return self._do(lambda: sum(one.processes.alive() for one in self._control.machines.values()))

    def started(self) -> int:
        """Return how many processes were started in the sandboxes there are."""
        return self._do(lambda: sum(one.processes.started for one in self._control.machines.values()))

    def contexts(self) -> int:
        """Return how many kernels of notebooks there are."""
        return self._do(lambda: sum(len(one.contexts) for one in self._control.machines.values()))

    def discarded(self) -> int:
        """Return how many bytes of output nobody listened to."""
        return self._do(lambda: sum(one.processes.discarded() for one in self._control.machines.values()))

    # ---- faults that happen at once

    def drop_streams(self, path: str = "/process.Process/") -> int:
        """Cut the connections that answer requests to a path now. Returns how many those were."""

        def drop() -> int:
            found = [one for one in self._connections if one.path.startswith(path)]
            for one in found:
                one.abort()
            return len(found)

        return self._do(drop)

    def kill_processes(self) -> None:
        """End every process in every sandbox, as a kernel does that is out of memory."""
        self._do(lambda: [one.processes.kill_all() for one in self._control.machines.values()])

    def freeze(self) -> None:
        """Stop every process in every sandbox."""
        self._do(lambda: [one.processes.signal_all(signal.SIGSTOP) for one in self._control.machines.values()])

    def lose_sandboxes(self) -> int:
        """End every sandbox behind its client's back. Returns how many those were."""

        async def lose() -> int:
            machines = list(self._control.machines.values())
            for one in machines:
                await self._control.end(one)
            return len(machines)

        return self._run(lose())

    def limit(self, most: int | None) -> None:
        """Let at most that many sandboxes run at once."""
        self._control.most = most

    # ---- life

    def close(self) -> None:
        """End every sandbox and the server. Does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _listen(self) -> None:
        self._server = self._loop.create_task(
            self._loop.create_server(lambda: Connection(self._app, self._connections), sock=self._socket)
        )

    async def _finish(self) -> None:
        (await self._server).close()
        await self._control.close()
        for one in list(self._connections):
            one.abort()
            await one.finished()
        me = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not me]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _do(self, work: Callable[[], T]) -> T:
        async def do() -> T:
            return work()

        return self._run(do())

    # ---- requests

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.requests.append(f"{scope['method']} {path}")
        if self.faults.latency and path.startswith(LATE):
            await asyncio.sleep(self.faults.latency)
        if (wrong := self.faults.failing(path)) is not None:
            await read_body(receive)
            status, body, headers = wrong
            await reply(send, status, body, headers=headers)
        elif path.startswith(("/sandboxes", "/v2/sandboxes")):
            await self._control(scope, receive, send)
        else:
            await self._inside(scope, receive, send)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what goes to a sandbox."""
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        machine = self._control.machines.get(headers.get("e2b-sandbox-id", ""))
        if machine is None or machine.state != "running":
            await read_body(receive)
            await reply(send, 502, NOT_FOUND % headers.get("e2b-sandbox-id", "").encode())
            return
        scope["callgate.machine"] = machine.id
        path = scope["path"]
        if headers.get("e2b-sandbox-port") == NOTEBOOK_PORT:
            await answer_notebook(machine, scope, receive, send)
        elif path == "/health":
            await reply(send, 204)
        elif headers.get("x-access-token") != machine.token:
            await read_body(receive)
            await reply(send, 401, b'{"code": 401, "message": "unauthorized"}')
        elif path.startswith("/process.Process/"):
            await machine.process_app(scope, receive, send)
        elif path.startswith("/filesystem.Filesystem/"):
            await machine.files_app(scope, receive, send)
        elif path == "/files":
            await _files(machine, headers, scope, receive, send)
        else:
            await reply(send, 404, b'{"code": 404, "message": "unknown path"}')

    def _drop(self, machine: Machine) -> None:
        for one in list(self._connections):
            if one.machine == machine.id:
                one.abort()


async def _files(machine: Machine, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    path = parse_qs(scope["query_string"].decode()).get("path", [""])[0]
    body = await read_body(receive)
    try:
        if scope["method"] == "GET":
            await reply(send, 200, machine.files.read(path), kind="application/octet-stream")
        else:
            entries = [machine.files.write(*one) for one in read_upload(headers, path, body)]
            await reply(send, 200, told(entries))
    except OSError:
        await reply(send, 404, b'{"code": 404, "message": "path does not exist"}')
