"""CodeActNode: a ToolNode that also runs programs."""

from __future__ import annotations

import contextvars
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime

from callgate import Catalogue, CodeRunner, JournalStore, Ledger, Limits, MemoryJournal, UsageError
from callgate.policy import InterruptOn
from callgate.router import AutoRouter, Router, Surface
from callgate.runner import Event
from callgate.sandboxes.base import Sandbox
from callgate.sandboxes.shared import resolve_sandbox
from callgate.stubs import ArgumentProse
from callgate.surface import EXECUTE_CODE
from callgate.tools import Effect
from callgate_langchain import from_langchain
from callgate_langchain.hooks import AsyncToolCallWrapper, ToolCallHooks, ToolCallWrapper
from callgate_langchain.raw import capturing
from callgate_langchain.sources import LangChainTools, listed
from callgate_langgraph.actions import CodeAction, admit, current_setting, execute_code_tool
from callgate_langgraph.approvals import Approvals, Setting
from callgate_langgraph.batch import Batch
from callgate_langgraph.beside import Beside
from callgate_langgraph.call_limits import CallBudget, known_limits
from callgate_langgraph.checkpoint_journal import AfterCheckpoint, Durability, checkpoint_journal
from callgate_langgraph.counting import Counting
from callgate_langgraph.forms import calls_in, inlined_state, is_messages
from callgate_langgraph.interrupts import NodeInterrupts
from callgate_langgraph.keeping import Keeping, asking, began, keys_of, messages_in, scope_of, told
from callgate_langgraph.memory import NodeMemory
from callgate_langgraph.modes import Modes, Route
from callgate_langgraph.plain import PlainCalls, may_be_plain
from callgate_langgraph.state import channels_of, read_state
from callgate_langgraph.steps import Steps, acarry_out, carry_out
from callgate_langgraph.surfaces import Surfaces, shown_tools
from callgate_langgraph.turn import Turn, ref_of
from callgate_langgraph.upstream import RUNTIME

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware

__all__ = ["CodeActNode"]

logger = logging.getLogger("callgate")

_NOT_GIVEN: Any = object()

HandleToolErrors: TypeAlias = bool | str | Callable[..., str] | type[Exception] | tuple[type[Exception], ...]


