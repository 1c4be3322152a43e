"""Replay for users: a recorded action run again against its own record, with no tool called.

What a pipeline checks with it: that a new Python, a new callgate or a new host lets recorded programs go the way they
went. Nothing outside is touched, so it may run wherever a sandbox is to be had.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from callgate.action import KEPT, opening
from callgate.calls import CallState
from callgate.codec import JSON, digest, encode
from callgate.driver import Pass
from callgate.driver_threads import drive
from callgate.errors import JournalError, ProgramError, ReplayDivergence, UsageError
from callgate.gate import Gate
from callgate.invoking import invoke_tool
from callgate.journal import FORMAT, Journal, MemoryJournal
from callgate.limits import Limits
from callgate.outcome import Outcome
from callgate.parsing import parse
from callgate.policy import Policy
from callgate.recording import Record, Recording, kept_handles, read_recording
from callgate.reopening import read_again
from callgate.report import report, report_unrun
from callgate.sandboxes.shared import WhereToRun, resolve_sandbox
from callgate.steps import End, Pause
from callgate.tools import Call, Catalogue, Tool
from callgate.workers import Workers

__all__ = ["Kept", "Replay", "replay"]

Kept: TypeAlias = Mapping[str, str] | Callable[[str], str | None]
"""Handle to the text of a value kept beside a journal."""

_TIMED = ("seconds", "cpu_seconds", "memory_mb")
"""Limits that a run reaches by its own speed and size: where exactly, no journal says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What became of a recorded action when it ran again."""

    outcome: Outcome | None
    """Of this run; None where it diverged."""
    diverged: bool
    """Whether the program did not ask again for a write its journal records: a resume would refuse it."""
    differences: tuple[str, ...]
    """How this run left the record, in words: another order of reads, a new call, another end."""
    line: int | None = None
    """The program's own line where it did, counted from 1: the one in which it raised, or the only one that names the
    tool of the first call that differs. None if neither is known."""

    @property
    def same(self) -> bool:
        """Whether the run went as recorded, to the same end."""
        return not self.differences


def replay(
    journal: Journal | str | Iterable[str],
    *,
    sandbox: WhereToRun = "local",
    kept: Kept | None = None,
    key: bytes | None = None,
    tools: Catalogue | Iterable[Tool | Callable[..., Any]] | None = None,
) -> Replay:
    """Run a recorded action again: recorded results answer its calls, and no tool is called.

    Args:
        journal: of the action: `outcome.journal`, its text (JSON lines), or its lines. One that ends in a pause, or
            that a crash cut off, is followed as far as it goes.
        sandbox: where the program runs.
        kept: the texts of results too large for their entries (above `callgate.journal.INLINE` bytes), by handle.
        key: of a sealed journal that is given as text or lines.
        tools: called again for reads of whose results the journal holds the digest (`Tool.record`), and for nothing
            else.

    Raises:
        JournalError: for a journal that was changed, or is of another format.
        UsageError: for an empty journal, or one that names a kept result which is not given, or a result of which it
            holds only the digest, with no tool given that returns it.
        SandboxError: if the program cannot run.

    Time that the program slept before its last recorded answer is skipped, time after it is waited for. Where an
    action was ended by its time or its memory, how far it came is not compared.
    """
    read = _journal(journal, key)
    header = read.header
    ended = next((entry for entry in read.entries() if entry["e"] == "ended"), None)
    if ended is not None and (ended["status"] == "rejected" or ended["limit"] == "guests"):  # nothing of it ran
        outcome = report_unrun(journal=read, program=header["program"])
        return Replay(outcome=outcome, diverged=False, differences=())
    recording = read_recording(read, _kept(read, kept))
    limits, workers = Limits(**header["limits"]), Workers()
    catalogue = tools if isinstance(tools, Catalogue) else Catalogue(tools or ())
    if tools is None and (unheld := ", ".join(f"{one.key[0]} ({one.call})" for one in recording.unheld())):
        raise UsageError(
            f"the journal holds only digests of what these returned: {unheld}; give tools= to call them again"
        )
    read_again(read, recording, catalogue.tools, invoke_tool, workers, limits)
    policy = Policy(_stand_ins(read), {}, limits)
    gate = Gate(action=header["action"], policy=policy, journal=read, recording=recording, wall=time.time())
    try:
        last = drive(_pass(gate, read, limits, sandbox, workers))
    except ReplayDivergence as error:
        line = error.line or _line_of([one.key[0] for one in recording.missing()], read)
        return Replay(outcome=None, diverged=True, differences=(*gate.warnings, str(error)), line=line)
    outcome = report(last, gate=gate, journal=read, program=header["program"], limits=limits)
    new, left, end = _new(gate, recording, ended), _left(recording), _end(last, outcome, ended)
    differ = [call.tool for call in new] + [record.key[0] for record in left]
    raised = outcome.error.line if end and outcome.error is not None else None
    return Replay(
        outcome=outcome,
        diverged=False,
        differences=(
            *gate.warnings,
            *(f"{call.tool} ({call.id}) was called and is not in the journal" for call in new),
            *(f"{record.key[0]} ({record.call}) was not called again" for record in left),
            *end,
        ),
        line=raised or _line_of(differ, read),
    )


def _journal(given: Journal | str | Iterable[str], key: bytes | None) -> Journal:
    """Return a journal of one's own: a replay writes into it."""
    if isinstance(given, Journal):
        journal = given.copy()
    else:
        journal = Journal(given.splitlines() if isinstance(given, str) else given, key=key)
    if not len(journal):
        raise UsageError("an empty journal cannot be replayed")
    if (written := journal.header.get("format")) != FORMAT:
        raise JournalError(f"the journal was written in format {written}, this version reads {FORMAT}")
    return journal


