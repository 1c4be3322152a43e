"""Agents of LlamaIndex that the tests run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llama_index.core.agent.workflow.workflow_events import ToolCall, ToolCallResult
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent

from callgate.testing import ScriptedLLM
from callgate_llama_index import CallgateAgent

Answer = Callable[[InputRequiredEvent], HumanResponseEvent | None]


def program(code: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the turn of a model that writes a program."""
    return [("execute_code", {"code": code})]


def agent(tools: Any, *turns: Any, **kwargs: Any) -> CallgateAgent:
    """Return an agent whose model says turns, in code mode unless kwargs say otherwise."""
    return CallgateAgent(tools=tools, llm=ScriptedLLM(turns=list(turns)), **{"mode": "code", **kwargs})


def approve(event: InputRequiredEvent) -> HumanResponseEvent:
    return decide(event, *["approve"] * len(event.action_requests))


def decide(event: InputRequiredEvent, *decisions: Any) -> HumanResponseEvent:
    return HumanResponseEvent(id=event.id, decisions=list(decisions))


async def run(workflow: Any, answer: Answer = lambda event: None, **kwargs: Any) -> tuple[Any, list[Any]]:
    """Run a workflow to its end; return its result, and the events of its stream."""
    handler = workflow.run(**{"user_msg": "go", **kwargs})
    events = list[Any]()
    async for event in handler.stream_events():
        events.append(event)
        if isinstance(event, InputRequiredEvent) and (given := answer(event)) is not None:
            handler.ctx.send_event(given)
    return await handler, events


async def until_asked(workflow: Any, questions: int = 1) -> tuple[str, list[Any]]:
    """Run a workflow until it has asked so often; return its Context as JSON, and the questions."""
    ctx = Context(workflow)
    handler = workflow.run(user_msg="go", ctx=ctx)
    asked = list[Any]()
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            asked.append(event)
            if len(asked) == questions:
                break
    text = json.dumps(ctx.to_dict())
    await handler.cancel_run()
    return text, asked


async def restored(workflow: Any, text: str) -> Context[Any]:
    """Return a Context from JSON; its memory is the one thing that LlamaIndex leaves to its user."""
    ctx: Context[Any] = Context.from_dict(workflow, json.loads(text))
    await ctx.store.set("memory", ChatMemoryBuffer.from_defaults(token_limit=10_000))
    return ctx


def called(events: list[Any]) -> list[tuple[str, str]]:
    """Return the calls a stream tells of, as names and ids."""
    return [(one.tool_name, one.tool_id) for one in events if type(one) is ToolCall]


def results(events: list[Any]) -> dict[str, Any]:
    """Return the outputs a stream tells of, by the ids of their calls."""
    return {one.tool_id: one.tool_output for one in events if isinstance(one, ToolCallResult)}


def answered(one: CallgateAgent) -> str:
    """Return what the model of an agent was told last."""
    return one.llm.seen[-1][0][-1].content
