"""What a program binds anywhere, and what it evaluates for certain.

Checks before running rest on certainty: a program is refused only for what no run of it can avoid. So only module
level counts, and there only what no condition, loop, `try`, `with` or short circuit stands in front of.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from typing import cast

__all__ = ["bindings", "certain", "children", "defers_calls", "first_exit", "is_opaque"]

_UNSEEN = re.compile(
    r"(?<![\w.])(?:exec|eval|compile|globals|locals|vars|setattr|breakpoint|gc|pdb|ctypes|inspect)\b"
    r"|\b(?:builtins|importlib|runpy|modules|_getframe|currentframe|f_globals|f_locals|f_builtins)\b"
    r"|__(?:builtins|import|dict|globals|main|setattr)__|\bimport[\s\\]*\*"
    r"|\b(?:var|init_session|global_enum|install|get_ipython|load_session)\b"
)
"""Ways to bind names unseen. The last line holds libraries' own: sympy, enum, gettext, IPython, dill."""

_EXIT = re.compile(r"exit|quit|exec|kill|unittest|click|typer|\bfire\b|absl", re.IGNORECASE)
"""What may end a program cleanly before its last line: SystemExit and its like, and frameworks that call it."""

_DEFERS = re.compile(r"\b(?:async|await|asyncio|anyio|trio|gather|create_task|ensure_future|TaskGroup)\b")


def bindings(tree: ast.Module) -> set[str]:
    """Return every name the program binds in any scope, deletes or declares global."""
    names: set[str | None] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        waiting.extend(children(node))
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.Global | ast.Nonlocal):
            names.update(node.names)
        elif isinstance(node, ast.MatchMapping):
            names.add(node.rest)
        elif isinstance(name := getattr(node, "name", None), str):
            names.add(name)  # functions, classes, except-as, captures, type parameters
    return {name for name in names if name}


def is_opaque(program: str) -> bool:
    """Say whether the program may bind names in ways its text does not show."""
    return _UNSEEN.search(program) is not None


def defers_calls(program: str) -> bool:
    """Say whether a tool call may be made later than its text stands, so that its failure may be a mere value."""
    return _DEFERS.search(program) is not None


def first_exit(program: str) -> int:
    """Return the first line that so much as mentions a way to end early, or a line beyond the last."""
    found = _EXIT.search(program)
    return program.count("\n", 0, found.start() if found else len(program)) + (1 if found else 2)


def certain(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that every run evaluates, unless it fails before, in the order of their text."""
    waiting: list[ast.AST] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        yield node
        parts = _certain_parts(node) if isinstance(node, _PARTIAL) else children(node)
        waiting.extend(reversed(parts))


def children(node: ast.AST) -> list[ast.AST]:
    """Return the child nodes in the order of the grammar, without the empty ones that only say load or store."""
    found: list[ast.AST] = []
    if isinstance(node, ast.Constant | ast.Name):
        return found
    for field in node._fields:
        value: object = getattr(node, field, None)
        if isinstance(value, list):
            found.extend(one for one in cast("list[object]", value) if isinstance(one, ast.AST))
        elif isinstance(value, ast.AST) and value._fields:
            found.append(value)
    return found


_PARTIAL = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.If, ast.While, ast.IfExp, ast.Assert),
    *(ast.For, ast.AsyncFor, ast.comprehension, ast.With, ast.AsyncWith, ast.Match, ast.BoolOp, ast.Compare),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.AnnAssign, ast.Try, ast.TryStar),
    *((ast.TypeAlias,) if sys.version_info >= (3, 12) else ()),
)
"""The nodes that evaluate only some of their children for certain."""


def _certain_parts(node: ast.AST) -> list[ast.AST]:
    """Return the children that are evaluated whenever the node is."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
            return _definition_parts(node)
        case ast.If() | ast.While() | ast.IfExp() | ast.Assert():
            return [node.test]
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            return [node.iter]
        case ast.With() | ast.AsyncWith():
            return [node.items[0].context_expr]
        case ast.Match():
            return [node.subject]
        case ast.BoolOp():
            return [node.values[0]]
        case ast.Compare():
            return [node.left, node.comparators[0]]
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return [node.generators[0]]
        case ast.AnnAssign():  # since Python 3.14 nothing evaluates the annotation
            return [node.value] if node.value else []
        case _:
            return []


def _definition_parts(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef) -> list[ast.AST]:
    if isinstance(node, ast.ClassDef):
        # a base or metaclass may prepare a namespace that answers to any name
        plain = not node.bases and not node.keywords
        return [*node.decorator_list, *node.bases, *node.keywords, *(node.body if plain else [])]
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    keyword_defaults = [default for default in node.args.kw_defaults if default]
    return [*decorators, *node.args.defaults, *keyword_defaults]