def _kept(journal: Journal, kept: Kept | None) -> Callable[[str], str]:
    find = kept if callable(kept) else (kept or {}).get
    texts = {handle: find(handle) for handle in kept_handles(journal)}
    if missing := ", ".join(handle for handle, text in texts.items() if text is None):
        raise UsageError(f"the journal names results that are kept beside it; give kept= with the texts of {missing}")
    return lambda handle: texts[handle] or ""


def _functions(journal: Journal) -> dict[str, dict[str, JSON]]:
    return journal.header["tools"]


def _stand_ins(journal: Journal) -> dict[str, Tool]:
    """Return tools that are writes, of which a gate calls none before a replay is over."""
    named = {one["tool"] for one in _functions(journal).values()}
    named |= {entry["tool"] for entry in journal.entries() if "tool" in entry}
    return {name: Tool(name=name, input_schema={"type": "object"}) for name in sorted(named)}


def _pass(gate: Gate, journal: Journal, limits: Limits, sandbox: WhereToRun, workers: Workers) -> Pass:
    store = MemoryJournal()
    store.append("", 0, list(journal.lines))
    return Pass(
        gate=gate,
        guest=resolve_sandbox(sandbox).start(limits),
        opening=opening(journal.header, limits, _functions(journal)),
        store=store,
        key="",
        kept=lambda handle: f"{KEPT}{handle}",
        limits=limits,
        invoke=_refuse,
        listen=None,
        workers=workers,
    )


def _refuse(tool: Tool, call: Call) -> NoReturn:
    raise UsageError(f"the program called {tool.name} ({call.id}), and its journal does not say what came of it")


def _new(gate: Gate, recording: Recording, ended: dict[str, JSON] | None) -> list[CallState]:
    """Return the calls that are not in the journal; where that just stops, a program goes on to new ones."""
    return [call for call in gate.calls if ended is not None and call.key not in recording.records]


def _left(recording: Recording) -> list[Record]:
    """Return the calls of the journal that were not made."""
    return [record for record in recording.records.values() if not record.met]


def _line_of(tools: list[str], journal: Journal) -> int | None:
    """Return the line that names the first of tools, if just one does."""
    if not tools:
        return None
    names = {tools[0], *(name for name, one in _functions(journal).items() if one["tool"] == tools[0])}
    try:
        nodes = list(ast.walk(parse(journal.header["program"])))
    except ProgramError:
        return None
    found = {one.lineno for one in nodes if isinstance(one, ast.Name) and one.id in names}
    found |= {one.lineno for one in nodes if isinstance(one, ast.Constant) and one.value in names}
    return found.pop() if len(found) == 1 else None


def _end(last: End | Pause, outcome: Outcome, ended: dict[str, JSON] | None) -> list[str]:
    """Say how the end differs from the recorded one."""
    if ended is None or isinstance(last, Pause):
        return [f"the action had ended as {ended['status']}, now it waits for a human"] if ended is not None else []
    if ended["limit"] in _TIMED:
        return []
    found: dict[str, tuple[JSON, JSON]] = {
        "status": (ended["status"], last.status),
        "limit": (ended["limit"], last.limit),
        "error": (ended["error"], last.error),
        "printed": (ended["printed"], last.printed),
        "output": (_recorded(ended, "output"), digest(encode(outcome.stdout))),
        "value": (_recorded(ended, "value"), digest(last.value)),
        **_files(ended, outcome),
    }
    return [f"{part}: recorded {_short(was)}, now {_short(now)}" for part, (was, now) in found.items() if was != now]


def _files(ended: dict[str, JSON], outcome: Outcome) -> dict[str, tuple[JSON, JSON]]:
    """Return the size and SHA-256 of each file that one of both left, as recorded and now."""
    was: dict[str, JSON] = {one["name"]: [one["size"], one["sha256"]] for one in ended.get("artifacts", ())}
    now: dict[str, JSON] = {one.name: [one.size, one.digest] for one in outcome.artifacts}
    return {f"file {name}": (was.get(name), now.get(name)) for name in sorted({*was, *now})}


def _recorded(ended: dict[str, JSON], part: str) -> str:
    """Return the SHA-256 of a recorded text."""
    kept = ended.get(f"{part}_kept")
    return kept["sha256"] if kept is not None else digest(encode(ended[part]))


def _short(value: JSON) -> str:
    text = encode(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
