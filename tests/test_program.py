from __future__ import annotations

import ast
import asyncio
import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import direct_programs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callgate import program as program_module
from callgate.codec import decode, encode
from callgate.errors import ProgramError
from callgate.parsing import DEEPEST, MOST_BYTES, parse
from callgate.program import Direct, check, direct, normalise
from callgate.tools import Catalogue, Tool

_TICKS = "```"


def _tool(name: str, *required: str, optional: tuple[str, ...] = (), **fields: Any) -> Tool:
    properties = {one: {} for one in (*required, *optional)}
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return Tool(name=name, **{"input_schema": schema, **fields})


CATALOGUE = Catalogue(
    [
        _tool("search", "query", optional=("limit",)),
        _tool("ping"),
        _tool("list-orders", "user"),
        _tool("anything", input_schema={"type": "object", "properties": {"a": {}}, "additionalProperties": {}}),
        _tool("for_people", callers=frozenset(["direct"])),
        _tool("named", "name", optional=("self", "function")),
    ]
)


def _fault(program: str, catalogue: Catalogue = CATALOGUE) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        check(program, catalogue)
    return caught.value


NORMALISED = {
    "as-it-stands": ("x = 1\nx", "x = 1\nx"),
    "white-space-kept": ("\n\nx = 1\n", "\n\nx = 1\n"),
    "mark": ("\ufeffx = 1", "x = 1"),
    "crlf": ("x = 1\r\nx\r\n", "x = 1\nx\n"),
    "lone-cr": ("x = 1\rx", "x = 1\nx"),
    "fence-python": (f"{_TICKS}python\nx = 1\n{_TICKS}", "x = 1"),
    "fence-py": (f"{_TICKS}py\nx = 1\n{_TICKS}\n", "x = 1"),
    "fence-upper": (f"{_TICKS}Python\nx = 1\n{_TICKS}\n", "x = 1"),
    "fence-plain": (f"\n{_TICKS}\nx = 1\n{_TICKS}\n\n", "x = 1"),
    "fence-tilde": ("~~~\nx = 1\n~~~", "x = 1"),
    "fence-longer": (f"{_TICKS}`\nx = 1\n{_TICKS}`", "x = 1"),
    "fence-label-and-title": (f'{_TICKS}python title="a.py"\nx = 1\n{_TICKS}', "x = 1"),
    "fence-crlf": (f"{_TICKS}python\r\nx = 1\r\n{_TICKS}\r\n", "x = 1"),
    "fence-not-closed": (f"{_TICKS}python\nx = 1\nx", "x = 1\nx"),
    "fence-indented": (f"  {_TICKS}python\n  x = 1\n  {_TICKS}", "x = 1"),
    "prose-around": (f"Let me look.\n\n{_TICKS}python\nx = 1\n{_TICKS}\n\nThat's it.", "x = 1"),
    "prose-around-plain": (f"Let me look.\n{_TICKS}\nx = 1\n{_TICKS}", "x = 1"),
    "two-blocks": (f"First:\n{_TICKS}python\nx = 1\n{_TICKS}\nthen\n{_TICKS}python\nx + 1\n{_TICKS}", "x = 1\nx + 1"),
    "two-blocks-without-prose": (f"{_TICKS}python\nx = 1\n{_TICKS}\n{_TICKS}py\nx\n{_TICKS}", "x = 1\nx"),
    "other-blocks-dropped": (f'{_TICKS}json\n{{"a" 1}}\n{_TICKS}\n{_TICKS}python\nx = 1\n{_TICKS}', "x = 1"),
    "plain-block-beside-python": (f"{_TICKS}python\nx = 1\n{_TICKS}\nprints\n{_TICKS}\n1 2\n{_TICKS}", "x = 1"),
    "indented": ("    x = 1\n    if x:\n        x = 2\n", "x = 1\nif x:\n    x = 2\n"),
    "indented-tabs": ("\tx = 1\n\n\tx", "x = 1\n\nx"),
    "indented-comment-outside": ("# sums\n  x = 1\n  x", "# sums\nx = 1\nx"),
    "first-line-indented": (" x = 1\nif x:\n    x = 2", "x = 1\nif x:\n    x = 2"),
    "ticks-in-text": (f"x = '{_TICKS}python'\nx", f"x = '{_TICKS}python'\nx"),
    "fence-in-text": (f'x = """\n{_TICKS}python\n1\n{_TICKS}\n"""', f'x = """\n{_TICKS}python\n1\n{_TICKS}\n"""'),
    "fence-in-text-in-fence": (
        f"{_TICKS}python\nx = '''\n{_TICKS}\n1\n{_TICKS}\n'''\n{_TICKS}",
        f"x = '''\n{_TICKS}\n1\n{_TICKS}\n'''",
    ),
    "fence-in-text-of-broken-program": (
        f'x = """\n{_TICKS}python\n1\n{_TICKS}\n"""\nx x',
        f'x = """\n{_TICKS}python\n1\n{_TICKS}\n"""\nx x',
    ),
    "broken-in-fence": (f"{_TICKS}python\nx x\n{_TICKS}", "x x"),
    "broken": ("x x", "x x"),
    "cookie": ("# -*- coding: rot13 -*-\nx = 'é'", "# -*- coding: rot13 -*-\nx = 'é'"),
    "comment-only": ("# nothing", "# nothing"),
}


