"""CodeActNode: a ToolNode that also runs programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime

from callgate import JournalStore, Ledger, Limits
from callgate.policy import InterruptOn
from callgate.router import Router, Surface
from callgate.runner import Event
from callgate.sandboxes.shared import WhereToRun
from callgate.stubs import ArgumentProse
from callgate.tools import Effect
from callgate_langchain.hooks import AsyncToolCallWrapper, ToolCallHooks, ToolCallWrapper
from callgate_langchain.raw import capturing
from callgate_langchain.sources import LangChainTools, listed
from callgate_langgraph.approvals import Setting
from callgate_langgraph.engine import Engine
from callgate_langgraph.forms import calls_in, inlined_state
from callgate_langgraph.keeping import messages_in
from callgate_langgraph.modes import Route
from callgate_langgraph.state import read_state
from callgate_langgraph.steps import Steps, acarry_out, carry_out
from callgate_langgraph.upstream import RUNTIME

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware

__all__ = ["CodeActNode"]


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
        sandbox: where programs run: "local", "e2b", "auto", a sandbox, or several of which the first that can be had is
            taken.
        sandboxes: route name to where programs of that route run, in place of `sandbox`: `{"analytics": "e2b"}`. A
            program goes on in the kind of sandbox in which it began, whatever the route is then.
        mode: what the model is shown: "json" plain tools, "code" `execute_code`, "mixed" plain tools and a short
            `execute_code` beside them, "auto" what the router chooses, and json where programs cannot run.
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
            from now on, and why), "callgate.sandbox" (where a program runs, and why, if there is a choice). The
            graph's custom stream is told too.
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
        SandboxUnavailable: if a mode is "code" or "mixed" and its programs cannot run.

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
        sandbox: WhereToRun = "local",
        sandboxes: Mapping[str, WhereToRun] | None = None,
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
        given: dict[str, Any] = {"name": name, "tags": tags, "messages_key": messages_key}
        hooks = _hooks_of(middleware)
        given |= {"wrap_tool_call": hooks.chained(wrap_tool_call), "awrap_tool_call": hooks.achained(awrap_tool_call)}
        if handle_tool_errors is not _NOT_GIVEN:
            given["handle_tool_errors"] = handle_tool_errors
        self.name, self.tags, self._messages_key = name, tags, messages_key
        given_tools = listed(tools)
        self._plain = ToolNode(given_tools, **given)
        self._inner = ToolNode([capturing(one) for one in self._plain.tools_by_name.values()], **given)
        self._engine = Engine(
            given_tools,
            self._plain.tools_by_name,
            interrupt_on=hooks.with_interrupt_on(interrupt_on),
            call_limits=hooks.limits,
            effects=effects,
            sandbox=sandbox,
            sandboxes=sandboxes,
            mode=mode,
            routes=routes,
            route=route,
            router=router,
            ledger=ledger,
            argument_prose=argument_prose,
            limits=limits,
            journal=journal,
            journal_key=journal_key,
            require_durable=require_durable,
            on_event=on_event,
            messages_key=messages_key,
        )
        self.ledger = self._engine.ledger
        """What the code actions of this process cost, beside what their calls would have cost as JSON."""

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

        surface, _ = self._engine.surfaces.choose(
            config, state, lambda: self._engine.surfaces.history(messages_in(state(), self._messages_key))
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
            self._engine.tell(config.get("configurable", {}).get(RUNTIME), event)

        return self._engine.surfaces.bind(model, bind_kwargs, writes_code=writes_code, tell=tell)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the tool calls of an input; see `ToolNode`.

        Raises:
            SandboxError: if a program should run and cannot.
            Exception: what ToolNode raises of plain calls.
        """
        calls = calls_in(input, self._messages_key)
        if not self._engine.concerns(calls, config):
            return self._plain.invoke(input, config, **kwargs)
        return carry_out(self._entered(calls, input, config, kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The awaitable twin of `invoke`."""
        calls = calls_in(input, self._messages_key)
        if not self._engine.concerns(calls, config):
            return await self._plain.ainvoke(input, config, **kwargs)
        return await acarry_out(self._entered(calls, input, config, kwargs))

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
        setting = Setting(read_state(config) if state is None else state, config, runtime)
        return self._engine.steps(calls, input, setting, plain=self._plain, inner=self._inner)


def _hooks_of(middleware: Sequence[AgentMiddleware[Any, Any, Any]]) -> ToolCallHooks:
    if not middleware:
        return ToolCallHooks()
    from callgate_langchain.middleware import tool_call_hooks  # noqa: PLC0415 - only this needs langchain

    return tool_call_hooks(middleware)
