"""How a program ends: its value, its output, its error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from guest.harness import Tool, run

from callgate.limits import Limits


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("", None),
        ("1 + 1", 2),
        ("x = 5", 5),
        ("x: int = 5", 5),
        ("x: int", None),
        ("x = 1\nx += 4", 5),
        ("d = {}\nd['k'] = [1, 2]", [1, 2]),
        ("a, b = 1, 2", [1, 2]),
        ("a = b = 3", 3),
        ("print('x')\ny = 5", None),
        ("print('x')\n5", 5),
        ("if True:\n    5", None),
        ("def f(): pass", None),
        ("'only a string'", "only a string"),
        ("{1: 'a', (2, 3): {4}}", {"1": "a", "(2, 3)": [4]}),
        ("import datetime\ndatetime.date(2024, 1, 2)", "2024-01-02"),
        ("float('nan')", None),
        ("import sys\nsys.exit()", None),
        ("import sys\nsys.exit(0)\n5", None),
        ("exit()", None),
        ("import os\nos._exit(0)", None),
        ("__name__", "__main__"),
        ("import sys\nsys.modules['__main__'].__dict__ is globals()", True),
        ("if __name__ == '__main__':\n    x = 3\nx", 3),
        ("'\\ud800'", "'\\ud800'"),
        ("a = []\na.append(a)\na", "[[...]]"),
        ("(lambda: (yield))().__class__.__name__", "generator"),
    ],
)
def test_value(program: str, value: Any) -> None:
    result = run(program)
    assert (result.error, result.value) == (None, value)


def test_what_cannot_become_json_is_shown_as_its_repr_cut() -> None:
    program = "class A:\n    def model_dump(self, mode): raise OSError\n    def __repr__(self): return 'A' * 9000\nA()"
    value = run(program).value
    assert value == "A" * 2000 + "... (9,000 characters)"


def test_a_repr_that_raises_leaves_the_type() -> None:
    program = "class A:\n    def model_dump(self, mode): raise OSError\n    def __repr__(self): 1/0\nA()"
    assert run(program).value == "<A>"


def test_dataclasses_and_type_hints_find_their_module() -> None:
    program = """
from __future__ import annotations
import dataclasses, pickle, typing
@dataclasses.dataclass
class P:
    x: int
    y: P | None = None
