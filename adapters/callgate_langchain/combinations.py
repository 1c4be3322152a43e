"""What may stand beside `CodeActMiddleware` in an agent, and what is refused because it would guard nothing there.

A middleware sees a call inside a program if it acts by `wrap_tool_call` and stands after `CodeActMiddleware`, further
inside. One that stands before it, or looks at the model's message before the tools run, sees `execute_code` and none of
the calls in it: what it allows, counts or asks about, a program would get around.

LangChain tells a middleware nothing of the others. But it reads the attribute `tools` of each one while it builds an
agent, and then the agent's tools and middleware stand in the frame of `create_agent`. Where they cannot be found there,
nothing is assumed: `CodeActMiddleware` runs nothing before it was told.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from types import FrameType
from typing import Any

from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    PIIMiddleware,
    ProviderToolSearchMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
)

from callgate.surface import EXECUTE_CODE
from callgate_langchain.middleware import has_hook

__all__ = ["agent_being_built", "faults_beside"]

_FACTORY, _BUILDER = "langchain.agents.factory", "create_agent"
_FRAMES = 4
"""How far up the builder may be: a comprehension has a frame of its own before Python 3.12."""

_ABOUT_MESSAGES = (ModelCallLimitMiddleware, PIIMiddleware, TodoListMiddleware)
"""Act after the model, on what it says to people or how often: nothing that a call of a program could get around."""

Middleware = AgentMiddleware[Any, Any, Any]


def agent_being_built() -> tuple[Sequence[Any], Sequence[Middleware]] | None:
    """Return the tools and the middleware of the agent that is being built; None where none is."""
    frame: FrameType | None = inspect.currentframe()
    for _ in range(_FRAMES + 1):
        frame = frame.f_back if frame is not None else None
        if frame is None:
            return None
        if frame.f_code.co_name == _BUILDER and frame.f_globals.get("__name__") == _FACTORY:
            found = frame.f_locals
            return (found["tools"], found["middleware"]) if "tools" in found and "middleware" in found else None
    return None


def faults_beside(own: Middleware, middleware: Sequence[Middleware], allowed: Collection[str]) -> list[str]:
    """Return what in an agent's middleware would guard nothing where programs run, each with its cure.

    Args:
        own: the `CodeActMiddleware`.
        middleware: all of the agent, the outermost first.
        allowed: names of middleware that may act after the model all the same.
    """
    at = next((number for number, one in enumerate(middleware) if one is own), len(middleware))
    found = (_fault(one, allowed, outside=number < at) for number, one in enumerate(middleware) if one is not own)
    unknown = sorted(set(allowed) - {one.name for one in middleware})
    faults = [one for one in found if one is not None]
    return [*faults, *(f"unseen_by names {name}, which is no middleware of the agent" for name in unknown)]


def _fault(one: Middleware, allowed: Collection[str], *, outside: bool) -> str | None:
    if isinstance(one, HumanInTheLoopMiddleware):
        return f"{one.name} asks about no call of a program; give CodeActMiddleware its interrupt_on, and leave it out"
    if isinstance(one, ToolCallLimitMiddleware):
        if one.tool_name == EXECUTE_CODE:
            return None
        return (
            f"{one.name} counts no call of a program; give CodeActMiddleware limits=Limits(calls=...), or limit the "
            f"tool {EXECUTE_CODE}"
        )
    if isinstance(one, LLMToolSelectorMiddleware | ProviderToolSearchMiddleware):
        return f"{one.name} picks what tools the model is shown, as CodeActMiddleware does; leave one of them out"
    if outside and has_hook(one, "wrap_tool_call"):
        return f"{one.name} wraps tool calls and stands before CodeActMiddleware; put CodeActMiddleware before it"
    if has_hook(one, "after_model") and not isinstance(one, _ABOUT_MESSAGES) and one.name not in allowed:
        return (
            f"{one.name} acts in after_model, where no call of a program is seen; write what has to hold for each call "
            f"as wrap_tool_call, or, if nothing has to, name it in unseen_by"
        )
    return None
