"""A program's source, made into code that keeps its value."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import CodeType

from . import awaiting
from .faults import PROGRAM

VALUE = "<value>"
"""The global that holds the value: no name that source text could spell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Code ready to run."""

    code: CodeType
    assigns: bool
    """Whether the value is that of a trailing assignment, which counts only if nothing was printed."""
    line: int | None
    """The line of the statement that gives the value."""


def prepare(source: str, tools: AbstractSet[str]) -> Program:
    """Compile a program; tools are the names whose calls may be awaited.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `compile` does.
    """
    lines = source.splitlines(keepends=True)
    linecache.cache[PROGRAM] = (len(source), None, lines, PROGRAM)  # for tracebacks that the program prints
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(source, PROGRAM, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    if "await" in source or "asyncio" in source:
        awaiting.rewrite(tree, tools)
    last = tree.body[-1] if tree.body else None
    assigns = _keep_value(tree, last)
    ast.fix_missing_locations(tree)
    code = compile(tree, PROGRAM, "exec", flags, dont_inherit=True)
    return Program(code=code, assigns=assigns, line=last.lineno if last else None)


def _keep_value(tree: ast.Module, last: ast.stmt | None) -> bool:
    """Store the value of the last statement in `VALUE`. Returns whether it is an assignment."""
    keep = ast.Name(id=VALUE, ctx=ast.Store())
    match last:
        case ast.Expr(value=value):
            tree.body[-1] = ast.copy_location(ast.Assign(targets=[keep], value=value), last)
            return False
        case ast.Assign(targets=targets):
            targets.insert(0, keep)
        case ast.AugAssign(target=ast.Name(id=name)):
            tree.body.append(_store(name, keep, last))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            tree.body.append(_store(name, keep, last))
        case _:
            pass
    return True


def _store(name: str, keep: ast.Name, last: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Assign(targets=[keep], value=ast.Name(id=name, ctx=ast.Load())), last)
