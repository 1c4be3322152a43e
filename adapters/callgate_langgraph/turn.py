"""What a node run asked humans and what they answered, and the plain calls it ran: its own small journal.

The answers of one interrupt become durable as one line, before any of them is used; so an answer is never used in part.
A plain call that a human had a say in has a journal of its own from when it starts: so what it did is known, too, when
the calls beside it are others, and the node run is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from langchain_core.messages import ToolCall

from callgate import Journal, JournalError
from callgate.codec import JSON, decode, encode
from callgate.decisions import Decision
from callgate_langgraph.interrupts import Interrupted
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.steps import Steps, append_lines

__all__ = ["Asked", "Ref", "Turn", "ref_of"]

Ref: TypeAlias = tuple[int, str]
"""A call: the position, in the message, of the call it belongs to, and its id."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """One interrupt of the node run."""

    kind: Literal["approval", "tool"]
    """An approval request, or the question of a tool that interrupts itself."""
    calls: list[Ref]
    task: str
    """The task of the graph that asked. Another one counts its interrupts anew."""
    index: int
    """Among the interrupts of the task."""
    lengths: dict[int, int]
    """Lines of the journals of the calls that waited then, by position in the message; a plain one may have none."""
    shown: list[str] = field(default_factory=list[str])
    """A digest, for each call of an approval request, of the tool as humans were shown it."""
    number: int = 0
    """Of the question of a tool, among those of its call."""
    pause: int = 0
    """Sets it apart from the other interrupts of the node run."""
    error: str | None = None
    """What was wrong with the answer before."""
    answered: bool = False


@dataclass(slots=True)
class _Lines:
    """A journal, and how much of it is durable."""

    journal: Journal
    saved: int


@dataclass(slots=True, kw_only=True)
class Turn:
    """The journal of one node run, and what it says. What is written here is durable after the next `save`."""

    keeping: Keeping
    key: str
    """Under which it is stored."""
    own: Mapping[Ref, str]
    """The keys of the journals of single plain calls."""
    asked: Asked | None = None
    """The last interrupt."""
    decisions: dict[Ref, Decision] = field(default_factory=dict[Ref, Decision])
    """Of humans, by call; those about plain calls until they are used up."""
    agreed: dict[Ref, str] = field(default_factory=dict[Ref, str])
    """For each of them, a digest of the tool as that human was shown it."""
    started: set[Ref] = field(default_factory=set[Ref])
    """Plain calls that began to run after somebody was asked about them, or by them."""
    edited: dict[Ref, str] = field(default_factory=dict[Ref, str])
    """Canonical text of the arguments that such calls ran with, where a human changed them."""
    failed: dict[Ref, str] = field(default_factory=dict[Ref, str])
    """Such calls whose tools raised in their last run, and the type of the exception."""
    done: dict[Ref, str] = field(default_factory=dict[Ref, str])
    """Packed: the outputs of plain calls, and of programs that left files."""
    interrupted: dict[Ref, Interrupted] = field(default_factory=dict[Ref, Interrupted])
    """What the tools of plain calls asked last."""
    waiting: set[Ref] = field(default_factory=set[Ref])
    """The plain calls whose tools wait for an answer, or have it and did not start since."""
    _answers: dict[Ref, tuple[int, str]] = field(default_factory=dict[Ref, tuple[int, str]])
    """Number of the question of a tool, and packed: what it was answered."""
    _decided_at: dict[Ref, int] = field(default_factory=dict[Ref, int])
    """Lines of the journal of a plain call when it was decided about."""
    _kept: dict[str, _Lines] = field(default_factory=dict[str, _Lines])
    """By key."""

    def load(self) -> Steps[None]:
        """Read what earlier entries of the node run left, and what its plain calls did in others.

        Raises:
            JournalError: if it was changed.
        """
        for line in (yield from self._read(self.key)):
            self._take(decode(line))
        for ref, key in self.own.items():
            for line in (yield from self._read(key)):
                self._take_own(ref, decode(line))
            lines, decided_at = self.lines(ref), self._decided_at.get(ref, 0)
            if lines < max(decided_at, self.asked.lengths.get(ref[0], 0) if self.asked is not None else 0):
                raise JournalError(f"the journal of {ref[1]} ends before somebody was asked: lines were taken away")
            if lines > decided_at:
                self.decisions.pop(ref, None)  # it started since

    def _read(self, key: str) -> Steps[Sequence[str]]:
        journal = yield from self.keeping.journal(key)
        self._kept[key] = _Lines(journal, len(journal))
        return journal.lines

    def save(self) -> Steps[None]:
        """Make everything durable.

        Raises:
            JournalError: if another run goes on with the same node run.
        """
        for key, kept in self._kept.items():
            if lines := kept.journal.lines[kept.saved :]:
                yield from append_lines(self.keeping.store, key, kept.saved, lines)
                kept.saved += len(lines)

    @property
    def next_pause(self) -> int:
        """The number of an interrupt that is asked now."""
        return len(self._kept[self.key].journal)

    @property
    def unused(self) -> bool:
        """Whether nobody was asked, and no human ever had a say in one of the plain calls."""
        return self.asked is None and not any(map(self.lines, self.own))

    def lines(self, ref: Ref) -> int:
        """Return how many lines the journal of a call has; 0 for one of a program."""
        return len(self._kept[self.own[ref]].journal) if ref in self.own else 0

    @property
    def waits(self) -> Asked | None:
        """The interrupt that nobody has answered yet."""
        return self.asked if self.asked is not None and not self.asked.answered else None

    def answer_to(self, ref: Ref, asked: Interrupted | None) -> str | None:
        """Return, packed, what a question of a tool was answered; None if it was not."""
        number, answer = self._answers.get(ref, (0, None))
        return answer if asked is not None and asked.number == number else None

    # ---- lines to keep

    def ask(self, asked: Asked) -> None:
        """Ask humans."""
        own = {ref[0]: lines for ref in asked.calls if (lines := self.lines(ref))}
        self._add(
            "asked",
            kind=asked.kind,
            calls=list(asked.calls),
            task=asked.task,
            index=asked.index,
            lengths=list((asked.lengths | own).items()),
            shown=asked.shown,
            number=asked.number,
            pause=asked.pause,
            error=asked.error,
        )

    def decide(self, decisions: Iterable[Decision]) -> None:
        """Take the answers to an approval request, in its order."""
        told = [
            {"type": one.type, "message": one.message, "arguments": one.arguments, "value": one.value}
            for one in decisions
        ]
        self._add("answered", decisions=told)

    def answer(self, packed: str) -> None:
        """Take the answer to the question of a tool."""
        self._add("answered", answer=packed)

    def start(self, refs: Iterable[Ref]) -> None:
        """Begin to run plain calls that somebody was asked about, or by."""
        for ref in refs:
            used = self.decisions.pop(ref, None)  # an unknown outcome is another question
            self._add_own(ref, "started", arguments=used.arguments if used is not None else None)

    def finish(self, outputs: Mapping[Ref, str]) -> None:
        """Keep the outputs of calls that are over."""
        for ref in filter(self.lines, outputs):
            self._add_own(ref, "done", outputs=outputs[ref])
        if others := [[*ref, packed] for ref, packed in outputs.items() if not self.lines(ref)]:
            self._add("done", outputs=others)

    def fail(self, raised: Mapping[Ref, str]) -> None:
        """Keep that the tools of calls raised, and the types of the exceptions."""
        for ref, name in raised.items():
            self._add_own(ref, "failed", raised=name)

    def interrupt(self, found: Mapping[Ref, Interrupted]) -> None:
        """Keep the questions of tools."""
        for ref in filter(self.lines, found):
            self._add_own(ref, "interrupted", asked=list(found[ref]))
        if others := [[*ref, list(one)] for ref, one in found.items() if not self.lines(ref)]:
            self._add("interrupted", calls=others)

    # ---- reading

    def _add(self, entry: str, /, **fields: JSON) -> None:
        self._take(self._write(self.key, entry, fields))

    def _add_own(self, ref: Ref, entry: str, /, **fields: JSON) -> None:
        self._take_own(ref, self._write(self.own[ref], entry, fields))

    def _write(self, key: str, entry: str, fields: dict[str, JSON]) -> Any:
        return decode(self._kept[key].journal.add_text(f'{{"e":"{entry}",{encode(fields)[1:-1]}'))

    def _take(self, entry: dict[str, Any]) -> None:
        match entry["e"]:
            case "asked":
                self.asked = Asked(
                    kind=entry["kind"],
                    calls=[(at, call) for at, call in entry["calls"]],
                    task=entry["task"],
                    index=entry["index"],
                    lengths=dict(entry["lengths"]),
                    shown=entry["shown"],
                    number=entry["number"],
                    pause=entry["pause"],
                    error=entry["error"],
                )
            case "answered" if self.asked is not None:
                self.asked.answered = True
                if self.asked.kind == "tool":
                    self._answers[self.asked.calls[0]] = self.asked.number, entry["answer"]
                else:
                    told = zip(self.asked.calls, entry["decisions"], strict=True)
                    self.decisions.update((ref, Decision(**one)) for ref, one in told)
                    self.agreed.update(zip(self.asked.calls, self.asked.shown, strict=True))
                    own = filter(self.own.__contains__, self.asked.calls)
                    self._decided_at.update((ref, self.asked.lengths.get(ref[0], 0)) for ref in own)
            case "done":
                self.done.update(((at, call), packed) for at, call, packed in entry["outputs"])
            case "interrupted":
                for at, call, asked in entry["calls"]:
                    self.interrupted[at, call] = Interrupted(*asked)
                    self.waiting.add((at, call))
            case _:
                pass

    def _take_own(self, ref: Ref, entry: dict[str, Any]) -> None:
        """Take a line of the journal of a plain call: they follow all that the turn says of it."""
        match entry["e"]:
            case "started":
                self.started.add(ref)
                self.waiting.discard(ref)
                self.failed.pop(ref, None)
                if entry["arguments"] is not None:
                    self.edited[ref] = entry["arguments"]
            case "done":
                self.done[ref] = entry["outputs"]
            case "failed":
                self.failed[ref] = entry["raised"]
            case "interrupted":
                self.interrupted[ref] = Interrupted(*entry["asked"])
                self.waiting.add(ref)
            case _:
                pass


def ref_of(at: int, call: ToolCall) -> Ref:
    """Return the plain call at a position, by its id if it has one."""
    return at, call["id"] or f"#{at}"
