"""Aids for tests, ours and those of users."""

import importlib as _importlib
import typing as _typing

from callgate.testing.fake import FakeSandbox

if _typing.TYPE_CHECKING:
    from callgate.testing.conformance import SandboxConformance
    from callgate.testing.llms import ScriptedLLM
    from callgate.testing.models import ScriptedChatModel

__all__ = ["FakeSandbox", "SandboxConformance", "ScriptedChatModel", "ScriptedLLM"]

_LAZY = {"SandboxConformance": "conformance", "ScriptedChatModel": "models", "ScriptedLLM": "llms"}
"""Name to its module, which needs more than callgate does."""


def __getattr__(name: str) -> _typing.Any:
    """Import what needs pytest, LangChain or LlamaIndex only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
