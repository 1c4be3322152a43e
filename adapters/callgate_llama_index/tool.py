"""`execute_code` as a LlamaIndex tool."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata, ToolOutput
from pydantic import BaseModel, Field
from workflows import Context

from callgate import Catalogue, CodeRunner, JournalStore, Limits, Outcome, UsageError
from callgate.action import journal_of
from callgate.codec import JSON
from callgate.finished import is_over
from callgate.outcome import lost
from callgate.policy import InterruptOn
from callgate.runner import Event
from callgate.sandboxes.places import Places
from callgate.sandboxes.shared import WhereToRun
from callgate.stubs import ArgumentProse
from callgate.summary import summary
from callgate.surface import EXECUTE_CODE, definition
from callgate.tools import Effect
from callgate_llama_index.actions import CodeAction, recorded
from callgate_llama_index.approvals import Approvals
from callgate_llama_index.context_journal import ContextJournal, context_in, key_of
from callgate_llama_index.convert import LlamaIndexTools, listed, neutral
from callgate_llama_index.waiting import Waiter

__all__ = ["CodeTool", "Described", "code_tool"]


def code_tool(
    tools: LlamaIndexTools | Mapping[str, LlamaIndexTools],
    *,
    sandbox: WhereToRun = "local",
    effects: Mapping[str, Effect] | None = None,
    interrupt_on: InterruptOn | None = None,
    limits: Limits | None = None,
    journal: JournalStore | None = None,
    journal_key: bytes | None = None,
    argument_prose: ArgumentProse = "needed",
    on_event: Callable[[Event], None] | None = None,
) -> CodeTool:
    """Return `execute_code`: a tool, for any agent, that runs programs which call the tools given.

    In the workflow of an agent the inner calls emit ToolCall and ToolCallResult events, tools are given the Context,
    and the journal is kept in the Context's store: what was done is not done again when a human, or an event that a
    tool waits for, was waited for, nor when the Context was serialised meanwhile and restored elsewhere.

    Args:
        tools: see `from_llama_index`. The agent needs them itself only where it shall call them plainly, too.
        sandbox: where programs run: "local", "e2b", "auto", a sandbox, or several of these; see `CodeRunner`.
        effects: tool name to "read", "idempotent" or "write"; see `from_llama_index`.
        interrupt_on: tools that wait for a human when a program calls them: tool name to True, False, or a dict of
            allowed_decisions, description and when. The agent's own plain calls are not asked about: there use
            `CallgateAgent`. See `question_event` for the events.
        limits: of each program.
        journal: where actions are recorded; None is the Context's store, and memory outside a workflow.
        journal_key: seals every line of the journal; see `CodeRunner`.
        argument_prose: what the description says of arguments: "needed" is what their names do not say, "all" is all.
        on_event: is told what happens to inner calls; see `CodeRunner`.

    Raises:
        UsageError: for tools or other arguments that cannot work; for one with `return_direct`, which no program can
            call: give it to the agent itself.
    """
    tool = CodeTool(
        listed(tools),
        sandbox=sandbox,
        effects=effects,
        interrupt_on=interrupt_on,
        limits=limits,
        journal=journal,
        journal_key=journal_key,
        argument_prose=argument_prose,
        on_event=on_event,
    )
    if only_direct := [one.name for one in tool.catalogue if "code" not in one.callers]:
        text = f"{', '.join(only_direct)} ends the agent's run (return_direct), which no program can do"
        raise UsageError(f"{text}; leave it out here and give it to the agent")
    return tool


class Described(ToolMetadata):
    """Metadata whose description may be as long as the tools need it."""

    def to_openai_tool(self, skip_length_check: bool = False) -> dict[str, Any]:
        """Return the tool in OpenAI's form; vendors have long taken more than 1,024 characters."""
        return super().to_openai_tool(skip_length_check=True)


class _Arguments(BaseModel):
    code: str = Field(description="the program")


