"""Plain calls of tools that wait for a human: each is a code action whose program is that call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.types import TextBlock
from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata, ToolOutput
from workflows import Context

from callgate import Catalogue, CodeRunner, JournalStore, Limits, Outcome, UsageError
from callgate.codec import JSON
from callgate.sandboxes.direct import DirectGuest
from callgate.tools import Tool
from callgate_llama_index.actions import CodeAction
from callgate_llama_index.approvals import Approvals
from callgate_llama_index.context_journal import ContextJournal, context_in, key_of
from callgate_llama_index.waiting import Waiter

__all__ = ["AskedTool"]

_CONTEXT = "callgate_context"
"""The argument by which an agent hands over its Context."""


class _OneCall:
    """Where a program "runs" that is one call: nothing runs but the call."""

    name, level = "call", "L0"

    def __init__(self, tool: str, arguments: dict[str, JSON]) -> None:
        self._tool, self._arguments = tool, arguments

    def start(self, limits: Limits) -> DirectGuest:
        return DirectGuest(tool=self._tool, arguments=self._arguments, line=1, show="value", limits=limits)

    async def astart(self, limits: Limits) -> DirectGuest:
        return self.start(limits)

    def close(self) -> None:
        """There is nothing to close."""


class AskedTool(FunctionTool):
    """A tool that an agent calls as it is, once a human was asked.

    Args:
        tool: to call.
        neutral: the same one.
        interrupt_on: what the user says of it.
        gates: the same for all tools.
        journal: where calls are recorded; None is the Context's store.
        journal_key: seals every line.
    """

    def __init__(
        self,
        tool: BaseTool,
        neutral: Tool,
        interrupt_on: bool | Mapping[str, Any],
        *,
        gates: Approvals,
        journal: JournalStore | None,
        journal_key: bytes | None,
    ) -> None:
        async def run(**arguments: Any) -> ToolOutput:
            return await self.acall(**arguments)

        super().__init__(async_fn=run, metadata=tool.metadata)
        self.requires_context, self.ctx_param_name = True, _CONTEXT
        self._tool, self._gates = tool, gates
        self._journal, self._seal, self._interrupt_on = journal, journal_key, interrupt_on
        self._catalogue = Catalogue([replace(neutral, callers=frozenset(("direct", "code")))])
        self.name = neutral.name

    @property
    def metadata(self) -> ToolMetadata:
        """Of the tool itself."""
        return self._tool.metadata

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Cannot be: a human is asked by events of a workflow."""
        raise UsageError(f"{self.name} waits for a human, which only an agent's workflow can ask")

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Call the tool, after a human said so.

        Raises:
            WaitingForEvent: while nobody has; the workflow takes care of it.
            UsageError: outside a workflow.
        """
        context: Context[Any] | None = context_in(kwargs.pop(_CONTEXT, None))
        if context is None:
            return self.call()
        scope, key, asked = await key_of(context, self.name)
        store = self._journal or ContextJournal(context.store)
        runner = CodeRunner(
            self._catalogue,
            sandbox=_OneCall(self.name, dict(kwargs)),
            interrupt_on={self.name: self._interrupt_on},
            limits=Limits(seconds=_FOR_EVER, cpu_seconds=_FOR_EVER),
            journal=store,
            journal_key=self._seal,
        )
        action = CodeAction(
            id=asked,
            key=key,
            thread=scope,
            runner=runner,
            store=store,
            seal=self._seal,
            tools={self.name: self._tool},
            waiter=Waiter(context, f"callgate {key}", self.name, self._gates),
            plain=True,
        )
        outcome = await action.run(f"call_tool({self.name!r}, **{dict(kwargs)!r})")
        return self._answer(outcome, action.output, dict(kwargs))

    def _answer(self, outcome: Outcome, ran: ToolOutput | None, given: dict[str, Any]) -> ToolOutput:
        """Return what the tool returned, or what was decided without it."""
        if ran is None:
            failed = outcome.error is not None
            value: Any = outcome.error.text if outcome.error is not None else outcome.value
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            ran = ToolOutput(content=text, tool_name=self.name, raw_input=given, raw_output=value, is_error=failed)
        made = next((one for one in outcome.calls if one.status in ("done", "failed")), None)
        if made is not None and not ran.is_error and made.arguments != given:
            note = (
                "Note: a human changed the arguments of this call before it ran, on purpose. Do not call it again with "
                f"the original ones. It ran with: {made.arguments_text}"
            )
            ran.blocks = [TextBlock(text=note), *ran.blocks]
        return ran


_FOR_EVER = 10**9
"""Seconds: a plain call has no limit of its own."""
