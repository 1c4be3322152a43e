"""Programs around the boundary of the direct run, and the tools they call.

Each program is run twice by the tests that use it, as a direct run where it is one and in a sandbox; the outcomes must
not differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callgate.codec import JSON
from callgate.errors import ToolFailed
from callgate.tools import Call, Tool

_CALLS = {
    "true": "yes()",
    "true-call_tool": "call_tool('yes')",
    "true-await": "await yes()",
    "true-acall_tool": "await acall_tool('yes')",
    "true-acall_tool-lost": "acall_tool('yes')",
    "true-await-call_tool": "await call_tool('yes')",
    "true-bracketed": "(yes())",
    "true-function-bracketed": "(yes)()",
    "none": "nothing()",
    "float": "ratio()",
    "nested": "nested()",
    "text": "text()",
    "big": "big()",
    "rows": "call_tool('rows')",
    "empty": "empty()",
    "odd-name": "call_tool('odd-name')",
    "odd-function": "odd_name()",
    "odd-function-by-name": "call_tool('odd_name')",
    "fails": "broken()",
    "fails-why": "broken('not today')",
    "fails-call_tool": "call_tool('broken', why='no \"quotes\"')",
    "fails-await": "await broken()",
    "raises": "crash()",
    "raises-call_tool": "call_tool('crash')",
    "positional": "echo(1)",
    "keyword": "echo(value=-1.5)",
    "none-argument": "echo(None)",
    "minus-zero": "echo(-0.0)",
    "plus": "echo(+7)",
    "infinity": "echo(1e400)",
    "large": "echo(10_000_000_000_000_000_000_000)",
    "dict": "echo({'b': [1, {'a': None}], 'a': True})",
    "dict-twice": "echo({'a': 1, 'a': 2})",
    "dict-of-int": "echo({1: 2})",
    "dict-unpacked": "echo({**{'a': 1}})",
    "list": "echo([1, 2.0, '3', []])",
    "tuple": "echo((1, 2))",
    "set": "echo({1})",
    "bytes": "echo(b'x')",
    "ellipsis": "echo(...)",
    "complex": "echo(1j)",
    "joined-text": "echo('a' 'b')",
    "unicode": "echo('h\u00e9 \u20ac \U0001f600')",
    "surrogate": "echo('\\ud800')",
    "f-string": "echo(f'{1}')",
    "sum": "echo(1 + 1)",
    "name": "echo(len)",
    "walrus": "echo(w := 1)",
    "star": "echo(*[1])",
    "double-star": "echo(**{'value': 1})",
    "nested-call": "echo(yes())",
    "two-positional": "pair(1, 2)",
    "mixed": "pair(1, b=3)",
    "keywords": "pair(b=3, a=1)",
    "default": "pair(1)",
    "call_tool-arguments": "call_tool('pair', b='x', a=[])",
    "lines": "pair(\n    a=1,\n    b={\n        'k': [1, 2],\n    },\n)",
    "lines-fail": "call_tool(\n    'broken',\n    why='later',\n)",
    "twice": "pair(1, a=1)",
    "too-many": "pair(1, 2, 3)",
    "missing": "pair()",
    "unknown-argument": "pair(1, c=2)",
    "positional-dict": "call_tool('pair', {'a': 1})",
    "unknown-tool": "call_tool('absent')",
    "not-for-code": "call_tool('json_only')",
    "no-name": "call_tool(name='yes')",
    "method": "text().upper()",
    "item": "nested()['k']",
}

_PROGRAMS = {
    "bare": "{}",
    "semicolon": "{};",
    "comments": "# first\n\n{}  # then",
    "docstring": "'''What this does.'''\n{}",
    "constant": "1\n{}",
    "assigned": "r = {}",
    "assigned-shown": "r = {}\n\nr",
    "assigned-printed": "r = {}\nprint(r)",
    "assigned-printed-twice": "r = {}\nprint(r)\nprint(r)",
    "assigned-other-shown": "r = {}\n'r'",
    "assigned-twice": "r = s = {}",
    "assigned-annotated": "r: object = {}",
    "assigned-unpacked": "r, = [{}]",
    "assigned-underscore": "_ = {}\n_",
    "assigned-builtin": "len = {}\nlen",
    "assigned-tool": "yes = {}\nyes",
    "assigned-call_tool": "call_tool = {}",
    "assigned-print": "print = {}",
    "assigned-module-name": "__name__ = {}\n__name__",
    "printed": "print({})",
    "printed-lines": "print(\n\n    {}\n)",
    "printed-end": "print({}, end='')",
    "printed-sep": "print({}, sep='-')",
    "printed-two": "print({}, 1)",
    "printed-star": "print(*[{}])",
    "printed-walrus": "print((w2 := {}))",
    "printed-str": "print(str({}))",
    "printed-shadowed": "print = repr\nprint({})",
    "printed-value": "p = print({})\np",
    "listed": "[{}]",
    "else": "{} or 'else'",
    "statement-before": "x = 1\n{}",
    "output-before": "print('before')\nr = {}",
    "twice": "{0}\n{0}",
    "condition": "if True:\n    print({})",
    "loop": "for i in range(2):\n    print({})",
    "caught": "try:\n    r = {}\nexcept Exception as error:\n    r = type(error).__name__\nr",
    "tool-shadowed": "def echo(value=0):\n    return ['mine', value]\n{}",
}


def programs() -> list[tuple[str, str]]:
    """Return pairs of an id and a program, the same on every call."""
    return [
        (f"{form}:{call}", template.format(source))
        for form, template in _PROGRAMS.items()
        for call, source in _CALLS.items()
    ]


def tools() -> list[Tool]:
    """Return the tools the programs call: results of every JSON type, one failing and one raising."""
    return [
        _tool("yes", [], lambda _: True),
        _tool("nothing", [], lambda _: None),
        _tool("ratio", [], lambda _: 0.1 + 0.2),
        _tool("nested", [], lambda _: {"k": [1, {"z": None, "a": [True, -2.5e-7]}], "a": ""}),
        _tool("text", [], lambda _: 'it\'s "so"\n\ttab \u20ac \U0001f600 \\'),
        _tool("big", [], lambda _: 2**200),
        _tool("rows", [], lambda _: [{"id": n, "name": f"row {n}"} for n in range(50)]),
        _tool("empty", [], lambda _: []),
        _tool("odd-name", [], lambda _: "odd"),
        _tool("echo", ["value"], lambda given: given["value"]),
        _tool("pair", ["a"], lambda given: [given["a"], given.get("b", "none")], optional=["b"]),
        _tool("broken", [], _fail, optional=["why"]),
        _tool("crash", [], _crash),
        Tool(name="json_only", callers=frozenset(["direct"]), invoke=lambda call: call.arguments),
    ]


def _tool(
    name: str, required: list[str], result: Callable[[dict[str, JSON]], Any], optional: list[str] | None = None
) -> Tool:
    properties: dict[str, JSON] = {one: {} for one in (*required, *(optional or []))}

    def invoke(call: Call) -> Any:
        return result(call.arguments)

    return Tool(
        name=name,
        input_schema={"type": "object", "properties": properties, "required": required, "additionalProperties": False},
        effect="read",
        invoke=invoke,
    )


def _fail(given: dict[str, JSON]) -> None:
    raise ToolFailed(f"broken: {given.get('why', 'no reason')}")


def _crash(_: dict[str, JSON]) -> None:
    raise ValueError("private to the host")
