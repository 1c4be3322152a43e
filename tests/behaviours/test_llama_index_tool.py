"""What every adapter does: LlamaIndexTool."""

from behaviours.adapters import LlamaIndexTool


class TestLlamaIndexTool(LlamaIndexTool):
    """Every check."""
