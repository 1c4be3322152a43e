"""Sessions with MCP servers, each of them one for all the calls of a run.

`mcp` is not imported: the adapter of LangChain needs its version 1, that of LlamaIndex its version 2. A session is
opened and closed in a task of its own, so that a transport that fails takes this task with it and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from callgate.codec import JSON, is_object
from callgate.errors import OutcomeUnknown, ToolFailed
from callgate.tools import Effect

__all__ = ["Session", "effect_of", "held", "outcome_unknown", "unwrapped"]

logger = logging.getLogger("callgate")

_CLOSED, _TIMED_OUT = (-32000,), (408, -32001)
"""What `mcp` itself answers a request with, as JSON-RPC error codes, where the server does not."""

_BROKEN = ("ReadError", "ReadTimeout", "RemoteProtocolError")
"""Errors of httpx after a request was sent."""


@asynccontextmanager
async def held(server: str, opened: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Session]:
    """Hold a session with a server, open in a task of its own.

    Args:
        server: its name, for messages.
        opened: gives the initialized session.

    Raises:
        Exception: what opening it raises.
    """
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        async with opened as session:
            ready.set_result(session)
            await over.wait()

    owner = asyncio.create_task(hold())
    try:
        await asyncio.wait({owner, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            owner.result()  # raises
        yield Session(server, ready.result(), owner)
    finally:
        over.set()
        if not ready.done():
            owner.cancel()
        await asyncio.wait({owner})
        if not owner.cancelled() and (error := owner.exception()) is not None and ready.done():
            logger.warning("the session with the MCP server %s ended early: %s", server, error)


class Session:
    """An open session, as far as tools need it.

    Args:
        server: its name.
        session: of `mcp`.
        owner: the task that it lives in.
    """

    def __init__(self, server: str, session: Any, owner: asyncio.Task[None]) -> None:
        self._server, self._session, self._owner = server, session, owner
        self._gone = False

    async def list_tools(self, *args: Any, **kwargs: Any) -> Any:
        """List the server's tools."""
        return await self._asked(self._session.list_tools(*args, **kwargs))

    async def call_tool(self, *args: Any, **kwargs: Any) -> Any:
        """Call a tool.

        Raises:
            ToolFailed: if the server refused, or was gone before.
            OutcomeUnknown: if it went away in the middle of the call, or did not answer in time.
            Exception: what a session raises of an answer that it cannot read.
        """
        if self._gone or self._owner.done():
            raise ToolFailed(f"the MCP server {self._server} is gone, and this session with it")
        try:
            return await self._asked(self._session.call_tool(*args, **kwargs))
        except Exception as error:
            if (told := self._told(error)) is None:
                raise
            raise told from error

    async def _asked(self, asking: Coroutine[Any, Any, Any]) -> Any:
        """Wait for an answer, or for the end of the session: then not every version lets go of who waits."""
        asked = asyncio.ensure_future(asking)
        try:
            await asyncio.wait({asked, self._owner}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise OutcomeUnknown(self._went_away())
            return asked.result()
        finally:
            asked.cancel()

    def _went_away(self) -> str:
        self._gone = True
        return f"the MCP server {self._server} went away in the middle of the call"

    def _told(self, error: Exception) -> Exception | None:
        """Return what an error of a call says of it; None if nothing more than it says itself."""
        code = _code(error)
        if code in _CLOSED:
            return OutcomeUnknown(self._went_away())
        if code in _TIMED_OUT:
            return OutcomeUnknown(f"the MCP server {self._server} did not answer in time")
        if isinstance(code, int):
            return ToolFailed(str(error))  # the server's own words
        if type(error).__name__ in ("ClosedResourceError", "BrokenResourceError"):  # of anyio: nothing was sent
            self._gone = True
            return ToolFailed(f"the MCP server {self._server} is gone, and this session with it")
        return None


def outcome_unknown(error: BaseException) -> OutcomeUnknown | None:
    """Return what an error of any tool says if nobody knows whether the call happened, else None.

    That is one which says so itself, and one of a call that an MCP server may have carried out. A tool that opens a
    session for each call raises it among others, as a group.
    """
    if isinstance(error, OutcomeUnknown):
        return error
    text = "the MCP server went away in the middle of the call, or did not answer in time"
    return OutcomeUnknown(text) if _cut_off(error) else None


def _cut_off(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return any(type(one).__name__ in _BROKEN or _cut_off(one) for one in inner)
    return type(error).__name__ in ("McpError", "MCPError") and _code(error) in _CLOSED + _TIMED_OUT


def _code(error: BaseException) -> object:
    return getattr(getattr(error, "error", None), "code", None)


def effect_of(*, read_only: object, idempotent: object) -> Effect:
    """Return the effect that a server's annotations claim: hints, which whoever trusts it less overrides."""
    if read_only is True:
        return "read"
    return "idempotent" if idempotent is True else "write"


def unwrapped(schema: Mapping[str, JSON]) -> Mapping[str, JSON] | None:
    """Return the schema of what a program is given: servers wrap what is no object as {"result": it}."""
    properties = schema.get("properties")
    if not is_object(properties) or properties.keys() != {"result"}:
        return schema
    inner, shared = properties["result"], {key: one for key, one in schema.items() if key in ("$defs", "definitions")}
    return {**inner, **shared} if is_object(inner) else None
