"""What every adapter does: Agent."""

from behaviours.adapters import Agent

Agent.need_framework()


class TestAgent(Agent):
    """Every check."""
