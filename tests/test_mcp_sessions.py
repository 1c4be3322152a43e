"""A session with an MCP server, held for a run: what a call is told when something happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from callgate import OutcomeUnknown, ToolFailed
from callgate.mcp import held, outcome_unknown, unwrapped


class Answered(Exception):
    """A JSON-RPC error, as `mcp` raises it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.error = SimpleNamespace(code=code)


class ClosedResourceError(Exception):
    """As anyio raises it."""


class Far:
    """A session whose calls raise what they are called, or never end; its transport can break."""

    def __init__(self) -> None:
        self.broken = asyncio.Event()
        self.open, self.asked, self.cancelled = False, asyncio.Event(), False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Far]:
        self.open = True
        try:
            async with asyncio.TaskGroup() as group:
                transport = group.create_task(self._transport())
                yield self
                transport.cancel()
        finally:
            self.open = False

    async def _transport(self) -> None:
        await self.broken.wait()
        raise ConnectionError("/private/path")

    async def call_tool(self, name: str, arguments: Any = None) -> Any:
        self.asked.set()
        if isinstance(arguments, Exception):
            raise arguments
        try:
            await asyncio.sleep(60 if name == "never" else 0)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return arguments


GONE = "the MCP server shop is gone, and this session with it"
WENT = "the MCP server shop went away in the middle of the call"


@pytest.mark.parametrize(
    ("raised", "told", "text", "after"),
    [
        (Answered(-32602, "no such tool"), ToolFailed, "no such tool", None),
        (Answered(408, "waited"), OutcomeUnknown, "the MCP server shop did not answer in time", None),
        (Answered(-32001, "waited"), OutcomeUnknown, "the MCP server shop did not answer in time", None),
        (Answered(-32000, "closed"), OutcomeUnknown, WENT, GONE),
        (ClosedResourceError(), ToolFailed, GONE, GONE),
        (RuntimeError("odd"), RuntimeError, "odd", None),
    ],
    ids=["refused", "timeout of mcp 1", "timeout of mcp 2", "closed", "closed before", "anything else"],
)
async def test_a_call_that_fails(raised: Exception, told: type[Exception], text: str, after: str | None) -> None:
    far = Far()
    async with held("shop", far.opened()) as session:
        with pytest.raises(told) as caught:
            await session.call_tool("one", raised)
        assert str(caught.value) == text
        assert caught.value.__cause__ is not caught.value
        if after is None:
            assert await session.call_tool("one", 1) == 1
        else:
            with pytest.raises(ToolFailed, match=after):
                await session.call_tool("one", 1)
    assert not far.open


async def test_a_transport_that_breaks_ends_the_calls_and_nobody_else() -> None:
    far = Far()
    async with held("shop", far.opened()) as session:
        calls = [asyncio.create_task(session.call_tool("never")) for _ in range(2)]
        await far.asked.wait()
        far.broken.set()
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [(type(one), str(one)) for one in told] == [(OutcomeUnknown, WENT)] * 2
        assert all(one.__cause__ is None for one in told if isinstance(one, BaseException))
        with pytest.raises(ToolFailed, match=GONE):
            await session.call_tool("one", 1)
    assert not far.open


async def test_a_call_is_cancelled_with_whoever_waits_for_it() -> None:
    far = Far()
    async with held("shop", far.opened()) as session:
        call = asyncio.create_task(session.call_tool("never"))
        await far.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)
        assert far.cancelled
        assert await session.call_tool("one", 1) == 1


async def test_one_that_is_not_open_yet_is_given_up() -> None:
    opening, given_up = asyncio.Event(), False

    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        nonlocal given_up
        opening.set()
        try:
            await asyncio.sleep(60)
            yield
        finally:
            given_up = True

    async def run() -> None:
        async with held("shop", slow()):
            raise AssertionError("it never opens")

    task = asyncio.create_task(run())
    await opening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert given_up


class McpError(Answered):
    """As `mcp` calls it."""


class ReadError(Exception):
    """As httpx calls it."""


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (OutcomeUnknown("as it says"), True),
        (McpError(-32000, "closed"), True),
        (McpError(408, "waited"), True),
        (McpError(-32602, "no such tool"), False),
        (ExceptionGroup("", [ExceptionGroup("", [McpError(-32000, "closed")])]), True),
        (ExceptionGroup("", [ReadError()]), True),
        (ExceptionGroup("", [ValueError()]), False),
        (Answered(-32000, "of something else"), False),
        (ValueError(), False),
    ],
    ids=lambda given: None if isinstance(given, bool) else type(given).__name__,
)
def test_whether_a_call_happened_can_be_told_by_its_error(error: Exception, unknown: bool) -> None:
    assert (outcome_unknown(error) is not None) is unknown


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object", "properties": {"a": {}, "result": {}}}, "same"),
        ({"type": "object"}, "same"),
        (
            {"properties": {"result": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}},
            {"$ref": "#/$defs/A", "$defs": {"A": {}}},
        ),
        ({"properties": {"result": True}}, None),
    ],
    ids=["an object", "of no form", "wrapped", "anything"],
)
def test_a_schema_is_unwrapped_as_its_values_are(schema: Any, expected: Any) -> None:
    assert unwrapped(schema) == (schema if expected == "same" else expected)
