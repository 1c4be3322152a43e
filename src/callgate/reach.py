"""Which tools a program can reach, by its text alone, before it runs.

It may name more than a run will call, and never less: where the text leaves open which tool is meant, it is any.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from callgate.errors import ProgramError
from callgate.parsing import parse
from callgate.paths import children, is_opaque
from callgate.tools import Catalogue

__all__ = ["Reach", "reach"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The tools a program can reach."""

    tools: tuple[str, ...]
    """Names of tools, in the order of the catalogue; all that code may call, where it is any."""
    any: bool = False
    """Whether the program makes up names as it runs."""


def reach(program: str, catalogue: Catalogue) -> Reach:
    """Return the tools a normalised program can reach; none for one that does not compile."""
    try:
        tree = parse(program)
    except ProgramError:
        return Reach(tools=())
    unseen = is_opaque(program) or not tree.body  # nesting too deep to look at comes back empty
    found = None if unseen else _named(tree, catalogue)
    for_code = {one.name for one in catalogue.functions.values()}
    named = [name for name in catalogue.tools if name in for_code and (found is None or name in found)]
    return Reach(tools=tuple(named), any=found is None)


def _named(tree: ast.Module, catalogue: Catalogue) -> set[str] | None:
    """Return the tools a program names, None where it makes up a name."""
    found: set[str] = set()
    plain: set[ast.AST] = set()
    """Names of callgate's own functions that stand where they are called."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        waiting.extend(children(node))
        match node:
            case ast.Call(func=ast.Name(id="call_tool" | "acall_tool") as function, args=[first, *_]):
                names = [_text(first)]
            case ast.Call(func=ast.Name(id="call_tools") as function, args=[ast.List() | ast.Tuple() as items]):
                names = [_first(item) for item in items.elts]
            case ast.Call(
                func=ast.Name(id="call_tools") as function, args=[ast.ListComp(elt=item) | ast.GeneratorExp(elt=item)]
            ):
                names = [_first(item)]
            case ast.Name(id="call_tool" | "acall_tool" | "call_tools") if node not in plain:
                return None
            case ast.Name(id=name) if name in catalogue.functions:
                found.add(catalogue.functions[name].name)
                continue
            case _:
                continue
        if None in names:
            return None
        plain.add(function)
        found.update(_tool(name, catalogue) for name in names if name is not None)
    return found


def _tool(name: str, catalogue: Catalogue) -> str:
    """Return the tool's own name for a name that a program calls it by."""
    if name not in catalogue.tools and name in catalogue.functions:
        return catalogue.functions[name].name
    return name


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _first(node: ast.expr) -> str | None:
    """Return the name in `(name, arguments)`."""
    return _text(node.elts[0]) if isinstance(node, ast.Tuple | ast.List) and node.elts else None
