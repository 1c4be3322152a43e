"""LangChain middleware around the calls of programs: what of it holds there, and what is refused because it cannot.

A middleware sees a call inside a program if it acts by `wrap_tool_call`. One that looks at the model's message before
the tools run sees `execute_code` and none of the calls in it. Two of those are known and carried over, each call
counted by its own name: `HumanInTheLoopMiddleware` and `ToolCallLimitMiddleware`. Any other is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, ToolCallLimitMiddleware

from callgate import UsageError
from callgate_langchain.hooks import CallLimit, ToolCallHooks

__all__ = ["has_hook", "tool_call_hooks"]

_AROUND_CALLS = "wrap_tool_call"
_HOOKS = ("before_agent", "before_model", "wrap_model_call", "after_model", "after_agent")
"""The hooks of a middleware that never see a call of a program."""


def tool_call_hooks(middleware: Sequence[AgentMiddleware[Any, Any, Any]]) -> ToolCallHooks:
    """Return what holds for every single call, be it plain or in a program.

    Args:
        middleware: LangChain's, the outermost first.

    Raises:
        UsageError: for what is no middleware, and for all that could not hold for calls of programs, with the cures.
    """
    around: list[AgentMiddleware[Any, Any, Any]] = []
    interrupt_on: dict[str, Any] = {}
    limits: list[CallLimit] = []
    faults: list[str] = []
    for one in middleware:
        if not isinstance(one, AgentMiddleware):  # pyright: ignore[reportUnnecessaryIsInstance]
            faults.append(f"{one!r} is no AgentMiddleware")
        elif isinstance(one, HumanInTheLoopMiddleware):
            interrupt_on.update(_asked_for(one, interrupt_on, faults))
        elif isinstance(one, ToolCallLimitMiddleware):
            limits.append(_limit(one, faults))
        elif (fault := _fault(one)) is not None:
            faults.append(fault)
        else:
            around.append(one)
    if faults:
        raise UsageError("middleware: " + "; ".join(faults))
    return ToolCallHooks(
        wrappers=tuple(one.wrap_tool_call for one in around),
        awrappers=tuple(one.awrap_tool_call for one in around),
        interrupt_on=interrupt_on,
        limits=tuple(limits),
    )


def _asked_for(
    one: HumanInTheLoopMiddleware[Any, Any, Any], known: Mapping[str, Any], faults: list[str]
) -> dict[str, Any]:
    """Return whom it asks about what, in the form of `interrupt_on`."""
    if twice := sorted(set(known) & set(one.interrupt_on)):
        faults.append(f"two HumanInTheLoopMiddleware ask about {', '.join(twice)}; give one")
    return {name: dict(config) for name, config in one.interrupt_on.items()}


def _limit(one: ToolCallLimitMiddleware[Any, Any], faults: list[str]) -> CallLimit:
    if one.exit_behavior != "continue":
        faults.append(
            f"{one.name} with exit_behavior={one.exit_behavior!r} leaves the agent after the model spoke, when no "
            "program has run yet; use exit_behavior='continue', which refuses the calls above the limit"
        )
    return CallLimit(tool=one.tool_name, thread=one.thread_limit, run=one.run_limit)


def _fault(one: AgentMiddleware[Any, Any, Any]) -> str | None:
    """Return why a middleware could not hold for calls of programs, None if it can."""
    acting = [hook for hook in _HOOKS if has_hook(one, hook)]
    if acting:
        also = " besides wrap_tool_call" if has_hook(one, _AROUND_CALLS) else ""
        return (
            f"{one.name} acts in {', '.join(acting)}{also}, where no call of a program is seen; "
            f"call it where your graph calls the model, or write what has to hold for each call as wrap_tool_call"
        )
    if not has_hook(one, _AROUND_CALLS):
        return f"{one.name} does nothing around tool calls; give its tools, if it has some, to the node"
    return None


def has_hook(one: AgentMiddleware[Any, Any, Any], hook: str) -> bool:
    """Say whether a middleware has a hook, sync or awaitable, of its own."""
    names = (hook, f"a{hook}")
    return any(getattr(type(one), name) is not getattr(AgentMiddleware, name) for name in names)
