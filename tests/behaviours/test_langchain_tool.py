"""What every adapter does: LangChainTool."""

from behaviours.adapters import LangChainTool

LangChainTool.need_framework()


class TestLangChainTool(LangChainTool):
    """Every check."""
