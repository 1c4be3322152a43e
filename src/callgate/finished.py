"""The outcome of an action that is over, from its journal alone: nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callgate.artifacts import Artifact, LeftOut
from callgate.codec import JSON, decode, digest, encode, is_object, recode
from callgate.errors import JournalError
from callgate.journal import Journal
from callgate.limits import Limits
from callgate.outbox import handle_of
from callgate.outcome import CallRecord, Outcome, render
from callgate.recording import Record, Recording, kept_handles, read_recording
from callgate.report import fault_of, report_unrun

__all__ = ["arguments_in", "handles_in", "is_over", "outcome_of"]


def is_over(journal: Journal) -> bool:
    """Say whether an action has ended; lines may still follow, of tools that returned later."""
    return any('"e":"ended"' in line and decode(line)["e"] == "ended" for line in reversed(journal.lines[1:]))


def arguments_in(journal: Journal) -> dict[str, JSON]:
    """Return the arguments of each call that a journal names, by its inner id: those that a human put, if one did."""
    found: dict[str, JSON] = {}
    edited: dict[str, JSON] = {}
    for line in journal.lines[1:]:
        entry = decode(line)
        if (call := entry.get("call")) is None:
            continue
        if entry["e"] == "decision":
            edited[call] = entry.get("edited")
            continue
        if entry["e"] == "asked":
            edited.pop(call, None)  # what was answered is no longer the question
        put = entry.get("ran", edited.get(call))
        if put is not None:
            found[call] = put
        found.setdefault(call, entry.get("args", {}))
    return found


def handles_in(journal: Journal) -> list[str]:
    """Return the handles of everything that a journal of an action does not hold itself."""
    ends = (entry for entry in journal.entries() if entry["e"] == "ended")
    kept = [end[part]["handle"] for end in ends for part in ("output_kept", "value_kept") if part in end]
    return [*kept_handles(journal), *kept]


def outcome_of(journal: Journal, kept: Callable[[str], str], files: Mapping[str, bytes] | None = None) -> Outcome:
    """Return the outcome that the action's last pass returned.

    Args:
        journal: of an action that is over.
        kept: returns the text of a value kept under a handle.
        files: SHA-256 of an artifact to its data, which journals do not hold; it is empty where nobody kept it.

    Raises:
        JournalError: if the action is not over, or a kept value is not the one it was.
    """
    end = next((entry for entry in reversed(journal.entries()) if entry["e"] == "ended"), None)
    if end is None:
        raise JournalError("the action is not over: nothing says how it ended")
    header = journal.header
    if end["status"] == "rejected" or end["limit"] == "guests":  # nothing of it ran
        return report_unrun(journal=journal, program=header["program"])
    recording = read_recording(journal, kept)
    calls = _calls(journal, end, recording)
    output, value_text = (_text(end, part, kept) for part in ("output", "value"))
    stdout, value = decode(output), decode(value_text)
    fault, most = fault_of(end["error"], header["program"]), Limits(**header["limits"]).shown_chars
    texts = (("stdout", output), ("value", value_text))
    artifacts = tuple(
        Artifact(name=one["name"], size=one["size"], digest=one["sha256"], data=(files or {}).get(one["sha256"], b""))
        for one in end.get("artifacts", ())
    )
    left_out = tuple(LeftOut(**one) for one in end.get("left_out", ()))
    text, cuts = render(
        status=end["status"],
        stdout=stdout,
        printed=end["printed"],
        value=value,
        error=fault,
        limit=end["limit"],
        calls=calls,
        waiting=(),
        handles={part: handle_of(text) for part, text in texts if len(text) > most},
        most=most,
        size=len(value_text),
        artifacts=artifacts,
        left_out=left_out,
    )
    return Outcome(
        id=header["action"],
        status=end["status"],
        ran=True,
        stdout=stdout,
        value=value,
        error=fault,
        limit=end["limit"],
        calls=calls,
        truncated=cuts,
        artifacts=artifacts,
        left_out=left_out,
        warnings=tuple(end.get("warnings", ())),
        journal=journal,
        text=text,
    )


def _text(end: dict[str, JSON], part: str, kept: Callable[[str], str]) -> str:
    """Return the canonical text of the output or the value."""
    if part in end:
        return encode(end[part])
    pinned = end[f"{part}_kept"]
    text = kept(pinned["handle"])
    if digest(text) != pinned["sha256"]:
        raise JournalError(f"the {part} kept as {pinned['handle']} was changed")
    return text


def _calls(journal: Journal, end: dict[str, JSON], recording: Recording) -> tuple[CallRecord, ...]:
    """Return the calls of the last pass, in their order."""
    known = {record.call: record for record in recording.records.values() if record.result is not None}
    arguments = arguments_in(journal)
    ascending = sorted(known, key=lambda call: int(call.rpartition("/")[2]))
    return tuple(
        CallRecord(id=one["call"], tool=one["tool"], arguments_text=recode(one["args"]), status=one["status"])
        if is_object(one)
        else _record(known[one], arguments[one])
        for one in end.get("calls", ascending)
    )


def _record(record: Record, arguments: dict[str, JSON]) -> CallRecord:
    result = record.result
    error = result.error if result is not None else None
    held = result is None or result.digest is None
    return CallRecord(
        id=record.call,
        tool=record.key[0],
        arguments_text=recode(arguments),
        status=result.status if result is not None else "held",
        result=result.text if result is not None and error is None and held else None,
        error=error["text"] if error is not None else None,
        held=held,
    )