@pytest.mark.parametrize(("source", "program"), NORMALISED.values(), ids=NORMALISED)
def test_normalise_finds_the_program(source: str, program: str) -> None:
    assert normalise(source) == program


@pytest.mark.parametrize(("source", "_"), NORMALISED.values(), ids=NORMALISED)
def test_normalising_twice_changes_nothing(source: str, _: str) -> None:
    assert normalise(normalise(source)) == normalise(source)


@pytest.mark.parametrize("source", ["", " \n\t\n", "\ufeff", f"{_TICKS}python\n{_TICKS}", f"{_TICKS}\n\n{_TICKS}"])
def test_an_empty_program_is_refused(source: str) -> None:
    with pytest.raises(ProgramError, match="empty"):
        normalise(source)


def test_a_nul_character_is_refused_with_its_line() -> None:
    with pytest.raises(ProgramError, match="NUL") as caught:
        normalise("x = 1\ny = '\0'")
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "cookie", ["# coding: rot13", "#!/bin/sh\n# coding: utf-7", "# coding: no-such", "# vim: set fileencoding=latin-1"]
)
def test_an_encoding_cookie_means_nothing_to_text(cookie: str) -> None:
    program = normalise(f"{cookie}\nx = 'é+AGE-'")
    [assignment] = parse(program).body
    assert ast.literal_eval(assignment.value) == "é+AGE-"  # type: ignore[attr-defined]


@given(st.text())
def test_normalise_returns_a_program_or_says_why_not(source: str) -> None:
    try:
        program = normalise(source)
    except ProgramError:
        return
    assert program.strip()
    assert "\r" not in program


