"""Every error callgate raises, sorted by whose fault it is.

CallgateError
├── ProgramError            the program: it cannot run as written
├── Refused                 policy: the gate did not let a call through
│   ├── UnknownTool         no tool of that name in the catalogue
│   ├── NotAllowed          the tool may not be called from code
│   ├── InvalidArguments    unknown, missing or host-injected argument names, or a value JSON cannot carry
│   ├── ApprovalRejected    a human said no
│   └── LimitExceeded       a limit of `Limits` is used up
├── ToolFailed              the tool ran and raised
├── ToolWaits               the tool waits for somebody itself; an adapter raises it
├── OutcomeUnknown          the way to a tool was cut off: nobody knows whether the call happened
├── SandboxError            the place where programs run
│   ├── SandboxUnavailable  this host cannot isolate a program
│   └── SandboxLost         the sandbox went away in the middle
├── ReplayDivergence        a program did not repeat what its journal records
├── JournalError            a journal was edited, cut or written by two runs at once
└── UsageError              the developer: an argument or an order of calls that cannot work

A program sees `Refused`, its subclasses and `ToolFailed` under the same names; everything else stays on the host.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ApprovalRejected",
    "CallgateError",
    "InvalidArguments",
    "JournalError",
    "LimitExceeded",
    "NotAllowed",
    "OutcomeUnknown",
    "ProgramError",
    "Refused",
    "ReplayDivergence",
    "SandboxError",
    "SandboxLost",
    "SandboxUnavailable",
    "ToolFailed",
    "ToolWaits",
    "UnknownTool",
    "UsageError",
]


class CallgateError(Exception):
    """Root of all errors raised by callgate."""


class ProgramError(CallgateError):
    """A program that cannot run as written. Nothing of it ran."""

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        """The program's own line, counted from 1, or None where no single line is at fault."""


class Refused(CallgateError):
    """The gate did not let a call through. The tool was not called."""

    def __init__(self, message: str, *, tool: str) -> None:
        super().__init__(message)
        self.tool = tool
        """The tool name as the program wrote it."""


class UnknownTool(Refused):
    """The catalogue has no tool of that name."""


class NotAllowed(Refused):
    """The tool exists and may not be called from code."""


class InvalidArguments(Refused):
    """Argument names the tool does not have or misses, or a value that JSON cannot carry."""


class ApprovalRejected(Refused):
    """A human rejected this tool with these arguments; it stays rejected for the rest of the action."""


class LimitExceeded(Refused):
    """A limit is used up."""

    def __init__(self, message: str, *, tool: str, limit: str) -> None:
        super().__init__(message, tool=tool)
        self.limit = limit
        """The field of `Limits` that is used up."""


class ToolFailed(CallgateError):
    """The tool ran and raised. Raised by a tool's `invoke`, its text is shown to the program as it stands.

    Any other exception of a tool is told to the program by its type name only, because its text may hold what is
    private to the host.
    """


class ToolWaits(CallgateError):
    """The tool cannot go on before somebody answers it. Raised by a tool's `invoke`; no program sees it.

    The action pauses. When it goes on the tool is called again, with the same arguments and under the same id, as often
    as it takes: unlike a write that a crash cut off, it is known to be able to bear that.
    """


class OutcomeUnknown(CallgateError):
    """Nobody knows whether a call happened, or how it ended. Raised by a tool's `invoke`, such as one far away.

    A write that raises it is like one that a crash cut off: the program never sees it, since it might try again, and
    the action pauses until a human says what became of it. A read and an idempotent tool have failed, with this text.
    """


class SandboxError(CallgateError):
    """Something is wrong with the place where programs run."""


class SandboxUnavailable(SandboxError):
    """This host cannot isolate a program well enough. Nothing ran, and nothing below the floor was tried."""

    def __init__(
        self, message: str, *, missing: Sequence[str] = (), reasons: Sequence[str] = (), cure: str = ""
    ) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        """The kernel mechanisms that are missing."""
        self.reasons = tuple(reasons)
        """How each of them showed that it is."""
        self.cure = cure
        """What to do about it, for a person."""


class SandboxLost(SandboxError):
    """The sandbox went away while a program ran; what the program would have done next cannot be known."""


class ReplayDivergence(CallgateError):
    """On replay the program did not ask for a write its journal records. Nothing was executed."""

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        """The program's own line in which it raised instead, counted from 1; None if it did not."""


class JournalError(CallgateError):
    """A journal does not hold together: an entry was changed, removed or appended by another run."""


class UsageError(CallgateError):
    """The developer asked for something that cannot work; the message says what to do instead."""