class CodeActNode(Runnable[Any, Any]):
    """Runs the tool calls of the last AIMessage: plain ones as `ToolNode` does, `execute_code` as a program.

    A program calls the same tools, each call through a ToolNode with the same wrappers, error handling and injection,
    and is given raw values in place of text. What it prints and its last value come back in one ToolMessage, whose
    artifact holds the calls and the journal. State updates and gotos of tools become part of what the node returns.

    Files that a program writes below /out are in the ToolMessage's `artifact["artifacts"]`, each as {"name", "size",
    "digest" (SHA-256), "data" (base64)}. A checkpoint holds them: `Limits.disk_mb` bounds how much that is.

    Register it as "tools" and bind the model with `bind_model`.

    Args:
        tools: as for ToolNode; further ToolNode arguments keep their meaning. Or a mapping of sources, such as MCP
            servers, to their tools: those whose names clash are called `<source>_<name>` everywhere.
        sandbox: "local", or where else programs run.
        mode: what the model is shown: "json" plain tools, "code" `execute_code`, "mixed" plain tools and a short
            `execute_code` beside them, "auto" what the router chooses, and json where this host cannot run programs.
        routes: route name to mode.
        route: (state, config) to route name; None is `config["configurable"]["route"]`.
        router: chooses in mode "auto"; None is an `AutoRouter`, which goes by tokens.
        ledger: that code actions are put into; None is one of the node's own, which counts four characters as a token.
        argument_prose: what `execute_code` says of arguments: "needed" is what their names do not say, "all" is all.
        effects: tool name to "read", "idempotent" or "write"; see `callgate_langchain.from_langchain`.
        interrupt_on: tools that wait for a human, as `HumanInTheLoopMiddleware` takes it: tool name to True, False, or
            allowed_decisions, description (a text, or a function of tool call, state and runtime) and when (a
            predicate of a ToolCallRequest). It holds for calls of programs and for plain calls alike.
        limits: of each program.
        journal: where node runs keep what they did. None is the graph's own checkpointer, or memory where it has none.
        journal_key: seals every line of the journal; see `CodeRunner`. Every process of the graph needs the same one.
        require_durable: refuse to start a write that a crash would lose from sight: without a checkpointer, with
            durability "exit", or with one that keeps nothing beyond this process.
        on_event: is told what happens, as dicts with a "type": "callgate.call" (an inner call, or a plain one that
            waits), "callgate.reach" (which gated tools a program can reach, before it runs), "callgate.durability"
            (a crash from here on would not be resumed, and why), "callgate.surface" (what a thread's model is shown
            from now on, and why). The graph's custom stream is told too.
        name: of the node.
        tags: as for ToolNode.
        handle_tool_errors: as for ToolNode. What it handles, a program catches as `ToolFailed` with the handler's text.
        messages_key: of the state.
        wrap_tool_call: sees plain calls and each inner call, never `execute_code`.
        awrap_tool_call: its awaitable twin.
        middleware: LangChain's, the outermost first: its tool call wrappers see what `wrap_tool_call` sees, inside of
            it. `HumanInTheLoopMiddleware` is taken as `interrupt_on`, and `ToolCallLimitMiddleware` counts inner calls,
            too; where Send fans out several programs of one message it cannot, and the node raises UsageError. What
            acts elsewhere cannot hold for inner calls and is refused.

    Raises:
        UsageError: for a tool called `execute_code`, for middleware that could not hold, and for arguments that cannot
            work.
        SandboxUnavailable: if a mode is "code" or "mixed" and this host cannot run programs.

    `config["configurable"]["callgate_mode"]` sets the mode of one invocation.

    All calls of one node run that wait for a human are one interrupt, a HITLRequest; its key "callgate" holds the
    programs and the exact arguments too. `Command(resume={"decisions": [...]})` answers it, one decision per action
    request, in their order. An answer that does not fit is not used at all, and the question comes again with what was
    wrong. A write that was started before a crash is asked about in the same way, with the decisions done (with a
    `value`), failed and "run again".

    LangGraph enters a node anew after an interrupt, a crash or a retry. What was done is then answered from the
    journal: nothing runs twice, and the state updates of inner calls are returned all the same. Guards that act on the
    AIMessage, after the model and before this node, see `execute_code` and not the calls inside it: give
    `interrupt_on`, `limits` and the tool call wrappers to this node instead.
    """

    def __init__(
        self,
        tools: LangChainTools | Mapping[str, LangChainTools],
        *,
        sandbox: Literal["local"] | Sandbox = "local",
        mode: str = "auto",
        routes: Mapping[str, str] | None = None,
        route: Route | None = None,
        router: Router | None = None,
        ledger: Ledger | None = None,
        argument_prose: ArgumentProse = "needed",
        effects: Mapping[str, Effect] | None = None,
        interrupt_on: InterruptOn | None = None,
        limits: Limits | None = None,
        journal: JournalStore | None = None,
        journal_key: bytes | None = None,
        require_durable: bool = False,
        on_event: Callable[[Event], None] | None = None,
        name: str = "tools",
        tags: list[str] | None = None,
        handle_tool_errors: HandleToolErrors = _NOT_GIVEN,
        messages_key: str = "messages",
        wrap_tool_call: ToolCallWrapper | None = None,
        awrap_tool_call: AsyncToolCallWrapper | None = None,
        middleware: Sequence[AgentMiddleware[Any, Any, Any]] = (),
    ) -> None:
        if journal is not None and not all(hasattr(journal, one) for one in ("append", "read", "aappend", "aread")):
            raise UsageError("journal: give a SqliteJournal, a MemoryJournal or another JournalStore, or None")
        if require_durable and isinstance(journal, MemoryJournal):
            raise UsageError("require_durable: a MemoryJournal ends with the process; give a SqliteJournal, or None")
        given: dict[str, Any] = {"name": name, "tags": tags, "messages_key": messages_key}
        hooks = _hooks_of(middleware)
        given |= {"wrap_tool_call": hooks.chained(wrap_tool_call), "awrap_tool_call": hooks.achained(awrap_tool_call)}
        if handle_tool_errors is not _NOT_GIVEN:
            given["handle_tool_errors"] = handle_tool_errors
        self.name, self.tags = name, tags
        self._messages_key, self._on_event = messages_key, on_event
        self._journal, self._seal, self._require_durable = journal, journal_key, require_durable
        self._memory = NodeMemory()
        given_tools = listed(tools)
        self._plain = ToolNode(given_tools, **given)
        ready = list(self._plain.tools_by_name.values())
        if EXECUTE_CODE in self._plain.tools_by_name:
            raise UsageError(f"a tool is called {EXECUTE_CODE!r}, which is the code action's own name; rename it")
        self._inner = ToolNode([capturing(one) for one in ready], **given)
        catalogue = Catalogue(from_langchain(ready, effects))
        self._call_limits = known_limits(hooks.limits, self._plain.tools_by_name)
        self._gates = Approvals(hooks.with_interrupt_on(interrupt_on), catalogue, self._plain.tools_by_name)
        self._runner = CodeRunner(
            catalogue,
            sandbox=(where := resolve_sandbox(sandbox)),
            limits=limits,
            interrupt_on=self._gates.for_programs(current_setting),
            admit=admit if self._call_limits else None,
            journal_key=journal_key,
            on_event=self._tell,
        )
        self._execute_code = execute_code_tool()
        shown = shown_tools(given_tools, ready, catalogue, argument_prose)
        modes = Modes(mode, routes, route, sandbox=where)
        self._surfaces = Surfaces(shown, catalogue, modes, router or AutoRouter())
        self.ledger = ledger or Ledger()
        """What the code actions of this process cost, beside what their calls would have cost as JSON."""
        self._counting = Counting(self.ledger, ready, self._surfaces, messages_key)

    @property
    def tools_by_name(self) -> dict[str, BaseTool]:
        """The user's tools, by name."""
        return self._plain.tools_by_name

    def surface(self, config: RunnableConfig | None = None, input: Any = None) -> Surface:
        """Return what the model is shown, and why.

        Args:
            config: of the invocation; None is the running one.
            input: outside a graph, the state or its messages.

        Raises:
            UsageError: for a `callgate_mode` that is none, and if the router chooses what cannot be shown.
            SandboxUnavailable: if the mode needs programs and this host cannot run them.
        """
        config = ensure_config(config)

        def state() -> Any:
            return read_state(config) or input

        surface, _ = self._surfaces.choose(
            config, state, lambda: self._surfaces.history(messages_in(state(), self._messages_key))
        )
        return surface

    def bind_model(
        self, model: BaseChatModel, *, writes_code: bool = True, **bind_kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with the tools of each call's surface, in place of `model.bind_tools(tools)`.

        Each message it returns says what it was shown, and why: `response_metadata["callgate"]` holds "surface",
        "reason", and the digest of the tools as "tools".

        Args:
            model: a chat model.
            writes_code: whether it writes programs well enough; False keeps mode "auto" at plain tools.
            bind_kwargs: for its `bind_tools`. A `tool_choice` that names a tool is not shown a surface without it, but
                plain tools; one that names execute_code is left out on the json surface.
        """

        def tell(config: RunnableConfig, event: Event) -> None:
            self._tell_from(config.get("configurable", {}).get(RUNTIME), event)

        return self._surfaces.bind(model, bind_kwargs, writes_code=writes_code, tell=tell)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the tool calls of an input; see `ToolNode`.

        Raises:
            SandboxError: if a program should run and cannot.
            Exception: what ToolNode raises of plain calls.
        """
        calls = calls_in(input, self._messages_key)
        if not self._concerns(calls, config):
            return self._plain.invoke(input, config, **kwargs)
        return carry_out(self._entered(calls, input, config, kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The awaitable twin of `invoke`."""
        calls = calls_in(input, self._messages_key)
        if not self._concerns(calls, config):
            return await self._plain.ainvoke(input, config, **kwargs)
        return await acarry_out(self._entered(calls, input, config, kwargs))

    def _concerns(self, calls: Sequence[ToolCall], config: RunnableConfig | None) -> bool:
        """Say whether any call is more than a plain one that nobody counts, refuses, is asked about, or was."""
        gates, catalogue = self._gates, self._runner.catalogue
        names = [call["name"] for call in calls]
        concerned = any(one == EXECUTE_CODE or one in gates or not may_be_plain(one, catalogue) for one in names)
        counted = bool(self._call_limits and calls)
        return concerned or counted or NodeInterrupts(ensure_config(config)).resumed  # by a version that asked more

    def _entered(
        self, calls: Sequence[ToolCall], input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> Steps[Any]:
        """Run the calls of one entry of a node run."""
        config = ensure_config(config)
        runtime: Runtime[Any] | None = kwargs.get("runtime") or config.get("configurable", {}).get(RUNTIME)
        if runtime is None:
            raise ValueError(f"Missing required config key 'N/A' for '{self.name}'.")  # as ToolNode says it
        config = {**config, "configurable": {**config.get("configurable", {}), RUNTIME: runtime}}
        state = inlined_state(input)
        state = read_state(config) if state is None else state
        keeping, forget = self._keeping(calls, state, config, runtime)
        programs = {at: call for at, call in enumerate(calls) if call["name"] == EXECUTE_CODE}
        keys = keys_of("action", programs, keeping)
        messages = messages_in(state, self._messages_key)
        code = bool(keys) and (
            self._surfaces.runs_programs(config, lambda: state, asking(messages, calls), messages)
            or (yield from began(keys.values(), keeping))
        )
        batch = self._batch(calls, keys if code else {}, input, keeping, Setting(state, config, runtime))
        result = yield from batch.steps()
        yield from self._counting.count(batch.actions.values(), batch.setting)
        forget()
        return result

    def _keeping(
        self, calls: Sequence[ToolCall], state: Any, config: RunnableConfig, runtime: Runtime[Any]
    ) -> tuple[Keeping, Callable[[], None]]:
        """Return where a node run keeps its lines, and what to do once it has returned."""
        scope = scope_of(calls, messages_in(state, self._messages_key), config, runtime)
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
            self._tell_from(runtime, {"type": "callgate.durability", "holds": False, "reason": found.reason})

    def _only_in_memory(self, say: Callable[[Durability], None]) -> None:
        reason = "the graph has no checkpointer, so what a program did is known in this process only"
        if self._require_durable:
            raise UsageError(f"{reason}: compile it with one, give a journal, or leave out require_durable")
        say(Durability(holds=False, reason=reason))

    def _batch(
        self, calls: Sequence[ToolCall], keys: Mapping[int, str], input: Any, keeping: Keeping, setting: Setting
    ) -> Batch:
        config, runtime = setting.config, setting.runtime
        plain_calls = {at: call for at, call in enumerate(calls) if at not in keys}
        own = {ref_of(at, calls[at]): key for at, key in keys_of("plain", plain_calls, keeping).items()}
        turn = Turn(keeping=keeping, key=keeping.key("turn", told(calls)), own=own)
        budget = CallBudget(self._call_limits, messages_in(setting.state, self._messages_key), calls)

        def action(at: int) -> CodeAction:
            return CodeAction(
                at=at,
                call=calls[at],
                key=keys[at],
                runner=self._runner.on(keeping.store),
                tool=self._execute_code,
                node=self._inner,
                gates=self._gates,
                keeping=keeping,
                beside=Beside(keeping, f"{keys[at]}/beside"),
                turn=turn,
                budget=budget,
                given=setting,
                channels=channels_of(config),
                messages_key=self._messages_key,
            )

        plain = PlainCalls(
            calls=plain_calls,
            node=self._plain,
            input=input,
            messages_key=self._messages_key,
            gates=self._gates,
            catalogue=self._runner.catalogue,
            setting=setting,
            turn=turn,
            keeping=keeping,
            budget=budget,
        )
        return Batch(
            actions={at: action(at) for at in keys},
            plain=plain,
            turn=turn,
            keeping=keeping,
            gates=self._gates,
            setting=setting,
            interrupts=NodeInterrupts(config),
            as_list=is_messages(input),
            messages_key=self._messages_key,
            task=runtime.execution_info.task_id if runtime.execution_info is not None else "",
            tell=functools.partial(self._tell_from, runtime),
        )

    def _tell(self, event: Event) -> None:
        """Tell of the running action."""
        self._tell_from(current_setting().runtime, event)

    def _tell_from(self, runtime: Runtime[Any] | None, event: Event) -> None:
        if runtime is not None:
            runtime.stream_writer(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("on_event raised")


def _hooks_of(middleware: Sequence[AgentMiddleware[Any, Any, Any]]) -> ToolCallHooks:
    if not middleware:
        return ToolCallHooks()
    from callgate_langchain.middleware import tool_call_hooks  # noqa: PLC0415 - only this needs langchain

    return tool_call_hooks(middleware)
