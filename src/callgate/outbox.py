"""What the gate has said and not yet handed to its driver, in the order of durability."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict

from callgate.calls import CallState, Result
from callgate.codec import JSON, digest, encode
from callgate.journal import INLINE, Journal
from callgate.product import Product
from callgate.sandboxes.base import answer, frame
from callgate.steps import End, Keep, Notify, Record, Send, Step

__all__ = ["Outbox", "handle_of"]


HANDLE_CHARS = 32
"""A handle is the first 128 bits of the SHA-256 of the value's text, in hexadecimal."""

REFUSED_CHARS = 4096
"""Arguments of a refused call that are longer are neither held nor journalled."""


def handle_of(text: str) -> str:
    """Return the handle of a kept value."""
    return digest(text)[:HANDLE_CHARS]


class Outbox:
    """Collects steps and journal lines, and holds back what may follow only when its line is durable.

    Args:
        journal: where lines go.
        watched: whether anybody listens to `Notify`.
    """

    def __init__(self, journal: Journal, *, watched: bool) -> None:
        self._journal, self._watched = journal, watched
        self._lines: list[str] = []
        self._steps: list[Step] = []
        self._after: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def waits(self) -> bool:
        """Whether something waits for a line to become durable."""
        return bool(self._after)

    def take(self) -> list[Step]:
        """Return the steps since the last time; the new lines among them as one `Record`."""
        if not self._steps and not self._lines:
            return []
        if self._lines:
            position = len(self._journal) - len(self._lines)
            self._steps.append(Record(position=position, lines=tuple(self._lines)))
            self._lines = []
        steps, self._steps = self._steps, []
        return steps

    def recorded(self) -> None:
        """Let go of what waited for the lines handed out so far."""
        durable = len(self._journal) - len(self._lines)
        while self._after and self._after[0][0] <= durable:
            self._after.popleft()[1]()

    def add(self, step: Step) -> None:
        """Say a step."""
        self._steps.append(step)

    def notify(self, call: CallState) -> None:
        """Tell whoever watches about a call."""
        if self._watched:
            self._steps.append(Notify(call=call))

    def answer(self, n: int, at: float, result: Result) -> None:
        """Hand the guest the result of call n."""
        if result.error is not None:
            self._steps.append(Send(frame=frame({"answer": n, "at": at, "error": result.error})))
        else:
            self._steps.append(Send(frame=answer(n, at, result.text)))

    def keep(self, text: str) -> dict[str, JSON]:
        """Store a large value and return what a line says in its place."""
        sha256 = digest(text)
        handle = sha256[:HANDLE_CHARS]
        self._steps.append(Keep(handle=handle, text=text))
        return {"handle": handle, "sha256": sha256}

    def after(self, then: Callable[[], None]) -> None:
        """Do something once every line so far is durable."""
        if self._lines or self._after:
            self._after.append((len(self._journal), then))
        else:
            then()

    def record(self, fields: dict[str, JSON], raw: dict[str, str], then: Callable[[], None] | None = None) -> None:
        """Write a line, and do something once it is durable. `raw` holds canonical text."""
        self._lines.append(self._journal.add(fields, raw))
        if then is not None:
            self._after.append((len(self._journal), then))

    def record_call(
        self, kind: str, call: CallState, at: float, parts: str = "", then: Callable[[], None] | None = None
    ) -> None:
        """Write a line about a call; the first one of an action holds its arguments.

        Args:
            kind: of the entry.
            call: it is about.
            at: program time, in seconds.
            parts: more of it, as JSON text: `,"name":value` for each.
            then: what to do once the line is durable.
        """
        text = [f'{{"e":"{kind}",{call.label},"at":{at!r}']
        if not call.recorded and call.fault is None:
            text += (',"args":', call.arguments)
            call.recorded = True
        self._lines.append(self._journal.add_text(*text, parts))
        if then is not None:
            self._after.append((len(self._journal), then))

    def record_result(self, call: CallState, result: Result, late: bool, then: Callable[[], None]) -> None:
        """Write how a call ended; late says that the program will not hear of it."""
        if result.error is not None:
            parts = f',"error":{encode(result.error)}'
            if not call.recorded and len(call.arguments) > REFUSED_CHARS:
                call.arguments, call.recorded = "{}", True  # it never ran: its digest is enough
        elif result.digest is not None:
            parts = f',"digest":"{result.digest}"'
        elif len(result.text) > INLINE:
            parts = f',"kept":{encode(self.keep(result.text))}'
        else:
            parts = f',"value":{result.text}'
        self.record_call("done", call, call.at, f',"undelivered":true{parts}' if late else parts, then)

    def record_end(
        self, end: End, product: Product, shown_chars: int, calls: Sequence[CallState], warnings: Sequence[str]
    ) -> None:
        """Write how the action ended; what is too large to show is kept for later programs.

        Args:
            end: of the action.
            product: what the program left.
            shown_chars: above which output and value are kept.
            calls: of the last pass, in their order; written where the lines before do not say as much.
            warnings: of the last pass.
        """
        fields: dict[str, JSON] = {"e": "ended", "status": end.status, "error": end.error, "limit": end.limit}
        if warnings or not _told(calls):
            fields["calls"] = [_listed(call) for call in calls]
        if warnings:
            fields["warnings"] = list(warnings)
        raw: dict[str, str] = {}
        for part, text in (("output", encode("".join(product.output))), ("value", end.value)):
            if len(text) > shown_chars:
                fields[f"{part}_kept"] = self.keep(text)
            else:
                raw[part] = text
        if product.artifacts:
            told = [{"name": one.name, "size": one.size, "sha256": one.digest} for one in product.artifacts]
            fields["artifacts"] = told
        if product.left_out:
            fields["left_out"] = [asdict(one) for one in product.left_out]
        self.record({**fields, "printed": end.printed}, raw)


def _told(calls: Sequence[CallState]) -> bool:
    """Say whether the calls are those of the lines before, in the order of their numbers."""
    numbers = [int(call.id.rpartition("/")[2]) for call in calls]
    return all(call.result is not None for call in calls) and numbers == sorted(numbers)


def _listed(call: CallState) -> JSON:
    """Return the id of a call that has its line, and everything about one that has none."""
    if call.result is not None:
        return call.id
    told = call.as_call()
    return {"call": call.id, "tool": call.tool, "args": told.arguments, "status": call.status}
