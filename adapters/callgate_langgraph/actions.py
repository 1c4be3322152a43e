"""One `execute_code` call: a program, its inner calls, and the ToolMessage about them."""

from __future__ import annotations

import base64
import uuid
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, cast

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolNode
from langgraph.types import StreamWriter

from callgate import Artifact, CodeRunner, Outcome
from callgate.codec import JSON
from callgate.outcome import CallRecord
from callgate.runner import Event
from callgate.surface import EXECUTE_CODE
from callgate_langchain.guards import is_dict, is_list
from callgate_langgraph.forms import Output
from callgate_langgraph.inner import InnerCalls
from callgate_langgraph.lift import lift
from callgate_langgraph.memory import ACTION
from callgate_langgraph.state import Channels, SeenState

__all__ = ["CodeAction", "execute_code_tool", "write_event"]

_SHOWN_VALUE = 2_000
"""Characters of a call's result that the artifact repeats beside the journal."""


@dataclass(slots=True, kw_only=True)
class CodeAction:
    """One `execute_code` call, ready to run once."""

    call: ToolCall
    runner: CodeRunner
    tool: BaseTool
    """`execute_code` itself, so that callbacks and streams see it start and end like any tool."""
    node: ToolNode
    """Of stand-ins of the user's tools, for the inner calls."""
    state: Any
    channels: Channels | None
    messages_key: str
    stored: bool
    """Whether the user gave the journal, and may look the action up there."""
    writer: StreamWriter

    inner: InnerCalls | None = None
    """Set when the program starts."""
    key: str = ""
    """Of its lines in the journal."""

    def run(self, config: RunnableConfig) -> list[Output]:
        """Run the program and return the answer and the Commands of its inner calls.

        Raises:
            SandboxError: if programs cannot run.
            GraphBubbleUp: control flow of a tool that has to leave the node.
        """
        if (fault := _fault(self.call)) is not None:
            return [fault]
        token = _current.set(self)
        try:
            answer = self.tool.invoke(self._request(), config)
        finally:
            _current.reset(token)
        return self._outputs(answer)

    async def arun(self, config: RunnableConfig) -> list[Output]:
        """The awaitable twin of `run`."""
        if (fault := _fault(self.call)) is not None:
            return [fault]
        token = _current.set(self)
        try:
            answer = await self.tool.ainvoke(self._request(), config)
        finally:
            _current.reset(token)
        return self._outputs(answer)

    def _request(self) -> ToolCall:
        return {**self.call, "args": {"code": self.call["args"]["code"]}, "type": "tool_call"}

    def start(self) -> tuple[InnerCalls, dict[str, Any]]:
        """Return what runs the inner calls, and the arguments for the runner."""
        config = ensure_config()
        state = SeenState(self.state, self.channels, self.messages_key)
        self.inner = InnerCalls(self.node, state, config, self.messages_key)
        self.key = f"{ACTION}{self.call['id']}:{uuid.uuid4().hex}"
        thread = config.get("configurable", {}).get("thread_id") or ""
        return self.inner, {"id": self.call["id"], "key": self.key, "thread": str(thread)}

    def message(self, outcome: Outcome) -> ToolMessage:
        """Return the answer to the model."""
        artifact: dict[str, Any] = {
            "status": outcome.status,
            "error": asdict(outcome.error) if outcome.error is not None else None,
            "limit": outcome.limit,
            "calls": [_plain(one) for one in outcome.calls],
            "truncated": [asdict(one) for one in outcome.truncated],
            "artifacts": [_file(one) for one in outcome.artifacts],
            "left_out": [asdict(one) for one in outcome.left_out],
            "journal": list(outcome.journal.lines),
        }
        if self.stored:
            artifact["journal_key"] = self.key
        return ToolMessage(
            outcome.text,
            name=EXECUTE_CODE,
            tool_call_id=cast(str, self.call["id"]),
            status="success" if outcome.status == "completed" else "error",
            artifact=artifact,
        )

    def _outputs(self, answer: Any) -> list[Output]:
        assert self.inner is not None  # noqa: S101 - set by start
        if self.inner.left is not None:
            raise self.inner.left
        return lift(self.inner.commands, answer, self.channels, self.messages_key)


_current: ContextVar[CodeAction] = ContextVar("callgate_action")


def execute_code_tool() -> BaseTool:
    """Return the tool that runs the action of its context."""

    def run(code: str) -> ToolMessage:
        action = _current.get()
        inner, arguments = action.start()
        return action.message(action.runner.run(code, invoke=inner.invoke, **arguments))

    async def arun(code: str) -> ToolMessage:
        action = _current.get()
        inner, arguments = action.start()
        return action.message(await action.runner.arun(code, invoke=inner.ainvoke, **arguments))

    schema = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    return StructuredTool(
        name=EXECUTE_CODE, description="Run a program that calls tools.", args_schema=schema, func=run, coroutine=arun
    )


def write_event(event: Event) -> None:
    """Write an event of the running action to the graph's custom stream."""
    _current.get().writer(event)


def _fault(call: ToolCall) -> ToolMessage | None:
    """Return the answer to a call without a program, None for one that has it."""
    code: object = call["args"].get("code")
    if isinstance(code, str):
        return None
    return ToolMessage(
        f"Error: code {'is missing' if code is None else 'must be a string'}, so nothing ran. "
        f'Call {EXECUTE_CODE} again with {{"code": "<the Python program>"}}.',
        name=EXECUTE_CODE,
        tool_call_id=cast(str, call["id"]),
        status="error",
    )


def _file(one: Artifact) -> dict[str, JSON]:
    """Return a file as a dict, its data in base64, for a checkpoint holds what JSON does."""
    return {"name": one.name, "size": one.size, "digest": one.digest, "data": base64.b64encode(one.data).decode()}


def _plain(call: CallRecord) -> dict[str, JSON]:
    """Return a call as a dict; large arguments and a large result stand only in the journal."""
    fields = asdict(call)
    arguments, text = fields.pop("arguments_text"), fields.pop("result")
    if len(arguments) <= _SHOWN_VALUE:
        fields["arguments"] = call.arguments
    if text is None or len(text) <= _SHOWN_VALUE:
        fields["value"] = call.value
    return _storable(fields)


def _storable(value: JSON) -> JSON:
    """Return a value whose integers a checkpoint can hold; larger ones become text."""
    if is_dict(value):
        return {key: _storable(item) for key, item in value.items()}
    if is_list(value):
        return [_storable(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 63 else value
