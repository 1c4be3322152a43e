"""Raw return values of LangChain tools.

`BaseTool.invoke` answers with a message. Its text has lost the types ("123" and 123 read the same), so what a tool
returned is noted on the way: by a stand-in of the tool that is the tool in everything else. It shares the tool's
state, and injection, validation, error handling and callbacks stay LangChain's.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import ToolMessage
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.tools import BaseTool

from callgate.errors import OutcomeUnknown, ToolFailed
from callgate.mcp import outcome_unknown
from callgate_langchain.guards import is_dict, is_list

__all__ = ["Capture", "capture", "capturing", "subclass", "text_of", "twin"]

_STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""Where pydantic keeps what an object is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """One run of a tool: the message LangChain made of it, and what the tool returned."""

    content: object
    artifact: object
    raw: Any


class Capture:
    """What the runs of one call returned; a retry makes several."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.made: list[_Made] = []
        self.unknown: OutcomeUnknown | None = None
        """Raised by a run that does not know what became of it, whatever error handling made of that."""

    def value(self, answer: ToolMessage) -> Any:
        """Return the value of a call whose last message is answer.

        That is the `structured_content` of its artifact, else what the tool returned (the content part, for a tool of
        content and artifact), else the message's text. A wrapper that gave the message another content meant it: then
        that counts, and what the tool returned stays hidden.

        Raises:
            ToolFailed: with the message's text, if it has the status error.
            OutcomeUnknown: if it has, and nobody knows whether the tool ran.
        """
        if answer.status == "error":
            raise self.failed(answer)
        made = next((one for one in reversed(self.made) if one.content == answer.content), None)
        if made is None and self.made:
            last = self.made[-1]
            structured = _structured(last.artifact)
            return _reread(_plain(answer.content), last.raw if structured is None else structured)
        structured = _structured(answer.artifact)
        if structured is not None:
            return structured
        return _plain(answer.content) if made is None or _is_output(made.raw) else made.raw

    def failed(self, answer: ToolMessage) -> Exception:
        """Return what a message with the status error stands for."""
        return self.unknown or ToolFailed(text_of(answer))


_capture: ContextVar[Capture | None] = ContextVar("callgate_capture", default=None)
_cell: ContextVar[list[Any] | None] = ContextVar("callgate_cell", default=None)


@contextmanager
def capture(call_id: str) -> Generator[Capture]:
    """Note what stand-ins return for the call with this id, in this context and in those copied from it."""
    one = Capture(call_id)
    token = _capture.set(one)
    try:
        yield one
    finally:
        _capture.reset(token)


def capturing(tool: BaseTool) -> BaseTool:
    """Return the stand-in of a tool: an instance of a subclass of its class, with the tool's own state."""
    return twin(tool, _capturing_class(type(tool)))


def twin(tool: BaseTool, kind: type[BaseTool]) -> BaseTool:
    """Return a tool of a subclass of a tool's class, with the tool's own state."""
    made = object.__new__(kind)
    for name in _STATE:
        object.__setattr__(made, name, getattr(tool, name))  # shared, so that both see what either changes
    return made


def subclass(kind: type[BaseTool], body: dict[str, Any]) -> type[BaseTool]:
    """Make a subclass with another body that passes for the class itself. Pydantic takes over a millisecond for it."""
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    metaclass: Any = type(kind)
    return metaclass(kind.__name__, (kind,), {**named, **body})


@functools.cache
def _capturing_class(kind: type[BaseTool]) -> type[BaseTool]:
    """Make the subclass once per class."""

    @functools.wraps(kind._run)  # pyright: ignore[reportPrivateUsage] - the documented method to override
    def run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        with _noticing():
            return _note(self, kind._run(self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    @functools.wraps(kind._arun)  # pyright: ignore[reportPrivateUsage]
    async def arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        with _noticing():
            return _note(self, await kind._arun(self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    def invoke(self: BaseTool, input: Any, config: Any = None, **kwargs: Any) -> Any:
        with _noting(input) as keep:
            return keep(kind.invoke(self, input, config, **kwargs))

    async def ainvoke(self: BaseTool, input: Any, config: Any = None, **kwargs: Any) -> Any:
        with _noting(input) as keep:
            return keep(await kind.ainvoke(self, input, config, **kwargs))

    body: dict[str, Any] = {"_run": run, "invoke": invoke, "ainvoke": ainvoke}
    if kind._arun is not BaseTool._arun:  # pyright: ignore[reportPrivateUsage] - LangChain asks the same question
        body["_arun"] = arun
    return subclass(kind, body)


@contextmanager
def _noticing() -> Generator[None]:
    """Note that a run does not know what became of it: a ToolNode may make a message of that like any other."""
    try:
        yield
    except Exception as error:
        if (unknown := outcome_unknown(error)) is None:
            raise
        if (now := _capture.get()) is not None:
            now.unknown = unknown
        if unknown is error:
            raise
        raise unknown from error


def _note(tool: BaseTool, returned: Any) -> Any:
    cell = _cell.get()
    if cell is not None:
        cell.append(_content(returned) if tool.response_format == "content_and_artifact" else returned)
    return returned


def _content(returned: Any) -> Any:
    """Return the content of a (content, artifact) pair."""
    return _plain(returned[0]) if isinstance(returned, tuple) and returned else cast(Any, returned)


@contextmanager
def _noting(input: Any) -> Generator[Callable[[Any], Any]]:
    """Pair what `_run` returns with the message that `invoke` makes of it."""
    now = _capture.get()
    if now is None or not is_dict(input) or input.get("id") != now.call_id:
        yield lambda message: message
        return
    cell: list[Any] = []

    def keep(message: Any) -> Any:
        if cell:  # the last one is the tool's own: tools that it calls itself return before it does
            content = copy.deepcopy(getattr(message, "content", None))  # a wrapper may change it in place
            now.made.append(_Made(content=content, artifact=getattr(message, "artifact", None), raw=cell[-1]))
        return message

    token = _cell.set(cell)
    try:
        yield keep
    finally:
        _cell.reset(token)


def text_of(message: ToolMessage) -> str:
    """Return the text of a message, whatever form its content has."""
    plain = _plain(message.content)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, default=str)


def _plain(content: Any) -> Any:
    """Return content, or its text if it is one text block."""
    if is_list(content) and len(content) == 1 and is_dict(content[0]) and content[0].get("type") == "text":
        return content[0].get("text", "")
    return content


def _structured(artifact: Any) -> Any:
    """Return an MCP tool's structured content; servers wrap what is no object as {"result": it}."""
    structured = artifact.get("structured_content") if is_dict(artifact) else None
    return structured["result"] if is_dict(structured) and structured.keys() == {"result"} else structured


def _is_output(raw: Any) -> bool:
    """Say whether a tool made its message, a Command or a list of them itself."""
    several = raw if is_list(raw) else [raw]
    return bool(several) and all(isinstance(one, ToolOutputMixin) for one in several)


def _reread(content: Any, raw: Any) -> Any:
    """Return changed text as the value it was the JSON of, where it still is one."""
    if not isinstance(content, str) or isinstance(raw, str) or _is_output(raw):
        return content
    try:
        return json.loads(content)
    except ValueError:
        return content
