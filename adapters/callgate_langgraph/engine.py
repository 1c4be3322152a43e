"""What runs programs and asks humans, whichever adapter hands it the calls: a node of a graph, or a middleware."""

from __future__ import annotations

import contextvars
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime

from callgate import Catalogue, CodeRunner, JournalStore, Ledger, Limits, MemoryJournal, UsageError
from callgate.policy import InterruptOn
from callgate.router import AutoRouter, Router
from callgate.runner import Event
from callgate.sandboxes.shared import WhereToRun
from callgate.stubs import ArgumentProse
from callgate.surface import EXECUTE_CODE
from callgate.tools import Effect
from callgate_langchain import from_langchain
from callgate_langchain.hooks import CallLimit
from callgate_langgraph.actions import CodeAction, admit, current_setting, execute_code_tool
from callgate_langgraph.approvals import Approvals, Setting
from callgate_langgraph.batch import Batch
from callgate_langgraph.beside import Beside
from callgate_langgraph.call_limits import CallBudget, known_limits
from callgate_langgraph.checkpoint_journal import AfterCheckpoint, Durability, checkpoint_journal
from callgate_langgraph.counting import Counting
from callgate_langgraph.forms import Pipeline, is_messages
from callgate_langgraph.interrupts import NodeInterrupts
from callgate_langgraph.keeping import Keeping, asking, began, keys_of, messages_in, scope_of, told
from callgate_langgraph.memory import NodeMemory
from callgate_langgraph.modes import Modes, Route
from callgate_langgraph.plain import PlainCalls, may_be_plain
from callgate_langgraph.state import channels_of
from callgate_langgraph.steps import Steps
from callgate_langgraph.surfaces import Surfaces, shown_tools
from callgate_langgraph.turn import Turn, ref_of

__all__ = ["Engine"]

logger = logging.getLogger("callgate")


