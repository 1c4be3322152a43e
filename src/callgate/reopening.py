"""What is found out about a recorded action before it goes on.

How the writes ended of which nobody knows, by the `reconcile` hooks of their tools; and what the reads return of which
the journal holds only the digest. A crash in here loses nothing but questions: they are asked again.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeAlias, TypeVar, cast

from callgate.calls import Result
from callgate.codec import JSON, decode, digest
from callgate.decisions import OUTCOMES, decision_line
from callgate.driver import Invoke, run_call
from callgate.driver_asyncio import run_call_async
from callgate.errors import LimitExceeded, UsageError
from callgate.journal import Journal
from callgate.limits import Limits
from callgate.policy import fitted
from callgate.recording import Record, Recording
from callgate.steps import Start
from callgate.tools import Call, Tool
from callgate.workers import Workers

__all__ = ["Line", "aread_again", "areconciled", "read_again", "reconciled"]

logger = logging.getLogger("callgate")

Line: TypeAlias = tuple[dict[str, JSON], dict[str, str]]
"""A journal entry, as `Journal.add` takes it."""

Tools: TypeAlias = Mapping[str, Tool]
T = TypeVar("T")


# ---- writes of which nobody knows how they ended


def reconciled(
    journal: Journal, recording: Recording, tools: Tools, told: Collection[str], workers: Workers, limits: Limits
) -> list[Line]:
    """Ask the hooks, and return the decisions they make.

    Args:
        journal: of the action.
        recording: what it says.
        tools: of the catalogue, by name.
        told: inner ids of calls that a human decides about.
        workers: where hooks run, side by side.
        limits: `parallel_calls` hooks at a time, `seconds` for all of them.

    A hook that raises, takes too long or answers what is no decision leaves its question to a human.
    """
    asked = _doubtful(journal, recording, tools, told)
    hooks = [functools.partial(_tell, one.tool, one.call) for one in asked]
    told_by = workers.each(hooks, most=limits.parallel_calls, seconds=limits.seconds)
    return _lines(asked, told_by)


async def areconciled(
    journal: Journal, recording: Recording, tools: Tools, told: Collection[str], workers: Workers, limits: Limits
) -> list[Line]:
    """The awaitable twin of `reconciled`; async hooks run on this loop."""
    asked = _doubtful(journal, recording, tools, told)
    hooks = [functools.partial(_atell, workers, one.tool, one.call) for one in asked]
    return _lines(asked, await _each(hooks, limits))


def _doubtful(journal: Journal, recording: Recording, tools: Tools, told: Collection[str]) -> list[Start]:
    waiting = [record for record in recording.waiting() if record.unknown and record.call not in told]
    return _starts(journal, [one for one in waiting if (t := tools.get(one.key[0])) and t.reconcile], tools)


def _tell(tool: Tool, call: Call) -> object:
    hook = cast("Callable[[Call], object]", tool.reconcile)
    try:
        answer = hook(call)
        return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer
    except BaseException:
        logger.exception("reconcile of tool %s raised about call %s; a human is asked", tool.name, call.id)
        return None


async def _atell(workers: Workers, tool: Tool, call: Call) -> object:
    hook = cast("Callable[[Call], object]", tool.reconcile)
    if not inspect.iscoroutinefunction(hook):
        return await workers.run(functools.partial(_tell, tool, call))
    try:
        return await hook(call)
    except Exception:
        logger.exception("reconcile of tool %s raised about call %s; a human is asked", tool.name, call.id)
        return None


async def _awaited(value: Awaitable[object]) -> object:
    return await value


def _lines(asked: Sequence[Start], answers: Sequence[object]) -> list[Line]:
    lines: list[Line] = []
    for one, answer in zip(asked, answers, strict=True):
        if answer is None:
            continue
        try:
            fields, raw = decision_line(one.call.id, answer, name=one.tool.name, tool=one.tool, allowed=OUTCOMES)
        except UsageError:
            logger.exception("reconcile of call %s gave no decision; a human is asked", one.call.id)
        else:
            lines.append(({**fields, "by": "reconcile"}, raw))
    return lines


# ---- reads of which the journal holds the digest


def read_again(
    journal: Journal, recording: Recording, tools: Tools, invoke: Invoke, workers: Workers, limits: Limits
) -> None:
    """Call the reads again whose results the journal does not hold, and put what they return into the recording.

    Args:
        journal: of the action.
        recording: what it says; a result that is another one than was recorded becomes a warning in it.
        tools: by name.
        invoke: runs one call.
        workers: where they run, side by side.
        limits: `parallel_calls` at a time, `seconds` for all of them.

    Raises:
        UsageError: if a tool is gone, or is no read any more.
        LimitExceeded: if they take longer.
    """
    starts = _unheld(journal, recording, tools)
    calls = [functools.partial(run_call, invoke, one) for one in starts]
    _compare(recording, starts, workers.each(calls, most=limits.parallel_calls, seconds=limits.seconds), limits)


async def aread_again(journal: Journal, recording: Recording, tools: Tools, invoke: Invoke, limits: Limits) -> None:
    """The awaitable twin of `read_again`; invoke returns awaitables."""
    starts = _unheld(journal, recording, tools)
    _compare(
        recording,
        starts,
        await _each([functools.partial(run_call_async, invoke, one) for one in starts], limits),
        limits,
    )


def _unheld(journal: Journal, recording: Recording, tools: Tools) -> list[Start]:
    records = recording.unheld()
    for one in records:
        tool = tools.get(one.key[0])
        if tool is None or tool.effect != "read":
            gone = "there is no such tool any more" if tool is None else f"its effect is {tool.effect} now"
            text = f"the journal holds only the digest of what {one.key[0]} ({one.call}) returned, and {gone}"
            raise UsageError(f"{text}; it has to be a read that can be called again")
    return _starts(journal, records, tools)


def _compare(
    recording: Recording, starts: Sequence[Start], results: Sequence[Result | UsageError | None], limits: Limits
) -> None:
    records = {record.call: record for record in recording.unheld()}
    for start, result in zip(starts, results, strict=True):
        tool, record = start.tool.name, records[start.call.id]
        if isinstance(result, UsageError):
            raise result
        if result is not None and result.waits:
            raise UsageError(f"{tool} ({record.call}) waits for an answer now, and has to be called again")
        if result is None:
            text = f"{tool} ({record.call}) did not return again within {limits.seconds:g} seconds"
            raise LimitExceeded(text, tool=tool, limit="seconds")
        was, now = record.result, fitted(tool, result, limits)
        if now.error is not None or was is None or digest(now.text) != was.digest:
            recording.warnings.append(
                f"{tool} ({record.call}) returned something else than when the journal was written"
            )
        record.result = now if now.error is not None else Result(text=now.text, digest=digest(now.text))


# ---- both


def _starts(journal: Journal, records: Sequence[Record], tools: Tools) -> list[Start]:
    """Return the calls of records, with the arguments they ran with."""
    wanted = {one.key for one in records if one.ran is None}
    given: dict[object, dict[str, JSON]] = {}
    for line in journal.lines[1:] if wanted else ():
        entry = decode(line)
        if "args" in entry and (key := (entry["tool"], entry["key"], entry["n"])) in wanted:
            given[key] = entry["args"]
    return [
        Start(
            n=0,
            tool=tools[one.key[0]],
            call=Call(id=one.call, tool=one.key[0], arguments=given[one.key] if one.ran is None else decode(one.ran)),
        )
        for one in records
    ]


async def _each(tasks: Sequence[Callable[[], Awaitable[T]]], limits: Limits) -> list[T | None]:
    """Run tasks side by side; None for those that take too long, or are cancelled from within."""
    room = asyncio.Semaphore(limits.parallel_calls)

    async def one(task: Callable[[], Awaitable[T]]) -> T:
        async with room:
            return await task()

    running = [asyncio.ensure_future(one(task)) for task in tasks]
    try:
        if running:
            await asyncio.wait(running, timeout=limits.seconds)
        return [task.result() if task.done() and not task.cancelled() else None for task in running]
    finally:
        for task in running:
            task.cancel()
