"""The adapters of LlamaIndex: an agent, and a tool of an agent."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import json
import warnings
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, cast

from behaviours.host import Asked, Called, Given, Host, Life, Ran, Setup, Told
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.agent.workflow.workflow_events import AgentOutput, ToolCall, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent
from workflows.events import Event, WorkflowIdleEvent

from callgate.testing import ScriptedLLM
from callgate_llama_index import CallgateAgent, SurfaceEvent, code_tool

__all__ = ["AgentHost", "ToolHost"]


def made(given: Given) -> FunctionTool:
    """Return a tool of LlamaIndex."""
    fixed = {name: source[1] for name, source in given.injected.items() if isinstance(source, tuple)}
    held = [name for name, source in given.injected.items() if source == "state"]
    function = _with_context(given, held) if held or given.updates else given.function
    return FunctionTool.from_defaults(function, partial_params=fixed or None)


known = functools.cache(made)


def _with_context(given: Given, held: Sequence[str]) -> Callable[..., Any]:
    """Return a function that reads and writes the store of the Context."""

    async def function(ctx: Any, **arguments: Any) -> Any:
        for name in held:
            arguments[name] = await ctx.store.get(name)
        returned = given.function(**arguments)
        if not given.updates:
            return returned
        text, update = returned
        for name, value in update.items():
            await ctx.store.set(name, value)
        return text

    signature = inspect.signature(given.function)
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Context)
    shown = [one for name, one in signature.parameters.items() if name not in held]
    returns = str if given.updates else signature.return_annotation
    functools.update_wrapper(function, given.function)
    del function.__wrapped__
    function.__signature__ = signature.replace(parameters=[context, *shown], return_annotation=returns)
    function.__annotations__ = {"ctx": Context, **{one.name: one.annotation for one in shown}, "return": returns}
    return function


class WorkflowLife(Life):
    """A workflow and its Context."""

    def __init__(self, host: WorkflowHost, setup: Setup, llm: ScriptedLLM, kept: str | None = None) -> None:
        self._host, self._setup, self._llm = host, setup, llm
        self._loop = asyncio.Runner()
        self.agent, self.ledger = host.build(setup, llm)
        self._handler: Any = None
        self._stream: AsyncGenerator[Event, None] | None = None
        self._questions = list[InputRequiredEvent]()
        self._failed, self._details = set[str](), dict[str, dict[str, Any]]()
        self._open = set[str]()
        self._waits = False
        self._loop.run(self._begun(kept))

    async def _begun(self, kept: str | None) -> None:
        if kept is None:
            self._context: Any = Context(self.agent)
            self._memory = ChatMemoryBuffer.from_defaults(token_limit=100_000)
            for name, value in self._setup.state.items():
                await self._context.store.set(name, value)
            return
        told = json.loads(kept)
        self._context = Context.from_dict(self.agent, told["context"])
        self._memory = ChatMemoryBuffer.from_defaults(token_limit=100_000)
        await self._memory.aput_messages([ChatMessage.model_validate(one) for one in told["memory"]])

    def close(self) -> None:
        if self._waits:
            self._loop.run(self._handler.cancel_run())
        self._loop.close()

    # ---- running

    def go(self, mode: str | None = None) -> Ran:
        return self._loop.run(self._go("go", mode))

    def go_on(self) -> Ran:
        return self._loop.run(self._go(None, None))

    async def _go(self, message: str | None, mode: str | None) -> Ran:
        if self._setup.bare is False and mode is not None:
            await self._context.store.set("callgate_mode", mode)
        await self._context.store.set("memory", self._memory)
        self._handler = self.agent.run(user_msg=message, ctx=self._context, memory=self._memory)
        self._stream = self._handler.stream_events(expose_internal=True)
        return await self._rested()

    def decide(self, *decisions: Any) -> Ran:
        return self._loop.run(self._decide(decisions))

    async def _decide(self, decisions: Sequence[Any]) -> Ran:
        if self._handler is None:
            await self._go(None, None)
        questions, self._questions = self._questions, []
        at = 0
        for one in questions:
            count = len(one.action_requests)
            mine = decisions[at : at + count] if one is not questions[-1] else decisions[at:]
            self._handler.ctx.send_event(HumanResponseEvent(id=one.id, decisions=list(mine)))
            at += count
        return await self._rested()

    async def _rested(self) -> Ran:
        """Read the stream until the run is over, or everything that is left of it waits."""
        before, self._seen, self._surfaces = len(self._llm.seen), [], []
        idle = self._waits = False
        async for event in cast("Any", self._stream):
            idle = idle or isinstance(event, WorkflowIdleEvent)
            self._note(event)
            # Workflows of 2.24 say that they are idle before the last step waits.
            waiting = {one.id.partition("/")[0] for asked in self._questions for one in _asked(asked)}
            self._waits = idle and bool(waiting) and self._open <= waiting
            if self._waits:
                break
        text = None if self._waits else str(await self._handler)
        read = self._llm.seen[-1][0] if len(self._llm.seen) > before else []
        return Ran(
            text=text,
            answers={one.additional_kwargs["tool_call_id"]: one.content or "" for one in read if one.role == "tool"},
            failed=self._failed,
            asked=[one for event in self._questions for one in _asked(event)],
            questions=len(self._questions),
            stream=self._seen,
            surfaces=self._surfaces,
            details=self._details,
        )

    def _note(self, event: Any) -> None:
        if isinstance(event, InputRequiredEvent):
            self._questions.append(event)
        elif isinstance(event, SurfaceEvent):
            self._surfaces.append((event.surface, event.reason))
        elif isinstance(event, AgentOutput):
            self._open = {one.tool_id for one in event.tool_calls}
        elif isinstance(event, ToolCallResult):
            self._told(event)
        elif type(event) is ToolCall and "/" in event.tool_id:
            self._seen.append(Told(what="began", tool=event.tool_name, id=event.tool_id))

    def _told(self, event: ToolCallResult) -> None:
        output = event.tool_output
        if "/" in event.tool_id:
            what = "failed" if output.is_error else "done"
            self._seen.append(Told(what=what, tool=event.tool_name, id=event.tool_id))
            return
        self._open.discard(event.tool_id)
        if output.is_error:
            self._failed.add(event.tool_id)
        if isinstance(output.raw_output, dict):
            self._details[event.tool_id] = output.raw_output

    # ---- another process

    def kept(self) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its memory, which a Context does not keep and says so
            context = self._context.to_dict()
        memory = [one.model_dump(mode="json") for one in self._memory.get_all()]
        return json.dumps({"context": context, "memory": memory, "asked": len(self._llm.seen)})

    def reborn(self, kept: str) -> WorkflowLife:
        asked: int = json.loads(kept)["asked"]
        del self._llm.seen[asked:]
        said = [one for one in self._setup.turns[:asked] if not isinstance(one, str)]
        self._llm.begin = 1 + sum(1 if callable(one) else len(one) for one in said)
        return WorkflowLife(self._host, dataclasses.replace(self._setup, anew=True), self._llm, kept)

    # ---- looking at it

    def definitions(self) -> list[list[dict[str, Any]]]:
        return [[one.metadata.to_openai_tool(skip_length_check=True) for one in tools] for _, tools in self._llm.seen]

    def messages(self) -> str:
        return json.dumps([[one.model_dump(mode="json") for one in messages] for messages, _ in self._llm.seen])

    def state(self, key: str) -> Any:
        return self._loop.run(self._context.store.get(key, default=None))


def _asked(event: Any) -> list[Asked]:
    """Return the calls of a question."""
    return [
        Asked(
            tool=action["name"],
            arguments=action["args"],
            allowed=tuple(config["allowed_decisions"]),
            id=call["id"],
            unknown=call["unknown"],
            text=event.prefix,
            program=event.callgate["program"],
        )
        for action, config, call in zip(
            event.action_requests, event.review_configs, event.callgate["calls"], strict=True
        )
    ]


def _reading(turn: Callable[[str], Called]) -> Callable[[list[ChatMessage], Any], list[Called]]:
    return lambda messages, _: [turn(messages[-1].content or "")]


class WorkflowHost(Host):
    """What the two have in common."""

    refusal = ValueError

    def life(self, setup: Setup) -> Life:
        turns = [_reading(one) if callable(one) else one for one in setup.turns]
        return WorkflowLife(self, setup, ScriptedLLM(turns=turns))

    def build(self, setup: Setup, llm: ScriptedLLM) -> tuple[Any, Any]:
        """Return the agent, and the ledger."""
        raise NotImplementedError

    def when(self, rule: Callable[[str, dict[str, Any]], bool]) -> Callable[[Any], bool]:
        return lambda call: rule(call.tool, call.arguments)


class AgentHost(WorkflowHost):
    """CallgateAgent."""

    def build(self, setup: Setup, llm: ScriptedLLM) -> tuple[Any, Any]:
        tools: Any = [made(one) if setup.anew else known(one) for one in setup.tools]
        if setup.bare:
            return FunctionAgent(tools=tools, llm=llm), None
        agent = CallgateAgent(tools=tools, llm=llm, sandbox=setup.sandbox, mode=setup.mode, **setup.options)
        return agent, agent.ledger


class ToolHost(WorkflowHost):
    """`code_tool` as one of the tools of a FunctionAgent."""

    def build(self, setup: Setup, llm: ScriptedLLM) -> tuple[Any, Any]:
        tools: Any = [made(one) if setup.anew else known(one) for one in setup.tools]
        given = [] if setup.mode == "code" else tools
        if not setup.bare and setup.mode != "json":
            given = [*given, code_tool(tools, sandbox=setup.sandbox, **setup.options)]
        return FunctionAgent(tools=given, llm=llm), getattr(given[-1], "ledger", None)
