"""One code action, before and between its passes: what its journal begins with, and what its guest is told first."""

from __future__ import annotations

import platform
import secrets
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from callgate.codec import JSON, NotJSON, encode
from callgate.errors import JournalError, LimitExceeded, ProgramError, UsageError
from callgate.journal import FORMAT, Journal
from callgate.limits import Limits
from callgate.program import Direct, check, direct, normalise
from callgate.recording import Recording
from callgate.sandboxes.base import Guest, Sandbox, frame
from callgate.tools import Catalogue

__all__ = ["KEPT", "Action", "first_lines", "guarded", "journal_of", "kept_key", "new_action", "opened", "opening"]


KEPT = "kept/"
"""Begins the keys of kept values, which belong to a thread and not to one action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action about to run: new, or with what its journal holds."""

    id: str
    key: str
    """Under which its lines are stored."""
    thread: str
    program: str
    direct: Direct | None
    fault: ProgramError | LimitExceeded | None = None
    """Why nothing of it runs."""
    limits: Limits
    journal: Journal = field(default_factory=Journal)
    recording: Recording = field(default_factory=Recording)


def new_action(
    program: str,
    *,
    id: str | None,
    key: str | None,
    thread: str,
    catalogue: Catalogue,
    limits: Limits,
    seal: bytes | None = None,
) -> Action:
    """Return the action of a program as a model wrote it; seal is the key of its journal.

    Raises:
        UsageError: for an id, key or thread that no journal can hold.
    """
    action_id = id or f"run-{uuid.uuid4().hex[:12]}"
    try:
        encode([action_id, key, thread])
    except NotJSON as error:
        raise UsageError(f"id, key and thread are plain text: {error}") from error
    source, one, fault = program, None, None
    try:
        source = normalise(program)
        check(source, catalogue)
        one = direct(source, catalogue)
    except ProgramError as error:
        fault = error
    return Action(
        id=action_id,
        key=key or action_id,
        thread=thread,
        program=source,
        direct=one,
        fault=fault,
        limits=limits,
        journal=Journal(key=seal),
    )


def first_lines(action: Action, *, catalogue: Catalogue, functions: Mapping[str, JSON], sandbox: Sandbox) -> list[str]:
    """Write the header of a new action, and its end where nothing of it runs. Return the lines."""
    sandboxed = action.direct is None and not isinstance(action.fault, ProgramError)
    action.journal.add(
        {
            "e": "header",
            "format": FORMAT,
            "action": action.id,
            **({"key": action.key} if action.key != action.id else {}),
            "thread": action.thread,
            "program": action.program.encode(errors="replace").decode(),
            "catalogue": catalogue.digest,
            "python": platform.python_version(),
            "sandbox": sandbox.name if sandboxed else None,
            "level": sandbox.level if sandboxed else None,
            "limits": asdict(action.limits),
            "tools": {name: one for name, one in functions.items() if name in action.program},
            "seed": secrets.randbits(63),
            "wall": round(time.time(), 6),
        },
        {},
    )
    if action.fault is not None:
        action.journal.add({"e": "ended", **_end_of(action.fault), "printed": 0, "output": "", "value": None}, {})
    return list(action.journal.lines)


def _end_of(fault: ProgramError | LimitExceeded) -> dict[str, JSON]:
    told: dict[str, JSON] = {"type": type(fault).__name__, "text": str(fault), "line": None}
    if isinstance(fault, LimitExceeded):
        return {"status": "limited", "limit": fault.limit, "error": told}
    return {"status": "rejected", "limit": None, "error": {**told, "line": fault.line}}


def opening(header: Mapping[str, JSON], limits: Limits, functions: Mapping[str, JSON]) -> bytes:
    """Return the frame that brings a guest its program; functions are the tools by the names programs call them."""
    bounds = {name: getattr(limits, name) for name in ("output_kb", "frame_mb", "threads", "disk_mb")}
    run: JSON = {
        "program": header["program"],
        "seed": header["seed"],
        "wall": header["wall"],
        "tools": dict(functions),
        "limits": bounds,
    }
    return frame({"run": run})


def journal_of(action_key: str, lines: list[str], *, seal: bytes | None = None, head: str | None = None) -> Journal:
    """Return the journal of an action that was run before.

    Args:
        action_key: under which the lines were stored.
        lines: that the store returned.
        seal: the key it is sealed with.
        head: digest of a line that has to be among them.

    Raises:
        UsageError: if there is none.
        JournalError: if its lines do not hold together, are those of another action, end before head, or are of another
            format.
    """
    if not lines and head is None:
        raise UsageError(f"there is no action {action_key!r} in this journal")
    journal = Journal(lines, key=seal)
    if head is not None and not journal.passed(head):
        text = f"the journal of {action_key!r} does not hold the line that head names: cut off, or another one"
        raise JournalError(f"{text}; nothing was executed")
    header = journal.header
    if (written := header.get("format")) != FORMAT:
        raise JournalError(f"action {action_key!r} was written in format {written}, this version reads {FORMAT}")
    if (own := header.get("key", header["action"])) != action_key:
        raise JournalError(f"under {action_key!r} stands the journal of {own!r}; nothing was executed")
    return journal


def kept_key(journal: Journal, handle: str) -> str:
    """Return where a kept value is stored: with its thread, never across threads."""
    thread = journal.header["thread"]
    return f"{KEPT}{len(thread)}/{thread}/{handle}"


@contextmanager
def guarded(guest: Guest | None) -> Generator[None]:
    """Kill the guest if what prepares its pass fails."""
    try:
        yield
    except BaseException:
        if guest is not None:
            guest.kill()
        raise


@contextmanager
def opened(action: Action, guest: Guest | None) -> Generator[None]:
    """Kill the guest if the action's first lines cannot be kept."""
    try:
        with guarded(guest):
            yield
    except JournalError as error:
        text = f"id {action.key!r} is already used, or cannot be kept ({error}); give each action an id of its own"
        raise UsageError(text) from error
