"""A program that fails says what, where and after what; nothing else is harmed."""

from __future__ import annotations

from callgate.testing.conformance.calls import Counting
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once

__all__ = ["Errors"]

FAULTS = {
    "at the top": ("x = 1\n1 / 0", "ZeroDivisionError", "division by zero", 2),
    "in functions": (
        "def a(): return b()\ndef b():\n    return [][0]\na()", "IndexError", "list index out of range", 3
    ),
    "in the library": (
        "import json\njson.loads('x')", "JSONDecodeError", "Expecting value: line 1 column 1 (char 0)", 2
    ),
    "in a coroutine": ("import asyncio\nasync def f():\n    {}['k']\nasyncio.run(f())", "KeyError", "'k'", 3),
    "in a task": (
        "import asyncio\nasync def f():\n    {}['k']\nawait asyncio.gather(f())", "KeyError", "'k'", 3
    ),
    "in a pool": (
        "from concurrent.futures import ThreadPoolExecutor as P\ndef f(): {}['k']\nwith P() as p: p.submit(f).result()",
        "KeyError", "'k'", 2,
    ),
    "a class of its own": ("class No(Exception): pass\nraise No('é 😀')", "No", "é 😀", 2),
    "a group": ("raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])", "ExceptionGroup",
                "two (2 sub-exceptions): ValueError: a; KeyError: 'b'", 1),
    "an interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt", "", 1),
    "an import": ("import no_such_module_anywhere", "ModuleNotFoundError", None, 1),
    "a compilation": ("x = 1\ncompile('(' * 5000, '', 'eval')", "SyntaxError", None, 2),
    "a recursion": ("def f(): f()\nf()", "RecursionError", None, 1),
    "a text that cannot be made": ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "E", "", 3),
}  # fmt: skip


class Errors:
    """How programs fail."""

    @once
    def test_an_exception_is_told_with_its_line(self, case: Case) -> None:
        """Type, text and the program's own line of an exception are told, wherever it is raised."""
        for where, (program, kind, text, line) in FAULTS.items():
            outcome = case.run(program)
            assert outcome.status == "failed", (where, outcome.text)
            assert outcome.error is not None
            assert (outcome.error.type, outcome.error.line) == (kind, line), where
            assert outcome.error.text == text or text is None, where

    @once
    def test_a_trace_names_the_programs_own_frames(self, case: Case) -> None:
        """Line and function of each frame are told, outermost first, and none that is not the program's."""
        outcome = case.run("import functools\ndef a(n): return 1 // n\ndef b():\n    return list(map(a, [0]))\nb()")
        assert outcome.error is not None
        assert outcome.error.trace == ((5, "<module>"), (4, "b"), (2, "a"))

    def test_a_failure_tells_what_had_been_done(self, case: Case) -> None:
        """Output and calls in front of the failure are there, and the text for the model names them."""
        counting = Counting()
        outcome = case.run("print('so far')\nx = take(n=7)\nraise ValueError('no')", counting.tool)
        assert (outcome.status, outcome.stdout, counting.taken) == ("failed", "so far\n", [7])
        assert [(call.tool, call.status, call.value) for call in outcome.calls] == [("take", "done", 7)]
        assert "line 3" in outcome.text
        assert "take(n=7)" in outcome.text

    def test_nothing_of_the_host_is_told(self, case: Case) -> None:
        """Tracebacks that a program prints, and errors of the library, name no directory of the host's Python."""
        program = """
import traceback
try: raise ValueError('no')
except ValueError: print(traceback.format_exc())
"""
        outcome = case.run(f"{program}\nraise LookupError('x')")
        private = [name for name in ("site-packages", "/callgate/", "/home/", "/root/") if name in outcome.text]
        assert private == []
        assert "ValueError: no" in outcome.stdout

    def test_a_long_error_is_cut(self, case: Case) -> None:
        """An exception with megabytes of text ends the program like any other."""
        outcome = case.run("class Long(Exception): pass\nraise Long('é' * 2_000_000)")
        assert (outcome.status, outcome.error and outcome.error.type) == ("failed", "Long"), outcome.text[:300]
        assert len(outcome.text) < 20_000

    def test_a_thread_that_fails_does_not_end_the_program(self, case: Case) -> None:
        """Its traceback is printed, as anywhere, and the program goes on."""
        program = "import threading\nt = threading.Thread(target=lambda: {}['k'])\nt.start()\nt.join()\n'on'"
        outcome = case.run(program)
        assert (outcome.status, outcome.value) == ("completed", "on"), outcome.text
        assert "KeyError: 'k'" in outcome.stdout

    def test_a_deadlock_ends_at_once(self, case: Case) -> None:
        """A program that waits for what cannot come fails long before its time is over."""
        for program in (
            "import queue\nqueue.Queue().get()",
            "import threading\na = threading.Lock()\na.acquire()\na.acquire()",
            "import asyncio\nasyncio.run(asyncio.Event().wait())",
        ):
            outcome = case.run(program)
            assert (outcome.status, outcome.error and outcome.error.type) == ("failed", "Deadlock"), outcome.text

    def test_a_process_that_dies_is_told(self, case: Case) -> None:
        """A crash in C code ends the program as failed, with its output and calls, and the next one runs."""
        counting = Counting()
        outcome = case.run("print('so far')\nx = take(n=1)\nimport os\nos.abort()", counting.tool)
        assert (outcome.status, outcome.error and outcome.error.type) == ("failed", "ProcessDied"), outcome.text
        assert (outcome.stdout, counting.taken) == ("so far\n", [1])
        assert case.value("6 * 7") == 42

    @once
    def test_a_syntax_error_of_text_that_a_program_runs_is_its_own(self, case: Case) -> None:
        """`exec` of bad text raises in the program, which may catch it."""
        assert (
            case.value("try:\n    exec('if:')\nexcept SyntaxError as error:\n    kind = error.msg\nkind")
            == "invalid syntax"
        )

    @once
    def test_an_uncaught_refusal_fails_the_program(self, case: Case) -> None:
        """What the gate refuses is an exception with its own name, line and text."""
        outcome = case.run("x = 1\ncall_tool('no' + 'where', x=x)")
        assert (outcome.status, outcome.error and outcome.error.type) == ("failed", "UnknownTool"), outcome.text
        assert outcome.error is not None
        assert outcome.error.line == 2
