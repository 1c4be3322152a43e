"""CodeActMiddleware: an agent of LangChain's `create_agent` that may also write programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest

from callgate import JournalStore, Ledger, Limits, UsageError
from callgate.history import SurfaceKind
from callgate.policy import InterruptOn
from callgate.router import Router
from callgate.runner import Event
from callgate.sandboxes.shared import WhereToRun
from callgate.stubs import ArgumentProse
from callgate.surface import EXECUTE_CODE
from callgate.tools import Effect
from callgate_langchain.chain import Chain
from callgate_langchain.combinations import agent_being_built, faults_beside
from callgate_langchain.hooks import ToolResult
from callgate_langchain.raw import capturing
from callgate_langgraph.approvals import Setting
from callgate_langgraph.binding import named_by, recorded
from callgate_langgraph.engine import Engine
from callgate_langgraph.forms import flatten
from callgate_langgraph.modes import Route
from callgate_langgraph.plain import may_be_plain
from callgate_langgraph.steps import Steps, acarry_out, carry_out
from callgate_langgraph.upstream import RUNTIME

__all__ = ["CodeActMiddleware"]

_MESSAGES = "messages"
"""The key of an agent's state."""

_Tools = list[BaseTool | dict[str, Any]]


class CodeActMiddleware(AgentMiddleware[Any, Any, Any]):
    """Lets the model of an agent write programs that call the agent's tools.

    `create_agent(model, tools, middleware=[CodeActMiddleware(), ...])`: put it before all middleware that wraps tool
    calls. What stands after it then sees every call of a program as it sees plain ones, with an id of its own, and
    never `execute_code`.

    On each turn the model is shown what the mode, the route or the router says: the agent's tools, `execute_code`, or
    both. Tools of providers (dicts), and those that other middleware adds for a turn, are always shown. A turn on which
    middleware before this one hides one of the agent's tools is json, and no program runs: it could call it all the
    same. What stands after this one and hides tools hides them from no program, unless it refuses their calls, too.
    In mode "json" requests, answers and messages are those of an agent without this middleware; of a turn for which the
    router chose json, the message says so in its `response_metadata`.

    `execute_code` is no tool of the agent: nothing lists it, and only this middleware runs it. LangChain's rule that an
    agent ends after calls of `return_direct` tools only does not see it, either: a message that holds a program and
    such a call, and no other, ends the agent. A program that calls such a tool goes on.

    Whatever reads the model's messages, such as a guard in `wrap_model_call` or `before_model`, finds programs as text.

    Args:
        sandbox: where programs run; see `CodeActNode`.
        sandboxes: route name to where programs of that route run.
        mode: "auto", "json", "code" or "mixed"; see `callgate_langgraph.CodeActNode`, as for all that follows.
        routes: route name to mode.
        route: (state, config) to route name; None is `config["configurable"]["route"]`.
        router: chooses in mode "auto".
        writes_code: whether the model writes programs well enough; False keeps mode "auto" at plain tools.
        ledger: that code actions are put into; None is one of its own.
        argument_prose: what `execute_code` says of arguments.
        effects: tool name to "read", "idempotent" or "write".
        interrupt_on: tools that wait for a human, in programs and plainly, as `HumanInTheLoopMiddleware` takes it.
        limits: of each program.
        journal: where lines are kept; None is the agent's checkpointer, or memory where it has none.
        journal_key: seals every line of the journal.
        require_durable: refuse to start a write that a crash would lose from sight.
        on_event: is told what happens.
        unseen_by: names of middleware that acts after the model and need not see the calls of programs.

    `create_agent` raises, when it builds the agent:
        UsageError: for middleware beside this one that would guard nothing where programs run, with the cures; for a
            tool called `execute_code`; for arguments that cannot work; and for a second agent with other tools.
        SandboxUnavailable: if a mode is "code" or "mixed" and this host cannot run programs.

    Approvals: LangChain runs each tool call of a message as a task of its own, which asks for itself. So there is one
    interrupt per tool call that waits, a HITLRequest that holds all waiting calls of that program, or the plain call.
    Where one waits, `Command(resume={"decisions": [...]})` answers it; where several do, `Command(resume={interrupt.id:
    {"decisions": [...]}, ...})` answers some or all of them. What one task did stays done while others wait.
    """

    def __init__(
        self,
        *,
        sandbox: WhereToRun = "local",
        sandboxes: Mapping[str, WhereToRun] | None = None,
        mode: str = "auto",
        routes: Mapping[str, str] | None = None,
        route: Route | None = None,
        router: Router | None = None,
        writes_code: bool = True,
        ledger: Ledger | None = None,
        argument_prose: ArgumentProse = "needed",
        effects: Mapping[str, Effect] | None = None,
        interrupt_on: InterruptOn | None = None,
        limits: Limits | None = None,
        journal: JournalStore | None = None,
        journal_key: bytes | None = None,
        require_durable: bool = False,
        on_event: Callable[[Event], None] | None = None,
        unseen_by: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.ledger = ledger or Ledger()
        """What the code actions of this process cost, beside what their calls would have cost as JSON."""
        self._writes_code, self._unseen_by = writes_code, unseen_by
        self._given: list[Any] = []
        self._built: _Built | None = None
        self._settings: dict[str, Any] = {
            "sandbox": sandbox,
            "sandboxes": sandboxes,
            "mode": mode,
            "routes": routes,
            "route": route,
            "router": router,
            "ledger": self.ledger,
            "argument_prose": argument_prose,
            "effects": effects,
            "interrupt_on": interrupt_on,
            "limits": limits,
            "journal": journal,
            "journal_key": journal_key,
            "require_durable": require_durable,
            "on_event": on_event,
        }

    # ---- the agent

    @property
    def tools(self) -> Sequence[BaseTool]:  # pyright: ignore[reportIncompatibleVariableOverride] - LangChain only reads
        """None. `create_agent` reads this while it builds an agent; then `attach` is called with what it is given."""
        if (found := agent_being_built()) is not None:
            self.attach(*found)
        return ()

    def attach(self, tools: Iterable[Any], middleware: Sequence[AgentMiddleware[Any, Any, Any]]) -> None:
        """Get to know the agent; call this only where something else than LangChain's `create_agent` builds it.

        Args:
            tools: of the agent.
            middleware: of the agent, the outermost first.

        Raises:
            UsageError: see the class.
            SandboxUnavailable: see the class.
        """
        if faults := faults_beside(self, middleware, self._unseen_by):
            raise UsageError("middleware: " + "; ".join(faults))
        added = [tool for one in middleware if one is not self for tool in getattr(one, "tools", ())]
        given = [*added, *(one for one in tools if not isinstance(one, dict))]
        if self._built is not None:
            if len(given) != len(self._given) or any(a is not b for a, b in zip(given, self._given, strict=True)):
                raise UsageError("this CodeActMiddleware belongs to an agent with other tools; make one for each agent")
            return
        self._built, self._given = _Built(given, self._settings), given

    @property
    def _agent(self) -> _Built:
        if self._built is None:
            raise UsageError(
                "CodeActMiddleware does not know its agent: give it to langchain.agents.create_agent. Where something "
                "else builds the agent, call attach(tools, middleware) with all it is built of"
            )
        return self._built

    # ---- what the model is shown

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Show the model the surface of the turn; see `AgentMiddleware.wrap_model_call`."""
        turn = self._turn(request)
        return handler(request) if turn is None else _noted(handler(turn[0]), turn[1])

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """The awaitable twin of `wrap_model_call`."""
        turn = self._turn(request)
        return await handler(request) if turn is None else _noted(await handler(turn[0]), turn[1])

    def _turn(self, request: ModelRequest[Any]) -> tuple[ModelRequest[Any], dict[str, str]] | None:
        """Return what the model is asked, and the record of it; None where nothing is different from other agents."""
        agent, config = self._agent, ensure_config()
        surfaces = agent.engine.surfaces
        shown = agent.shown(request.tools)

        def state() -> Any:
            return request.state

        if surfaces.pinned(config, state) == "json" and shown["json"] == request.tools:
            return None
        surface, record = surfaces.turn(
            config,
            state,
            request.messages,
            unfit=agent.unfit(request, shown),
            writes_code=self._writes_code,
            tell=lambda event: agent.engine.tell(request.runtime, event),
        )
        changed: Any = {"tools": shown[surface.kind]} if shown[surface.kind] != request.tools else {}
        if surface.kind == "json" and named_by(request.tool_choice) == EXECUTE_CODE:
            changed["tool_choice"] = None
        return request.override(**changed) if changed else request, record

    # ---- what runs

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]) -> ToolResult:
        """Run a program, or a call that may need a human; see `AgentMiddleware.wrap_tool_call`."""
        steps = self._steps(request, handler)
        return handler(request) if steps is None else _result(carry_out(steps))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        """The awaitable twin of `wrap_tool_call`."""
        steps = self._steps(request, handler)
        return await handler(request) if steps is None else _result(await acarry_out(steps))

    def _steps(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Steps[Any] | None:
        """Return what runs a call; None where the handler alone does."""
        agent, call = self._agent, request.tool_call
        config: RunnableConfig = cast("Any", request.runtime).config
        if not agent.engine.concerns([call], config):
            return None
        setting = Setting(request.state, config, config.get("configurable", {})[RUNTIME])
        plain = Chain(request, handler, {} if request.tool is None else {call["name"]: request.tool})
        inner = Chain(request, handler, agent.stand_ins)
        return agent.engine.steps([call], [call], setting, plain=plain, inner=inner)


class _Built:
    """What is made of an agent's tools.

    Args:
        given: the tools, as the agent is given them.
        settings: of the engine.
    """

    def __init__(self, given: Sequence[Any], settings: Mapping[str, Any]) -> None:
        tools = ToolNode(given).tools_by_name
        self.engine = Engine(list(tools.values()), tools, messages_key=_MESSAGES, **settings)
        self.stand_ins = {name: capturing(one) for name, one in tools.items()}

    def shown(self, tools: Sequence[BaseTool | dict[str, Any]]) -> dict[SurfaceKind, _Tools]:
        """Return what each surface shows of the tools of a turn."""
        catalogue, shown = self.engine.catalogue, self.engine.surfaces.shown
        plain: _Tools = [one for one in tools if isinstance(one, dict) or may_be_plain(one.name, catalogue)]
        functions = {one.name for one in catalogue if "code" in one.callers}
        others: _Tools = [one for one in plain if isinstance(one, dict) or one.name not in functions]
        return {"json": plain, "code": [shown["code"][0], *others], "mixed": [*plain, shown["mixed"][-1]]}

    def unfit(self, request: ModelRequest[Any], shown: Mapping[SurfaceKind, _Tools]) -> dict[SurfaceKind, str]:
        """Return the surfaces that a turn cannot have, and why."""
        there = {one.name for one in request.tools if not isinstance(one, dict)}
        if hidden := [one.name for one in self.engine.catalogue if one.name not in there]:
            reason = f"other middleware hides {', '.join(hidden)} on this turn"
            return {"code": reason, "mixed": reason}
        chosen = named_by(request.tool_choice)
        names = {kind: {one.name for one in tools if not isinstance(one, dict)} for kind, tools in shown.items()}
        kinds: tuple[SurfaceKind, ...] = ("code", "mixed")
        return {kind: f"tool_choice names {chosen}" for kind in kinds if chosen in names["json"] - names[kind]}


def _noted(response: ModelResponse[Any], record: dict[str, str]) -> ModelResponse[Any]:
    """Return a response whose message says what the model was shown."""
    messages: list[BaseMessage] = [
        recorded(one, record) if isinstance(one, AIMessage) else one for one in response.result
    ]
    return dataclasses.replace(response, result=messages)


def _result(returned: Any) -> ToolResult:
    """Return what a node returned as a tool call wrapper returns it: LangGraph takes a list of several, too."""
    outputs = flatten(returned, _MESSAGES)
    return outputs[0] if len(outputs) == 1 else cast("ToolResult", outputs)
