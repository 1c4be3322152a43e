"""Code-as-action: the model writes Python that calls your tools, and every call passes the gate."""

from callgate.artifacts import Artifact, LeftOut
from callgate.errors import (
    ApprovalRejected,
    CallgateError,
    InvalidArguments,
    JournalError,
    LimitExceeded,
    NotAllowed,
    OutcomeUnknown,
    ProgramError,
    Refused,
    ReplayDivergence,
    SandboxError,
    SandboxLost,
    SandboxUnavailable,
    ToolFailed,
    ToolWaits,
    UnknownTool,
    UsageError,
)
from callgate.history import Message, ModelCall, SurfaceKind
from callgate.journal import Journal, JournalStore, MemoryJournal, SqliteJournal
from callgate.ledger import Ledger
from callgate.limits import Limits
from callgate.outcome import CallRecord, Cut, Fault, Outcome
from callgate.replaying import Replay, replay
from callgate.router import AutoRouter, Facts, Router, Surface
from callgate.runner import CodeRunner
from callgate.steps import Waiting
from callgate.surface import ResultShapeWarning
from callgate.tokens import ApproximateTokens, ExactTokens, TokenCounter
from callgate.tools import Call, Catalogue, Tool, tool

__all__ = [
    "ApprovalRejected",
    "ApproximateTokens",
    "Artifact",
    "AutoRouter",
    "Call",
    "CallRecord",
    "CallgateError",
    "Catalogue",
    "CodeRunner",
    "Cut",
    "ExactTokens",
    "Facts",
    "Fault",
    "InvalidArguments",
    "Journal",
    "JournalError",
    "JournalStore",
    "Ledger",
    "LeftOut",
    "LimitExceeded",
    "Limits",
    "MemoryJournal",
    "Message",
    "ModelCall",
    "NotAllowed",
    "Outcome",
    "OutcomeUnknown",
    "ProgramError",
    "Refused",
    "Replay",
    "ReplayDivergence",
    "ResultShapeWarning",
    "Router",
    "SandboxError",
    "SandboxLost",
    "SandboxUnavailable",
    "SqliteJournal",
    "Surface",
    "SurfaceKind",
    "TokenCounter",
    "Tool",
    "ToolFailed",
    "ToolWaits",
    "UnknownTool",
    "UsageError",
    "Waiting",
    "replay",
    "tool",
]
