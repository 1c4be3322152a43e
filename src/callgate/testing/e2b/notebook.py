"""The notebook service of one sandbox: contexts, and code that is run in them.

A context is a plain Python process, no IPython: it runs cells, has `display`, and shows the forms of a value by its
`_repr_html_` and the like, as far as E2B's own service sends them on.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from callgate.testing.e2b.control import Machine, read_body
from callgate.testing.e2b.http import Receive, Scope, Send, reply

__all__ = ["answer_notebook"]

LONGEST = 1 << 26
"""Bytes of one line that a kernel may say."""

KERNEL = r"""
import ast, asyncio, base64, json, os, sys, traceback
wire = os.fdopen(os.dup(1), "w")
def say(**told):
    wire.write(json.dumps(told) + "\n")
    wire.flush()
class Stream:
    def __init__(self, kind): self.kind = kind
    def write(self, text):
        if text: say(type=self.kind, text=text, timestamp=0)
        return len(text)
    def flush(self): pass
FORMS = (("html", "_repr_html_"), ("svg", "_repr_svg_"), ("markdown", "_repr_markdown_"), ("latex", "_repr_latex_"))
def display(value, main=False):
    told = {"text": repr(value)}
    for name, method in FORMS:
        if hasattr(type(value), method): told[name] = getattr(value, method)()
    if hasattr(type(value), "_repr_png_"): told["png"] = base64.b64encode(value._repr_png_()).decode()
    say(type="result", is_main_result=main, **told)
names = {"__name__": "__main__", "display": display}
sys.stdout, sys.stderr = Stream("stdout"), Stream("stderr")
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
def run(code, mode):
    found = eval(compile(code, "<cell>", mode, FLAGS), names)
    return loop.run_until_complete(found) if asyncio.iscoroutine(found) else found
for number, line in enumerate(sys.stdin, 1):
    try:
        tree = compile(json.loads(line), "<cell>", "exec", FLAGS | ast.PyCF_ONLY_AST)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        run(tree, "exec")
        value = run(ast.Expression(last.value), "eval") if last is not None else None
        if value is not None: display(value, True)
    except BaseException as error:
        say(type="error", name=type(error).__name__, value=str(error), traceback=traceback.format_exc())
    say(type="number_of_executions", execution_count=number)
    say(type="end_of_execution")
"""


class Context:
    """A kernel."""

    def __init__(self, process: asyncio.subprocess.Process, language: str, cwd: str) -> None:
        self.id, self.language, self.cwd = secrets.token_hex(8), language, cwd
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls, machine: Machine, language: str, cwd: str | None) -> Context:
        """Start one."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "python3",
            "-c",
            KERNEL,
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=cwd if cwd and cwd != "/home/user" else machine.home,
            env=machine.environment,
            start_new_session=True,
            limit=LONGEST,
        )
        return cls(process, language, str(machine.home))

    def told(self) -> dict[str, str]:
        """Return what the service says of it."""
        return {"id": self.id, "language": self.language, "cwd": self.cwd}

    async def run(self, code: str) -> AsyncIterator[bytes]:
        """Run a cell, one at a time, and yield what the service says of it."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - both are pipes
        async with self._turn:
            self._process.stdin.write(json.dumps(code).encode() + b"\n")
            await self._process.stdin.drain()
            while line := await self._process.stdout.readline():
                yield line
                if b'"end_of_execution"' in line:
                    return
            yield b'{"type": "error", "name": "UnexpectedEndOfExecution", "value": "", "traceback": ""}\n'

    async def close(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


async def answer_notebook(machine: Machine, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request to the service."""
    body = await read_body(receive)
    given: dict[str, Any] = json.loads(body) if body else {}
    match scope["method"], [part for part in scope["path"].split("/") if part]:
        case "POST", ["execute"]:
            await _execute(machine, given, send)
        case "GET", ["contexts"]:
            await reply(send, 200, json.dumps([one.told() for one in machine.contexts.values()]).encode())
        case "POST", ["contexts"]:
            context = await Context.start(machine, given.get("language") or "python", given.get("cwd"))
            machine.contexts[context.id] = context
            await reply(send, 200, json.dumps(context.told()).encode())
        case "DELETE", ["contexts", id] if id in machine.contexts:
            await machine.contexts.pop(id).close()
            await reply(send, 200, b"{}")
        case _:
            await reply(send, 404, b'{"code": 404, "message": "unknown context or path"}')


async def _execute(machine: Machine, given: dict[str, Any], send: Send) -> None:
    wanted = given.get("context_id") or "default"
    if wanted == "default" and wanted not in machine.contexts:
        machine.contexts[wanted] = await Context.start(machine, "python", None)
    if wanted not in machine.contexts:
        await reply(send, 404, b'{"code": 404, "message": "unknown context"}')
        return
    head = [(b"content-type", b"application/x-ndjson")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    async for line in machine.contexts[wanted].run(given["code"]):
        await send({"type": "http.response.body", "body": line, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
