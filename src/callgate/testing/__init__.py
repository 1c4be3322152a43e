"""Aids for tests, ours and those of users."""

import typing as _typing

from callgate.testing.fake import FakeSandbox

if _typing.TYPE_CHECKING:
    from callgate.testing.llms import ScriptedLLM
    from callgate.testing.models import ScriptedChatModel

__all__ = ["FakeSandbox", "ScriptedChatModel", "ScriptedLLM"]


def __getattr__(name: str) -> _typing.Any:
    """Import what needs LangChain or LlamaIndex only when it is asked for."""
    if name == "ScriptedChatModel":
        from callgate.testing.models import ScriptedChatModel  # noqa: PLC0415

        return ScriptedChatModel
    if name == "ScriptedLLM":
        from callgate.testing.llms import ScriptedLLM  # noqa: PLC0415

        return ScriptedLLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
