"""callgate for LlamaIndex: agents whose surface follows the router, and programs as a tool of any agent."""

try:
    from callgate_llama_index.agent import CallgateAgent, SurfaceEvent
    from callgate_llama_index.convert import from_llama_index
    from callgate_llama_index.mcp import mcp_tools
    from callgate_llama_index.tool import code_tool
except ModuleNotFoundError as error:
    if not (error.name or "").startswith(("llama_index", "workflows")):
        raise
    raise ImportError("callgate_llama_index needs llama-index-core: pip install 'callgate[llama-index]'") from error

__all__ = ["CallgateAgent", "SurfaceEvent", "code_tool", "from_llama_index", "mcp_tools"]
