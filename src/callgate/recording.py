"""What a journal says about the calls of an action, in the form the gate asks it.

Identity is (tool, digest of the canonical arguments, occurrence in the action). The guest is deterministic, so the
same program asks the same calls in the same order when it is handed the same events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from callgate.calls import CallState, Key, Result
from callgate.codec import JSON, decode, digest, recode
from callgate.decisions import Decision
from callgate.errors import JournalError, ReplayDivergence
from callgate.journal import Journal
from callgate.outcome import visible

__all__ = ["Record", "Recording", "Resumed", "divergence", "kept_handles", "read_recording"]


@dataclass(slots=True, kw_only=True)
class Record:
    """One call as the journal knows it."""

    key: Key
    call: str
    """The inner id under which it was recorded."""
    ran: str | None = None
    """Canonical text of edited arguments, if a write was started with such."""
    asked: str | None = None
    """None, or the digest of the tool's schema that a human was shown."""
    why: str = "approval"
    """approval | unknown: what was asked last."""
    started: bool = False
    interrupted: bool = False
    """Whether its tool waits for somebody itself."""
    result: Result | None = None
    at: float = 0.0
    """Program time of its last entry, in seconds."""
    met: bool = False
    """Whether the program has asked for it again."""
    n: int = 0
    """Number of the call that met it."""

    @property
    def unknown(self) -> bool:
        """Whether it was started and nobody knows how it ended."""
        return self.started and self.result is None and not self.interrupted

    @property
    def binds(self) -> bool:
        """Whether a replay may not go on without it: a write that may have happened, or a question to a human."""
        return self.started or self.interrupted or self.asked is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The program went live here: an event of its own."""

    at: float
    wall: float
    binding: tuple[Record, ...]
    """What it had to ask for again before."""


Event: TypeAlias = Record | Resumed | Literal["clock", "live", "stuck"]
"""A recorded answer, a recorded resumption, the guest's own timer, the end of the replay, or none of these."""


@dataclass(slots=True, kw_only=True)
class Recording:
    """Everything a journal says, and how much of it the program has repeated."""

    records: dict[Key, Record] = field(default_factory=dict[Key, Record])
    order: deque[Record | Resumed] = field(default_factory=deque["Record | Resumed"])
    """Answers and resumptions not yet handed over, oldest first."""
    decisions: dict[Key, Decision] = field(default_factory=dict[Key, Decision])
    """Answers of humans not yet used up."""
    rejected: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """(tool, digest of arguments) that a human said no to."""
    named: int = 0
    """The highest number that any inner id has."""
    last_at: float = 0.0
    ended: bool = False
    empty: bool = True
    warnings: list[str] = field(default_factory=list[str])
    """What is known to be otherwise than it was, before the program runs."""

    def name(self, action: str, key: Key) -> str:
        """Return the inner id of a call: the one it has in the journal, else one that no call ever had.

        Humans answer under it, so it never moves to another call, whatever order a program asks in.
        """
        if (record := self.records.get(key)) is not None:
            return record.call
        self.named += 1
        return f"{action}/{self.named}"

    def unresolved(self, calls: Sequence[CallState]) -> bool:
        """Say whether nobody knows yet how a write ended, given the calls of this pass."""
        unmet = any(record.unknown and not record.met for record in self.records.values())
        return unmet or any(call.unknown and call.result is None for call in calls)

    def unheld(self) -> list[Record]:
        """Return the calls of whose results there is only the digest, oldest first."""
        answers = [one for one in self.order if isinstance(one, Record)]
        return [one for one in answers if one.result is not None and one.result.digest is not None]

    def missing(self) -> list[Record]:
        """Return what binds and was not asked for again."""
        return [record for record in self.records.values() if record.binds and not record.met]

    def next_event(self, until: float | None) -> Event:
        """Say what a guest at rest, whose earliest timer is until, is handed next.

        Answers in recorded order, timers due at or before an answer's time first. A recorded write that is still to
        be asked for lets the timers up to its time go first, too.
        """
        head = self.order[0] if self.order else None
        if isinstance(head, Record):
            missing = [] if head.met else [head]
        else:
            missing = self.missing() if head is None else [record for record in head.binding if not record.met]
        if not missing and not isinstance(head, Record):
            return head or "live"
        at = head.at if isinstance(head, Record) else max(record.at for record in missing)
        if until is not None and until <= at:
            return "clock"
        return head if isinstance(head, Record) and head.met else "stuck"

    def waiting(self) -> list[Record]:
        """Return the questions without an answer."""
        return [
            record
            for record in self.records.values()
            if record.result is None and record.key not in self.decisions and record.binds and not record.interrupted
        ]


