"""What every adapter does: LlamaIndexTool."""

from behaviours.adapters import LlamaIndexTool

LlamaIndexTool.need_framework()


class TestLlamaIndexTool(LlamaIndexTool):
    """Every check."""
