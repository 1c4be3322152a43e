"""callgate for LangChain: its tools in neutral form."""

try:
    from callgate_langchain.convert import from_langchain
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("langchain_core"):
        raise
    raise ImportError("callgate_langchain needs langchain-core: pip install 'callgate[langchain]'") from error

__all__ = ["from_langchain"]
