"""From the end of a pass to an outcome."""

from __future__ import annotations

from callgate.calls import CallState
from callgate.codec import JSON, decode, encode, is_array
from callgate.gate import Gate
from callgate.journal import Journal
from callgate.limits import Limits
from callgate.outbox import handle_of
from callgate.outcome import CallRecord, Fault, Outcome, render
from callgate.steps import End, Pause

__all__ = ["fault_of", "report", "report_unrun"]


def report(last: End | Pause, *, gate: Gate, journal: Journal, program: str, limits: Limits) -> Outcome:
    """Return the outcome of a pass."""
    end = last if isinstance(last, End) else None
    status = end.status if end is not None else "paused"
    product = gate.product
    stdout = "".join(product.output)
    artifacts, left_out = (product.artifacts, product.left_out) if end is not None else ((), ())
    value_text = end.value if end is not None else "null"
    kept = (("stdout", encode(stdout)), ("value", value_text))
    fault = fault_of(end.error, program) if end is not None else None
    limit = end.limit if end is not None else None
    waiting = last.waiting if isinstance(last, Pause) else ()
    calls = tuple(map(_record, gate.calls))
    value = decode(value_text)
    text, cuts = render(
        status=status,
        stdout=stdout,
        printed=end.printed if end is not None else len(stdout),
        value=value,
        error=fault,
        limit=limit,
        calls=calls,
        waiting=waiting,
        handles={part: handle_of(text) for part, text in kept if end is not None and len(text) > limits.shown_chars},
        most=limits.shown_chars,
        size=len(value_text),
        artifacts=artifacts,
        left_out=left_out,
    )
    return Outcome(
        id=journal.header["action"],
        status=status,
        ran=True,
        stdout=stdout,
        value=value,
        error=fault,
        limit=limit,
        calls=calls,
        truncated=cuts,
        artifacts=artifacts,
        left_out=left_out,
        waiting=waiting,
        warnings=tuple(gate.warnings),
        journal=journal,
        text=text,
    )


def report_unrun(*, journal: Journal, program: str) -> Outcome:
    """Return the outcome of a program of which nothing ran: its journal says why."""
    ended = decode(journal.lines[-1])
    fault = fault_of(ended["error"], program)
    text, _ = render(
        status=ended["status"],
        stdout="",
        printed=0,
        value=None,
        error=fault,
        limit=ended["limit"],
        calls=(),
        waiting=(),
        handles={},
        most=100,
        ran=False,
    )
    return Outcome(
        id=journal.header["action"],
        status=ended["status"],
        ran=False,
        stdout="",
        value=None,
        error=fault,
        limit=ended["limit"],
        calls=(),
        truncated=(),
        journal=journal,
        text=text,
    )


def fault_of(error: dict[str, JSON] | None, program: str) -> Fault | None:
    """Read what an untrusted guest, or the gate, says of an error."""
    if error is None:
        return None
    lines = program.split("\n")
    line = error.get("line")
    line = line if type(line) is int and 0 < line <= len(lines) else None
    frames = error.get("trace")
    trace = [
        (entry[0], str(entry[1]))
        for entry in (frames if is_array(frames) else ())
        if is_array(entry) and len(entry) == 2 and isinstance(entry[0], int)
    ]
    return Fault(
        type=str(error.get("type", "Exception")),
        text=str(error.get("text", "")),
        line=line,
        source=lines[line - 1].strip() if line is not None else None,
        trace=tuple(trace),
    )


def _record(call: CallState) -> CallRecord:
    error = call.result.error if call.result is not None else None
    return CallRecord(
        id=call.id,
        tool=call.tool,
        arguments_text=call.ran or call.arguments,
        status=call.status,
        result=call.result.text if call.result is not None and error is None else None,
        error=error["text"] if error is not None else None,
        held=call.result is None or call.result.digest is None,
    )
