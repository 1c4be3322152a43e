"""What holds around every single tool call, be it a plain one or a program's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.messages import ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from callgate import UsageError

__all__ = ["AsyncToolCallWrapper", "CallLimit", "ToolCallHooks", "ToolCallWrapper", "ToolResult"]

ToolResult: TypeAlias = "ToolMessage | Command[Any]"
ToolCallWrapper: TypeAlias = Callable[[ToolCallRequest, Callable[[ToolCallRequest], ToolResult]], ToolResult]
AsyncToolCallWrapper: TypeAlias = Callable[
    [ToolCallRequest, Callable[[ToolCallRequest], Awaitable[ToolResult]]], Awaitable[ToolResult]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """How often a tool may run, as `ToolCallLimitMiddleware` says it."""

    tool: str | None
    """None counts the calls of all tools."""
    thread: int | None
    """Calls in the whole conversation; None is any number."""
    run: int | None
    """Calls since the last human message; None is any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallHooks:
    """What some middleware does around single calls."""

    wrappers: tuple[ToolCallWrapper, ...] = ()
    """The outermost first."""
    awrappers: tuple[AsyncToolCallWrapper, ...] = ()
    interrupt_on: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limits: tuple[CallLimit, ...] = ()

    def with_interrupt_on(self, given: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the tools that wait for a human, by the middleware and by the user's own `interrupt_on`.

        Raises:
            UsageError: for a tool that both name.
        """
        if twice := sorted(set(given or {}) & set(self.interrupt_on)):
            raise UsageError(f"interrupt_on and a HumanInTheLoopMiddleware both name {', '.join(twice)}; give it once")
        return {**(given or {}), **self.interrupt_on}

    def chained(self, outermost: ToolCallWrapper | None) -> ToolCallWrapper | None:
        """Return one wrapper for all; None where there is none."""
        return _chained([*([outermost] if outermost is not None else []), *self.wrappers])

    def achained(self, outermost: AsyncToolCallWrapper | None) -> AsyncToolCallWrapper | None:
        """The awaitable twin of `chained`."""
        return _chained([*([outermost] if outermost is not None else []), *self.awrappers])


def _chained(wrappers: Sequence[Callable[..., Any]]) -> Callable[..., Any] | None:
    """Return wrappers as one, the first outermost. Awaitable ones chain the same way: each awaits its handler."""
    if not wrappers:
        return None
    outer, rest = wrappers[0], _chained(wrappers[1:])
    if rest is None:
        return outer

    def chain(request: ToolCallRequest, handler: Callable[..., Any]) -> Any:
        def inside(changed: ToolCallRequest) -> Any:
            return rest(changed, handler)

        return outer(request, inside)

    return chain
