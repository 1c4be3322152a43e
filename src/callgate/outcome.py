"""What the model and the host are told about a code action."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from callgate.artifacts import Artifact, LeftOut
from callgate.codec import JSON, decode, is_array, is_object
from callgate.journal import Journal
from callgate.sandboxes.base import TEXT_CHARS
from callgate.steps import Status, Waiting

__all__ = ["CallRecord", "Cut", "Fault", "Outcome", "lost"]

LISTED_CALLS, LISTED_ARGUMENTS, LISTED_FILES, SHORT = 20, 8, 20, 120
"""Calls that the text of an unfinished action lists, arguments of each, files, and characters of one argument."""

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Control and format characters of Unicode, but for line ends and tabs: what could hide text or turn it around."""

_ESCAPES = {"\r": "\\r", "\b": "\\b", "\f": "\\f"}
"""As in JSON, so that no text grows longer than its JSON form."""

_PRUNING = ((1000, 4000), (300, 2000), (100, 1000), (50, 500), (20, 300), (10, 200), (5, 100), (3, 60), (1, 40))
"""Items of a list or dict, and characters of a string, that each attempt to fit a value leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a program did not complete."""

    type: str
    """Name of the exception, "ProgramError" for a program that was not run, or the name of another cause."""
    text: str
    line: int | None = None
    """The program's own line, counted from 1."""
    source: str | None = None
    """The text of that line."""
    trace: tuple[tuple[int, str], ...] = ()
    """(line, function) of the program's frames, outermost first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One inner call."""

    id: str
    tool: str
    arguments_text: str = field(repr=False)
    """The canonical JSON text of what was run; after an edit of the edited arguments."""
    status: str
    """done | failed | refused | started (no result yet) | waiting | withdrawn | held (never started)"""
    result: str | None = field(default=None, repr=False)
    """The canonical JSON text of its value; None if it has none."""
    error: str | None = None
    """What the program was told in its place."""
    held: bool = True
    """Whether the journal holds its value, and not only a digest: then nothing else should hold it either."""

    @property
    def arguments(self) -> dict[str, JSON]:
        """The arguments, parsed at each access."""
        return decode(self.arguments_text)

    @property
    def value(self) -> JSON:
        """The value, parsed at each access; None if there is none."""
        return None if self.result is None else decode(self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Something too large to show."""

    part: str
    """ "stdout" or "value"."""
    shown: int
    """Characters the text shows."""
    total: int
    """Characters there were; for a value, of its JSON text."""
    handle: str | None
    """What `load_value` reads it by, or None where it was not kept."""
    kept: int
    """Characters of it that `load_value` returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a code action ended, or why it waits.

    Its repr leaves out what may be large: whatever logs a task asks for it, asyncio itself too.
    """

    id: str
    status: Status
    """completed | failed: the program raised | rejected: nothing ran | limited | paused | lost: cannot know."""
    ran: bool
    """Whether any of the program ran."""
    stdout: str = field(repr=False)
    """What it printed, up to `Limits.output_kb`."""
    value: JSON = field(repr=False)
    """Its value, whole."""
    error: Fault | None
    limit: str | None
    """The field of `Limits` that ended it, with status limited; "guests" where the sandbox had no place for it."""
    calls: tuple[CallRecord, ...] = field(repr=False)
    truncated: tuple[Cut, ...]
    """What `text` does not show in full."""
    artifacts: tuple[Artifact, ...] = ()
    """The files it left below /out. A program that was ended from outside, by `seconds` for instance, leaves none."""
    left_out: tuple[LeftOut, ...] = ()
    """The files it left that are not among them, and why."""
    waiting: tuple[Waiting, ...] = field(default=(), repr=False)
    """The calls that wait for a human, with status paused."""
    warnings: tuple[str, ...] = ()
    """Where a replay left what was recorded."""
    reachable: tuple[str, ...] = ()
    """The tools of `interrupt_on` that the program can reach, by its text."""
    journal: Journal
    text: str
    """What the model is given."""


def lost(outcome: Outcome) -> Outcome:
    """Return a paused outcome as what it is where nobody can be asked: it cannot be known what became of its calls."""
    calls = "; ".join(_call(one.tool, one.arguments) for one in outcome.waiting)
    error = Fault(type="UnknownOutcome", text=f"it was cut off in {calls}, which may have happened")
    shown = outcome.text.removeprefix(_headline("paused", None, None, outcome.waiting))
    made = "\n" + _tell_calls(outcome.calls) if any(call.status in ("done", "failed") for call in outcome.calls) else ""
    text = _headline("lost", error, None, ()) + shown + made
    return replace(outcome, status="lost", error=error, waiting=(), text=text)


def visible(text: str) -> str:
    """Return text with control and bidirectional characters written as escapes."""
    return _INVISIBLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0]) or (f"\\x{ord(found[0]):02x}" if found[0] < "\x80" else f"\\u{ord(found[0]):04x}")


def show_value(value: JSON, most: int, size: int | None = None) -> tuple[str, int]:
    """Return a JSON text of at most `most` characters, cut by its structure, and the characters of the whole.

    Args:
        value: to show.
        most: characters of the text.
        size: characters of its whole JSON text, where it is known.
    """
    text, whole = _shown(value, most)
    return text, len(text) if whole else size or len(_dumps(value))


def _shown(value: JSON, most: int) -> tuple[str, bool]:
    """Return the same text, and whether it is whole. However large the value, little more than the text is written."""
    text = ""
    for attempt, (items, chars) in enumerate(((most, most), *_PRUNING)):
        pruner = _Pruner(items, chars, most)
        pruned = pruner.pruned(value)
        if pruner.room < 0:  # its text would have more characters than that
            continue
        text = _dumps(pruned)
        if len(text) <= most:
            return text, attempt == 0
    return text[:most], False


def _dumps(value: JSON) -> str:
    return visible(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


class _Pruner:
    """Leaves so many items of a list or dict and so many characters of a string, and gives up early.

    Args:
        items: to leave.
        chars: to leave.
        room: characters of text, of which every value and every character takes at least one.
    """

    def __init__(self, items: int, chars: int, room: int) -> None:
        self._items, self._chars, self.room = items, chars, room

    def pruned(self, value: JSON) -> JSON:
        items = self._items
        self.room -= 1 + (value.bit_length() // 4 if isinstance(value, int) else 0)  # no more than it has digits
        if self.room < 0:
            return None
        if isinstance(value, str):
            return self._cut(value)
        if is_array(value):
            shown = [self.pruned(item) for item in value[:items]]
            return [*shown, f"… {len(value) - items:,} more items"] if len(value) > items else shown
        if is_object(value):
            cut = {self._cut(key): self.pruned(item) for key, item in islice(value.items(), items)}
            return {**cut, "…": f"{len(value) - items:,} more keys"} if len(value) > items else cut
        return value

    def _cut(self, text: str) -> str:
        self.room -= min(len(text), self._chars)
        if len(text) <= self._chars:
            return text
        return f"{text[: self._chars]}… {len(text) - self._chars:,} more characters"


def show_output(text: str, most: int) -> str:
    """Return output of at most about `most` characters: its first and last lines, and how much is between."""
    if len(text) <= most:
        return text
    head, tail = text[: most * 3 // 4], text[-(most // 4) :]
    head = head[: head.rfind("\n") + 1] or head
    tail = tail[tail.find("\n") + 1 :] or tail
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n… {left_out:,} characters cut …\n{tail}"


def render(
    *,
    status: Status,
    stdout: str,
    printed: int,
    value: JSON,
    error: Fault | None,
    limit: str | None,
    calls: tuple[CallRecord, ...],
    waiting: tuple[Waiting, ...],
    handles: dict[str, str],
    most: int,
    size: int | None = None,
    ran: bool = True,
    artifacts: Sequence[Artifact] = (),
    left_out: Sequence[LeftOut] = (),
) -> tuple[str, tuple[Cut, ...]]:
    """Return the text for the model and what it leaves out.

    printed counts what was printed beyond `Limits.output_kb` too, handles are those of "stdout" and "value" where they
    were kept, most is how many characters of each are shown, and size how many the value has.
    """
    parts = [_headline(status, error, limit, waiting) if ran else _not_run(error, limit)]
    cuts = list[Cut]()
    output = show_output(visible(stdout), most)
    if printed > len(stdout) or len(visible(stdout)) > most:
        shown_output = min(len(output), most, printed)
        handle = handles.get("stdout")
        cuts.append(Cut(part="stdout", shown=shown_output, total=printed, handle=handle, kept=len(stdout)))
    shown, total = show_value(value, most, size)
    if total > len(shown) or total > most:
        cuts.append(Cut(part="value", shown=len(shown), total=total, handle=handles.get("value"), kept=total))
    if output.strip():
        parts.append(output.rstrip("\n"))
    if value is not None:
        parts.append(f"Value: {shown}" if output.strip() or parts[0] else shown)
    parts.extend(_tell_cut(cut) for cut in cuts)
    parts.extend(_tell_files(artifacts, left_out))
    if ran and status in ("failed", "limited", "lost") and (told := _tell_calls(calls)):
        parts.append(told)
    text = "\n".join(part for part in parts if part)
    return text or "The program completed and showed nothing: print a value or end with an expression.", tuple(cuts)


def _not_run(error: Fault | None, limit: str | None) -> str:
    """Return the first line about a program that did not run at all."""
    error = error or Fault(type="", text="")
    if limit is not None:
        return f"The program was not run, the limit {limit} is used up: {visible(error.text)[:TEXT_CHARS]}"
    where = f", see line {error.line}" if error.line else ""
    return f"The program was not run{where}: {visible(error.text)[:TEXT_CHARS]}{_quoted(error)}"


def _quoted(error: Fault) -> str:
    return f"\n    {error.line} | {visible(error.source[:SHORT])}" if error.source is not None else ""


def _headline(status: Status, error: Fault | None, limit: str | None, waiting: tuple[Waiting, ...]) -> str:
    if status == "paused":
        return "Waiting for a human: " + "; ".join(_call(one.tool, one.arguments) for one in waiting)
    if status == "completed" or error is None:
        return "" if status == "completed" else f"The program was ended: its limit {limit} is used up."
    where = f" in line {error.line}" if error.line is not None else ""
    text, kind = visible(error.text)[:TEXT_CHARS], visible(error.type)
    if status == "lost":
        return f"It is unknown how the program went on: {text}. Look before you repeat anything."
    ended = f"The program was ended by its limit {limit}" if status == "limited" else "The program failed"
    return f"{ended}{where}: {kind}{f': {text}' if text else ''}{_quoted(error)}"


def _tell_cut(cut: Cut) -> str:
    what = "The output" if cut.part == "stdout" else "The value"
    kept = "it" if cut.kept >= cut.total else f"the first {cut.kept:,}, the rest was dropped"
    rest = f"; load_value({cut.handle!r}) in a later program returns {kept}" if cut.handle else ""
    return f"[{what} has {cut.total:,} characters, {cut.shown:,} are shown{rest}.]"


def _tell_files(artifacts: Sequence[Artifact], left_out: Sequence[LeftOut]) -> list[str]:
    """Return what is said of the files; their names are safe to show."""
    told: list[str] = []
    if artifacts:
        files = [f"{one.name} ({_bytes(one.size)})" for one in artifacts[:LISTED_FILES]]
        more = [f"{len(artifacts) - LISTED_FILES} more"] if len(artifacts) > LISTED_FILES else []
        told.append(f"[Files: {', '.join(files + more)}]")
    for one in left_out:
        what = one.name if one.count == 1 else f"{one.count:,} more files"
        told.append(f"[Not kept: {what} ({_bytes(one.size)}): {one.why}]")
    return told


def _bytes(size: int) -> str:
    return f"{size:,} byte{'s' if size != 1 else ''}"


def _tell_calls(calls: tuple[CallRecord, ...]) -> str:
    made = [call for call in calls if call.status in ("done", "failed", "started")]
    if not made:
        return "No tool was called."
    lines = [f"  {_call(call.tool, call.arguments)} -> {_result(call)}" for call in made[:LISTED_CALLS]]
    if len(made) > LISTED_CALLS:
        lines.append(f"  … and {len(made) - LISTED_CALLS} more")
    return "\n".join(["Calls already made, not undone:", *lines])


def _call(tool: str, arguments: dict[str, JSON]) -> str:
    shown = [f"{visible(key[:SHORT])}={_short(value)}" for key, value in list(arguments.items())[:LISTED_ARGUMENTS]]
    more = ["…"] if len(arguments) > LISTED_ARGUMENTS else []
    return f"{visible(tool)}({', '.join(shown + more)})"


def _result(call: CallRecord) -> str:
    if call.status == "started":
        return "no answer came; it may still happen"
    if call.error is not None:
        return f"failed: {visible(call.error[:SHORT])}"
    return _short(call.value) if call.held else "what no journal holds"


def _short(value: JSON) -> str:
    return _shown(value, SHORT)[0]