class Engine:
    """Runs tool calls of which at least one is code, or may need a human.

    Args:
        given: the tools as the user gave them.
        tools: the same, as tools, by name.
        interrupt_on: see `CodeActNode`, as all that follows.
        call_limits: how often tools may run.
        effects: tool name to effect.
        sandbox: where programs run.
        sandboxes: route name to where its programs run.
        mode: what the model is shown.
        routes: route name to mode.
        route: names the route of a run.
        router: chooses in mode "auto".
        ledger: that code actions are put into.
        argument_prose: what `execute_code` says of arguments.
        limits: of each program.
        journal: where lines are kept.
        journal_key: seals them.
        require_durable: refuse to start a write that a crash would lose from sight.
        on_event: is told what happens.
        messages_key: of the state.

    Raises:
        UsageError: for a tool called `execute_code`, and for arguments that cannot work.
        SandboxUnavailable: if a mode is "code" or "mixed" and this host cannot run programs.
    """

    def __init__(
        self,
        given: Sequence[Any],
        tools: Mapping[str, BaseTool],
        *,
        interrupt_on: InterruptOn | None = None,
        call_limits: Sequence[CallLimit] = (),
        effects: Mapping[str, Effect] | None = None,
        sandbox: WhereToRun = "local",
        sandboxes: Mapping[str, WhereToRun] | None = None,
        mode: str = "auto",
        routes: Mapping[str, str] | None = None,
        route: Route | None = None,
        router: Router | None = None,
        ledger: Ledger | None = None,
        argument_prose: ArgumentProse = "needed",
        limits: Limits | None = None,
        journal: JournalStore | None = None,
        journal_key: bytes | None = None,
        require_durable: bool = False,
        on_event: Callable[[Event], None] | None = None,
        messages_key: str = "messages",
    ) -> None:
        if journal is not None and not all(hasattr(journal, one) for one in ("append", "read", "aappend", "aread")):
            raise UsageError("journal: give a SqliteJournal, a MemoryJournal or another JournalStore, or None")
        if require_durable and isinstance(journal, MemoryJournal):
            raise UsageError("require_durable: a MemoryJournal ends with the process; give a SqliteJournal, or None")
        if EXECUTE_CODE in tools:
            raise UsageError(f"a tool is called {EXECUTE_CODE!r}, which is the code action's own name; rename it")
        self._messages_key, self._on_event = messages_key, on_event
        self._journal, self._seal, self._require_durable = journal, journal_key, require_durable
        self._memory = NodeMemory()
        ready = list(tools.values())
        self.catalogue = Catalogue(from_langchain(ready, effects))
        self._call_limits = known_limits(call_limits, tools)
        self._gates = Approvals(interrupt_on, self.catalogue, tools)
        self._runner = CodeRunner(
            self.catalogue,
            sandbox=sandbox,
            sandboxes=sandboxes,
            limits=limits,
            interrupt_on=self._gates.for_programs(current_setting),
            admit=admit if self._call_limits else None,
            journal_key=journal_key,
            on_event=self._tell,
        )
        self._execute_code = execute_code_tool()
        shown = shown_tools(given, ready, self.catalogue, argument_prose)
        modes = Modes(mode, routes, route, places=self._runner.places)
        self.surfaces = Surfaces(shown, self.catalogue, modes, router or AutoRouter())
        self.ledger = ledger or Ledger()
        self._counting = Counting(self.ledger, ready, self.surfaces, messages_key)

    def concerns(self, calls: Sequence[ToolCall], config: RunnableConfig | None) -> bool:
        """Say whether any call is more than a plain one that nobody counts, refuses, is asked about, or was."""
        gates, catalogue = self._gates, self.catalogue
        names = [call["name"] for call in calls]
        concerned = any(one == EXECUTE_CODE or one in gates or not may_be_plain(one, catalogue) for one in names)
        counted = bool(self._call_limits and calls)
        return concerned or counted or NodeInterrupts(ensure_config(config)).resumed  # by a version that asked more

    def steps(
        self, calls: Sequence[ToolCall], input: Any, setting: Setting, *, plain: Pipeline, inner: Pipeline
    ) -> Steps[Any]:
        """Run the calls of one entry of a node run, and return what its node returns.

        Args:
            calls: those of the input.
            input: as the node was given it.
            setting: what surrounds the calls.
            plain: runs plain calls.
            inner: runs those of programs, by stand-ins of the tools.
        """
        state, config = setting.state, setting.config
        keeping, forget = self._keeping(calls, setting)
        programs = {at: call for at, call in enumerate(calls) if call["name"] == EXECUTE_CODE}
        keys = keys_of("action", programs, keeping)
        messages = messages_in(state, self._messages_key)
        code = bool(keys) and (
            self.surfaces.runs_programs(config, lambda: state, asking(messages, calls), messages)
            or (yield from began(keys.values(), keeping))
        )
        batch = self._batch(calls, keys if code else {}, input, keeping, setting, plain, inner)
        result = yield from batch.steps()
        yield from self._counting.count(batch.actions.values(), batch.setting)
        forget()
        return result

    def _keeping(self, calls: Sequence[ToolCall], setting: Setting) -> tuple[Keeping, Callable[[], None]]:
        """Return where a node run keeps its lines, and what to do once it has returned."""
        config, runtime = setting.config, setting.runtime
        scope = scope_of(calls, messages_in(setting.state, self._messages_key), config, runtime)
        context = contextvars.copy_context()  # of the node: lines are written in other threads, too

        def say(found: Durability) -> None:
            context.copy().run(self._say_durability, runtime, found)

        in_graph = checkpoint_journal(runtime, config, require_durable=self._require_durable, tell=say)
        if self._journal is not None:
            store = self._journal if in_graph is None else AfterCheckpoint(self._journal, in_graph)
            return Keeping(store=store, scope=scope, lasting=True, seal=self._seal), lambda: None
        if in_graph is not None:
            kept = Keeping(store=in_graph, scope=(), lasting=True, seal=self._seal, serde=in_graph.serde)
            return kept, lambda: None
        name = (*scope, told(calls))
        memory = self._memory.of(name)
        memory.before_write = functools.partial(self._only_in_memory, say)
        return Keeping(store=memory, scope=(), lasting=False, seal=self._seal), lambda: self._memory.forget(name)

    def _say_durability(self, runtime: Runtime[Any], found: Durability) -> None:
        if not found.holds:
            self.tell(runtime, {"type": "callgate.durability", "holds": False, "reason": found.reason})

    def _only_in_memory(self, say: Callable[[Durability], None]) -> None:
        reason = "the graph has no checkpointer, so what a program did is known in this process only"
        if self._require_durable:
            raise UsageError(f"{reason}: compile it with one, give a journal, or leave out require_durable")
        say(Durability(holds=False, reason=reason))

    def _batch(
        self,
        calls: Sequence[ToolCall],
        keys: Mapping[int, str],
        input: Any,
        keeping: Keeping,
        setting: Setting,
        plain: Pipeline,
        inner: Pipeline,
    ) -> Batch:
        config, runtime = setting.config, setting.runtime
        outside = {at: call for at, call in enumerate(calls) if at not in keys}
        own = {ref_of(at, calls[at]): key for at, key in keys_of("plain", outside, keeping).items()}
        turn = Turn(keeping=keeping, key=keeping.key("turn", told(calls)), own=own)
        budget = CallBudget(self._call_limits, messages_in(setting.state, self._messages_key), calls)

        runner = self._runner
        if keys:
            runner = runner.on(keeping.store, route=self.surfaces.route(config, lambda: setting.state))

        def action(at: int) -> CodeAction:
            return CodeAction(
                at=at,
                call=calls[at],
                key=keys[at],
                runner=runner,
                tool=self._execute_code,
                node=inner,
                gates=self._gates,
                keeping=keeping,
                beside=Beside(keeping, f"{keys[at]}/beside"),
                turn=turn,
                budget=budget,
                given=setting,
                channels=channels_of(config),
                messages_key=self._messages_key,
            )

        others = PlainCalls(
            calls=outside,
            node=plain,
            input=input,
            messages_key=self._messages_key,
            gates=self._gates,
            catalogue=self.catalogue,
            setting=setting,
            turn=turn,
            keeping=keeping,
            budget=budget,
        )
        return Batch(
            actions={at: action(at) for at in keys},
            plain=others,
            turn=turn,
            keeping=keeping,
            gates=self._gates,
            setting=setting,
            interrupts=NodeInterrupts(config),
            as_list=is_messages(input),
            messages_key=self._messages_key,
            task=runtime.execution_info.task_id if runtime.execution_info is not None else "",
            tell=functools.partial(self.tell, runtime),
        )

    def _tell(self, event: Event) -> None:
        """Tell of the running action."""
        self.tell(current_setting().runtime, event)

    def tell(self, runtime: Runtime[Any] | None, event: Event) -> None:
        """Tell the graph's custom stream, and the user's `on_event`."""
        if runtime is not None:
            runtime.stream_writer(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("on_event raised")
