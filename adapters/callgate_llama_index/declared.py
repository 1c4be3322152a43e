"""What is known of a LlamaIndex tool and has no place in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from llama_index.core.tools import BaseTool

from callgate.codec import JSON
from callgate.tools import Effect

__all__ = ["Declared", "declare", "declared"]

_NAME = "_callgate_declared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Whatever its source says of a tool."""

    effect: Effect = "write"
    output_schema: Mapping[str, JSON] | None = None


def declare(tool: BaseTool, *, effect: Effect, output_schema: Mapping[str, JSON] | None) -> None:
    """Note on a tool what is known of it; its copies know it, too."""
    setattr(tool, _NAME, Declared(effect=effect, output_schema=output_schema))


def declared(tool: BaseTool) -> Declared:
    """Return what was noted."""
    return cast("Any", tool).__dict__.get(_NAME, Declared())
