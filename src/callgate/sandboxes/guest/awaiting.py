"""Tool calls under `await`, `gather`, `create_task` and the like become their awaitable twins.

Models write tools as if they were coroutines wherever asyncio wants one. A call `f(1)` is rewritten to
`f.awaitable(1)` where its value can only be meant to be awaited: as the operand of `await`, as an argument of asyncio's
functions, also inside containers, comprehensions and `map` there, and through a variable of the same scope. A name that
the program binds itself, anywhere, is no tool. Line numbers stay what they were.
"""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

FUNCTIONS = frozenset(("gather", "create_task", "ensure_future", "wait_for", "shield", "wait", "as_completed", "run"))
METHODS = frozenset(("create_task", "run_until_complete", "run_coroutine_threadsafe"))
KEYWORDS = frozenset(("coro", "coros_or_futures", "coro_or_future", "fut", "future", "arg", "fs", "main"))
CONTAINERS = frozenset(("list", "tuple", "set", "iter", "reversed"))
VIEWS = frozenset(("values", "items", "copy", "pop", "popleft"))
INSERTIONS = frozenset(("append", "appendleft", "add", "insert", "extend"))

Place = tuple[int, int]
Names = dict[str, ast.expr]  # what a comprehension's variables run over


@dataclass(slots=True, kw_only=True)
class Source:
    """An expression whose value a variable comes to hold."""

    name: str
    place: Place
    value: ast.expr
    over: Names
    done: bool = False


@dataclass(slots=True, kw_only=True)
class Scope:
    """The variables of one function, class body or module."""

    sources: list[Source] = field(default_factory=list[Source])
    bound: defaultdict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    read: defaultdict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    awaited: defaultdict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))

    def sort(self) -> None:
        """Put places in order, once all are collected."""
        for places in (*self.bound.values(), *self.read.values()):
            places.sort()

    def is_awaited(self, source: Source) -> bool:
        """Say whether what the variable holds from this source on, until it is bound anew, is meant to be awaited.

        Where nothing reads it before that (the branches of an `if`, the end of a loop), any await of it counts.
        """
        awaited = self.awaited.get(source.name)
        if not awaited:
            return False
        bound = self.bound[source.name]
        following = bisect_right(bound, source.place)
        start = bound[following - 1] if following else (0, 0)
        stop = bound[following] if following < len(bound) else (1 << 60, 0)
        read = self.read[source.name]
        if bisect_left(read, start) == bisect_left(read, stop):
            return True
        return any(start <= place < stop for place in awaited)


def rewrite(tree: ast.Module, tools: AbstractSet[str]) -> None:
    """Rewrite a program in place; tools are the names that stand for tools, each with an `awaitable`."""
    finder = _Finder(tools - set(_bindings(tree)))
    finder.find_asyncio(tree)
    finder.visit(tree)
    finder.resolve()


