"""One code action from source to outcome."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Literal, TypeAlias

from callgate.action import Action, first_lines, journal_of, kept_key, new_action, opening
from callgate.calls import CallState
from callgate.codec import JSON
from callgate.decisions import OUTCOMES, decision_line
from callgate.discovery import Discovery, reserved_tools
from callgate.driver import Invoke, Pass
from callgate.driver_asyncio import drive_async
from callgate.driver_threads import drive
from callgate.errors import JournalError, LimitExceeded, UsageError
from callgate.gate import Gate
from callgate.invoking import ainvoke_tool, invoke_tool, unless_reserved
from callgate.journal import Journal, JournalStore, MemoryJournal
from callgate.limits import Limits
from callgate.outcome import Outcome
from callgate.policy import Approval, InterruptOn, Policy, approvals
from callgate.program import direct
from callgate.recording import kept_handles, read_recording
from callgate.report import report, report_unrun
from callgate.sandboxes.base import Guest, Sandbox
from callgate.sandboxes.direct import DirectGuest
from callgate.sandboxes.shared import resolve_sandbox
from callgate.steps import End, Pause
from callgate.tools import Catalogue, Tool
from callgate.workers import Workers

__all__ = ["CodeRunner", "Event"]

Event: TypeAlias = dict[str, JSON]
"""{"type": "callgate.call", "status", "id", "tool", "arguments"}: something happened to an inner call."""


class CodeRunner:
    """Runs programs that call tools.

    Args:
        tools: the catalogue: `Tool`s or plain functions.
        sandbox: "local", or where else programs run.
        limits: of each action.
        interrupt_on: tools that wait for a human, in LangChain's vocabulary: name to True, or to a dict of
            allowed_decisions, description and when.
        journal: where actions are recorded; None keeps them in memory, for as long as the runner lives.
        on_event: is told what happens to inner calls, as `Event`s, from whatever thread drives the action. What it
            raises is logged and ignored.

    Raises:
        UsageError: for tools, limits or an interrupt_on that cannot work.

    One runner may be used from many threads and event loops at once. Values kept by `load_value` handles are shared
    by the actions of one thread of one journal.
    """

    def __init__(
        self,
        tools: Catalogue | Iterable[Tool | Callable[..., Any]],
        *,
        sandbox: Literal["local"] | Sandbox = "local",
        limits: Limits | None = None,
        interrupt_on: InterruptOn | None = None,
        journal: JournalStore | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.catalogue = tools if isinstance(tools, Catalogue) else Catalogue(tools)
        self.limits = limits or Limits()
        self._sandbox = resolve_sandbox(sandbox)
        self._approvals = approvals(interrupt_on, self.catalogue)
        self._store: JournalStore = journal or MemoryJournal()
        self._on_event = on_event
        self._workers, self._discovery = Workers(), Discovery(self.catalogue)
        self._functions: dict[str, JSON] = {
            name: {"tool": one.name, "params": list(one.parameters)} for name, one in self.catalogue.functions.items()
        }

    # ---- new actions

    def run(
        self,
        program: str,
        *,
        id: str | None = None,
        key: str | None = None,
        thread: str = "",
        invoke: Invoke | None = None,
    ) -> Outcome:
        """Run a program to its end or its first pause.

        A limit that it reaches makes an outcome `limited`; one that lets no further program start, too: nothing ran.

        Args:
            program: Python source, as a model writes it; Markdown fences are taken off.
            id: of the action and the prefix of its inner calls; None makes one up.
            key: under which the journal keeps the action, where ids may repeat; None is the id.
            thread: whose kept values the program may load.
            invoke: runs a call in place of its tool's `invoke`. Raising `ToolFailed` tells the program the text, any
                other exception only its type; `UsageError` ends the action as failed.

        Raises:
            UsageError: if the key was used before.
            SandboxUnavailable: if this host cannot isolate the program; nothing ran.
            SandboxLost: if the sandbox went away before the program began; nothing ran.
            JournalError: if the journal cannot be written; tools may have run.
        """
        action, guest = self._prepare(program, id, key, thread), None
        try:
            guest = self._direct(action) or (self._sandbox.start(self.limits) if action.fault is None else None)
        except LimitExceeded as full:
            action = replace(action, fault=full)
        with _opened(action, guest):
            self._store.append(action.key, 0, self._first_lines(action))
        if guest is None:
            return report_unrun(journal=action.journal, program=action.program)
        return self._go(action, guest, invoke)

    async def arun(
        self,
        program: str,
        *,
        id: str | None = None,
        key: str | None = None,
        thread: str = "",
        invoke: Invoke | None = None,
    ) -> Outcome:
        """The awaitable twin of `run`; invoke returns awaitables. Cancelling it kills the guest."""
        action, guest = self._prepare(program, id, key, thread), None
        try:
            guest = self._direct(action) or (await self._sandbox.astart(self.limits) if action.fault is None else None)
        except LimitExceeded as full:
            action = replace(action, fault=full)
        with _opened(action, guest):
            await self._store.aappend(action.key, 0, self._first_lines(action))
        if guest is None:
            return report_unrun(journal=action.journal, program=action.program)
        return await self._ago(action, guest, invoke)

    def _prepare(self, program: str, id: str | None, key: str | None, thread: str) -> Action:
        return new_action(program, id=id, key=key, thread=thread, catalogue=self.catalogue, limits=self.limits)

    def _first_lines(self, action: Action) -> list[str]:
        return first_lines(action, catalogue=self.catalogue, functions=self._functions, sandbox=self._sandbox)

    # ---- going on with actions

    def resume(
        self,
        id: str,
        decisions: Mapping[str, object] | None = None,
        *,
        invoke: Invoke | None = None,
    ) -> Outcome:
        """Go on with an action that waits for a human, or whose process died.

        Args:
            id: of the action, or the key it was run with.
            decisions: inner id to decision: "approve", {"type": "edit", "edited_action": {"name", "args"}},
                {"type": "reject", "message"}, {"type": "respond", "message"}; for an unknown outcome
                {"type": "done", "value"}, {"type": "failed", "message"} or "run again". Calls left out wait on.
            invoke: as in `run`.

        Raises:
            UsageError: for an action that is unknown or over, or a decision that does not fit its call. Nothing is
                recorded and nothing runs then.
            JournalError: if the journal was changed, or another run goes on with the same action.
            SandboxUnavailable: if this host cannot isolate the program; the decisions are not used up.
            SandboxLost: if the sandbox went away before the program began; likewise.
            LimitExceeded: if as many programs run as the sandbox lets run at a time; likewise.
            ReplayDivergence: if the program does not repeat what its journal records; nothing is executed.
        """
        journal = journal_of(id, self._store.read(id))
        kept = {handle: self._store.read(kept_key(journal, handle)) for handle in kept_handles(journal)}
        action, lines = self._reopen(id, journal, kept, decisions or {})
        guest = self._direct(action) or self._sandbox.start(action.limits)
        with _guarded(guest):
            if lines:
                self._store.append(id, len(journal) - len(lines), lines)
        return self._go(action, guest, invoke)

    async def aresume(
        self,
        id: str,
        decisions: Mapping[str, object] | None = None,
        *,
        invoke: Invoke | None = None,
    ) -> Outcome:
        """The awaitable twin of `resume`."""
        journal = journal_of(id, await self._store.aread(id))
        kept = {handle: await self._store.aread(kept_key(journal, handle)) for handle in kept_handles(journal)}
        action, lines = self._reopen(id, journal, kept, decisions or {})
        guest = self._direct(action) or await self._sandbox.astart(action.limits)
        with _guarded(guest):
            if lines:
                await self._store.aappend(id, len(journal) - len(lines), lines)
        return await self._ago(action, guest, invoke)

    def _reopen(
        self, action_id: str, journal: Journal, kept: Mapping[str, list[str]], decisions: Mapping[str, object]
    ) -> tuple[Action, list[str]]:
        """Return the action and the lines its decisions add."""
        recording = read_recording(journal, lambda handle: "".join(kept[handle]))
        if recording.ended:
            raise UsageError(f"action {action_id!r} is over; its journal holds how it ended")
        waiting = {record.call: record for record in recording.waiting()}
        parsed: list[tuple[dict[str, JSON], dict[str, str]]] = []
        for call, given in decisions.items():
            if call not in waiting:
                raise UsageError(f"no call {call!r} waits for a decision; waiting: {', '.join(waiting) or 'none'}")
            name = waiting[call].key[0]
            if name not in self.catalogue.tools:
                raise UsageError(f"{call}: there is no tool {name!r} any more")
            allowed = OUTCOMES if waiting[call].unknown else self._approvals.get(name, Approval()).allowed
            parsed.append(decision_line(call, given, tool=self.catalogue.tools[name], allowed=allowed))
        lines = [journal.add(fields, raw) for fields, raw in parsed]
        if lines:
            recording = read_recording(journal, lambda handle: "".join(kept[handle]))
        header = journal.header
        action = Action(
            id=header["action"],
            key=action_id,
            thread=header["thread"],
            program=header["program"],
            direct=direct(header["program"], self.catalogue) if header["sandbox"] is None else None,
            journal=journal,
            limits=Limits(**header["limits"]),  # what it began with: the guest and its replay depend on them
            recording=recording,
        )
        return action, lines

    # ---- one pass

    def _direct(self, action: Action) -> Guest | None:
        if action.direct is None:
            return None
        return DirectGuest(**asdict(action.direct), limits=action.limits)

    def _go(self, action: Action, guest: Guest, invoke: Invoke | None) -> Outcome:
        with _guarded(guest):
            one = self._pass(action, guest, unless_reserved(invoke, invoke_tool))
        return self._report(action, one.gate, drive(one))

    async def _ago(self, action: Action, guest: Guest, invoke: Invoke | None) -> Outcome:
        with _guarded(guest):
            one = self._pass(action, guest, unless_reserved(invoke, functools.partial(ainvoke_tool, self._workers)))
        return self._report(action, one.gate, await drive_async(one))

    def _pass(self, action: Action, guest: Guest, invoke: Invoke) -> Pass:
        reserved = reserved_tools(self._discovery, self._store, functools.partial(kept_key, action.journal))
        policy = Policy({**self.catalogue.tools, **reserved}, self._approvals, action.limits)
        gate = Gate(
            action=action.id,
            policy=policy,
            journal=action.journal,
            recording=action.recording,
            wall=time.time(),
            watched=self._on_event is not None,
        )
        return Pass(
            gate=gate,
            guest=guest,
            opening=opening(action.journal.header, action.limits, self._functions),
            store=self._store,
            key=action.key,
            kept=functools.partial(kept_key, action.journal),
            limits=action.limits,
            invoke=invoke,
            listen=self._listen if self._on_event is not None else None,
            workers=self._workers,
        )

    def _report(self, action: Action, gate: Gate, last: End | Pause) -> Outcome:
        return report(last, gate=gate, journal=action.journal, program=action.program, limits=action.limits)

    def _listen(self, call: CallState) -> None:
        assert self._on_event is not None  # noqa: S101 - only passed on when it is set
        told = call.as_call()
        self._on_event(
            {
                "type": "callgate.call",
                "status": call.status,
                "id": told.id,
                "tool": told.tool,
                "arguments": told.arguments,
            }
        )


@contextmanager
def _guarded(guest: Guest | None) -> Generator[None]:
    """Kill the guest if what prepares its pass fails."""
    try:
        yield
    except BaseException:
        if guest is not None:
            guest.kill()
        raise


@contextmanager
def _opened(action: Action, guest: Guest | None) -> Generator[None]:
    """Kill the guest if the action's first lines cannot be kept."""
    try:
        with _guarded(guest):
            yield
    except JournalError as error:
        text = f"id {action.key!r} is already used, or cannot be kept ({error}); give each action an id of its own"
        raise UsageError(text) from error