[pickle.loads(pickle.dumps(P(1))) == P(1), typing.get_type_hints(P)['x'].__name__, P(1).__module__]
"""
    assert run(program).value == [True, "int", "__main__"]


@pytest.mark.parametrize(
    "program", ["async def main():\n    return 1\nmain()", "async def main():\n    return 1\nx = main()"]
)
def test_a_coroutine_nobody_awaited_is_an_error_with_the_cure(program: str) -> None:
    result = run(program)
    assert result.error == {
        "type": "TypeError",
        "text": "the last line gives a coroutine that nobody awaits; write: await main(...)",
        "line": 3,
        "trace": [],
    }


@pytest.mark.parametrize(
    ("program", "kind", "text", "line", "trace"),
    [
        ("x = 1\n1/0", "ZeroDivisionError", "division by zero", 2, [[2, "<module>"]]),
        (
            "def a(n):\n    return b(n)\ndef b(n):\n    return [][n]\na(1)",
            "IndexError",
            "list index out of range",
            4,
            [[5, "<module>"], [2, "a"], [4, "b"]],
        ),
        (
            "import json\njson.loads('x')",
            "JSONDecodeError",
            "Expecting value: line 1 column 1 (char 0)",
            2,
            [[2, "<module>"]],
        ),
        ("x = 1\nif:", "SyntaxError", "invalid syntax", 2, []),
        ("x = 1\n\nreturn 5", "SyntaxError", "'return' outside function", 3, []),
        ("raise SystemExit(3)", "SystemExit", "3", 1, [[1, "<module>"]]),
        ("import sys\nsys.exit('bad')", "SystemExit", "bad", 2, [[2, "<module>"]]),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "", 1, [[1, "<module>"]]),
        ("class E(Exception):\n    def __str__(self): 1/0\nraise E", "E", "", 3, [[3, "<module>"]]),
        ("raise ValueError('\\ud800')", "ValueError", "\\ud800", 1, [[1, "<module>"]]),
        (
            "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])",
            "ExceptionGroup",
            "two (2 sub-exceptions): ValueError: a; KeyError: 'b'",
            1,
            [[1, "<module>"]],
        ),
    ],
)
def test_error(program: str, kind: str, text: str, line: int | None, trace: list[Any]) -> None:
    result = run(program)
    assert result.value is None
    assert result.error == {"type": kind, "text": text, "line": line, "trace": trace}


def test_the_line_is_the_innermost_of_the_program_under_await_too() -> None:
    result = run("import asyncio\nasync def main():\n    await asyncio.sleep(1)\n    {}['k']\nasyncio.run(main())")
    assert result.error is not None
    assert (result.error["line"], result.error["trace"]) == (4, [[5, "<module>"], [4, "main"]])


def test_a_deep_recursion_has_a_short_trace() -> None:
    result = run("def f(n): return f(n + 1)\nf(0)")
    assert result.error is not None
    assert result.error["type"] == "RecursionError"
    assert len(result.error["trace"]) == 40
    assert result.error["trace"][0] == [2, "<module>"]


def test_a_long_error_text_is_cut() -> None:
    result = run("raise ValueError('x' * 100_000)")
    assert result.error is not None
    assert result.error["text"] == "x" * 8000 + "... (100,000 characters)"


def test_os_exit_tells_the_host() -> None:
    result = run("import os\nprint('a')\nos._exit(4)")
    assert (result.out, result.gone) == ("a\n", False)
    assert result.error is not None
    assert (result.error["type"], result.error["text"]) == ("SystemExit", "4")


@pytest.mark.parametrize("path", ["/no/such/file", "data.csv"])
def test_a_missing_file_says_what_a_program_can_do_about_it(path: str) -> None:
    result = run(f"open({path!r})")
    assert result.error is not None
    assert result.error["text"].endswith("expose a host tool that does exactly this)")


def test_output_of_both_streams_comes_in_order() -> None:
    program = """
import sys
print('a'); print('b', file=sys.stderr); sys.stdout.write('c\\n'); sys.stdout.buffer.write('ü\\n'.encode())
sys.__stdout__.writelines(['d\\n']); print('e', flush=True); sys.stdout.close(); print('f')
"""
    result = run(program)
    assert (result.out, result.error) == ("a\nb\nc\nü\nd\ne\nf\n", None)


def test_output_arrives_before_the_call_it_precedes() -> None:
    kinds = [type(one).__name__ for one in run("print('a')\nf(1)\nprint('b')").transcript]
    assert kinds == ["OutFrame", "CallFrame", "RestFrame", "OutFrame", "EndFrame"]


def test_the_first_lines_leave_one_by_one_and_then_ever_larger_pieces() -> None:
    program = "for i in range(3000):\n    print('x' * 10)"
    pieces = [len(one.text) for one in run(program).transcript if type(one).__name__ == "OutFrame"]
    assert pieces[:64] == [11] * 64
    assert pieces[-2] > 400
    assert len(pieces) < 400


def test_what_a_finaliser_prints_while_the_guest_rests_waits_for_its_event() -> None:
    """It may run between the frame that says so and the event; whatever is sent then would be out of turn."""
    program = """
