"""callgate for LangChain: its tools in neutral form, and a middleware for agents of `create_agent`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from callgate_langchain.convert import from_langchain
    from callgate_langchain.mcp import mcp_tools
    from callgate_langchain.plain_tool import code_tool
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("langchain_core"):
        raise
    raise ImportError("callgate_langchain needs langchain-core: pip install 'callgate[langchain]'") from error

if TYPE_CHECKING:
    from callgate_langchain.code_act import CodeActMiddleware

__all__ = ["CodeActMiddleware", "code_tool", "from_langchain", "mcp_tools"]


def __getattr__(name: str) -> Any:
    """Load what needs LangGraph and LangChain, of which tools alone need neither."""
    if name != "CodeActMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from callgate_langchain.code_act import CodeActMiddleware  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("langchain", "langgraph"):
            raise
        raise ImportError("CodeActMiddleware needs langchain: pip install 'callgate[create-agent]'") from error
    return CodeActMiddleware
