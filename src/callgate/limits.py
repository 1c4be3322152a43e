"""How much one code action may use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from callgate.errors import UsageError

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one code action. Reaching one ends the action as `limited`, with the limit's name.

    Some a program can catch and go on: memory, files and threads as the exceptions of Python, refused calls and frames
    as `LimitExceeded`. How many programs run at the same time is bounded by the sandbox, as its limit "guests".

    Raises `UsageError` for a bound that is not a positive number.
    """

    seconds: float = 60
    """Wall clock of the whole action, time inside tools included, waiting for a human excluded."""
    cpu_seconds: float = 30
    """Processor time of one guest."""
    memory_mb: int = 1024
    """Address space of one guest, in MiB, on top of what interpreter and preloaded modules map before its first line.
    Threads count with their stacks, 8 MiB each."""
    disk_mb: int = 64
    """Files of one guest, below /tmp and /out together, in MiB. The outcome's artifacts are what is left below /out."""
    output_kb: int = 64
    """What a program may print, in KiB of text, by its characters; what comes after is counted and dropped, and 16
    times as much ends the program."""
    shown_chars: int = 8_000
    """Characters of output, and of the value, that the outcome's text shows."""
    calls: int = 256
    """Inner calls, refused ones included. The first call beyond it is refused; a program that goes on is ended."""
    parallel_calls: int = 32
    """Inner calls running at the same time; further ones wait."""
    frame_mb: int = 16
    """One message between guest and host, in MiB: the arguments of a call, a result, the program's value, a file it
    leaves (as base64, so of some two thirds of that). All that a program sends may take three and a half times as much
    of the host's memory. It is also what the values that it loads by `load_value` may take together."""
    threads: int = 64
    """Threads alive in one guest."""
    pending_approvals: int = 20
    """Calls of one action that wait for a human at the same time; further ones are refused."""

    def __post_init__(self) -> None:
        for field in fields(self):
            bound = getattr(self, field.name)
            kinds = (int, float) if field.name in ("seconds", "cpu_seconds") else (int,)
            if type(bound) not in kinds or not 0 < bound < float("inf"):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise UsageError(f"Limits({field.name}={bound!r}): give a positive {wanted}")
