"""One code action from source to outcome."""

from __future__ import annotations

import copy
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TypeAlias

from callgate.action import Action, first_lines, guarded, journal_of, kept_key, new_action, opened, opening
from callgate.calls import CallState
from callgate.codec import JSON
from callgate.decisions import decision_line, outcomes_of
from callgate.discovery import Discovery, reserved_tools
from callgate.driver import Invoke, Pass
from callgate.driver_asyncio import drive_async
from callgate.driver_threads import drive
from callgate.errors import LimitExceeded, UsageError
from callgate.gate import Gate
from callgate.invoking import ainvoke_tool, invoke_tool, unless_reserved
from callgate.journal import Journal, JournalStore, MemoryJournal
from callgate.limits import Limits
from callgate.outcome import Outcome
from callgate.policy import Approval, InterruptOn, Policy, approvals
from callgate.program import direct
from callgate.reach import Reach, reach
from callgate.recording import Recording, kept_handles, read_recording
from callgate.reopening import Line, aread_again, areconciled, read_again, reconciled
from callgate.report import report, report_unrun
from callgate.sandboxes.base import Guest
from callgate.sandboxes.direct import DirectGuest
from callgate.sandboxes.places import Place, Places
from callgate.sandboxes.shared import WhereToRun
from callgate.steps import End, Pause
from callgate.tools import Call, Catalogue, Tools
from callgate.workers import Workers

__all__ = ["CodeRunner", "Event"]

logger = logging.getLogger("callgate")

Event: TypeAlias = dict[str, JSON]
"""{"type": "callgate.call", "status", "id", "tool", "arguments"}: something happened to an inner call.
{"type": "callgate.reach", "id", "tools", "any"}: before a new action runs, the tools of `interrupt_on` that its program
can reach; any says that it makes up names, so that it may reach all of them.
{"type": "callgate.sandbox", "id", "sandbox", "level", "route", "reason"}: where it runs, if there is a choice."""