ACCEPTED = {
    "tool": "search('a', limit=2)",
    "tool-keyword": "search(query='a')",
    "call_tool": "call_tool('search', query='a')",
    "call_tool-odd-name": "call_tool('list-orders', user='u')",
    "call_tool-function-name": "call_tool('list_orders', user='u')",
    "call_tool-reserved": "call_tool('load_value', handle='h')",
    "call_tool-computed": "call_tool('sea' + 'rch')",
    "call_tool-name-argument": "call_tool('named', name='x', self=1, function=2)",
    "function-of-odd-name": "list_orders('u')",
    "unlisted-argument": "anything(a=1, b=2)",
    "stars": "search(*['a'], **{})",
    "double-star": "search(**{'query': 'a'})",
    "call_tool-double-star": "call_tool('search', **{'query': 'a'})",
    "call_tool-star": "call_tool(*['search', 1])",
    "await": "await search('a')",
    "acall_tool": "await acall_tool('search', query='a')",
    "guest-names": "call_tools([('ping', {})]); search_tools('x'); describe_tool('x'); Refused",
    "rebound-tool": "def search():\n    return 1\nsearch()",
    "rebound-tool-later": "if True:\n    search(1, 2, 3, 4)\nfor search in [len]:\n    pass\nsearch(a=1)",
    "rebound-call_tool": "call_tool = print\ncall_tool('no such', {})",
    "rebound-by-import": "from json import dumps as search\nsearch({}, a=1)",
    "rebound-by-global": "def f():\n    global search\n    search = len\nf()\nsearch()",
    "module-names": "__name__, __file__, __doc__, __builtins__",
    "site-names": "exit, quit, copyright, help",
    "condition": "if len('a') > 5:\n    undefined",
    "else": "if 1:\n    pass\nelse:\n    undefined",
    "conditional": "1 if True else undefined",
    "short-circuit-and": "False and undefined",
    "short-circuit-or": "True or undefined",
    "comparison-chain": "1 > 2 > undefined",
    "for-body": "for x in []:\n    undefined",
    "while-body": "while False:\n    search()",
    "try": "try:\n    undefined\nexcept NameError:\n    pass",
    "try-star": "try:\n    undefined\nexcept* NameError:\n    pass",
    "try-handler": "try:\n    1\nexcept undefined:\n    pass",
    "with-body": "import contextlib\nwith contextlib.suppress(NameError):\n    undefined",
    "with-second": "import contextlib\nwith contextlib.suppress(NameError), undefined:\n    pass",
    "match-body": "match 1:\n    case 2:\n        undefined",
    "function-body": "def f():\n    return undefined",
    "lambda-body": "f = lambda: undefined",
    "comprehension-body": "[undefined for x in []]",
    "comprehension-second": "[x for x in [] for y in undefined]",
    "comprehension-condition": "[x for x in [] if undefined]",
    "assert-message": "assert True, undefined",
    "class-with-base": "import enum\nclass E(enum.Enum):\n    A = undefined",
    "class-mangling": "_C__x = 1\nclass C:\n    y = __x",
    "annotation": "x: undefined = 1\ndef f(a: undefined) -> undefined: ...",
    "star-import": "from math import *\nsqrt(4)",
    "exec": "exec('a = 1')\na",
    "globals": "globals()['a'] = 1\na",
    "setattr": "import sys\nsetattr(sys.modules['__main__'], 'a', 1)\na",
    "builtins": "import builtins\nbuiltins.a = 1\na",
    "sympy-var": "import sympy\nsympy.var('a')\na",
    "exit-before": "exit()\nundefined",
    "exit-same-line": "quit(); undefined",
    "sys-exit-in-function": "import sys\ndef f(): sys.exit()\nf()\nundefined",
    "system-exit-raised": "if 1:\n    raise SystemExit\nsearch()",
    "os-exit-by-text": "import os\ngetattr(os, '_exit')(0)\nundefined",
    "unittest": "import unittest\nunittest.main()\nundefined",
    "with-as": "with open('a') as b:\n    pass\nb",
    "except-as": "try:\n    1\nexcept Exception as e:\n    pass\ne",
    "walrus": "[y := 1]\ny",
    "walrus-in-comprehension": "[y := x for x in [1]]\ny",
    "match-capture": "match [1, 2, {'a': 3}]:\n    case [a, *b, {'k': c, **d}] as e:\n        pass\na, b, c, d, e",
    "for-target": "for (a, *b), c.d in []:\n    pass\na, b",
    "import-dotted": "import os.path\nos.sep",
    "deleted": "x = 1\ndel x\nx",
    "bound-only-in-function": "def f():\n    x = 1\nf()\nx",
    "argument-elsewhere": "def f(x): ...\nx",
    "deferred-gather": "import asyncio\nr = await asyncio.gather(search(1, 2, 3), return_exceptions=True)",
    "deferred-task": "import asyncio\nt = asyncio.create_task(search(bad=1))",
    "deferred-list": "import asyncio\nr = [search()]\nawait asyncio.gather(*r, return_exceptions=True)",
    "unawaited": "acall_tool('absent')",
    "top-level-await": "import asyncio\nawait asyncio.sleep(0)\nasync with x: pass\nx = [y async for y in z]\nz = 1",
    "invalid-escape": "x = '\\d'",
    "odd-identity": "x = 1 is 1",
}


@pytest.mark.parametrize("program", ACCEPTED.values(), ids=ACCEPTED)
def test_what_may_run_is_accepted(program: str) -> None:
    check(program, CATALOGUE)


