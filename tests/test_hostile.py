"""Guests that lie, flood and hide: the host stays whole, and what it says stays short and plain."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from simulated import Life, World, call, drop, end, file, out, rest, tool_of

from callgate import CodeRunner, Limits, MemoryJournal, SqliteJournal, ToolFailed, tool
from callgate.room import CALL_COPIES
from callgate.sandboxes.frames import BadFrame, Frames
from callgate.steps import Pause


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"rest":' + b"9" * 400 + b"}", id="an endless number"),
        pytest.param(b'{"rest":-1}', id="a negative time"),
        pytest.param(b'{"rest":1e400}', id="an infinite time"),
        pytest.param(b'{"rest":true}', id="a time that is none"),
        pytest.param(b'{"drop":0}', id="call 0 dropped"),
        pytest.param(b'{"drop":-1}', id="a negative call dropped"),
        pytest.param(b'{"out":""}', id="nothing printed"),
        pytest.param(b'{"call":0,"tool":"a","args":{}}', id="call 0"),
        pytest.param(b'{"call":true,"tool":"a","args":{}}', id="call true"),
        pytest.param(b'{"call":1,"tool":1,"args":{}}', id="a tool without a name"),
        pytest.param(b'{"call":1,"tool":"a","args":[]}', id="arguments without names"),
        pytest.param(b'{"end":{"value":1,"error":null,"printed":-1}}', id="less than nothing printed"),
        pytest.param(b'{"end":{"value":1,"error":null,"printed":' + b"9" * 400 + b"}}", id="too much printed"),
        pytest.param(b'{"end":{"value":1,"error":[],"printed":0}}', id="an error that is none"),
        pytest.param(b'{"end":1}', id="no end"),
        pytest.param(b'{"file":1,"data":""}', id="a file without a name"),
        pytest.param(b'{"file":"a","data":null}', id="a file without data"),
        pytest.param(b'{"file":"a","data":"YQ"}', id="base64 cut short"),
        pytest.param(b'{"file":"a","data":"Y!Q="}', id="no base64"),
        pytest.param(b'{"file":"a","data":"YQ==YQ=="}', id="base64 that goes on"),
        pytest.param(b'{"file":"a","data":"\\u00e4"}', id="base64 that is no ASCII"),
        pytest.param(b'{"end":{"value":NaN,"error":null,"printed":0}}', id="NaN"),
        pytest.param(b"[" * 100_000, id="deep nesting"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"{}", id="nothing"),
        pytest.param(b"null", id="null"),
    ],
)
def test_what_is_no_frame_is_refused(body):
    with pytest.raises(BadFrame):
        list(Frames(16).feed(framed(body)))


def test_a_frame_above_the_limit_is_refused_before_its_body_arrives():
    with pytest.raises(BadFrame) as caught:
        list(Frames(1).feed((2 << 20).to_bytes(4, "big")))
    assert caught.value.limit == "frame_mb"


def test_all_calls_of_a_guest_together_are_bounded():
    frames = Frames(1)
    data = b"".join(
        framed(json.dumps({"call": n, "tool": "f", "args": {"x": "x" * 50_000}}).encode()) for n in range(1, 50)
    )
    taken = []
    with pytest.raises(BadFrame) as caught:
        taken.extend(frames.feed(data))
    assert caught.value.limit == "frame_mb"
    assert 3 << 20 < len(taken) * CALL_COPIES * 50_000 < 4 << 20


def test_frames_may_arrive_byte_by_byte():
    frames = Frames(1)
    data = framed(b'{"rest":null}') + framed(b'{"drop":1}')
    assert len([one for byte in data for one in frames.feed(bytes([byte]))]) == 2


def test_an_error_of_a_guest_is_cut_to_its_form():
    error = {
        "type": "\ud800" + "T" * 9000,
        "text": "x" * 99_999,
        "line": True,
        "trace": [[1, "f"], ["x"], 5],
        "limit": ["no"],
    }
    body = json.dumps({"end": {"value": None, "error": error, "printed": 0}}).encode()
    (ended,) = Frames(16).feed(framed(body))
    assert len(ended.error["type"]) <= 200
    assert len(ended.error["text"]) == 8100
    assert (ended.error["line"], ended.error["trace"]) == (None, [[1, "f"]])
    assert "limit" not in ended.error


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([rest(), call(1, "get")], id="a call at rest"),
        pytest.param([rest(), rest()], id="a rest at rest"),
        pytest.param([end(), call(1, "get")], id="a call after the end"),
        pytest.param([call(2, "get")], id="a wrong number"),
        pytest.param([rest(), file("a")], id="a file at rest"),
        pytest.param([file("a"), call(1, "get")], id="a call after a file"),
        pytest.param([file("a"), rest()], id="a rest after a file"),
        pytest.param([file("a"), out("x")], id="output after a file"),
        pytest.param([call(1, "get"), file("a"), drop(1)], id="a call dropped after a file"),
        pytest.param([end(), file("a")], id="a file after the end"),
        pytest.param([file(f"{n}") for n in range(101)], id="too many files"),
        pytest.param([file("a", bytes(1 << 20)), file("b", b"x")], id="too much of files"),
    ],
)
def test_a_guest_that_speaks_out_of_turn_is_ended(frames):
    def guest():
        yield frames

    life = Life(World(tools=[tool_of("get", "read")], limits=Limits(disk_mb=1)))
    last = life.go(guest)
    assert (last.status, last.error["type"]) == ("failed", "ProtocolError")
    assert life.world.done == []
    assert life.passes[0].gate.product.artifacts == ()


def test_an_approval_never_moves_to_another_call_however_a_program_reorders_its_calls():
    """In its second pass the program asks in another order; ids, and what humans say under them, stay with the calls."""
    pay, note, third = ("pay", {"to": "mallory"}), ("note", {"text": "hello"}), ("note", {"text": "third"})

    def asking(*calls):
        def guest():
            event = yield [*(call(n, tool, **args) for n, (tool, args) in enumerate(calls, 1)), rest()]
            while "answer" in event or "clock" in event:
                event = yield [rest()]

        return guest

    life = Life(World(tools=[tool_of("pay"), tool_of("note")], interrupt_on={"pay": True, "note": True}))
    first = life.go(asking(pay, note, third))
    ids = {json.dumps(one.arguments): one.id for one in first.waiting}
    life.decide({ids[json.dumps(third[1])]: "approve"})
    second = life.go(asking(note, pay, third))
    assert isinstance(second, Pause)
    assert {json.dumps(one.arguments): one.id for one in second.waiting}.items() <= ids.items()
    life.decide({ids[json.dumps(note[1])]: "approve", ids[json.dumps(pay[1])]: {"type": "reject"}})
    life.go(asking(note, pay, third))
    assert ("pay", {"to": "mallory"}) not in life.world.done
    assert ("note", {"text": "hello"}) in life.world.done


# ---- in a real sandbox


@tool(effect="read")
def numbers(values: list[int]) -> int:
    """Add numbers."""
    return sum(values)


@tool(effect="read")
def quits() -> int:
    """End the host, if it is let."""
    raise SystemExit(3)


@tool(effect="read")
def rows() -> str:
    """Return something large."""
    return "x" * 300_000


def run(sandbox, program, **limits):
    return CodeRunner([numbers, quits, rows], sandbox=sandbox, limits=Limits(**limits)).run(program)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("raise type('A' * 3_000_000, (Exception,), {})('\\u202e' * 3_000_000)", id="names and texts"),
        pytest.param("numbers(values=[''] * 300_000)", id="validation errors"),
        pytest.param("numbers(**{'k%d\\u202e' % n: 1 for n in range(50_000)})", id="argument names"),
        pytest.param("x = 'alph' * 3_000_000\ncall_tool(x)", id="tool names"),
        pytest.param("e = LimitExceeded('x', tool='t', limit='\\x1b' + 'B' * 3_000_000)\nraise e", id="limits"),
        pytest.param(
            "numbers(values=[1])\nx = 'y' * 1_000_000\nraise ValueError(x)  # " + "z" * 5000, id="source lines"
        ),
    ],
)
def test_what_the_model_reads_stays_short_and_plain(sandbox, program):
    text = run(sandbox, program).text
    assert len(text) < 30_000
    assert not set(text) & {"\u202e", "\x1b"}


WRITE = "import os, struct\ndef raw(body): os.write(3, struct.pack('>I', len(body)) + body)\n"


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param("while True: os.write(3, (b'\\0\\0\\0\\x0a' + b'{\"drop\":0}') * 1000)", id="drops"),
        pytest.param("while True: raw(b'{\"rest\":null}')", id="rests"),
        pytest.param('while True: raw(b\'{"out":"x"}\')', id="output"),
        pytest.param("while True: os.write(3, b'\\xff' * 60000)", id="garbage"),
        pytest.param("raw(b'{\"rest\":' + b'9' * 400 + b'}')", id="a number"),
    ],
)
def test_a_flood_of_frames_ends_the_action_and_holds_up_nobody(jail, flood):
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - began)

    async def main():
        watching = asyncio.create_task(watch())
        outcome = await CodeRunner([rows], sandbox=jail, limits=Limits(seconds=20)).arun(WRITE + flood)
        watching.cancel()
        return outcome

    outcome = asyncio.run(main())
    assert outcome.status in ("failed", "limited")
    assert longest < 5
    assert outcome.journal.entries()[-1]["e"] == "ended"


def test_a_tool_that_ends_the_process_fails_as_a_tool(sandbox):
    outcome = run(sandbox, "for n in range(2):\n    try: quits()\n    except ToolFailed as e: print(e)")
    assert (outcome.status, outcome.stdout.count("SystemExit")) == ("completed", 2)


@pytest.mark.parametrize("handle", ["2#0123456789abcdef", "job", "../x", "", "0" * 33, 5, None])
def test_a_handle_is_32_digits_and_nothing_else(sandbox, handle):
    outcome = run(sandbox, f"x = load_value({handle!r})\nx")
    assert (outcome.status, outcome.error.type) == ("failed", "ToolFailed")


def test_two_actions_may_keep_the_same_value_at_the_same_time(sandbox, tmp_path):
    runner = CodeRunner([rows], sandbox=sandbox, journal=SqliteJournal(tmp_path / "journal.db"))

    async def main():
        return await asyncio.gather(*(runner.arun("a = rows()\nb = rows()\nlen(a + b)") for _ in range(6)))

    assert [outcome.value for outcome in asyncio.run(main())] == [600_000] * 6


def test_a_store_that_fails_at_the_end_ends_the_run_with_its_error(sandbox):
    class Failing(MemoryJournal):
        def append(self, key, position, lines):
            if any('"e":"ended"' in line for line in lines):
                raise OSError("disk full")
            super().append(key, position, lines)

    with pytest.raises(OSError, match="disk full"):
        CodeRunner([rows], sandbox=sandbox, journal=Failing()).run("x = rows()\n1")


def test_an_approval_text_that_cannot_be_made_falls_back(sandbox):
    def describe(call):
        return f"{call.arguments['values']:.2f}"

    runner = CodeRunner([numbers], sandbox=sandbox, interrupt_on={"numbers": {"description": describe}})
    outcome = runner.run("x = numbers(values='abc')\nx")
    assert outcome.waiting[0].description == "A program wants to call numbers."


def test_refused_arguments_are_not_hoarded(sandbox):
    program = "for n in range(5):\n    try: numbers(nope='x' * 3_000_000)\n    except Refused: pass\n'done'"
    outcome = run(sandbox, program)
    assert outcome.value == "done"
    assert len(outcome.journal.text()) < 10_000


def test_a_failing_tools_text_is_bounded(sandbox):
    @tool(effect="read")
    def wordy() -> int:
        """Fail at length."""
        raise ToolFailed("x" * 1_000_000)

    outcome = CodeRunner([wordy], sandbox=sandbox).run("wordy()")
    assert len(outcome.error.text) == 8100
