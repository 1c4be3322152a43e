"""Direct run: a program that is exactly one tool call needs no sandbox.

Only programs whose every effect is plain from their text are recognised. Whatever leaves a doubt is no direct run; the
sandbox decides then, so a form that is missing here costs time and never an answer.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from typing import Literal, TypeAlias

from callgate.codec import JSON, NotJSON, decode, encode
from callgate.errors import ProgramError
from callgate.fitting import misfit
from callgate.names import GUEST_NAMES
from callgate.parsing import parse
from callgate.tools import Catalogue, Tool

__all__ = ["Direct", "direct"]

Show: TypeAlias = Literal["value", "print"]

_MOST_CHARS = 32 << 10
"""So that the arguments are below any frame limit, whatever their text form."""
_MOST_LEVELS = 50
"""So that the arguments are as far from the codec's depth as it takes to wrap them in a frame."""
_TAKEN = frozenset(dir(builtins)) | GUEST_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """A program that is one tool call."""

    tool: str
    """The tool's name in the catalogue."""
    arguments: dict[str, JSON]
    """The canonical arguments, as a guest would have sent them."""
    line: int
    """The line CPython names for an exception raised in the call."""
    show: Show
    """Whether the result is the action's value, or is printed and the value is None."""


def direct(program: str, catalogue: Catalogue) -> Direct | None:
    """Return the one call a normalised program consists of, None for any other program.

    The program may begin with a string, bind the result to a fresh name, and show it as its last expression or by
    `print` with nothing else. Arguments are literals of JSON types.
    """
    if len(program) > _MOST_CHARS:
        return None
    try:
        body = parse(program).body
    except ProgramError:
        return None
    while body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
        body = body[1:]
    shown = _shown(body, catalogue)
    if shown is None:
        return None
    expression, show = shown
    call = expression.value if isinstance(expression, ast.Await) else expression
    if not isinstance(call, ast.Call) or call.lineno != expression.lineno:
        return None
    found = _tool_of(call, catalogue, awaited=isinstance(expression, ast.Await))
    if found is None:
        return None
    tool, positional = found
    arguments = _arguments(tool, positional, call.keywords)
    if arguments is None:
        return None
    return Direct(tool=tool.name, arguments=arguments, line=call.lineno, show=show)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _shown(body: list[ast.stmt], catalogue: Catalogue) -> tuple[ast.expr, Show] | None:
    """Return the expression whose value is all the program shows, and how."""
    match body:
        case [ast.Expr(value=expression)]:
            return _unprinted(expression)
        case [ast.Assign(targets=[ast.Name(id=name)], value=expression), *rest] if (
            name not in _TAKEN and name not in catalogue.functions and not name.startswith("__")
        ):
            match rest:
                case []:
                    return expression, "value"
                case [ast.Expr(value=last)]:
                    last, show = _unprinted(last)
                    return (expression, show) if isinstance(last, ast.Name) and last.id == name else None
                case _:
                    return None
        case _:
            return None


def _unprinted(expression: ast.expr) -> tuple[ast.expr, Show]:
    match expression:
        case ast.Call(func=ast.Name(id="print"), args=[printed], keywords=[]):
            return printed, "print"
        case _:
            return expression, "value"


def _tool_of(call: ast.Call, catalogue: Catalogue, *, awaited: bool) -> tuple[Tool, list[ast.expr]] | None:
    """Return the tool a call reaches, and its positional arguments."""
    match call:
        case ast.Call(func=ast.Name(id=function)) if function in catalogue.functions:
            return catalogue.functions[function], call.args
        case ast.Call(func=ast.Name(id=function), args=[ast.Constant(value=str(name))]):
            tool = catalogue.tools.get(name)
            if function == ("acall_tool" if awaited else "call_tool") and tool and "code" in tool.callers:
                return tool, []
        case _:
            pass
    return None


def _arguments(tool: Tool, positional: list[ast.expr], keywords: list[ast.keyword]) -> dict[str, JSON] | None:
    """Return the canonical arguments of a call that fits the tool, None where they are not plain to see."""
    if misfit("", tool, positional, keywords):
        return None
    try:
        arguments = {name: _literal(value, 1) for name, value in zip(tool.parameters, positional, strict=False)}
        for one in keywords:
            if one.arg is None:
                return None
            arguments[one.arg] = _literal(one.value, 1)
        return decode(encode(arguments))
    except NotJSON:
        return None


def _literal(node: ast.expr, depth: int) -> JSON:
    """Return what `ast.literal_eval` gives for a literal that JSON carries as it is.

    Raises:
        NotJSON: for anything else.
    """
    if depth > _MOST_LEVELS:
        raise NotJSON("nested too deeply")
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return node.value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float() as number)) if (
            not isinstance(number, bool)
        ):
            return -number if isinstance(node.op, ast.USub) else number
        case ast.List():
            return [_literal(item, depth + 1) for item in node.elts]
        case ast.Dict():
            values = [_literal(item, depth + 1) for item in node.values]
            return {_key(key): value for key, value in zip(node.keys, values, strict=True)}
        case _:
            raise NotJSON("no literal of a JSON type")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise NotJSON("no string key")