REFUSED = {
    "undefined": (
        "x = 1\nprint(y)",
        2,
        "The name 'y' is not defined anywhere in the program. Define or import it first.",
    ),
    "undefined-tool": (
        "serch('a')",
        1,
        "The name 'serch' is not defined anywhere in the program. Did you mean search?",
    ),
    "undefined-module": ("\njson.dumps(1)", 2, "The name 'json' is not defined. Add `import json` first."),
    "undefined-near": (
        "total = 1\ntotl",
        2,
        "The name 'totl' is not defined anywhere in the program. Did you mean total?",
    ),
    "undefined-in-call": ("print(\n    1,\n    y)", 3, "The name 'y' is not"),
    "undefined-first-iterable": ("[x for x in y]", 1, "The name 'y' is not"),
    "undefined-test": ("if y:\n    pass", 1, "The name 'y' is not"),
    "undefined-loop": ("for x in y:\n    pass", 1, "The name 'y' is not"),
    "undefined-while": ("while y:\n    pass", 1, "The name 'y' is not"),
    "undefined-with": ("with y:\n    pass", 1, "The name 'y' is not"),
    "undefined-subject": ("match y:\n    case _: pass", 1, "The name 'y' is not"),
    "undefined-f-string": ("f'{y}'", 1, "The name 'y' is not"),
    "undefined-default": ("def f(a=y): ...", 1, "The name 'y' is not"),
    "undefined-keyword-default": ("f = lambda *, a, b=y: 1", 1, "The name 'y' is not"),
    "undefined-decorator": ("@y\ndef f(): ...", 1, "The name 'y' is not"),
    "undefined-base": ("class A(y): ...", 1, "The name 'y' is not"),
    "undefined-class-body": ("class A:\n    b = y", 2, "The name 'y' is not"),
    "undefined-subscript-target": ("y[0] = 1", 1, "The name 'y' is not"),
    "undefined-before-and": ("y and 1", 1, "The name 'y' is not"),
    "undefined-comparison": ("1 < y < 2", 1, "The name 'y' is not"),
    "undefined-assert": ("assert y", 1, "The name 'y' is not"),
    "undefined-before-exit": ("y\nexit()", 1, "The name 'y' is not"),
    "undefined-before-exec-attribute": ("import re\nre.compile('a')\ny", 3, "The name 'y' is not"),
    "tool-not-for-code": (
        "for_people()",
        1,
        "Tool 'for_people' may not be called from code; call it as a plain tool call.",
    ),
    "call-not-for-code": ("call_tool('for_people')", 1, "Tool 'for_people' may not be called from code"),
    "unknown-tool": ("x = call_tool('serch', query='a')", 1, "There is no tool 'serch'. Did you mean search?"),
    "unknown-tool-far": (
        "call_tool('weather')",
        1,
        "There is no tool 'weather'. The tools are: search, ping, list-orders,",
    ),
    "unknown-argument": (
        "search('a', lim=1)",
        1,
        "search() has no parameter 'lim'. Its parameters are: query, limit (optional).",
    ),
    "unknown-arguments": (
        "call_tool('search', q=1, n=2)",
        1,
        "Tool 'search' has no parameter 'q', 'n'. Its parameters",
    ),
    "unknown-despite-double-star": ("search(q=1, **{})", 1, "search() has no parameter 'q'."),
    "missing": ("search(limit=1)", 1, "search() needs 'query'. Its parameters are: query, limit (optional)."),
    "missing-call_tool": ("call_tool('list-orders')", 1, "Tool 'list-orders' needs 'user'. Its parameters are: user."),
    "too-many": ("search('a', 2, 3)", 1, "search() takes at most 2 positional arguments, got 3."),
    "no-parameters": ("ping(1)", 1, "ping() takes at most 0 positional arguments, got 1. It has no parameters."),
    "twice": ("search('a', query='b')", 1, "search() gets 'query' twice, by position and by keyword."),
    "positional-dict": (
        "call_tool('search', {'query': 'a'})",
        1,
        "call_tool takes the arguments of 'search' by keyword only. Write call_tool('search', **{...}).",
    ),
    "positional": ("call_tool('search', 'a')", 1, "call_tool takes the arguments of 'search' by keyword only."),
    "nameless": (
        "call_tool(name='search')",
        1,
        "call_tool takes the tool's name first: call_tool('name', argument=value).",
    ),
    "await-missing": ("await search()", 1, "search() needs 'query'."),
    "await-acall": ("x = 1\ny = await acall_tool('serch')", 2, "There is no tool 'serch'."),
    "await-acall-dict": (
        "await acall_tool('search', {})",
        1,
        "acall_tool takes the arguments of 'search' by keyword only.",
    ),
    "nested-call": ("print(len(search()))", 1, "search() needs 'query'."),
    "return": ("x = 1\nreturn x", 2, "`return` stands outside a function. Make the value the last expression"),
    "syntax": ("x = 1\nx x", 2, "SyntaxError: invalid syntax, in `x x`."),
    "bracket": ("x = [1,\n2", 1, "SyntaxError: '[' was never closed, in `x = [1,`."),
    "indentation": (
        "def f():\nx",
        2,
        "IndentationError: expected an indented block after function definition on line 1",
    ),
    "break": ("break", 1, "SyntaxError: 'break' outside loop, in `break`."),
    "await-in-function": ("def f():\n    await x", 2, "SyntaxError: 'await' outside async function, in `await x`."),
    "digits": ("x = " + "1" * 5000, 1, "SyntaxError: Exceeds the limit"),
    "surrogate": ("x = 1\nx = '\ud800'", 2, "The program holds a lone surrogate; write the character itself."),
    "magic": ("%pip install x", 1, "SyntaxError: invalid syntax"),
}