class CodeTool(FunctionTool):
    """Runs programs; see `code_tool`."""

    def __init__(
        self,
        tools: list[BaseTool],
        *,
        sandbox: WhereToRun,
        effects: Mapping[str, Effect] | None,
        interrupt_on: InterruptOn | None,
        limits: Limits | None,
        journal: JournalStore | None,
        journal_key: bytes | None,
        argument_prose: ArgumentProse,
        on_event: Callable[[Event], None] | None,
        permits: Callable[[Context[Any]], Awaitable[bool]] | None = None,
    ) -> None:
        self.tools = {one.metadata.get_name(): one for one in tools}
        """The tools that programs call, by name."""
        if EXECUTE_CODE in self.tools:
            raise UsageError(f"a tool is called {EXECUTE_CODE!r}, which is the code action's own name; rename it")
        self.catalogue = Catalogue(neutral(tools, effects))
        self.gates = Approvals(interrupt_on, self.catalogue)
        self._runner = CodeRunner(
            self.catalogue,
            sandbox=sandbox,
            limits=limits,
            interrupt_on=interrupt_on,
            journal=journal,
            journal_key=journal_key,
            on_event=on_event,
        )
        self._journal, self._seal, self._permits = journal, journal_key, permits

        async def run(code: str) -> ToolOutput:
            return await self.acall(code=code)

        found = definition(self.catalogue, argument_prose=argument_prose)
        metadata = Described(name=EXECUTE_CODE, description=found["description"], fn_schema=_Arguments)
        super().__init__(async_fn=run, metadata=metadata)
        self.requires_context, self.ctx_param_name = True, "ctx"  # by which agents hand it over

    @property
    def places(self) -> Places:
        """Where programs run."""
        return self._runner.places

    def described(self, found: Mapping[str, JSON]) -> CodeTool:
        """Return the same tool with another description."""
        twin = copy.copy(self)
        twin._metadata = Described(name=EXECUTE_CODE, description=found["description"], fn_schema=_Arguments)
        return twin

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Run a program outside a workflow.

        Raises:
            UsageError: if tools wait for a human: only a workflow can ask one.
            SandboxError: if the program cannot run.
        """
        code = _code_in(args, kwargs)
        if not isinstance(code, str):
            return _without_program(code)
        self._refuse_gates()
        return self._output(code, self._runner.run(code))

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Run a program; in a workflow, which gives it the Context, go on with it where it waited.

        Raises:
            WaitingForEvent: while somebody has to answer first; the workflow takes care of it.
            UsageError: outside a workflow, if tools wait for a human.
            SandboxError: if the program cannot run.
        """
        code, context = _code_in(args, kwargs), context_in(kwargs.get("ctx"))
        if not isinstance(code, str):
            return _without_program(code)
        if context is None:
            self._refuse_gates()
            return self._output(code, await self._runner.arun(code))
        action = await self._action(context, code)
        refused = self._permits is not None and not await self._permits(context)
        if refused and not await action.store.aread(action.key):
            text = f"Tool {EXECUTE_CODE} not found. Please select a tool that is available."
            return ToolOutput(content=text, tool_name=EXECUTE_CODE, raw_input={"code": code}, is_error=True)
        return self._output(code, await action.run(code), action.key, in_context=self._journal is None)

    def _refuse_gates(self) -> None:
        if self.gates:
            raise UsageError("interrupt_on asks by events of a workflow: let an agent call this tool")

    async def _action(self, context: Context[Any], code: str) -> CodeAction:
        scope, key, asked = await key_of(context, code)
        store = self._journal or ContextJournal(context.store)
        return CodeAction(
            id=asked,
            key=key,
            thread=scope,
            runner=self._runner.on(store),
            store=store,
            seal=self._seal,
            tools=self.tools,
            waiter=Waiter(context, f"callgate {key}", self.metadata.get_name(), self.gates),
        )

    async def ended(self, context: Context[Any], key: str) -> Outcome | None:
        """Return how an action ended, by its journal; None if it has not."""
        store = self._journal or ContextJournal(context.store)
        lines = await store.aread(key)
        journal = journal_of(key, lines, seal=self._seal) if lines else None
        return await recorded(journal, store) if journal is not None and is_over(journal) else None

    def _output(self, code: str, outcome: Outcome, key: str = "", *, in_context: bool = True) -> ToolOutput:
        """Return what an agent is given: the text for its model, and what the host may want to know."""
        outcome = lost(outcome) if outcome.status == "paused" else outcome  # outside a workflow nobody can be asked
        told: dict[str, JSON] = {
            **summary(outcome),
            "value": outcome.value if all(one.part != "value" for one in outcome.truncated) else None,
            "journal_key": key,
        }
        if in_context:
            told["journal"] = list(outcome.journal.lines)
        return ToolOutput(
            content=outcome.text,
            tool_name=EXECUTE_CODE,
            raw_input={"code": code},
            raw_output=told,
            is_error=outcome.status != "completed",
        )


def _code_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    return kwargs.get("code", args[0] if args else None)


def _without_program(code: object) -> ToolOutput:
    text = (
        f"Error: code {'is missing' if code is None else 'must be a string'}, so nothing ran. "
        f'Call {EXECUTE_CODE} again with {{"code": "<the Python program>"}}.'
    )
    return ToolOutput(content=text, tool_name=EXECUTE_CODE, raw_input={}, is_error=True)
