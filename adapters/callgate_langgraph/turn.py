"""What a node run asked humans and what they answered, and the plain calls it ran: its own small journal.

The answers of one interrupt become durable as one line, before any of them is used; so an answer is never used in part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from callgate import Journal
from callgate.codec import JSON, decode, encode
from callgate.decisions import Decision
from callgate_langgraph.interrupts import Interrupted
from callgate_langgraph.keeping import Keeping
from callgate_langgraph.steps import Steps, append_lines

__all__ = ["Asked", "Ref", "Turn"]

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
    """Lines of the journals of the code actions that waited then, by position in the message."""
    shown: list[str] = field(default_factory=list[str])
    """A digest, for each call of an approval request, of the tool as humans were shown it."""
    number: int = 0
    """Of the question of a tool, among those of its call."""
    pause: int = 0
    """Sets it apart from the other interrupts of the node run."""
    error: str | None = None
    """What was wrong with the answer before."""
    answered: bool = False


@dataclass(slots=True, kw_only=True)
class Turn:
    """The journal of one node run, and what it says. What is written here is durable after the next `save`."""

    keeping: Keeping
    key: str
    """Under which it is stored."""
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
    done: dict[Ref, str] = field(default_factory=dict[Ref, str])
    """Packed: the outputs of plain calls, and of programs that left files."""
    interrupted: dict[Ref, Interrupted] = field(default_factory=dict[Ref, Interrupted])
    """What the tools of plain calls asked last."""
    waiting: set[Ref] = field(default_factory=set[Ref])
    """The plain calls whose tools wait for an answer, or have it and did not start since."""
    _answers: dict[Ref, tuple[int, str]] = field(default_factory=dict[Ref, tuple[int, str]])
    """Number of the question of a tool, and packed: what it was answered."""
    _journal: Journal = field(default_factory=Journal)
    _saved: int = 0

    def load(self) -> Steps[None]:
        """Read what earlier entries of the node run left.

        Raises:
            JournalError: if it was changed.
        """
        self._journal = yield from self.keeping.journal(self.key)
        self._saved = len(self._journal)
        for line in self._journal.lines:
            self._take(decode(line))

    def save(self) -> Steps[None]:
        """Make everything durable.

        Raises:
            JournalError: if another run goes on with the same node run.
        """
        lines = self._journal.lines[self._saved :]
        if lines:
            yield from append_lines(self.keeping.store, self.key, self._saved, lines)
            self._saved += len(lines)

    @property
    def next_pause(self) -> int:
        """The number of an interrupt that is asked now."""
        return len(self._journal)

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
        self._add(
            "asked",
            kind=asked.kind,
            calls=list(asked.calls),
            task=asked.task,
            index=asked.index,
            lengths=list(asked.lengths.items()),
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
        self._add("started", calls=list(refs))

    def finish(self, outputs: Mapping[Ref, str]) -> None:
        """Keep the outputs of calls that are over."""
        self._add("done", outputs=[[*ref, packed] for ref, packed in outputs.items()])

    def interrupt(self, found: Mapping[Ref, Interrupted]) -> None:
        """Keep the questions of tools."""
        told = [[*ref, list(one)] for ref, one in found.items()]
        self._add("interrupted", calls=told)

    # ---- reading

    def _add(self, entry: str, /, **fields: JSON) -> None:
        line = self._journal.add_text(f'{{"e":"{entry}",{encode(fields)[1:-1]}')
        self._take(decode(line))

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
            case "started":
                for ref in map(_ref, entry["calls"]):
                    self.started.add(ref)
                    self.waiting.discard(ref)
                    used = self.decisions.pop(ref, None)  # an unknown outcome is another question
                    if used is not None and used.arguments is not None:
                        self.edited[ref] = used.arguments
            case "done":
                self.done.update(((at, call), packed) for at, call, packed in entry["outputs"])
            case "interrupted":
                for at, call, asked in entry["calls"]:
                    self.interrupted[at, call] = Interrupted(*asked)
                    self.waiting.add((at, call))
            case _:
                pass


def _ref(given: Sequence[Any]) -> Ref:
    return given[0], given[1]