@pytest.mark.parametrize(("program", "line", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_run_is_refused_with_line_and_cure(program: str, line: int, text: str) -> None:
    error = _fault(program)
    assert str(error).startswith(text)
    assert error.line == line


def test_an_empty_catalogue_knows_no_tool() -> None:
    assert str(_fault("call_tool('search')", Catalogue([]))) == "There is no tool 'search'. This program has no tools."


def test_a_long_line_is_shown_in_part() -> None:
    assert len(str(_fault("x = " + "a + " * 200 + "a b"))) < 250


def test_a_long_name_is_shown_in_part() -> None:
    assert len(str(_fault("x" * 50_000))) == 1_000


def test_names_by_the_thousand_are_compared_in_bounded_time() -> None:
    program = "\n".join(f"some_name_{n} = 1" for n in range(9_000)) + "\nsome_nane"
    assert "is not defined" in str(_fault(program))


def test_warnings_of_the_text_do_not_reach_the_host() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for text in ("'\\d'", "1 is 1", "assert (1, '')", "[1](2)", "0x1for x in y"):
            normalise(text)
            parse(text)
    assert heard == []


def test_warnings_as_errors_do_not_refuse_a_program() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check("x = '\\d' is 1", CATALOGUE)


def test_the_filter_for_programs_is_added_once() -> None:
    before = len(warnings.filters)
    for n in range(5):
        parse(f"x = {n}")
    assert len(warnings.filters) <= before + 1


HOSTILE = {
    "brackets": lambda n: "(" * n,
    "brackets-closed": lambda n: "(" * n + ")" * n,
    "lists": lambda n: "[" * n + "]" * n,
    "dicts": lambda n: "{1:" * n + "1" + "}" * n,
    "minus": lambda n: "-" * n + "1",
    "not": lambda n: "not " * n + "1",
    "lambda": lambda n: "lambda:" * n + "1",
    "conditionals": lambda n: "1 if 1 else " * n + "1",
    "power": lambda n: "1**" * n + "1",
    "sum": lambda n: "1+" * n + "1",
    "attributes": lambda n: "a" + ".b" * n,
    "subscripts": lambda n: "a" + "[0]" * n,
    "calls": lambda n: "a" + "()" * n,
    "assignments": lambda n: "a=" * n + "1",
    "comparisons": lambda n: "1<" * n + "1",
    "elif": lambda n: "if 1: pass\n" + "elif 1: pass\n" * n,
    "comprehension": lambda n: "[a " + "for a in b " * n + "]",
    "comprehensions": lambda n: "[a for a in " * n,
    "f-strings": lambda n: 'f"{' * n + "1" + '}"' * n,
    "f-string-formats": lambda n: 'f"{a' + ":{a" * n + "}" * n + '}"',
    "import": lambda n: "import a" + ".a" * n,
    "import-continued": lambda n: "import a" + "\\\n.a" * n,
    "indentation": lambda n: "".join(" " * depth + "if 1:\n" for depth in range(min(n, 600))),
    "decorators": lambda n: "@a\n" * n + "def f(): ...",
    "patterns": lambda n: "match a:\n case " + "(" * n,
    "statements": lambda n: "a;" * n,
    "wide-list": lambda n: "[" + "0," * n + "]",
    "text": lambda n: '"a" ' * n,
}

_JUDGE = """
import json, sys, threading
from callgate.errors import ProgramError
from callgate.program import check, direct, normalise
from callgate.tools import Catalogue
def judge():
    for name, sources in json.load(sys.stdin).items():
        print(name, flush=True)
        for source in sources:
            try:
                check(normalise(source), Catalogue([]))
                direct(source, Catalogue([]))
            except ProgramError as error:
                assert str(error)
    print("alive", flush=True)
threading.stack_size(int(sys.argv[1]))
thread = threading.Thread(target=judge)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("stack", [512 << 10, 8 << 20], ids=["small-stack", "usual-stack"])
def test_hostile_text_leaves_the_host_alive(stack: int) -> None:
    sources = {name: [make(n)[: MOST_BYTES - 1] for n in (90, 1_000, 5_000, 20_000)] for name, make in HOSTILE.items()}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _JUDGE, str(stack)],
        input=json.dumps(sources),
        env={"PYTHONPATH": str(Path(program_module.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [*HOSTILE, "alive"], done.stderr[-500:]  # the last name is the one that killed it
    assert done.returncode == 0


def test_a_program_above_the_bound_is_refused() -> None:
    parse("#" * MOST_BYTES)
    for judge in (parse, normalise):
        with pytest.raises(ProgramError, match="262,146 bytes"):
            judge("#" + "é" * (MOST_BYTES // 2) + "#")


def test_a_long_sum_is_checked_to_its_end() -> None:
    assert "'y' is not defined" in str(_fault("x = 1\n" + "x + " * 400 + "y"))


def test_a_program_too_deep_to_look_into_is_left_to_the_run() -> None:
    program = "x = 1\n" + "x + " * (DEEPEST + 200) + "undefined"
    assert parse(program).body == []
    check(program, CATALOGUE)
    assert direct(program, CATALOGUE) is None


def test_programs_are_parsed_on_many_threads_at_once() -> None:
    size = threading.stack_size()
    faults: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for step in range(20):
                parse(f"x = '\\d' + {n * step}\n" * 200)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert faults == []
    assert threading.stack_size() == size


def _direct(tool: str, arguments: dict[str, Any], line: int, show: Any) -> Direct:
    return Direct(tool=tool, arguments=arguments, line=line, show=show)


DIRECT = {
    "keyword": ("search(query='a')", _direct("search", {"query": "a"}, 1, "value")),
    "positional": ("search('a', 2)", _direct("search", {"query": "a", "limit": 2}, 1, "value")),
    "mixed": ("search('a', limit=None)", _direct("search", {"query": "a", "limit": None}, 1, "value")),
    "no-arguments": ("ping()", _direct("ping", {}, 1, "value")),
    "semicolon": ("ping();", _direct("ping", {}, 1, "value")),
    "brackets": ("(ping())", _direct("ping", {}, 1, "value")),
    "call_tool": ("call_tool('list-orders', user='u')", _direct("list-orders", {"user": "u"}, 1, "value")),
    "call_tool-name": ("call_tool('named', name=1, self=2)", _direct("named", {"name": 1, "self": 2}, 1, "value")),
    "odd-name": ("list_orders(user='u')", _direct("list-orders", {"user": "u"}, 1, "value")),
    "unlisted": ("anything(b=1)", _direct("anything", {"b": 1}, 1, "value")),
    "await": ("await ping()", _direct("ping", {}, 1, "value")),
    "acall_tool": ("await acall_tool('ping')", _direct("ping", {}, 1, "value")),
    "assigned": ("r = ping()", _direct("ping", {}, 1, "value")),
    "assigned-await": ("r = await ping()", _direct("ping", {}, 1, "value")),
    "assigned-shown": ("r = ping()\nr", _direct("ping", {}, 1, "value")),
    "assigned-printed": ("r = ping()\nprint(r)", _direct("ping", {}, 1, "print")),
    "printed": ("print(ping())", _direct("ping", {}, 1, "print")),
    "printed-await": ("print(await ping())", _direct("ping", {}, 1, "print")),
    "comments": ("# a\n\nping()  # b\n", _direct("ping", {}, 3, "value")),
    "docstring": ("'''a\nb'''\nping()", _direct("ping", {}, 3, "value")),
    "lines": (
        "print(\n\n  search(\n    'a',\n    limit=1,\n  )\n)",
        _direct("search", {"query": "a", "limit": 1}, 3, "print"),
    ),
    "values": (
        "anything(a=[1, -2, +3, 0.5, -0.5, True, None, 'é', {'b': [], 'a': {}}])",
        _direct("anything", {"a": [1, -2, 3, 0.5, -0.5, True, None, "é", {"a": {}, "b": []}]}, 1, "value"),
    ),
}


@pytest.mark.parametrize(("program", "expected"), DIRECT.values(), ids=DIRECT)
def test_one_plain_call_is_a_direct_run(program: str, expected: Direct) -> None:
    found = direct(program, CATALOGUE)
    assert found == expected
    assert encode(found.arguments) == encode(expected.arguments)  # to == True is 1 and 1.0


INDIRECT = {
    "empty": "",
    "comment": "# ping()",
    "docstring-only": "'ping()'",
    "broken": "ping(",
    "no-call": "1",
    "two-calls": "ping()\nping()",
    "statement-before": "x = 1\nping()",
    "number-before": "1\nping()",
    "import-before": "from __future__ import annotations\nping()",
    "pass-after": "ping()\npass",
    "shown-twice": "r = ping()\nr\nr",
    "printed-and-shown": "r = ping()\nprint(r)\nr",
    "other-shown": "r = ping()\nlen",
    "assigned-to-two": "r = s = ping()",
    "assigned-annotated": "r: int = ping()",
    "assigned-to-pair": "r, s = ping()",
    "assigned-to-item": "r[0] = ping()",
    "assigned-augmented": "r += ping()",
    "assigned-to-tool": "ping = ping()",
    "assigned-to-other-tool": "search = ping()\nsearch",
    "assigned-to-print": "print = ping()",
    "assigned-to-builtin": "len = ping()",
    "assigned-to-guest-name": "call_tool = ping()",
    "assigned-to-module-name": "__name__ = ping()",
    "end": "print(ping(), end='')",
    "sep": "print(ping(), sep='')",
    "file": "print(ping(), file=None)",
    "print-two": "print(ping(), 1)",
    "print-star": "print(*ping())",
    "print-twice": "print(print(ping()))",
    "print-assigned": "r = print(ping())",
    "walrus": "(r := ping())",
    "walrus-argument": "search(x := 1)",
    "star": "search(*['a'])",
    "double-star": "search(**{'query': 'a'})",
    "dict-unpacked": "search({**{'a': 1}})",
    "expression-argument": "search(1 + 1)",
    "name-argument": "search(len)",
    "f-string": "search(f'a')",
    "call-argument": "search(ping())",
    "tuple": "search((1, 2))",
    "set": "search({1})",
    "bytes": "search(b'a')",
    "complex": "search(1j)",
    "ellipsis": "search(...)",
    "minus-true": "search(-True)",
    "minus-twice": "search(--1)",
    "infinity": "search(1e400)",
    "surrogate": "search('\\ud800')",
    "integer-key": "search({1: 2})",
    "deep": "search(" + "[" * 60 + "]" * 60 + ")",
    "unknown-tool": "absent()",
    "unknown-call": "call_tool('absent')",
    "not-for-code": "call_tool('for_people')",
    "function-name-of-call": "call_tool('list_orders', user='u')",
    "reserved": "load_value('h')",
    "reserved-call": "call_tool('load_value', handle='h')",
    "call-by-keyword": "call_tool(name='ping')",
    "call-positional": "call_tool('search', 'a')",
    "call-without-name": "call_tool()",
    "call-computed": "call_tool('pi' 'ng' + '')",
    "not-awaited": "acall_tool('ping')",
    "awaited-call_tool": "await call_tool('ping')",
    "awaited-twice": "await (await ping())",
    "await-on-another-line": "await (\n    ping()\n)",
    "unknown-argument": "search(q='a')",
    "missing": "search()",
    "twice": "search('a', query='a')",
    "too-many": "ping(1)",
    "method": "ping().a",
    "subscript": "ping()[0]",
    "called": "ping()()",
    "of-module": "tools.ping()",
    "in-list": "[ping()]",
    "lambda": "lambda: ping()",
    "conditional": "ping() if 1 else 2",
    "large": "search('" + "a" * 40_000 + "')",
}


@pytest.mark.parametrize("program", INDIRECT.values(), ids=INDIRECT)
def test_anything_else_is_left_to_the_sandbox(program: str) -> None:
    assert direct(program, CATALOGUE) is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_json)
def test_literal_arguments_arrive_as_a_guest_would_send_them(value: Any) -> None:
    found = direct(f"anything(a={value!r})", CATALOGUE)
    assert found is not None
    assert repr(found.arguments) == repr(decode(encode({"a": value})))


def _lines_of_failure(program: str, functions: dict[str, Any]) -> list[int]:
    """Execute a generated program with failing functions and return the lines CPython's traceback names."""
    code = compile(program, "<program>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def run() -> None:
        pending = eval(code, dict(functions))
        if pending is not None:
            await pending

    with pytest.raises(LookupError) as caught:
        asyncio.run(run())
    return [entry.lineno + 1 for entry in caught.traceback if str(entry.path) == "<program>"]


_LAYOUTS = {
    "one-line": "{}",
    "printed-lines": "print(\n\n{}\n)",
    "assigned-below": "r = \\\n    {}\nprint(r)",
    "bracketed": "(\n{}\n)",
    "documented": "'''a\nb'''\n# c\n{}",
    "assigned-bracketed": "r = (\n\n{})\nr",
}
_SPELLINGS = {
    "plain": "ping()",
    "lines": "search(\n'a',\nlimit=[\n1\n],\n)",
    "bracket-below": "ping\\\n(\n)",
    "function-bracketed": "(\nping\n)()",
    "call_tool": "call_tool(\n'search',\nquery='a')",
    "await": "await ping()",
    "await-lines": "await search(\n'a',\nlimit=1\n)",
    "acall_tool": "await acall_tool(\n'ping'\n)",
}


@pytest.mark.parametrize("layout", _LAYOUTS.values(), ids=_LAYOUTS)
@pytest.mark.parametrize("spelling", _SPELLINGS.values(), ids=_SPELLINGS)
def test_the_line_is_the_one_a_traceback_names(spelling: str, layout: str) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise LookupError

    async def afails(*args: object, **kwargs: object) -> None:
        raise LookupError

    program = layout.format(spelling)
    function = afails if "await" in spelling else fails
    names = {"ping": function, "search": function, "call_tool": fails, "acall_tool": afails}
    found = direct(program, CATALOGUE)
    assert found is not None
    assert [found.line] == _lines_of_failure(program, names)


def test_the_generated_programs_stand_on_both_sides_of_the_boundary() -> None:
    catalogue = Catalogue(direct_programs.tools())
    programs = direct_programs.programs()
    found = [direct(program, catalogue) for _, program in programs]
    assert len(dict(programs)) == len(programs) > 1_000
    assert sum(one is not None for one in found) > 300
    assert sum(one is None for one in found) > 1_000


@pytest.mark.parametrize("tool", direct_programs.tools(), ids=lambda tool: tool.name)
def test_no_generated_direct_run_would_have_been_refused(tool: Tool) -> None:
    catalogue = Catalogue(direct_programs.tools())
    for _, program in direct_programs.programs():
        found = direct(program, catalogue)
        if found is not None and found.tool == tool.name:
            check(program, catalogue)
            assert normalise(program) == program
            assert set(tool.required) <= set(found.arguments)
