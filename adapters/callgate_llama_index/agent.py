"""CallgateAgent: a FunctionAgent whose model is shown plain tools, or writes programs, as it pays off."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.agent.workflow.agent_context import AgentContext
from llama_index.core.agent.workflow.workflow_events import AgentOutput, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import BaseMemory
from llama_index.core.tools import AsyncBaseTool, BaseTool, adapt_to_async_tool
from pydantic import PrivateAttr
from workflows import Context
from workflows.events import Event as WorkflowEvent

from callgate import JournalError, JournalStore, Ledger, Limits, ReplayDivergence, SandboxError, UsageError
from callgate.history import SurfaceKind
from callgate.modes import NO_WRITER, Mode, Programs, checked_mode, routed
from callgate.policy import InterruptOn
from callgate.router import AutoRouter, Router, Surface
from callgate.runner import Event
from callgate.sandboxes.shared import WhereToRun
from callgate.stubs import ArgumentProse
from callgate.surface import EXECUTE_CODE, mixed_definition, warn_of_unknown_results
from callgate.tokens import ApproximateTokens, TokenCounter
from callgate.tools import Effect
from callgate_llama_index.asked import AskedTool
from callgate_llama_index.context_journal import TURN, forget, scope_of
from callgate_llama_index.convert import LlamaIndexTools, listed
from callgate_llama_index.history import history_of, remember, shown_to
from callgate_llama_index.tool import CodeTool

__all__ = ["CallgateAgent", "SurfaceEvent"]

logger = logging.getLogger("callgate")

MODE = "callgate_mode"
"""The key of the store that sets the mode of a Context."""


class SurfaceEvent(WorkflowEvent):
    """What an agent's model is shown from now on, and why."""

    surface: SurfaceKind
    reason: str
    current_agent_name: str


