"""Programs that try to fill the memory of their host, and a host that says how far they came.

    python -m hostile threads|asyncio [name ...]

prints, for each program by turns, a line of JSON: by how many MiB the host grew at most and stayed grown, and how it ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

START = """\
import json, os, struct

def raw(body, length=None):
    data = memoryview(struct.pack('>I', len(body) if length is None else length) + body)
    while data: data = data[os.write(3, data):]

def event():
    size = int.from_bytes(b''.join(os.read(3, 1) for _ in range(4)), 'big')
    while size: size -= len(os.read(3, min(size, 65536)))

def call(n, args, tool=b'take', wait=True):
    raw(b'{"call":%d,"tool":"%s","args":%s}' % (n, tool, args))
    if wait:
        raw(b'{"rest":null}')
        event()

def end(value):
    raw(b'{"end":{"value":%s,"error":null,"printed":0}}' % value)
    os.read(3, 1)

def filled(piece, size):
    return b'[' + piece * (size // len(piece)) + b'0]'

def text(size, tail=b''):
    return b'"' + b'x' * size + tail + b'"'
"""
MB = 1_000_000
VALUES = {
    "lists": "filled(b'[],', {})",
    "objects": "filled(b'{{}},', {})",
    "one-element lists": "filled(b'[0],', {})",
    "one-key objects": "filled(b'{{\"\":0}},', {})",
    "deep lists": "filled(b'[' * 95 + b']' * 95 + b',', {})",
    "deep objects": "filled(b'{{\"\":' * 90 + b'0' + b'}}' * 90 + b',', {})",
    "small integers": "filled(b'999,', {})",
    "floats": "filled(b'0.5,', {})",
    "floats that grow": "filled(b'1e15,', {})",
    "long integers": "filled(b'9' * 4300 + b',', {})",
    "strings": "filled(b'\"ab\",', {})",
    "long strings": "filled(text(40_000) + b',', {})",
    "keys": "b'{{' + b','.join(b'\"%06x\":\"ab\"' % n for n in range({} // 14)) + b'}}'",
    "text": "text({})",
    "text with one emoji": "text({}, b'\\\\ud83d\\\\ude00')",
    "text with one wide character": "text({}, b'\\\\u4e2d')",
    "escapes": "b'\"' + b'\\\\u200b' * ({} // 6) + b'\"'",
    "a long key": "b'{{' + text({}) + b':0}}'",
}
LARGEST = {
    "lists": 1.0,
    "objects": 0.7,
    "one-element lists": 1.1,
    "one-key objects": 1.0,
    "deep lists": 0.54,
    "deep objects": 1.1,
    "small integers": 3.4,
    "floats": 3.4,
    "floats that grow": 3.4,
    "strings": 2.4,
    "keys": 2.2,
    "text with one emoji": 7.2,
    "text with one wide character": 9.6,
    "escapes": 9.6,
}
"""Millions of bytes of it that the host just takes, where that is not 11.7."""


def value(name: str, size: float) -> str:
    return START + f"end({VALUES[name].format(int(size * MB))})"


def argument(name: str, size: float) -> str:
    return START + f"call(1, b'{{\"a\":' + {VALUES[name].format(int(size * MB))} + b'}}')\nend(b'1')"


def many(size: float, *, of: str = "text", tool: str = "take", wait: bool = True) -> str:
    given = VALUES[of].format(int(size * MB))
    sent = f"call(n, b'{{\"a\":' + {given} + b'}}', b'{tool}', {wait})"
    return START + f"for n in range(1, 200):\n    {sent}\nraw(b'{{\"rest\":null}}')\nevent()"


PROGRAMS: dict[str, str] = {
    **{f"value, too much: {name}": value(name, 11.7) for name in VALUES if name in LARGEST},
    **{f"value: {name}": value(name, LARGEST.get(name, 11.6)) for name in VALUES},
    **{f"argument: {name}": argument(name, LARGEST.get(name, 11.6)) for name in VALUES},
    "large arguments": many(11),
    "large arguments of writes": many(11, tool="put"),
    **{f"many arguments of {size} MB": many(size) for size in (0.5, 1, 1.5, 2.1, 3)},
    **{f"many arguments of {size} MB, a slow tool": many(size, tool="slow") for size in (1.5, 2.1, 3)},
    **{f"many arguments of {size} MB, a write": many(size, tool="put") for size in (0.5, 1.5)},
    "many arguments of lists": many(0.3, of="lists"),
    "many arguments at once": many(0.3, of="lists", tool="slow", wait=False),
    "refused arguments": many(5, tool="nothing"),
    "arguments no tool has": many(5, tool="strict"),
    "approvals": many(0.3, of="lists", tool="pay", wait=False),
    "many names": START + "call(1, b'{' + b','.join(b'\"%05x\":0' % n for n in range(200_000)) + b'}')\nend(b'1')",
    "calls": START + "n = 0\nwhile True:\n    n += 1\n    call(n, b'{}', wait=False)",
    "output": START + "while True: raw(b'{\"out\":%s}' % text(3 * 1000 * 1000))",
    "drops": START + "while True: os.write(3, (b'\\0\\0\\0\\x0a' + b'{\"drop\":1}') * 5000)",
    "padding": START + 'while True: raw(b\'{"rest":null,"x":%s}\' % text(9 * 1000 * 1000))',
    "controls": START + "end(b'\"' + b'\\x7f' * 11_000_000 + b'\"')",
    "no text": START + "end(b'\"' + b'\\xc3\\xa9' * 5_000_000 + b'\"')",
    "a length": START + "raw(b'', 1 << 31)\nwhile True: os.write(3, b'x' * 65536)",
    "byte by byte": START + "os.write(3, struct.pack('>I', 5_000_000))\nwhile True: os.write(3, b'x')",
    "beside a slow tool": START + "call(1, b'{}', b'slow', False)\nwhile True: raw(b'{\"rest\":1}' + b'x' * 60_000)",
    "large results": START + "for n in range(1, 9): call(n, b'{}', b'large')\nend(b'1')",
}


def status(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main(mode: str, names: list[str]) -> None:
    from callgate import CodeRunner, Limits, tool
    from callgate.sandboxes import LocalSandbox

    logging.getLogger("callgate").setLevel(logging.CRITICAL)

    @tool(effect="read")
    def take(**given: Any) -> int:
        return len(given)

    @tool
    def put(**given: Any) -> int:
        return len(given)

    @tool
    def pay(**given: Any) -> int:
        return len(given)

    @tool(effect="read")
    def slow(**given: Any) -> int:
        time.sleep(0.5)
        return len(given)

    @tool(effect="read")
    def strict(x: int) -> int:
        return x

    @tool(effect="read")
    def large() -> str:
        return "x" * 1_000_000

    with LocalSandbox() as sandbox:

        def run(program: str) -> Any:
            tools = [take, put, pay, slow, strict, large]
            runner = CodeRunner(tools, sandbox=sandbox, limits=Limits(seconds=15), interrupt_on={"pay": True})
            return runner.run(program) if mode == "threads" else asyncio.run(runner.arun(program))

        for _ in range(3):
            run("x = take(a=1)\nx")
        for name in names or PROGRAMS:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            before = status("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far is now this
            began = time.monotonic()
            outcome = run(PROGRAMS[name])
            took = time.monotonic() - began
            said = {"name": name, "status": outcome.status, "limit": outcome.limit, "seconds": round(took, 2)}
            said["peak"] = round(status("VmHWM") - before, 1)
            del outcome
            gc.collect()
            said["after"] = round(status("VmRSS") - before, 1)
            said["next"] = run("x = take(a=1)\nx").value
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
