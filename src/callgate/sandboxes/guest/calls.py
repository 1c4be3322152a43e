"""Calling tools from a program."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, cast

from .baton import baton

if TYPE_CHECKING:
    from callgate.codec import JSON, NotJSON, encode
    from callgate.room import CALL_COPIES, kept_size, most_of, room_of, size_within
else:
    from .codec import JSON, NotJSON, encode
    from .room import CALL_COPIES, kept_size, most_of, room_of, size_within

most = most_of(16)
"""Bytes of one frame."""

ENVELOPE = 1000
"""What a frame takes beside the value or the arguments in it."""


class CallgateError(Exception):
    """Root of what a call raises."""


class Refused(CallgateError):
    """The gate did not let a call through. The tool was not called."""

    def __init__(self, message: str = "", *, tool: str = "") -> None:
        super().__init__(message)
        self.tool = tool


class UnknownTool(Refused):
    """There is no tool of that name."""


class NotAllowed(Refused):
    """The tool exists and may not be called from code."""


class InvalidArguments(Refused):
    """Argument names the tool does not have or misses, or a value that JSON cannot carry."""


class ApprovalRejected(Refused):
    """A human rejected this call."""


class LimitExceeded(Refused):
    """A limit is used up."""

    def __init__(self, message: str = "", *, tool: str = "", limit: str = "") -> None:
        super().__init__(message, tool=tool)
        self.limit = limit


class ToolFailed(CallgateError):
    """The tool ran and raised."""

    def __init__(self, message: str = "", *, tool: str = "") -> None:
        super().__init__(message)
        self.tool = tool


ERRORS: dict[str, type[CallgateError]] = {
    kind.__name__: kind
    for kind in (Refused, UnknownTool, NotAllowed, InvalidArguments, ApprovalRejected, LimitExceeded, ToolFailed)
}
for _kind in ERRORS.values():
    _kind.__module__ = "__main__"  # where a program finds them: pickle and tracebacks then agree

Answer = dict[str, Any]
Request = tuple[bytes, int]


class Room:
    """What this program may still send: the host has so much memory for it, and ends who takes more.

    Args:
        frame_mb: of the limits.
    """

    def __init__(self, frame_mb: int) -> None:
        self.left = room_of(frame_mb)
        self.unanswered: dict[int, int] = {}
        """What the arguments of calls take there until they are answered, where that is much."""
        self._shared = self.left // 4
        self._taken = 0

    @property
    def free(self) -> int:
        """What the host has room for now."""
        sizes = self.unanswered.values()
        return self.left - min(sum(sizes), max((self._shared, *sizes)))

    def size(self, text: str) -> int | None:
        """Return what a value takes on the host, 0 for little, None where the host cannot take it now."""
        return size_within(text, self.free - ENVELOPE)

    def take(self, text: str, length: int) -> int:
        """Count the arguments of a call whose frame has that length; 0 where they are too much.

        Returns what to give back when the call is answered.
        """
        kept, size = kept_size(length, CALL_COPIES), self.size(text)
        if kept > self.left or size is None:
            return 0
        self.left -= kept
        self._taken += 1
        if size:
            self.unanswered = {**self.unanswered, self._taken: size}
        return self._taken

    def give_back(self, taken: int) -> None:
        """Hear that a call is answered."""
        self.unanswered = {key: size for key, size in self.unanswered.items() if key != taken}


room = Room(16)


def call_tool(name: str, /, *positional: Any, **arguments: Any) -> JSON:
    """Call a tool by its name and return its result, a JSON value: `call_tool('get_user', id=1)`."""
    body = _request(name, positional, arguments)
    strand = baton.current
    answers: list[Answer] = []

    def arrived(answer: Answer) -> None:
        answers.append(answer)
        baton.wake(strand)

    _ask(body, arrived)
    baton.park()
    return _result(answers[0])


def call_tools(calls: Iterable[tuple[str, Mapping[str, Any]]], /) -> list[JSON]:
    """Call tools in parallel and return their results in order: `call_tools([('get_user', {'id': 1}), ...])`.

    If some fail, all are waited for, and then the first failure in order is raised.
    """
    strand = baton.current
    answers = _ask_all(calls, _Latch(lambda: baton.wake(strand)))
    if answers:
        baton.park()
    return [_result(answer) for answer in answers]


async def acall_tool(name: str, /, *positional: Any, **arguments: Any) -> JSON:
    """The awaitable twin of call_tool."""
    body = _request(name, positional, arguments)
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    n = _ask(body, lambda answer: _settle(future, answer))
    try:
        return _result(await future)
    finally:
        _drop(n)


async def acall_tools(calls: Iterable[tuple[str, Mapping[str, Any]]], /) -> list[JSON]:
    """The awaitable twin of call_tools."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    before = baton.asked
    answers = _ask_all(calls, _Latch(lambda: _settle(future, None)))
    first, last = before + 1, baton.asked
    try:
        if answers:
            await future
    finally:
        for n in range(first, last + 1):
            _drop(n)
    return [_result(answer) for answer in answers]