class CallgateAgent(FunctionAgent):
    """A FunctionAgent that shows its model plain tools, `execute_code`, or both.

    A program calls the same tools as an agent does, with the same events, and is given raw values in place of text.
    Alone or in an AgentWorkflow it is used as any FunctionAgent; `handoff`, and tools with `return_direct`, stay plain
    calls on each surface.

    Args:
        tools: functions, FunctionTools, QueryEngineTools, ToolSpecs and others; or a mapping of sources to theirs:
            there, tools whose names clash are called `<source>_<name>`.
        sandbox: where programs run; see `code_tool`.
        mode: what the model is shown: "json" plain tools, "code" `execute_code`, "mixed" plain tools and a short
            `execute_code` beside them, "auto" what the router chooses, and json where this host cannot run programs.
            `await ctx.store.set("callgate_mode", "json")` sets it for one Context.
        router: chooses in mode "auto"; None is an `AutoRouter`. The agent's name is the route.
        ledger: that code actions are put into; None is one of the agent's own.
        argument_prose: what `execute_code` says of arguments: "needed" is what their names do not say, "all" is all.
        writes_code: whether the model writes programs well enough; False keeps mode "auto" at plain tools.
        effects: tool name to "read", "idempotent" or "write"; see `from_llama_index`.
        interrupt_on: tools that wait for a human, called plainly or by a program: tool name to True, False, or a dict
            of allowed_decisions, description and when. An InputRequiredEvent asks, see `question_event`, and a
            HumanResponseEvent with its `id` and `decisions` answers it.
        limits: of each program.
        journal: where actions are recorded; None is the Context's store, which is serialised with the Context.
        journal_key: seals every line of the journal; see `CodeRunner`.
        on_event: is told what happens to inner calls, and of surfaces; see `CodeRunner`.
        kwargs: as for FunctionAgent.

    Raises:
        UsageError: for a tool called `execute_code`, a tool_retriever, and arguments that cannot work.
        SandboxUnavailable: if the mode is "code" or "mixed" and this host cannot run programs.

    LlamaIndex enters a step anew after each wait, and in a restored Context. What was done is then answered from the
    journal: nothing runs twice.
    """

    _code: CodeTool = PrivateAttr()
    _mixed: CodeTool = PrivateAttr()
    _own: dict[str, BaseTool] = PrivateAttr()
    _mode: Mode = PrivateAttr()
    _programs: Programs = PrivateAttr()
    _router: Router = PrivateAttr()
    _ledger: Ledger = PrivateAttr()
    _unfit: dict[SurfaceKind, str] = PrivateAttr()
    _on_event: Callable[[Event], None] | None = PrivateAttr()
    _sizes: dict[SurfaceKind, int] | None = PrivateAttr(default=None)
    _warned: bool = PrivateAttr(default=False)

    def __init__(
        self,
        *,
        tools: LlamaIndexTools | Mapping[str, LlamaIndexTools],
        sandbox: WhereToRun = "local",
        mode: str = "auto",
        router: Router | None = None,
        ledger: Ledger | None = None,
        argument_prose: ArgumentProse = "needed",
        writes_code: bool = True,
        effects: Mapping[str, Effect] | None = None,
        interrupt_on: InterruptOn | None = None,
        limits: Limits | None = None,
        journal: JournalStore | None = None,
        journal_key: bytes | None = None,
        on_event: Callable[[Event], None] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("tool_retriever") is not None:
            raise UsageError("tool_retriever: give all tools; of many, programs search those they need themselves")
        given, wanted = listed(tools), checked_mode(mode)
        code = CodeTool(
            given,
            sandbox=sandbox,
            effects=effects,
            interrupt_on=interrupt_on,
            limits=limits,
            journal=journal,
            journal_key=journal_key,
            argument_prose=argument_prose,
            on_event=on_event,
            permits=self._permits,
        )
        plain: list[BaseTool] = [
            AskedTool(
                one,
                code.catalogue.tools[name],
                (interrupt_on or {})[name],
                gates=code.gates,
                journal=journal,
                journal_key=journal_key,
            )
            if name in code.gates
            else one
            for name, one in code.tools.items()
        ]
        given_tools: Any = [*plain, code]
        super().__init__(tools=given_tools, **kwargs)  # pyright: ignore[reportUnknownMemberType]
        self._code = code
        self._mixed = code.described(mixed_definition(code.catalogue, argument_prose=argument_prose))
        self._mode, self._programs = wanted, Programs(code.places)
        self._router, self._ledger = router or AutoRouter(), ledger or Ledger()
        self._on_event = on_event
        self._own = {one.metadata.get_name(): adapt_to_async_tool(one) for one in plain}
        self._unfit = {} if writes_code else {"code": NO_WRITER, "mixed": NO_WRITER}
        self._unfit |= _unfit_for(self.initial_tool_choice, self._direct_only)
        if wanted in ("code", "mixed"):
            self._programs.demand()
            self._warn()
        elif wanted == "auto":
            self._programs.available(stacklevel=2)

    @property
    def ledger(self) -> Ledger:
        """What the code actions of this process cost, beside what their calls would have cost as JSON."""
        return self._ledger

    async def surface(self, ctx: AgentContext | None = None, messages: Sequence[ChatMessage] = ()) -> Surface:
        """Return what the model is shown, and why.

        Args:
            ctx: of the workflow; None is a new one.
            messages: that the model is given.

        Raises:
            UsageError: for a `callgate_mode` that is none, and if the router chooses what cannot be shown.
            SandboxUnavailable: if the mode needs programs and this host cannot run them.
        """
        shown = list[SurfaceKind]()
        mode, by = self._mode, "set by mode="
        if ctx is not None:
            toggled = await ctx.store.get(MODE, default=None)
            mode, by = (checked_mode(toggled), f"set by {MODE}") if toggled is not None else (mode, by)
            shown = await shown_to(ctx.store, self.name, self._digest)
        if mode == "auto":
            return routed(
                self._router,
                history_of(messages, self.llm, shown),
                self._definitions(self._router.counter if isinstance(self._router, AutoRouter) else None),
                self._code.catalogue,
                route=self.name,
                programs=self._programs.available(),
                unfit=self._unfit,
            )
        if mode != "json":
            self._programs.demand()
        return Surface(kind=mode, reason=f"{mode}: {by}")

    async def take_step(
        self,
        ctx: AgentContext,
        llm_input: list[ChatMessage],
        tools: Sequence[AsyncBaseTool],
        memory: BaseMemory,
    ) -> AgentOutput:
        """Ask the model, shown the tools of this turn's surface; see `FunctionAgent.take_step`."""
        scratchpad: list[ChatMessage] = await ctx.store.get(self.scratchpad_key, default=[])
        surface = await self.surface(ctx, [*llm_input, *scratchpad])
        shown = await shown_to(ctx.store, self.name, self._digest)
        if surface.kind != "json":
            self._warn()
        if not shown or shown[-1] != surface.kind:
            self._announce(ctx, surface)
        ours = {*self._own, EXECUTE_CODE}
        others = [one for one in tools if one.metadata.name not in ours]  # such as `handoff`
        output = await super().take_step(ctx, llm_input, [*self._shown(surface.kind), *others], memory)
        await remember(ctx.store, self.name, self._digest, [*shown, surface.kind])
        await ctx.store.set(TURN, await ctx.store.get(TURN, default=0) + 1)
        return output

    async def handle_tool_call_results(
        self, ctx: Context[Any], results: list[ToolCallResult], memory: BaseMemory
    ) -> None:
        """Hand results to the model; the code actions among them are over. See `FunctionAgent`.

        Raises:
            JournalError: if a journal was changed. A model that was told of it would only begin anew.
            ReplayDivergence: if a program did not repeat what its journal holds.
            SandboxError: if programs cannot run.
        """
        for one in results:
            if isinstance(one.tool_output.exception, JournalError | ReplayDivergence | SandboxError):
                raise one.tool_output.exception
        over = [one for one in results if one.tool_name == EXECUTE_CODE and one.tool_output.raw_output is not None]
        if over:
            await self._count(ctx, over, memory)
        await super().handle_tool_call_results(ctx, results, memory)
        await forget(ctx.store)

    async def _count(self, ctx: Context[Any], over: Sequence[ToolCallResult], memory: BaseMemory) -> None:
        """Put code actions into the ledger. What goes wrong here stays here."""
        try:
            scratchpad: list[ChatMessage] = await ctx.store.get(self.scratchpad_key, default=[])
            shown = await shown_to(ctx.store, self.name, self._digest)
            messages = history_of([*await memory.aget(), *scratchpad], self.llm, shown)
            thread = await scope_of(ctx.store)
            for one in over:
                outcome = await self._code.ended(ctx, one.tool_output.raw_output["journal_key"])
                self._ledger.add(
                    one.tool_id,
                    messages,
                    answer=one.tool_output.content,
                    calls=outcome.calls if outcome is not None else (),
                    definitions=self._definitions(self._ledger.counter),
                    route=self.name,
                    thread=thread,
                    key=outcome.journal.head if outcome is not None else None,
                )
        except Exception:
            logger.exception("the ledger could not count a code action")

    @property
    def _digest(self) -> str:
        return self._code.catalogue.digest[:16]

    @property
    def _direct_only(self) -> list[str]:
        return [one.name for one in self._code.catalogue if "code" not in one.callers]

    def _shown(self, kind: SurfaceKind) -> list[AsyncBaseTool]:
        plain = [cast("AsyncBaseTool", one) for one in self._own.values()]
        if kind == "json":
            return plain
        if kind == "mixed":
            return [*plain, self._mixed]
        return [self._code, *(cast("AsyncBaseTool", self._own[name]) for name in self._direct_only)]

    def _definitions(self, counter: TokenCounter | None) -> dict[SurfaceKind, int]:
        """Return the tokens of what each surface shows."""
        counter = counter or ApproximateTokens()
        known = {id(one): counter.count(_text(one)) for one in [*self._shown("mixed"), self._code]}
        return {kind: sum(known[id(one)] for one in self._shown(kind)) for kind in ("json", "code", "mixed")}

    async def _permits(self, ctx: Context[Any]) -> bool:
        """Say whether programs may begin: whether the model was shown that it may write them."""
        shown = await shown_to(ctx.store, self.name, self._digest)
        return bool(shown) and shown[-1] != "json"

    def _announce(self, ctx: AgentContext, surface: Surface) -> None:
        event = SurfaceEvent(surface=surface.kind, reason=surface.reason, current_agent_name=self.name)
        ctx.write_event_to_stream(event)
        if self._on_event is not None:
            try:
                told: Event = {"surface": surface.kind, "reason": surface.reason, "route": self.name}
                self._on_event({"type": "callgate.surface", **told})
            except Exception:
                logger.exception("on_event raised")

    def _warn(self) -> None:
        """Warn, once, of tools that programs know too little of."""
        if not self._warned:
            self._warned = True
            warn_of_unknown_results(self._code.catalogue, stacklevel=3)


def _text(tool: BaseTool) -> str:
    return json.dumps(tool.metadata.to_openai_tool(skip_length_check=True), ensure_ascii=False)


def _unfit_for(choice: str | None, direct_only: Sequence[str]) -> dict[SurfaceKind, str]:
    """Return the surfaces that lack the tool which an agent has to call first."""
    if choice is None or choice in ("auto", "required", "none", "any"):
        return {}
    if choice == EXECUTE_CODE:
        return {"json": f"initial_tool_choice names {choice}"}
    return {} if choice in direct_only else {"code": f"initial_tool_choice names {choice}"}
