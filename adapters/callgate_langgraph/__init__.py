"""callgate for LangGraph: `CodeActNode` in place of `ToolNode`."""

try:
    from callgate_langgraph.modes import SandboxWarning
    from callgate_langgraph.node import CodeActNode
except ModuleNotFoundError as error:
    if not (error.name or "").startswith(("langgraph", "langchain_core")):
        raise
    raise ImportError("callgate_langgraph needs langgraph: pip install 'callgate[langgraph]'") from error

__all__ = ["CodeActNode", "SandboxWarning"]