class _Latch:
    """Counts the answers of parallel calls and lets their caller go on at the last."""

    def __init__(self, go_on: Callable[[], object]) -> None:
        self._go_on = go_on
        self.missing = 0

    def count(self) -> None:
        self.missing -= 1
        if not self.missing:
            self._go_on()


def _pair(call: object) -> tuple[str, dict[str, Any]]:
    pair = list(cast("list[object]", call)) if isinstance(call, tuple | list) else []
    if len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], Mapping):
        return pair[0], dict(cast("Mapping[str, Any]", pair[1]))
    raise TypeError(f"call_tools() takes pairs: [('name', {{'argument': ...}}), ...], not {call!r:.80}")


def _ask_all(calls: Iterable[object], latch: _Latch) -> list[Answer]:
    bodies: list[Request] = []
    before = room.left, room.unanswered
    try:
        for call in calls:
            name, arguments = _pair(call)
            bodies.append(_request(name, (), arguments))
    except BaseException:  # none of them is asked for
        room.left, room.unanswered = before
        raise
    answers: list[Answer] = [{}] * len(bodies)
    latch.missing = len(bodies)
    for place, body in enumerate(bodies):

        def arrived(answer: Answer, place: int = place) -> None:
            answers[place] = answer
            latch.count()

        _ask(body, arrived)
    return answers


def _request(name: Any, positional: Sequence[Any], arguments: dict[str, Any]) -> Request:
    """Return what follows the number in a call's frame, and what it takes, or raise what is wrong with it."""
    if not isinstance(name, str):
        raise TypeError(f"a tool is called by its name, a string, not {name!r:.80}")
    if positional:
        keys: list[Any] = [*positional[0]] if isinstance(positional[0], Mapping) else []
        shown = ", ".join(f"{key}=..." for key in keys[:3]) or "argument=..."
        raise TypeError(f"arguments are passed by name: call_tool({name!r}, {shown})")
    try:
        quoted = f'"{name}"' if name.isidentifier() and name.isascii() else encode(name)
        text = encode(arguments)
    except NotJSON as error:
        raise InvalidArguments(f"{name}: {error}", tool=name) from None
    size = len(text) + len(quoted) + 50
    if size > most:
        raise LimitExceeded(
            f"{name}: the arguments take {len(text):,} bytes, a call may take {most:,}", tool=name, limit="frame_mb"
        )
    taken = room.take(text, size)
    if not taken:
        raise LimitExceeded(
            f"{name}: the arguments take {len(text):,} bytes, and more of the host's memory than frame_mb leaves this "
            "program; pass less, or one text in place of many values",
            tool=name,
            limit="frame_mb",
        )
    return f',"tool":{quoted},"args":{text}}}'.encode("ascii"), taken


