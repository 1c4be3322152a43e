"""What every adapter does: LangChainTool."""

from behaviours.adapters import LangChainTool


class TestLangChainTool(LangChainTool):
    """Every check."""
