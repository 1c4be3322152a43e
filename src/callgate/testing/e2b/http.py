"""HTTP/1.1 for an ASGI application, on loopback: as much of a server as the SDK's own server stubs need.

Connections can be cut in the middle of an answer, and what comes and goes can be made late, which servers made to be
reliable do not offer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import unquote

import h11

__all__ = ["App", "Connection", "Receive", "Request", "Scope", "Send", "reply"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

AHEAD = 1 << 20
"""Bytes of a request's body that are read before somebody asks for them."""


class Connection(asyncio.Protocol):
    """One connection of a client.

    Args:
        app: answers its requests.
        open_connections: this one is among them while it lasts.
    """

    def __init__(self, app: App, open_connections: set[Connection]) -> None:
        self._app, self._open = app, open_connections
        self._http = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def path(self) -> str:
        """The path of the request that is being answered, or ""."""
        return self._request.scope["path"] if self._request is not None else ""

    @property
    def machine(self) -> str:
        """The id of the sandbox that the request goes to, or ""."""
        return self._request.scope.get("callgate.machine", "") if self._request is not None else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._http.receive_data(data)
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application that the client is gone."""
        self._open.discard(self)
        self._writable.set()
        if self._request is not None:
            self._request.gone()
        if self._task is not None:  # as of a server that ties what it does to its client's presence
            self._task.cancel()

    def pause_writing(self) -> None:
        """Hold the application up until the client has read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let it go on."""
        self._writable.set()

    def abort(self) -> None:
        """Cut the connection, whatever was on its way."""
        if self._transport is not None:
            self._transport.abort()

    async def finished(self) -> None:
        """Wait until the application has let go of it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    def _advance(self) -> None:
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    return
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif self._request is not None and isinstance(event, h11.Data):
                    self._request.feed(bytes(event.data))
                elif self._request is not None and isinstance(event, h11.EndOfMessage):
                    self._request.complete()
        except h11.RemoteProtocolError:
            self.abort()

    def _begin(self, event: h11.Request) -> None:
        target, _, query = event.target.partition(b"?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": event.method.decode(),
            "scheme": "http",
            "path": unquote(target.decode()),
            "root_path": "",
            "query_string": query,
            "headers": [(bytes(name), bytes(value)) for name, value in event.headers],
            "client": ("127.0.0.1", 0),
        }
        self._request = Request(scope, self)
        self._task = asyncio.get_running_loop().create_task(self._answer(self._request))

    async def _answer(self, request: Request) -> None:
        try:
            await self._app(request.scope, request.receive, self._send)
        except (ConnectionError, asyncio.CancelledError):
            self.abort()
            return
        except Exception:
            self.abort()
            raise
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._request = None
            self._http.start_next_cycle()
            self._advance()
        elif self._transport is not None:
            self._transport.close()

    async def _send(self, message: dict[str, Any]) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        if message["type"] == "http.response.start":
            event = h11.Response(status_code=message["status"], headers=message["headers"])
            self._write(transport, event)
            return
        data = b"".join(
            self._http.send(one) or b""
            for one in (
                *([h11.Data(data=message["body"])] if message.get("body") else ()),
                *(() if message.get("more_body") else (h11.EndOfMessage(),)),
            )
        )
        transport.write(data)
        await self._writable.wait()

    def _write(self, transport: asyncio.Transport, event: h11.Response) -> None:
        transport.write(self._http.send(event) or b"")

    def hold_back(self, full: bool) -> None:
        """Stop reading, or go on."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if full else self._transport.resume_reading)()


class Request:
    """What the application reads of one request."""

    def __init__(self, scope: Scope, connection: Connection) -> None:
        self.scope = scope
        self._connection = connection
        self._body = bytearray()
        self._complete = self._told = self._gone = False
        self._news = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        self._body += data
        if len(self._body) > AHEAD:
            self._connection.hold_back(True)
        self._news.set()

    def complete(self) -> None:
        """The body is there."""
        self._complete = True
        self._news.set()

    def gone(self) -> None:
        """The client is gone."""
        self._gone = True
        self._news.set()

    async def receive(self) -> dict[str, Any]:
        """Return ASGI's next message."""
        while True:
            if self._body or (self._complete and not self._told):
                body, self._body = bytes(self._body), bytearray()
                self._told = self._complete
                self._connection.hold_back(False)
                return {"type": "http.request", "body": body, "more_body": not self._complete}
            if self._gone:
                return {"type": "http.disconnect"}
            self._news.clear()
            await self._news.wait()


async def reply(
    send: Send, status: int, body: bytes = b"", *, kind: str = "application/json", headers: dict[str, str] | None = None
) -> None:
    """Answer a request at once."""
    head = [(b"content-length", b"%d" % len(body))] if status != 204 else []
    if body:
        head.append((b"content-type", kind.encode()))
    head += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})
