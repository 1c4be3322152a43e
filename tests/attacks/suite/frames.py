"""Bytes on the channel that are no frames, or frames at the wrong time, or too many of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from attacks.attack import Attack, Control, Trial, World, crashed, executed, swelled
from attacks.bare import Endless

from callgate.calls import asked_for
from callgate.driver import Clock, Pass
from callgate.gate import Gate
from callgate.sandboxes import frames as wire
from callgate.sandboxes.base import CallFrame, EndFrame, Frame
from callgate.sandboxes.frames import Frames
from callgate.steps import Step

SHORT = World().but(seconds=0.3)
LONGER = Control(world=lambda world: world.but(seconds=20))


def _believe(text: str, takes: int) -> Frame:
    """Parse a frame as if a guest were a friend."""
    del takes
    given = json.loads(text)
    return next(parsed for kind in given if (parsed := wire._PARSERS[kind](given)) is not None)


def _feed(run: Pass, clock: Clock, frames: Frames, data: bytes) -> list[Step]:
    return run.gate.frames(frames.feed(data), clock.now())


def _obey(gate: Gate, frames: Iterable[Frame], now: float) -> list[Step]:
    """Do what a guest says, whenever it says it."""
    gate._clock.hear(now)
    for one in frames:
        if isinstance(one, CallFrame):
            call = asked_for(one, gate._seen, lambda key: f"forged/{len(gate.calls)}")
            gate.calls.append(call)
            call.n = len(gate.calls)
            gate._start(call)
        elif isinstance(one, EndFrame):
            gate.product.close(one)
    return gate._settle() if not gate.running else gate._out.take()


@contextmanager
def _patched(**values: Any) -> Iterator[None]:
    """Take the place of what both drivers import."""
    with ExitStack() as stack:
        for driver in ("callgate.driver_threads", "callgate.driver_asyncio"):
            for name, value in values.items():
                stack.enter_context(mock.patch(f"{driver}.{name}", value))
        yield


@contextmanager
def _believed() -> Iterator[None]:
    with _patched(fed=_feed), mock.patch.object(wire, "_parse", _believe):
        yield


@contextmanager
def _obeyed() -> Iterator[None]:
    with mock.patch.object(Gate, "frames", _obey), mock.patch.object(wire, "_whole", return_value=True):
        yield


@contextmanager
def _endless() -> Iterator[None]:
    with _patched(Frames=Endless), mock.patch("callgate.outcome.visible", str):
        yield


BELIEVED = Control(patch=_believed)
OBEYED = Control(patch=_obeyed)
ENDLESS = Control(patch=_endless, world=lambda world: world.but(output_kb=1 << 20))


@contextmanager
def _shown_as_it_is() -> Iterator[None]:
    with mock.patch("callgate.outcome._INVISIBLE", re.compile("(?!)")):
        yield


def hidden(trial: Trial) -> bool:
    """What a model or a person is shown has characters that hide or turn around text, or move the cursor."""
    return bool(set(trial.text) & set("\x1b\u202e\u2066\ufeff\x07\x08\r"))


def _call(n: int, tool: str = "note", args: str = '{"text":"forged"}') -> str:
    return f'post(b\'{{"call":{n},"tool":"{tool}","args":{args}}}\')\n'


_END = 'post(b\'{"end":{"value":1,"error":null,"printed":0}}\')\n'
_REST = "post(b'{\"rest\":null}')\n"


def _at_once(posts: str) -> str:
    """Return a program that sends all of these frames before anybody can answer the first one."""
    bodies = ", ".join(re.findall(r"post\((.*)\)\n", posts))
    return f"send(b''.join(len(one).to_bytes(4, 'big') + one for one in [{bodies}]))\n"


_CRASHES = {
    "no JSON": "post(b'nonsense')\n",
    "no text": "post(bytes(range(128, 256)))\n",
    "nothing": "post(b'')\n",
    "another kind of value": "post(b'[1, 2, 3]')\n",
    "a frame of an unknown kind": 'post(b\'{"grant":"everything"}\')\n',
    "deep nesting": "post(b'[' * 200_000)\n",
    "an endless number": "post(b'{\"rest\":' + b'9' * 10_000 + b'}')\n",
    "a call without a name": 'post(b\'{"call":1,"args":{}}\')\n',
    "a call by a name that is none": 'post(b\'{"call":1,"tool":[],"args":{}}\')\n',
    "a call with arguments that are none": 'post(b\'{"call":1,"tool":"note","args":7}\')\n',
    "an end that is none": "post(b'{\"end\":[]}')\n",
    "an answer to itself": 'post(b\'{"answer":1,"at":0,"value":1}\')\n',
    "the opening of the host": 'post(b\'{"run":{"program":"1","tools":{}}}\')\n',
}

_WRONG_ORDER = {
    "after resting": (1, _REST + _call(1) + _REST),
    "with a number ahead": (1, _call(7) + _REST),
    "with the same number": (2, _call(1) + _call(1) + _REST),
    "with number 0": (1, _call(0) + _REST),
    "after giving up what was never asked": (1, "post(b'{\"drop\":5}')\n" + _call(1) + _REST),
}

_TWICE = """\
ends = [b'{"end":{"value":%s,"error":null,"printed":0}}' % value for value in (b"1", b"true")]
send(b"".join(len(end).to_bytes(4, "big") + end for end in ends))
nap(0.2)
"""

_SWELLING = {
    "a frame without end": "send(b'\\x7f\\xff\\xff\\xff')\nfor _ in range(80):\n    send(bytes(1 << 20))\n",
    "one frame above the bound": "post(b'{\"out\":\"' + b'x' * (28 << 20) + b'\"}')\n",
    "output in many frames": "text = b'{\"out\":\"' + b'x' * 60_000 + b'\"}'\nfor _ in range(500):\n    post(text)\n",
}

_BODY = """\
body = b'{"call":1,"tool":"note","args":{"text":"still here"}}'
data = len(body).to_bytes(4, "big") + body
"""
_HEARD = _REST + "hear()\n"
_TORN = {
    "half a length": f"{_BODY}send(data[:2])\nnap(0.9)\nsend(data[2:])\n{_HEARD}",
    "half a frame": f"{_BODY}send(data[:20])\nnap(0.9)\nsend(data[20:])\n{_HEARD}",
    "one byte at a time": f"{_BODY}for byte in data:\n    send(bytes([byte]))\n    nap(0.02)\n{_HEARD}",
    "nothing, and not listening": f"{_call(1, 'big', '{}')}{_REST}nap(0.9)\nhear()\n{_call(2)}{_HEARD}",
}


_ENDED = ("ProcessDied", "ProtocolError", "seconds", "frame_mb", "calls", "output_kb", "NotJSON", "cpu_seconds")

ATTACKS = [
    *(
        Attack(name=f"send {what}", program=program + "nap(2)\n", won=crashed, control=BELIEVED, refusals=_ENDED)
        for what, program in _CRASHES.items()
    ),
    *(
        Attack(
            name=f"call {how}",
            program=program + "nap(0.2)\n",
            won=executed("note", times),
            control=OBEYED,
            refusals=_ENDED,
        )
        for how, (times, program) in _WRONG_ORDER.items()
    ),
    Attack(
        name="call after the end",
        program=_at_once(_END + _call(1) + _REST) + "nap(0.2)\n",
        won=executed("note"),
        control=OBEYED,
        refusals=_ENDED,
    ),
    Attack(name="end twice", program=_TWICE, control=OBEYED, refusals=_ENDED),
    *(
        Attack(name=f"swell the host by {what}", program=program, won=swelled, control=ENDLESS, refusals=_ENDED)
        for what, program in _SWELLING.items()
    ),
    *(
        Attack(
            name=f"hold the host up by sending {what}",
            program=program,
            won=executed("note"),
            world=SHORT,
            control=LONGER,
            refusals=_ENDED,
        )
        for what, program in _TORN.items()
    ),
    Attack(
        name="show what moves the cursor",
        program="print('\\x1b[2J\\x1b[1;1H\\r\\x08hidden')\nraise ValueError('\\x1b]0;title\\x07\\u202eturned\\u2066')",
        won=hidden,
        control=Control(patch=_shown_as_it_is),
        refusals=("ValueError",),
    ),
]
