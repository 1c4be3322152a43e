"""What of LangGraph has no public name, in one place: a release that changes it is mended here.

The keys stand in `config["configurable"]` of whatever runs in a graph.
"""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig

from callgate_langchain.guards import is_list

__all__ = [
    "CALL",
    "CHECKPOINTER",
    "DURABILITY",
    "INTERRUPT",
    "NO_TASK",
    "READ",
    "REPLAY",
    "RESUME",
    "RESUME_MAP",
    "RUNTIME",
    "SCRATCHPAD",
    "SEND",
    "answers_given",
    "has_untaken_answer",
    "scratchpad_of",
]

RUNTIME = "__pregel_runtime"
"""The runtime that nodes are given."""
READ, SEND, CALL = "__pregel_read", "__pregel_send", "__pregel_call"
"""The functions that read the graph's channels, write to them, and run a `task`."""
SCRATCHPAD = "__pregel_scratchpad"
"""The answers to interrupts of the running task, and its counters."""
RESUME_MAP = "__pregel_resume_map"
"""Answers by interrupt id."""
CHECKPOINTER = "__pregel_checkpointer"
"""The checkpointer of the run; the one a nested graph was compiled with does not count there."""
DURABILITY, REPLAY = "__pregel_durability", "__pregel_replay_state"
"""Hints. Where they are missing, more is waited for."""

RESUME, INTERRUPT = "__resume__", "__interrupt__"
"""The channels of answers and of questions. Both are overwritten, and None as the answer counts as none."""
NO_TASK = "00000000-0000-0000-0000-000000000000"
"""Under which an answer stands that names no interrupt."""


def scratchpad_of(config: RunnableConfig) -> Any:
    """Return the scratchpad of the running task, None outside a graph."""
    return config.get("configurable", {}).get(SCRATCHPAD)


def answers_given(config: RunnableConfig) -> list[Any]:
    """Return what the interrupts of the running task were answered: the list itself, which LangGraph goes by."""
    given = getattr(scratchpad_of(config), "resume", None)
    return given if is_list(given) else []


def has_untaken_answer(config: RunnableConfig) -> bool:
    """Say whether the run was given an answer that no interrupt has taken."""
    look = getattr(scratchpad_of(config), "get_null_resume", None)
    return look is not None and look(False) is not None