def _bindings(tree: ast.AST) -> Iterator[str]:
    """Yield every name the program binds, in whatever scope and manner."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.alias(name=name, asname=other):
                yield other or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
            case _ if type(node).__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple"):  # since Python 3.12
                yield getattr(node, "name")  # noqa: B009 - unknown to the types of Python 3.11
            case _:
                pass


class _Finder(ast.NodeVisitor):
    """Collects what flows where, then rewrites what is awaited."""

    def __init__(self, tools: AbstractSet[str]) -> None:
        self._tools = tools
        self._modules: set[str] = set()
        self._functions: dict[str, str] = {}
        self._scope = Scope()
        self._scopes = [self._scope]
        self._over: Names = {}
        self._claims: list[tuple[ast.expr, Scope, Names]] = []

    def find_asyncio(self, tree: ast.Module) -> None:
        """Learn the names under which the program knows asyncio and its functions."""
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    self._modules |= {one.asname or one.name for one in names if one.name == "asyncio"}
                case ast.ImportFrom(module="asyncio", names=names):
                    for one in names:
                        self._functions[one.asname or one.name] = one.name
                        if one.name == "*":
                            self._functions |= {name: name for name in FUNCTIONS}
                case _:
                    pass

    # ---- collecting

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outer in (*node.decorator_list, node.args):
            self.visit(outer)
        self._enter(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - names of `ast`

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for outer in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(outer)
        self._enter(node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._enter([node.body])

    def _enter(self, body: list[ast.stmt] | list[ast.expr]) -> None:
        outer, over = self._scope, self._over
        self._scope, self._over = Scope(), {}
        self._scopes.append(self._scope)
        for node in body:
            self.visit(node)
        self._scope, self._over = outer, over

    def visit_Await(self, node: ast.Await) -> None:
        self._claim_later(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        for argument in self._awaited_arguments(node):
            self._claim_later(argument)
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr), args=[*_, value]) if (
                attr in INSERTIONS
            ):
                self._source(name, value, node)
                for argument in node.args:  # the variable itself is not read by this
                    self.visit(argument)
            case _:
                self.generic_visit(node)

    def _awaited_arguments(self, node: ast.Call) -> list[ast.expr]:
        match node.func:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in self._modules and name in FUNCTIONS:
                pass
            case ast.Attribute(attr=name) if name in METHODS:
                pass
            case ast.Name(id=local) if self._functions.get(local) in FUNCTIONS:
                name = self._functions[local]
            case _:
                return []
        named = [one.value for one in node.keywords if one.arg in KEYWORDS]
        return (node.args if name == "gather" else node.args[:1]) + named

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind(target, node.value, node)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._bind(node.target, node.value, node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._source(node.target.id, node.value, node)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target, node.value, node)
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        for target, value in _runs_over(node.target, node.iter):
            self._bind(target, value, node.iter)
        self.generic_visit(node)

    visit_AsyncFor = visit_For  # noqa: N815 - names of `ast`

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        over = self._over
        for generator in node.generators:
            self.visit(generator.iter)
            self._over = self._over | {
                target.id: value
                for target, value in _runs_over(generator.target, generator.iter)
                if isinstance(target, ast.Name)
            }
            for condition in generator.ifs:
                self.visit(condition)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self._over = over

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815 - names of `ast`

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._scope.read[node.id].append(_start(node))

    def _bind(self, target: ast.expr, value: ast.expr, statement: ast.AST) -> None:
        match target, value:
            case ast.Name(id=name), _:
                self._scope.bound[name].append(_stop(statement))
                self._source(name, value, statement)
            case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), _):
                values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
                if len(values) != len(targets):
                    values = [value] * len(targets)
                for one, other in zip(targets, values, strict=True):
                    self._bind(one, other, statement)
            case ast.Starred(value=inner), _:
                self._bind(inner, value, statement)
            case ast.Subscript(value=ast.Name(id=name)), _:
                self._source(name, value, statement)
            case _:
                pass

    def _source(self, name: str, value: ast.expr, statement: ast.AST) -> None:
        self._scope.sources.append(Source(name=name, place=_stop(statement), value=value, over=self._over))

    def _claim_later(self, node: ast.expr) -> None:
        self._claims.append((node, self._scope, self._over))

    # ---- rewriting

    def resolve(self) -> None:
        """Rewrite whatever is awaited, until nothing more is found to be."""
        for scope in self._scopes:
            scope.sort()
        while True:
            while self._claims:
                self._claim(*self._claims.pop())
            for scope in self._scopes:
                for source in scope.sources:
                    if not source.done and scope.is_awaited(source):
                        source.done = True
                        self._claims.append((source.value, scope, source.over))
            if not self._claims:
                return

    def _claim(self, node: ast.expr, scope: Scope, over: Names) -> None:
        """Rewrite the tool calls that make up a value to be awaited, or a container of such values."""
        match node:
            case ast.Call():
                self._claim_call(node, scope, over)
            case ast.Name(id=name) if name in over:
                self._claims.append((over[name], scope, {key: one for key, one in over.items() if key != name}))
            case ast.Name(id=name):
                scope.awaited[name].append(_start(node))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                inner = dict(over)
                for generator in node.generators:
                    for target, value in _runs_over(generator.target, generator.iter):
                        if isinstance(target, ast.Name):
                            inner[target.id] = value
                self._claims.append((node.value if isinstance(node, ast.DictComp) else node.elt, scope, inner))
            case _:
                self._claims += [(part, scope, over) for part in _parts(node)]

    def _claim_call(self, node: ast.Call, scope: Scope, over: Names) -> None:
        match node:
            case ast.Call(func=ast.Name(id=name) as function) if name in self._tools:
                node.func = _awaitable(function)
            case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id=name) as function, *_]) if name in self._tools:
                node.args[0] = _awaitable(function)
            case ast.Call(func=ast.Name(id=name)) if name in CONTAINERS:
                self._claims += [(argument, scope, over) for argument in node.args]
            case ast.Call(func=ast.Attribute(value=inner, attr=name)) if name in VIEWS:
                self._claims.append((inner, scope, over))
            case _:
                pass


def _parts(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.BoolOp(values=parts):
            return parts
        case ast.Dict(values=parts):
            return parts
        case ast.Starred(value=part) | ast.NamedExpr(value=part) | ast.Subscript(value=part):
            return [part]
        case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, op=ast.Add(), right=other):
            return [one, other]
        case _:
            return []


def _runs_over(target: ast.expr, iterated: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Return the targets of a loop, each with the container it runs over."""
    match target, iterated:
        case ast.Tuple(elts=targets), ast.Call(func=ast.Name(id="zip"), args=values) if len(targets) == len(values):
            return list(zip(targets, values, strict=True))
        case ast.Tuple(elts=[_, inner]), ast.Call(func=ast.Name(id="enumerate"), args=[value, *_]):
            return _runs_over(inner, value)
        case ast.Tuple(elts=[_, inner]), ast.Call(func=ast.Attribute(value=value, attr="items")):
            return [(inner, value)]
        case _:
            return [(target, iterated)]


def _awaitable(function: ast.Name) -> ast.Attribute:
    return ast.copy_location(ast.Attribute(value=function, attr="awaitable", ctx=ast.Load()), function)


def _start(node: ast.expr) -> Place:
    return node.lineno, node.col_offset


def _stop(node: ast.AST) -> Place:
    return getattr(node, "end_lineno", 0), getattr(node, "end_col_offset", 0)
