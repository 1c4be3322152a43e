"""One `execute_code` call inside a workflow: a program, its inner calls, and what it waits for."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.agent.workflow.workflow_events import ToolCall, ToolCallResult
from llama_index.core.tools import BaseTool, ToolOutput
from workflows.events import Event

from callgate import Call, CodeRunner, Journal, JournalStore, Outcome, Tool, ToolFailed, ToolWaits, UsageError
from callgate.action import journal_of, kept_key
from callgate.finished import arguments_in, handles_in, is_over, outcome_of
from callgate.recording import kept_handles, read_recording
from callgate_llama_index.approvals import Question
from callgate_llama_index.convert import acall_tool
from callgate_llama_index.upstream import WaitingForEvent
from callgate_llama_index.values import value_of
from callgate_llama_index.waiting import Waiter

__all__ = ["CodeAction", "recorded"]

_running = weakref.WeakValueDictionary[str, asyncio.Lock]()
"""A lock for each action that runs in this process, by its key."""


@dataclass(slots=True, kw_only=True)
class CodeAction:
    """One `execute_code` call, in one entry of its step."""

    id: str
    """Of the call."""
    key: str
    """Of its lines in the journal."""
    thread: str
    """Whose kept values it may load."""
    runner: CodeRunner
    """Over `store`."""
    store: JournalStore
    seal: bytes | None
    tools: Mapping[str, BaseTool]
    waiter: Waiter
    plain: bool = False
    """Whether this is one plain call, which its agent tells of, and not a program's."""
    output: ToolOutput | None = None
    """What the last call returned that ran in this entry."""
    _over: bool = False

    async def run(self, code: str) -> Outcome:
        """Run the program, or go on with it, to its end.

        A step may be entered twice, at a time or one after the other: when a human answers twice, and in a restored
        workflow, which may also send a call twice. Then one goes on and the other waits for ever.

        Raises:
            WaitingForEvent: while a human has to decide, or a tool waits for an event of its own.
            SandboxError: if programs cannot run.
            ReplayDivergence: if it does not repeat what its journal holds.
        """
        async with _running.setdefault(self.key, asyncio.Lock()):
            if not await self.waiter.claimed():
                raise await self.waiter.park()
            outcome = await self._run(code)
            await self.waiter.over()
            return outcome

    async def _run(self, code: str) -> Outcome:
        outcome: Outcome | None = None
        try:
            while outcome is None or outcome.status == "paused":
                lines = await self.store.aread(self.key)
                if not lines:
                    named = {"id": self.id, "key": self.key, "thread": self.thread}
                    outcome = await self.runner.arun(code, **named, invoke=self._invoke)
                    continue
                journal = journal_of(self.key, lines, seal=self.seal)
                if is_over(journal):
                    outcome = await recorded(journal, self.store)
                    break
                questions = await self._questions(journal)
                decisions: Mapping[str, object] = {}
                if questions:
                    program = None if self.plain else journal.header["program"]
                    decisions = await self.waiter.decisions(questions, id=f"{self.key} {len(journal)}", program=program)
                elif outcome is not None:
                    raise await self.waiter.leave()
                self.waiter.again()
                outcome = await self.runner.aresume(self.key, decisions, invoke=self._invoke)
        finally:
            self._over = True
        return outcome

    async def _questions(self, journal: Journal) -> list[Question]:
        """Return the calls that wait for a human, by the journal."""
        kept = await _kept(journal, self.store, kept_handles(journal))
        recording, arguments = read_recording(journal, kept.__getitem__), arguments_in(journal)
        return [
            Question(id=one.call, tool=one.key[0], arguments=arguments[one.call], unknown=one.unknown)
            for one in recording.waiting()
        ]

    async def _invoke(self, tool: Tool, call: Call) -> Any:
        """Run one inner call as an agent runs a plain one, with the same events."""
        asked = dict(call.arguments)
        self._tell(ToolCall(tool_name=call.tool, tool_kwargs=asked, tool_id=call.id))
        one = self.tools[call.tool]
        try:
            output = self.output = await acall_tool(one, call, self.waiter.scoped(call.id))
            value = value_of(one, output)
        except WaitingForEvent as waits:  # pyright: ignore[reportUnknownVariableType]
            if not self.waiter.knows(call.id):
                text = "waits by a Context that it was not given: let it take `ctx: Context` as a parameter"
                raise UsageError(f"{call.tool} {text}") from waits
            raise ToolWaits from waits
        except ToolFailed as error:
            output = self.output = ToolOutput(
                content=str(error), tool_name=call.tool, raw_input=asked, raw_output=str(error), is_error=True
            )
            self._told(call, asked, output)
            raise
        self._told(call, asked, output)
        return value

    def _told(self, call: Call, asked: dict[str, Any], output: ToolOutput) -> None:
        self._tell(
            ToolCallResult(
                tool_name=call.tool, tool_kwargs=asked, tool_id=call.id, tool_output=output, return_direct=False
            )
        )

    def _tell(self, event: Event) -> None:
        if not self._over and not self.plain:  # else a tool outlived its action, and the step may be gone
            self.waiter.context.write_event_to_stream(event)


async def recorded(journal: Journal, store: JournalStore) -> Outcome:
    """Return the outcome of an action that is over. The files it left are in no journal."""
    kept = await _kept(journal, store, handles_in(journal))
    return outcome_of(journal, kept.__getitem__)


async def _kept(journal: Journal, store: JournalStore, handles: list[str]) -> dict[str, str]:
    return {one: "".join(await store.aread(kept_key(journal, one))) for one in handles}
