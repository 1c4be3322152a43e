"""One program, from the frame that brings it to the frame that ends it."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from . import calls, clocks, faults, loop, output, program, randomness, refusals, threads
from .baton import Channel, baton

if TYPE_CHECKING:
    from callgate.codec import NotJSON, encode, encode_any
else:
    from .codec import NotJSON, encode, encode_any

TOO_LONG = "the program's value takes {:,} bytes, it may take {:,}"
TOO_MUCH = (
    "the program's value takes {:,} bytes, and more of the host's memory than frame_mb leaves it; "
    "end with less, or with one text in place of many values"
)
REPR = 2_000  # characters of a value that JSON cannot carry

_exit = os._exit


def install() -> None:
    """Replace clocks, randomness, threads and asyncio; once, before modules that copy names from them are imported.

    From then on nothing in this process may wait for a lock or sleep until `run` has connected it to a host.
    """
    clocks.install()
    randomness.install()
    threads.install()
    loop.install()
    faults.install()


def run(fd: int) -> NoReturn:
    """Run the program that arrives on a stream socket, tell the host how it ended, and exit."""
    baton.channel = Channel(fd)
    order = baton.channel.receive()["run"]
    limits = order["limits"]
    threads.limit = limits["threads"]
    calls.most = limits["frame_mb"] << 20
    calls.room = calls.Room(limits["frame_mb"])
    randomness.reseed(order["seed"])
    clocks.begin(order["wall"])
    Action(order["program"], order["tools"], output.capture(limits["output_kb"] << 10)).run()


class Action:
    """The life of one program."""

    def __init__(self, source: str, tools: dict[str, Any], counter: output.Counter) -> None:
        self._source = source
        self._counter = counter
        self._module = ModuleType("__main__")
        self._names = self._module.__dict__
        self._names.update(calls.names(tools), __builtins__=builtins)
        self._awaitable = {name for name in self._names if hasattr(self._names[name], "awaitable")}
        sys.modules["__main__"] = self._module
        sys.argv = [faults.PROGRAM]
        builtins.exit = builtins.quit = sys.exit
        os._exit = self._leave
        refusals.install()
        baton.out_of_memory = self._end_without_memory

    def run(self) -> NoReturn:
        """Run it and end."""
        try:
            value, error = self._execute()
            if error is not None:
                baton.stuck = lambda: self._end("null", error)
            threads.join_at_end()
            self._end(*(("null", error) if error is not None else self._convert(value)))
        except MemoryError:
            self._end_without_memory()

    def _execute(self) -> tuple[Any, dict[str, Any] | None]:
        try:
            ready = program.prepare(self._source, self._awaitable)
            # The one place where code runs that somebody else wrote; what it may do is the sandbox's business.
            awaitable = eval(ready.code, self._names)  # noqa: S307
            if awaitable is not None:
                with asyncio.Runner() as runner:
                    runner.run(awaitable)
        except BaseException as error:  # noqa: BLE001 - whatever a program raises ends it, never the guest
            return None, _fault(error)
        value = self._names.pop(program.VALUE, None)
        if inspect.iscoroutine(value):
            value.close()
            text = f"the last line gives a coroutine that nobody awaits; write: await {value.__name__}(...)"
            return None, {"type": "TypeError", "text": text, "line": ready.line, "trace": []}
        return (None if ready.assigns and self._counter.printed else value), None

    def _convert(self, value: Any) -> tuple[str, dict[str, Any] | None]:
        try:
            return encode_any(value), None
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - NotJSON, or whatever methods of the value raise
            return encode(_repr(value)), None

    def _end(self, value: str, error: dict[str, Any] | None) -> NoReturn:
        try:
            fault = encode(error)
        except NotJSON:
            fault = encode({"type": "Exception", "text": "", "line": None, "trace": []})
        printed = self._counter.printed
        most = calls.most - len(fault) - 100
        if len(value) > most or calls.room.size(value) is None:
            text = TOO_MUCH if len(value) <= most else TOO_LONG
            told: Any = {"type": "LimitExceeded", "text": text.format(len(value), most), "line": None, "trace": []}
            value, fault = "null", encode({**told, "limit": "frame_mb"})
        baton.channel.post(f'{{"end":{{"value":{value},"error":{fault},"printed":{printed}}}}}'.encode("ascii"))
        baton.channel.flush()
        _exit(0)

    def _end_without_memory(self) -> NoReturn:
        self._names.clear()
        self._end("null", faults.describe(MemoryError()))

    def _leave(self, status: int = 0, /) -> NoReturn:
        """os._exit of the program."""
        self._end("null", _fault(SystemExit(status)))


def _fault(error: BaseException) -> dict[str, Any] | None:
    if isinstance(error, SystemExit) and not error.code:
        return None
    return faults.describe(error)


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a program's own __repr__, or one nested too deep
        text = f"<{type(value).__name__}>"
    if len(text) > REPR:
        text = f"{text[:REPR]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode()
