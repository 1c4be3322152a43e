"""Which tool calls become awaitable, as source text before and after."""

from __future__ import annotations

import ast
import importlib.util
import re
from types import ModuleType

import pytest
from guest.harness import run

from callgate.sandboxes.guest_source import guest_modules

TOOLS = frozenset(("f", "g", "call_tool"))


def load() -> ModuleType:
    spec = importlib.util.spec_from_loader("awaiting", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["awaiting"] = module  # its dataclasses look for it
    exec(guest_modules()["awaiting"], module.__dict__)
    return module


AWAITING = load()


def rewritten(body: str) -> str:
    tree = ast.parse(body)
    AWAITING.rewrite(tree, TOOLS)
    return re.sub("\n+", "\n", ast.unparse(tree)).replace(".awaitable(", "!(").replace(".awaitable,", "!,")


SAME_LINE = [
    # under await
    ("await f(1)", "await f!(1)"),
    ("await call_tool('f', x=1)", "await call_tool!('f', x=1)"),
    ("x = (await f(1))['k']", "x = (await f!(1))['k']"),
    ("await (f(1) if x else g(2))", "await (f!(1) if x else g!(2))"),
    ("await f(await g(1))", "await f!(await g!(1))"),
    ("[await f(i) for i in xs]", "[await f!(i) for i in xs]"),
    ("print(await f(1))", "print(await f!(1))"),
    # arguments of asyncio
    ("asyncio.run(f(1))", "asyncio.run(f!(1))"),
    ("await asyncio.gather(f(1), g(2))", "await asyncio.gather(f!(1), g!(2))"),
    ("await asyncio.gather(*[f(i) for i in xs])", "await asyncio.gather(*[f!(i) for i in xs])"),
    ("await asyncio.gather(*(f(i) for i in xs), g(1))", "await asyncio.gather(*(f!(i) for i in xs), g!(1))"),
    ("await asyncio.gather(*map(f, xs))", "await asyncio.gather(*map(f!, xs))"),
    ("await asyncio.gather(*list(map(f, xs)))", "await asyncio.gather(*list(map(f!, xs)))"),
    ("await asyncio.gather(*{k: f(k) for k in xs}.values())", "await asyncio.gather(*{k: f!(k) for k in xs}.values())"),
    ("await asyncio.gather(*[f(1)] + [g(2)])", "await asyncio.gather(*[f!(1)] + [g!(2)])"),
    ("await asyncio.gather(asyncio.wait_for(f(1), 5))", "await asyncio.gather(asyncio.wait_for(f!(1), 5))"),
    ("await asyncio.wait_for(f(1), timeout=g(2))", "await asyncio.wait_for(f!(1), timeout=g(2))"),
    ("await asyncio.wait_for(f(1), g(2))", "await asyncio.wait_for(f!(1), g(2))"),
    ("await asyncio.wait_for(fut=f(1), timeout=5)", "await asyncio.wait_for(fut=f!(1), timeout=5)"),
    ("await asyncio.shield(f(1))", "await asyncio.shield(f!(1))"),
    ("await asyncio.wait({f(1), g(2)})", "await asyncio.wait({f!(1), g!(2)})"),
    ("asyncio.ensure_future(f(1))", "asyncio.ensure_future(f!(1))"),
    ("asyncio.create_task(coro=f(1))", "asyncio.create_task(coro=f!(1))"),
    ("loop.run_until_complete(f(1))", "loop.run_until_complete(f!(1))"),
    ("loop.create_task(f(1), name=g(2))", "loop.create_task(f!(1), name=g(2))"),
    ("ts = [tg.create_task(f(i)) for i in xs]", "ts = [tg.create_task(f!(i)) for i in xs]"),
    ("asyncio.run_coroutine_threadsafe(f(1), loop)", "asyncio.run_coroutine_threadsafe(f!(1), loop)"),
    ("[await c for c in [f(1), g(2)]]", "[await c for c in [f!(1), g!(2)]]"),
    ("[await c for k, c in zip(xs, [f(k) for k in f(9)])]", "[await c for k, c in zip(xs, [f!(k) for k in f(9)])]"),
    ("for c in asyncio.as_completed([f(1)]): await c", "for c in asyncio.as_completed([f!(1)]):\n    await c"),
    # not to be touched
    ("f(1)", "f(1)"),
    ("x = f(1)", "x = f(1)"),
    ("await helper(f(1))", "await helper(f(1))"),
    ("await asyncio.gather(helper(f(1)))", "await asyncio.gather(helper(f(1)))"),
    ("await asyncio.gather(*[helper(i) for i in f(1)])", "await asyncio.gather(*[helper(i) for i in f(1)])"),
    ("asyncio.create_task(lambda: f(1))", "asyncio.create_task(lambda: f(1))"),
    ("await asyncio.to_thread(f, 1)", "await asyncio.to_thread(f, 1)"),
    ("await asyncio.sleep(f(1))", "await asyncio.sleep(f(1))"),
    ("pool.map(f, xs)", "pool.map(f, xs)"),
    ("other.gather(f(1))", "other.gather(f(1))"),
    ("condition.wait_for(f(1))", "condition.wait_for(f(1))"),
    ("app.run(f(1))", "app.run(f(1))"),
    ("await x.f(1)", "await x.f(1)"),
]


@pytest.mark.parametrize(("before", "after"), SAME_LINE, ids=[one[0] for one in SAME_LINE])
def test_expressions(before: str, after: str) -> None:
    prefix = "import asyncio\n"
    assert rewritten(prefix + before) == prefix + after


VARIABLES = [
    ("c = f(1)\nx = await c", "c = f!(1)\nx = await c"),
    ("ts = [f(i) for i in xs]\nawait asyncio.gather(*ts)", "ts = [f!(i) for i in xs]\nawait asyncio.gather(*ts)"),
    (
        "ts = []\nfor i in xs:\n    ts.append(f(i))\nawait asyncio.gather(*ts)",
        "ts = []\nfor i in xs:\n    ts.append(f!(i))\nawait asyncio.gather(*ts)",
    ),
    (
        "ts = []\nfor i in xs:\n    t = f(i)\n    ts.append(t)\nawait asyncio.gather(*ts)",
        "ts = []\nfor i in xs:\n    t = f!(i)\n    ts.append(t)\nawait asyncio.gather(*ts)",
    ),
    ("ts = [f(1)]\nts += [g(2)]\nawait asyncio.wait(ts)", "ts = [f!(1)]\nts += [g!(2)]\nawait asyncio.wait(ts)"),
    ("d = {'a': f(1)}\nawait asyncio.gather(*d.values())", "d = {'a': f!(1)}\nawait asyncio.gather(*d.values())"),
    ("d = {}\nd['a'] = f(1)\nawait d['a']", "d = {}\nd['a'] = f!(1)\nawait d['a']"),
    ("d = {'a': f(1)}\nfor k, t in d.items():\n    await t", "d = {'a': f!(1)}\nfor k, t in d.items():\n    await t"),
    ("a, b = (f(1), g(2))\nawait asyncio.gather(a, b)", "a, b = (f!(1), g!(2))\nawait asyncio.gather(a, b)"),
    (
        "ids = f(0)\nts = [g(i) for i in ids]\nfor i, t in zip(ids, ts):\n    await t",
        "ids = f(0)\nts = [g!(i) for i in ids]\nfor i, t in zip(ids, ts):\n    await t",
    ),
    (
        "if x:\n    c = f(1)\nelse:\n    c = g(2)\nawait c",
        "if x:\n    c = f!(1)\nelse:\n    c = g!(2)\nawait c",
    ),
    (
        "p = f(0)\nfor i in xs:\n    await p\n    p = f(i)",
        "p = f!(0)\nfor i in xs:\n    await p\n    p = f!(i)",
    ),
    ("a = f(1)\nb = a\nawait b", "a = f!(1)\nb = a\nawait b"),
    ("if (c := f(1)):\n    await c", "if (c := f!(1)):\n    await c"),
    # a name used for a value first and for a task later
    (
        "r = f(1)\nprint(r)\nr = asyncio.create_task(g(2))\nawait r",
        "r = f(1)\nprint(r)\nr = asyncio.create_task(g!(2))\nawait r",
    ),
    # another scope's variable of the same name
    ("class H:\n    c = f(1)\nc = g(1)\nawait c", "class H:\n    c = f(1)\nc = g!(1)\nawait c"),
    ("rows = []\nrows.append(f(1))\nprint(rows)\nawait g(1)", "rows = []\nrows.append(f(1))\nprint(rows)\nawait g!(1)"),
]


@pytest.mark.parametrize(("before", "after"), VARIABLES, ids=[one[0] for one in VARIABLES])
def test_variables(before: str, after: str) -> None:
    prefix = "import asyncio\n"
    assert rewritten(prefix + before) == prefix + after


@pytest.mark.parametrize(
    ("imported", "call", "after"),
    [
        ("import asyncio as aio", "aio.run(f(1))", "aio.run(f!(1))"),
        ("from asyncio import gather, run", "run(gather(f(1)))", "run(gather(f!(1)))"),
        ("from asyncio import gather as many", "await many(f(1))", "await many(f!(1))"),
        ("from asyncio import *", "create_task(f(1))", "create_task(f!(1))"),
        ("from elsewhere import gather", "gather(f(1))", "gather(f(1))"),
        ("import elsewhere as asyncio_", "asyncio_.run(f(1))", "asyncio_.run(f(1))"),
    ],
)
def test_asyncio_under_other_names(imported: str, call: str, after: str) -> None:
    assert rewritten(f"{imported}\n{call}") == f"{imported}\n{after}"


@pytest.mark.parametrize(
    "binding",
    [
        "f = 1",
        "f: int = 1",
        "f += 1",
        "(f := 1)",
        "del f",
        "for f in xs: pass",
        "[f for f in xs]",
        "def f(): pass",
        "async def f(): pass",
        "class f: pass",
        "def h(f): pass",
        "def h(*f): pass",
        "def h(**f): pass",
        "lambda f: 1",
        "import f",
        "import f.g",
        "import x as f",
        "from x import f",
        "with x as f: pass",
        "try: pass\nexcept E as f: pass",
        "match x:\n    case f: pass",
        "match x:\n    case [*f]: pass",
        "match x:\n    case {**f}: pass",
        "match x:\n    case {} as f: pass",
        "def h():\n    global f\n    f = 1",
    ],
)
def test_a_name_the_program_binds_anywhere_is_no_tool(binding: str) -> None:
    assert "!" not in rewritten(f"{binding}\nawait f(1)")


def test_lines_stay_what_they_were() -> None:
    result = run(
        "import asyncio\nasync def main():\n    await asyncio.gather(\n        f(1),\n        f(object),\n    )\n"
        "asyncio.run(main())"
    )
    assert result.error is not None
    assert (result.error["type"], result.error["line"]) == ("InvalidArguments", 3)


def test_models_way_of_writing_it_runs_in_parallel() -> None:
    program = """
import asyncio

async def main():
    ids = await f([1, 2, 3])
    tasks = [g(i) for i in ids]
    tasks.append(call_tool('g', x=4))
    users = await asyncio.gather(*tasks)
    async with asyncio.TaskGroup() as tg:
        more = [tg.create_task(g(u)) for u in users]
    return [m.result() for m in more]

asyncio.run(main())
"""
    result = run(program)
    assert (result.value, round(result.seconds, 4)) == ([1, 2, 3, 4], 0.05)