from callgate_guest.baton import baton
channel, sent = baton.channel, []
write = channel.write
channel.write = lambda data: (sent.append(data), write(data))
channel.resting = True
print('x' * 20_000)
print('y', flush=True)
held = not sent
channel.resting = False
print('z')
[held, bool(sent)]
"""
    result = run(program, limits=Limits(output_kb=64))
    assert (result.value, result.error, len(result.out)) == ([True, True], None, 20_005)


def test_flushing_sends_a_line_that_is_not_complete() -> None:
    result = run("print('a', end='', flush=True)\nprint('b')")
    assert [one.text for one in result.transcript if type(one).__name__ == "OutFrame"] == ["a", "b\n"]


def test_output_beyond_the_limit_is_counted_and_dropped() -> None:
    result = run("print('x' * 1000)\nprint('y' * 5000)", limits=Limits(output_kb=2))
    assert len(result.out) == 2048
    assert result.printed == 6002


def test_a_single_print_above_a_frame_is_split() -> None:
    result = run("print('😀' * 400_000, end='')", limits=Limits(output_kb=2000, frame_mb=1))
    assert result.out == "😀" * 400_000


@pytest.mark.parametrize(("text", "shown"), [("a\\ud800b", "a\ufffdb"), ("\\ud83d\\ude00", "😀")])
def test_lone_surrogates_are_replaced(text: str, shown: str) -> None:
    assert run(f"print('{text}', end='')").out == shown


def test_redirected_output_stays_in_the_program() -> None:
    program = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as s: print('x')\ns.getvalue()"
    result = run(program)
    assert (result.value, result.out, result.printed) == ("x\n", "", 0)


def test_input_has_nobody_to_ask() -> None:
    result = run("input('name? ')")
    assert result.error is not None
    assert result.error["type"] == "EOFError"


def test_a_printed_traceback_shows_source_lines() -> None:
    result = run("import traceback\ntry:\n    1/0  # here\nexcept ZeroDivisionError:\n    traceback.print_exc()")
    assert "line 3, in <module>\n    1/0  # here\n" in result.out


def test_a_value_above_a_frame_is_a_limit() -> None:
    result = run("'x' * 3_000_000", limits=Limits(frame_mb=1))
    assert result.value is None
    assert result.error is not None
    assert (result.error["type"], result.error["limit"]) == ("LimitExceeded", "frame_mb")


def test_arguments_above_a_frame_raise_in_the_program_and_are_not_sent() -> None:
    program = "try:\n    f('x' * 3_000_000)\nexcept LimitExceeded as e:\n    r = [e.limit, e.tool]\nr"
    result = run(program, limits=Limits(frame_mb=1))
    assert (result.value, result.calls) == (["frame_mb", "f"], [])


def test_a_memory_error_is_told_as_one() -> None:
    result = run("x = 'a' * 10\nraise MemoryError")
    assert result.error is not None
    assert (result.error["type"], result.error["text"]) == ("MemoryError", "the program used up its memory")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to know the memory in use")
def test_running_out_of_memory_while_an_answer_arrives_ends_the_program() -> None:
    program = """
import os, resource
most = int(open('/proc/self/statm').read().split()[0]) * os.sysconf('SC_PAGE_SIZE') + (16 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    big()
except MemoryError:
    print('went on')
"""
    result = run(program, tools={"big": Tool(answer=lambda: ["x" * 99] * 120_000)}, limits=Limits(frame_mb=64))
    assert result.error is not None
    assert (result.error["type"], result.out) == ("MemoryError", "")


@pytest.mark.parametrize(
    "program",
    [
        "import socket\nsocket.create_connection(('localhost', 1))",
        "import socket\nsocket.socket()",
        "import urllib.request\nurllib.request.urlopen('http://localhost:1/')",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.system('true')",
        "import os\nos.fork()",
        "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print).start()",
        "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()",
        "import asyncio\nasyncio.run(asyncio.open_connection('localhost', 1))",
    ],
)
def test_what_a_program_cannot_have_says_what_to_do_instead(program: str) -> None:
    result = run(program)
    assert result.error is not None
    assert "expose a host tool that does exactly this" in result.error["text"]


def test_alarms_are_refused() -> None:
    result = run("import signal\nsignal.alarm(1)")
    assert result.error is not None
    assert result.error["text"].startswith("signal.alarm: signals do not follow the program's clock")