class CodeRunner:
    """Runs programs that call tools.

    Args:
        tools: the catalogue, or what `Catalogue` takes.
        sandbox: where programs run: "local", "e2b", "auto", a sandbox, or several of which the first that can be had is
            taken; see `callgate.sandboxes.shared.WhereToRun`.
        sandboxes: route name to where programs of that route run, in place of `sandbox`; `on` takes the route. An
            action goes on in the kind of sandbox in which it began, whatever its route is then.
        limits: of each action.
        interrupt_on: tools that wait for a human, in LangChain's vocabulary: name to True, or to a dict of
            allowed_decisions, description and when.
        journal: where actions are recorded; None keeps them in memory, for as long as the runner lives.
        journal_key: seals every line that is written, and is asked of every line that is read: at least 16 bytes, the
            same in each process that goes on with an action. None leaves journals unsealed.
        admit: is asked about each new call before a human is; a text it returns refuses the call as `LimitExceeded`.
            It may be asked again about a call that waited. What it raises refuses the call, too.
        on_event: is told what happens to inner calls, as `Event`s, from whatever thread drives the action. What it
            raises is logged and ignored.

    Raises:
        UsageError: for tools, limits, an interrupt_on or a key that cannot work.

    One runner may be used from many threads and event loops at once. Values kept by `load_value` handles are shared
    by the actions of one thread of one journal.
    """

    def __init__(
        self,
        tools: Catalogue | Tools | Mapping[str, Tools],
        *,
        sandbox: WhereToRun = "local",
        sandboxes: Mapping[str, WhereToRun] | None = None,
        limits: Limits | None = None,
        interrupt_on: InterruptOn | None = None,
        journal: JournalStore | None = None,
        journal_key: bytes | None = None,
        admit: Callable[[Call], str | None] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.catalogue = tools if isinstance(tools, Catalogue) else Catalogue(tools)
        self.limits = limits or Limits()
        self.places = Places(sandbox, sandboxes)
        self._place = self.places.of(None)
        self._approvals, self._admit = approvals(interrupt_on, self.catalogue), admit
        self._store: JournalStore = journal or MemoryJournal()
        Journal(key=journal_key)  # or the first action would find out that the key is none
        self._seal = journal_key
        self._on_event = on_event
        self._workers, self._discovery = Workers(), Discovery(self.catalogue)
        self._functions: dict[str, JSON] = {
            name: {"tool": one.name, "params": list(one.parameters)} for name, one in self.catalogue.functions.items()
        }

    def on(self, store: JournalStore, *, route: str | None = None) -> CodeRunner:
        """Return the same runner over another store, for new programs of a route."""
        twin = copy.copy(self)
        twin._store, twin._place = store, self.places.of(route)
        return twin

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
        self._announce(action)
        try:
            guest = self._direct(action) or (self._start(action) if action.fault is None else None)
        except LimitExceeded as full:
            action = replace(action, fault=full)
        with opened(action, guest):
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
        self._announce(action)
        try:
            guest = self._direct(action) or (await self._astart(action) if action.fault is None else None)
        except LimitExceeded as full:
            action = replace(action, fault=full)
        with opened(action, guest):
            await self._store.aappend(action.key, 0, self._first_lines(action))
        if guest is None:
            return report_unrun(journal=action.journal, program=action.program)
        return await self._ago(action, guest, invoke)

    def _prepare(self, program: str, id: str | None, key: str | None, thread: str) -> Action:
        return new_action(
            program, id=id, key=key, thread=thread, catalogue=self.catalogue, limits=self.limits, seal=self._seal
        )

    def _first_lines(self, action: Action) -> list[str]:
        return first_lines(action, catalogue=self.catalogue, functions=self._functions, sandbox=self._place.sandbox)

    # ---- going on with actions

    def resume(
        self,
        id: str,
        decisions: Mapping[str, object] | None = None,
        *,
        head: str | None = None,
        invoke: Invoke | None = None,
    ) -> Outcome:
        """Go on with an action that waits for a human, or whose process died.

        Writes that a crash cut off are looked into by the `reconcile` hooks of their tools, unless decisions name them.

        Args:
            id: of the action, or the key it was run with.
            decisions: inner id to decision: "approve", {"type": "edit", "edited_action": {"name", "args"}},
                {"type": "reject", "message"}, {"type": "respond", "message"}; for an unknown outcome
                {"type": "done", "value"}, {"type": "failed", "message"} or "run again". Calls left out wait on.
            head: `Outcome.journal.head` of an earlier outcome, kept where nobody who can write to the journal can. All
                lines up to that one have to be there.
            invoke: as in `run`.

        Raises:
            UsageError: for an action that is unknown or over, or a decision that does not fit its call. Nothing is
                recorded and nothing runs then.
            JournalError: if the journal was changed, cut off before head or swapped for another one, or is not sealed
                with the runner's key: nothing runs then. If another run goes on with the same action.
            SandboxUnavailable: if this host cannot isolate the program, or the runner has no sandbox of the kind in
                which the action began; the decisions are not used up.
            SandboxLost: if the sandbox went away before the program began; likewise.
            LimitExceeded: if as many programs run as the sandbox lets run at a time, or reads that have to be called
                again (`Tool.record`) take longer than `Limits.seconds`; likewise.
            ReplayDivergence: if the program does not repeat what its journal records; nothing is executed.
        """
        journal = journal_of(id, self._store.read(id), seal=self._seal, head=head)
        kept = {handle: self._store.read(kept_key(journal, handle)) for handle in kept_handles(journal)}
        given, reopened = decisions or {}, self._reopen(id, journal, kept)
        told = self._told(reopened.recording, given)
        tools, limits = self.catalogue.tools, reopened.limits
        told += reconciled(journal, reopened.recording, tools, given, self._workers, limits)
        action, lines = self._decided(reopened, kept, told)
        read_again(journal, action.recording, tools, unless_reserved(invoke, invoke_tool), self._workers, limits)
        guest = self._direct(action) or self._start(action)
        with guarded(guest):
            if lines:
                self._store.append(id, len(journal) - len(lines), lines)
        return self._go(action, guest, invoke)

    async def aresume(
        self,
        id: str,
        decisions: Mapping[str, object] | None = None,
        *,
        head: str | None = None,
        invoke: Invoke | None = None,
    ) -> Outcome:
        """The awaitable twin of `resume`."""
        journal = journal_of(id, await self._store.aread(id), seal=self._seal, head=head)
        kept = {handle: await self._store.aread(kept_key(journal, handle)) for handle in kept_handles(journal)}
        given, reopened = decisions or {}, self._reopen(id, journal, kept)
        told = self._told(reopened.recording, given)
        tools, limits = self.catalogue.tools, reopened.limits
        told += await areconciled(journal, reopened.recording, tools, given, self._workers, limits)
        action, lines = self._decided(reopened, kept, told)
        await aread_again(journal, action.recording, tools, self._awaited(invoke), limits)
        guest = self._direct(action) or await self._astart(action)
        with guarded(guest):
            if lines:
                await self._store.aappend(id, len(journal) - len(lines), lines)
        return await self._ago(action, guest, invoke)

    def _reopen(self, key: str, journal: Journal, kept: Mapping[str, list[str]]) -> Action:
        recording = read_recording(journal, lambda handle: "".join(kept[handle]))
        if recording.ended:
            raise UsageError(f"action {key!r} is over; its journal holds how it ended")
        header = journal.header
        return Action(
            id=header["action"],
            key=key,
            thread=header["thread"],
            program=header["program"],
            direct=direct(header["program"], self.catalogue) if header["sandbox"] is None else None,
            journal=journal,
            limits=Limits(**header["limits"]),  # what it began with: the guest and its replay depend on them
            recording=recording,
        )

    def _told(self, recording: Recording, decisions: Mapping[str, object]) -> list[Line]:
        """Return what humans decide, as entries."""
        waiting = {record.call: record for record in recording.waiting()}
        parsed: list[Line] = []
        for call, given in decisions.items():
            if call not in waiting:
                raise UsageError(f"no call {call!r} waits for a decision; waiting: {', '.join(waiting) or 'none'}")
            name = waiting[call].key[0]
            tool, unknown = self.catalogue.tools.get(name), waiting[call].unknown
            if tool is None and not unknown:
                raise UsageError(f"{call}: there is no tool {name!r} any more; go on without a decision about it")
            allowed = outcomes_of(tool) if unknown else self._approvals.get(name, Approval()).allowed
            parsed.append(decision_line(call, given, name=name, tool=tool, allowed=allowed))
        return parsed

    def _decided(self, action: Action, kept: Mapping[str, list[str]], told: list[Line]) -> tuple[Action, list[str]]:
        """Return the action with its decisions, and the lines they add."""
        lines = [action.journal.add(fields, raw) for fields, raw in told]
        if lines:
            recording = read_recording(action.journal, lambda handle: "".join(kept[handle]))
            action = replace(action, recording=recording)
        return action, lines

    # ---- one pass

    def _direct(self, action: Action) -> Guest | None:
        if action.direct is None:
            return None
        return DirectGuest(**asdict(action.direct), limits=action.limits)

    def _start(self, action: Action) -> Guest:
        place = self._place_of(action)
        guest = place.sandbox.start(action.limits)
        self._tell_place(action, place)
        return guest

    async def _astart(self, action: Action) -> Guest:
        place = self._place_of(action)
        guest = await place.sandbox.astart(action.limits)
        self._tell_place(action, place)
        return guest

    def _place_of(self, action: Action) -> Place:
        return self.places.again(action.journal.header["sandbox"], self._place) if len(action.journal) else self._place

    def _tell_place(self, action: Action, place: Place) -> None:
        if self.places.differ:
            told = {"sandbox": place.sandbox.name, "level": place.sandbox.level, "route": place.route}
            self._tell({"type": "callgate.sandbox", "id": action.id, **told, "reason": place.reason})

    def _go(self, action: Action, guest: Guest, invoke: Invoke | None) -> Outcome:
        with guarded(guest):
            one = self._pass(action, guest, unless_reserved(invoke, invoke_tool))
        return self._report(action, one.gate, drive(one))

    async def _ago(self, action: Action, guest: Guest, invoke: Invoke | None) -> Outcome:
        with guarded(guest):
            one = self._pass(action, guest, self._awaited(invoke))
        return self._report(action, one.gate, await drive_async(one))

    def _awaited(self, invoke: Invoke | None) -> Invoke:
        return unless_reserved(invoke, functools.partial(ainvoke_tool, self._workers))

    def _pass(self, action: Action, guest: Guest, invoke: Invoke) -> Pass:
        reserved = reserved_tools(
            self._discovery, self._store, functools.partial(kept_key, action.journal), action.limits.frame_mb << 20
        )
        policy = Policy({**self.catalogue.tools, **reserved}, self._approvals, action.limits, self._admit)
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
            # Under the names it knew when it began: what was recorded of a tool that is gone is still asked for.
            opening=opening(action.journal.header, action.limits, self._functions | action.journal.header["tools"]),
            store=self._store,
            key=action.key,
            kept=functools.partial(kept_key, action.journal),
            limits=action.limits,
            invoke=invoke,
            listen=self._listen if self._on_event is not None else None,
            workers=self._workers,
        )

    def _report(self, action: Action, gate: Gate, last: End | Pause) -> Outcome:
        outcome = report(last, gate=gate, journal=action.journal, program=action.program, limits=action.limits)
        return replace(outcome, reachable=self._gated(action.program).tools) if self._approvals else outcome

    def _gated(self, program: str) -> Reach:
        """Return the tools that need a human and that a program can reach."""
        found = reach(program, self.catalogue)
        return replace(found, tools=tuple(name for name in found.tools if name in self._approvals))

    def _announce(self, action: Action) -> None:
        """Tell what a new program can reach."""
        if self._on_event is None or not self._approvals or action.fault is not None:
            return
        found = self._gated(action.program)
        self._tell({"type": "callgate.reach", "id": action.id, "tools": list(found.tools), "any": found.any})

    def _tell(self, event: Event) -> None:
        try:
            if self._on_event is not None:
                self._on_event(event)
        except Exception:
            logger.exception("on_event raised")

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
