"""One program, from the frame that brings it to the frame that ends it."""

from __future__ import annotations

import asyncio
import builtins
import gc
import inspect
import json
import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from . import artifacts, calls, clocks, faults, loop, output, process, program, randomness, refusals, threads
from .baton import Channel, baton

if TYPE_CHECKING:
    from callgate.codec import NotJSON, encode, encode_any
    from callgate.room import COPIES, most_of
else:
    from .codec import NotJSON, encode, encode_any
    from .room import COPIES, most_of

TOO_LONG = "the program's value takes {:,} bytes, it may take {:,}"
TOO_MUCH = (
    "the program's value takes {:,} bytes, and more of the host's memory than frame_mb leaves it; "
    "end with less, or with one text in place of many values"
)
REPR = 2_000  # characters of a value that JSON cannot carry
ENVELOPE = 100  # bytes of the last frame beside its value and its error

TRIAL: dict[str, Any] = {
    "program": "import os\nos.getpid()",
    "tools": {},
    "seed": 0,
    "wall": 0.0,
    "limits": {"threads": 1, "frame_mb": 1, "output_kb": 1},
}

_exit, _collect, _dumps = os._exit, gc.collect, json.dumps


def install() -> None:
    """Replace clocks, randomness, threads and asyncio; once, before modules that copy names from them are imported.

    From then on nothing in this process may wait for a lock or sleep until `run` has connected it to a host.
    """
    clocks.install()
    randomness.install()
    process.install()
    threads.install()
    loop.install()
    faults.install()
    refusals.prepare()


def run(fd: int) -> NoReturn:
    """Run the program that arrives on a stream socket, tell the host how it ended, and exit."""
    baton.channel = Channel(fd)
    _action(TRIAL).rehearse()
    _action(baton.channel.receive()["run"]).run()


def _action(order: dict[str, Any]) -> Action:
    """Return what the host orders, with everything it depends on set."""
    limits = order["limits"]
    threads.begin(limits["threads"])
    calls.most = most_of(limits["frame_mb"])
    calls.room = calls.Room(limits["frame_mb"])
    process.begin(randomness.reseed(order["seed"]))
    clocks.begin(order["wall"])
    counter = output.capture(limits["output_kb"] << 10)
    return Action(order["program"], order["tools"], counter, limits.get("disk_mb", 0) << 20)


class Action:
    """The life of one program.

    Args:
        source: its text.
        tools: by the names it calls them.
        counter: of what it prints.
        disk: bytes that the files it leaves may have; with 0 none are sent.
    """

    def __init__(self, source: str, tools: dict[str, Any], counter: output.Counter, disk: int) -> None:
        self._source, self._counter, self._disk = source, counter, disk
        self._module = ModuleType("__main__")
        self._names = self._module.__dict__
        self._names.update(calls.names(tools), __builtins__=builtins)
        self._awaitable = {name for name in self._names if hasattr(self._names[name], "awaitable")}
        sys.modules["__main__"] = self._module
        sys.argv = [faults.PROGRAM]
        builtins.exit = builtins.quit = sys.exit
        os._exit = self._leave
        refusals.install()
        baton.give_up = self._give_up
        counter.flooded = self._flooded

    def rehearse(self) -> None:
        """Run it for nothing: whatever all programs touch is then this process's own before anybody waits for it."""
        with suppress(MemoryError):
            self._convert(self._execute()[0])

    def run(self) -> NoReturn:
        """Run it and end."""
        try:
            value, error = self._execute()
            if error is not None:
                baton.stuck = lambda: self._end("null", error)
            threads.join_at_end()
            text, error = ("null", error) if error is not None else self._convert(value)
            del value
            if self._disk and artifacts.any_left():
                error = self._close_files() or error
            self._end(text, error)
        except MemoryError as full:
            self._give_up(full)
        finally:
            _exit(9)

    def _execute(self) -> tuple[Any, dict[str, Any] | None]:
        try:
            ready = program.prepare(self._source, self._awaitable)
            # The one place where code runs that somebody else wrote; what it may do is the sandbox's business.
            awaitable = eval(ready.code, self._names)  # noqa: S307
            if awaitable is not None:
                with asyncio.Runner() as runner:
                    runner.run(awaitable)
        except BaseException as error:  # noqa: BLE001 - whatever a program raises ends it, never the guest
            if faults.limit_of(error) in faults.OWN:
                self._give_up(error)  # whatever threads it has
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

    def _close_files(self) -> dict[str, Any] | None:
        """Close the files the program left open, as an interpreter does that ends. Returns the fault of a full disk."""
        error = artifacts.write_out()  # before, too: of a cycle a file is closed below what still has to be written
        self._names.clear()
        _collect()
        error = artifacts.write_out() or error
        return faults.describe(error) if error is not None and faults.limit_of(error) is not None else None

    def _end(self, value: str, error: dict[str, Any] | None) -> NoReturn:
        try:
            fault = encode(error)
        except NotJSON:
            fault = encode({"type": "Exception", "text": "", "line": None, "trace": []})
        most = calls.most - len(fault) - ENVELOPE
        if len(value) > most or calls.room.size(value) is None:
            text = TOO_MUCH if len(value) <= most else TOO_LONG
            told: Any = {"type": "LimitExceeded", "text": text.format(len(value), most), "line": None, "trace": []}
            value, fault = "null", encode({**told, "limit": "frame_mb"})
        needs = COPIES * len(value) + (calls.room.size(value) or 0)
        left = self._send_files(len(value) + len(fault) + ENVELOPE, needs)
        body = f'{{"end":{{"value":{value},"error":{fault},"printed":{self._counter.printed}{left}}}}}'
        baton.channel.post(body.encode("ascii"))
        baton.channel.flush()
        _exit(0)

    def _send_files(self, last: int, needs: int) -> str:
        """Send the files the program left, and return what the last frame says of those that were not sent."""
        if not self._disk or not artifacts.any_left():
            return ""
        sending = artifacts.Sending(disk=self._disk, frame=calls.most, room=calls.room.free, last=needs)
        sending.run()
        if not sending.left:
            return ""
        told = f',"left":{_dumps(sending.left)},"more":{_dumps(sending.more)}'
        return told if last + len(told) <= calls.most else f',"more":{_dumps(sending.all_left())}'

    def _give_up(self, error: BaseException) -> NoReturn:
        """End for an exception that nobody can catch any more."""
        try:
            faults.give_back_reserve()
            fault = faults.OUT_OF_MEMORY
            with suppress(MemoryError):
                fault = faults.describe(error)
            self._names.clear()
            with suppress(MemoryError):
                artifacts.write_out()
            self._end("null", fault)
        finally:
            _exit(9)

    def _flooded(self) -> NoReturn:
        """End a program that prints without end."""
        text = f"the program printed more than {output.FLOOD} times what is kept of its output; print less"
        self._end("null", faults.of_limit("output_kb", text))

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
