"""A conversation as the router and the ledger see it, whatever framework holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from callgate.costs import Tokens

__all__ = ["Message", "ModelCall", "Role", "SurfaceKind"]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
SurfaceKind: TypeAlias = Literal["json", "code", "mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A tool call that a model asked for: a plain one, or `execute_code`."""

    id: str
    name: str
    arguments: str
    """Its arguments as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message."""

    role: Role
    text: str = ""
    calls: tuple[ModelCall, ...] = ()
    """Of an assistant."""
    answers: str | None = None
    """The id of the call that a tool's message answers."""
    surface: SurfaceKind | None = None
    """What an assistant was shown, as its message records it."""
    usage: Tokens | None = None
    """What the vendor counted for an assistant's request."""
