"""What every adapter does: Agent."""

from behaviours.adapters import Agent


class TestAgent(Agent):
    """Every check."""