def kept_handles(journal: Journal) -> list[str]:
    """Return the handles of the results that a journal does not hold itself."""
    return [entry["kept"]["handle"] for line in journal.lines[1:] if "kept" in (entry := decode(line))]


def read_recording(journal: Journal, kept: Callable[[str], str]) -> Recording:
    """Read a journal's entries.

    Args:
        journal: a chained journal with its header.
        kept: returns the text of a value kept under a handle.

    Raises:
        JournalError: for an entry that refers to nothing.
    """
    recording = Recording()
    labels: dict[str, Record] = {}
    for line in journal.lines[1:]:  # parsed one at a time: they can be many times as large as their text
        _read(decode(line), recording, labels, kept)
    return recording


def _read(entry: dict[str, JSON], recording: Recording, labels: dict[str, Record], kept: Callable[[str], str]) -> None:
    recording.empty = False
    match entry["e"]:
        case "resumed":
            binding = tuple(record for record in recording.records.values() if record.binds)
            recording.order.append(Resumed(at=entry["at"], wall=entry["wall"], binding=binding))
        case "decision":
            _decided(recording, labels, entry)
        case "ended":
            recording.ended = True
        case _:
            record = _called(recording, entry, kept)
            labels[record.call] = record
    recording.last_at = max(recording.last_at, entry.get("at", 0.0))


def _called(recording: Recording, entry: dict[str, JSON], kept: Callable[[str], str]) -> Record:
    key: Key = (entry["tool"], entry["key"], entry["n"])
    record = recording.records.get(key)
    if record is None:
        record = Record(key=key, call=entry["call"])
        if "args" in entry and digest(recode(entry["args"])) != key[1]:
            raise JournalError(f"the arguments of {record.call} do not have the digest the journal names")
        recording.records[key] = record
        recording.named = max(recording.named, int(record.call.rpartition("/")[2]))
    record.at = entry["at"]
    match entry["e"]:
        case "asked":
            record.asked, record.why = entry["schema"], entry["why"]
            recording.decisions.pop(key, None)  # what it answered is no longer the question
        case "started":
            record.started, record.interrupted = True, False
            record.ran = recode(entry["ran"]) if "ran" in entry else record.ran
            recording.decisions.pop(key, None)  # used up: a second unknown outcome is a second question
        case "interrupted":
            record.interrupted = True
            record.ran = recode(entry["ran"]) if "ran" in entry else record.ran
            recording.decisions.pop(key, None)
        case _:
            record.result = _result(entry, kept)
            recording.order.append(record)
            decision = recording.decisions.pop(key, None)
            if decision is not None and decision.arguments is not None:
                record.ran = decision.arguments  # a read: nothing was written when it started
    return record


def _result(entry: dict[str, JSON], kept: Callable[[str], str]) -> Result:
    if "error" in entry:
        return Result(error=entry["error"])
    if "digest" in entry:
        return Result(digest=entry["digest"])
    if "kept" in entry:
        text = kept(entry["kept"]["handle"])
        if digest(text) != entry["kept"]["sha256"]:
            raise JournalError(f"the value kept as {entry['kept']['handle']} was changed")
        return Result(text=text)
    return Result(text=recode(entry["value"]))


def _decided(recording: Recording, labels: dict[str, Record], entry: dict[str, JSON]) -> None:
    record = labels.get(entry["call"])
    if record is None or not record.binds:
        raise JournalError(f"a decision for {entry['call']}, a call nobody was asked about")
    given = entry["decision"]
    decision = Decision(
        type=given["type"],
        message=given["message"],
        arguments=recode(entry["edited"]) if "edited" in entry else None,
        value=recode(entry.get("value")),
    )
    recording.decisions[record.key] = decision
    if decision.type == "reject":
        recording.rejected.add(record.key[:2])


def divergence(missing: list[Record], error: Mapping[str, JSON] | None = None) -> ReplayDivergence:
    """Return the error that says what a program did not ask for again, and what it raised instead if it did."""
    calls = ", ".join(f"{record.key[0]} ({record.call})" for record in missing) or "a recorded call"
    text, line = f"the program did not ask again for {calls}", None  # what it did instead is a guest's word
    if error is not None:
        told = error.get("line")
        line = told if type(told) is int and told > 0 else None
        where = f" in line {line}" if line is not None else ""
        text += f", but raised {visible(str(error.get('type')))[:100]}{where}"
    return ReplayDivergence(f"{text}; nothing was executed", line=line)
