"""A program before it runs: normalised, checked, and recognised where it needs no sandbox.

Only the standard library's `ast` looks at it; nothing here executes a program. A check refuses what is certain to
fail on every run and leaves everything else to the run.
"""

from __future__ import annotations

import ast
import builtins
import sys

from callgate.direct import Direct, direct
from callgate.errors import ProgramError
from callgate.fitting import miscall, nearest, no_tool
from callgate.names import GUEST_NAMES
from callgate.parsing import normalise, parse
from callgate.paths import bindings, certain, defers_calls, first_exit, is_opaque
from callgate.tools import Catalogue

__all__ = ["Direct", "check", "direct", "normalise"]

_BUILTINS = frozenset(dir(builtins)) | {"exit", "quit", "copyright", "credits", "license", "help"}
_MOST_SHOWN = 1_000


def check(program: str, catalogue: Catalogue) -> None:
    """Refuse a program that cannot run: nothing of it has run then, and the message says what to change.

    Faults are a program that does not compile, and, where every run is certain to reach them, names nothing defines,
    tools that do not exist, and arguments a tool does not take or misses. A tool whose name the program binds itself
    is no longer the tool, and a program that binds names in unseen ways is only compiled.

    Raises:
        ProgramError: with the fault, its cure and its line.
    """
    tree = parse(program)
    if is_opaque(program):
        return
    bound = bindings(tree)
    deferred = defers_calls(program)
    last = first_exit(program)
    awaited: set[ast.AST] = set()
    for node in certain(tree):
        if getattr(node, "end_lineno", 0) >= last:
            return
        match node:
            case ast.Await(value=ast.Call() as call):
                awaited.add(call)
            case ast.Name(ctx=ast.Load()):
                _refuse(_undefined(node.id, bound, catalogue), node)
            case ast.Call(func=ast.Name(id=name)) if name not in bound:
                if node in awaited or not (deferred or name == "acall_tool"):
                    _refuse(miscall(node, name, catalogue), node)
            case _:
                pass


def _refuse(fault: str | None, node: ast.expr) -> None:
    if fault is not None:
        shown = fault if len(fault) <= _MOST_SHOWN else fault[: _MOST_SHOWN - 3] + "..."
        raise ProgramError(shown, line=node.lineno)


def _undefined(name: str, bound: set[str], catalogue: Catalogue) -> str | None:
    if name in bound or name in _BUILTINS or name in GUEST_NAMES or name in catalogue.functions or name[:2] == "__":
        return None
    if name in catalogue.tools:
        return no_tool(name, catalogue)
    if name in sys.stdlib_module_names:
        return f"The name {name!r} is not defined. Add `import {name}` first."
    near = nearest(name, [*catalogue.functions, *GUEST_NAMES, *bound, *_BUILTINS])
    return f"The name {name!r} is not defined anywhere in the program. {near or 'Define or import it first.'}"