def _ask(request: Request, arrived: Callable[[Answer], object]) -> int:
    body, taken = request
    baton.asked = n = baton.asked + 1
    baton.waiting[n] = arrived
    if taken in room.unanswered:

        def answered(answer: Answer) -> None:
            room.give_back(taken)
            arrived(answer)

        baton.waiting[n] = answered
    baton.channel.post(f'{{"call":{n}'.encode("ascii"), body)
    return n


def _drop(n: int) -> None:
    """Tell the host that nobody waits for an answer, if it has not come."""
    if baton.waiting.pop(n, None) is not None:
        baton.channel.post(f'{{"drop":{n}}}'.encode("ascii"))


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    loop = future.get_loop()
    if not future.done() and not loop.is_closed():
        future.set_result(answer)
        getattr(loop, "_write_to_self")()  # noqa: B009 - as call_soon_threadsafe does, which would cost a copied context


def _result(answer: Answer) -> JSON:
    fault = answer.get("error")
    if fault is None:
        return answer["value"]
    kind = ERRORS.get(fault["type"], ToolFailed)
    fields = {"tool": fault.get("tool") or ""}
    if kind is LimitExceeded:
        fields["limit"] = fault.get("limit") or ""
    raise kind(fault["text"], **fields)


class ToolFunction:
    """A tool as a function of its own name; positional arguments go to its parameters in order."""

    def __init__(self, name: str, tool: str, params: Sequence[str]) -> None:
        self.__name__ = self.__qualname__ = name
        self.__module__ = "__main__"
        self.__doc__ = f"{name}({', '.join(params)}): call the tool {tool!r}; see describe_tool({tool!r})."
        self._tool = tool
        self._params = tuple(params)

    def __call__(self, /, *positional: Any, **arguments: Any) -> JSON:  # noqa: D102 - programs read `__doc__`
        if positional:
            arguments = self._named(positional, arguments)
        return call_tool(self._tool, **arguments)

    def awaitable(self, /, *positional: Any, **arguments: Any) -> Awaitable[JSON]:
        """Call the tool and return an awaitable of its result."""
        if positional:
            arguments = self._named(positional, arguments)
        return acall_tool(self._tool, **arguments)

    def _named(self, positional: tuple[Any, ...], arguments: dict[str, Any]) -> dict[str, Any]:
        params = self._params
        if len(positional) > len(params):
            names = ", ".join(params) or "none"
            raise TypeError(f"{self.__name__}() has {len(params)} parameters ({names}), got {len(positional)}")
        named = dict(zip(params, positional, strict=False))
        if arguments:
            if twice := named.keys() & arguments.keys():
                raise TypeError(f"{self.__name__}() got {min(twice)!r} twice; its parameters are ({', '.join(params)})")
            named |= arguments
        return named

    @property
    def __signature__(self) -> Signature:
        usable = [name for name in self._params if name.isidentifier()]
        return Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in usable])

    def __repr__(self) -> str:
        return f"<tool {self.__name__}({', '.join(self._params)})>"

    def __reduce__(self) -> str:
        return self.__name__


load_value = ToolFunction("load_value", "load_value", ["handle"])
search_tools = ToolFunction("search_tools", "search_tools", ["query"])
describe_tool = ToolFunction("describe_tool", "describe_tool", ["name"])
call_tool.awaitable = acall_tool  # type: ignore[attr-defined]
call_tools.awaitable = acall_tools  # type: ignore[attr-defined]
for _function in (call_tool, call_tools, acall_tool):
    _function.__module__ = "__main__"

GUEST_NAMES: dict[str, Any] = {
    "call_tool": call_tool,
    "call_tools": call_tools,
    "acall_tool": acall_tool,
    "load_value": load_value,
    "search_tools": search_tools,
    "describe_tool": describe_tool,
    **ERRORS,
}
"""What every program finds besides its tools."""


def names(tools: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the names of a program: its tools as functions, the guest's own functions and exceptions."""
    functions = {name: ToolFunction(name, one["tool"], one["params"]) for name, one in tools.items()}
    return functions | GUEST_NAMES
