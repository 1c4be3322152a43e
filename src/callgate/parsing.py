"""Program text to syntax tree, without harm to the host, and the small repairs a model's text needs first.

Nothing here executes a program. What CPython 3.11 to 3.13 make of hostile text was measured: nesting is bounded by
the parser itself, whose bounds assume a stack of some megabytes; a dotted name of 100,000 parts after `import` takes
17 GB; everything else of 256 KiB needs at most 250 MB and about a second.
"""

from __future__ import annotations

import ast
import contextlib
import re
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn

from callgate.errors import ProgramError
from callgate.paths import children

__all__ = ["DEEPEST", "MOST_BYTES", "normalise", "parse"]

MOST_BYTES = 256 << 10
"""Size of a program in UTF-8."""

FILE = "<program>"
"""What a program's code is called in tracebacks."""

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
DEEPEST = 1_000
"""Levels of a tree, and characters of a program that is parsed on the calling thread's own stack.

A thousand characters need less than 384 KiB of stack, whatever they are; a tree of 3,000 levels needs more than
512 KiB to be freed on CPython 3.13.
"""
_MOST_KEPT = 8_000
_STACK = 16 << 20
_stack_lock = threading.Lock()
_compile_lock = threading.Lock()
_ATTEMPTS = 5
"""CPython 3.11 counts the depth of all trees under construction in one place: another thread's makes it SystemError."""

_LONG_DOTTED = re.compile(r"\b(?:\w++[\s\\]*+\.[\s\\]*+){300}")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`\s]*)[^`]*")
_PYTHON = {"python", "py", "python3", "{python}", "{.python}", "tool_code"}
_QUIET = ("ignore", None, Warning, re.compile(FILE), 0)


def parse(program: str) -> ast.Module:
    """Return the syntax tree of a program that compiles; not to be changed.

    A tree of more than `DEEPEST` levels comes back empty: merely to free it takes more stack than a thread may have.

    Raises:
        ProgramError: for a program that does not compile, is larger than `MOST_BYTES`, or nests too deeply.
    """
    _refuse_hostile(program)
    try:
        return _compile_recent(program) if len(program) < _MOST_KEPT else _compile(program)
    except SyntaxError as error:
        _explain(error, program)
    except (RecursionError, MemoryError):
        raise ProgramError("The program nests too deeply; split its longest expression over variables.") from None
    except (ValueError, OverflowError) as error:
        raise ProgramError(f"The program does not compile: {error}.") from None


def _refuse_hostile(program: str) -> None:
    try:
        size = len(program.encode())
    except UnicodeEncodeError as error:
        line = program.count("\n", 0, error.start) + 1
        raise ProgramError("The program holds a lone surrogate; write the character itself.", line=line) from None
    if size > MOST_BYTES:
        raise ProgramError(
            f"The program has {size:,} bytes, the limit is {MOST_BYTES:,}. Let a tool deliver the data it writes down."
        )
    if "\0" in program:
        line = program.count("\n", 0, program.index("\0")) + 1
        raise ProgramError("The program holds a NUL character; write it as '\\0'.", line=line)
    if _LONG_DOTTED.search(program):
        raise ProgramError("A dotted name has more than 300 parts; shorten it.")


def _compile(program: str) -> ast.Module:
    return _build(program) if len(program) < DEEPEST else _with_stack(lambda: _build(program))


_compile_recent = lru_cache(maxsize=4)(_compile)
"""Normalising, checking and recognising a direct run each parse the same text."""


def _build(program: str) -> ast.Module:
    with _compile_lock:
        # A filter that stays is the only way to keep the warnings of foreign text from a host that makes warnings
        # errors: `catch_warnings` puts back the filters of whichever thread came first.
        if not warnings.filters or warnings.filters[0] != _QUIET:
            warnings.filterwarnings("ignore", module=FILE)
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(SystemError):
                compile(program, FILE, "exec", _FLAGS, dont_inherit=True)  # sees more faults than the tree alone
                return _shallow(compile(program, FILE, "exec", _FLAGS | ast.PyCF_ONLY_AST, dont_inherit=True))
    raise ProgramError("The program does not compile.")


def _shallow(tree: ast.Module) -> ast.Module:
    level: list[ast.AST] = [tree]
    nodes: list[ast.AST] = []
    levels = 0
    while level:
        levels += 1
        nodes += level
        level = [child for node in level for child in children(node)]
    if levels <= DEEPEST:
        return tree
    for node in nodes:
        vars(node).clear()
    return ast.Module(body=[], type_ignores=[])


def _with_stack(work: Callable[[], ast.Module]) -> ast.Module:
    """Run work with a stack of known size, however little of its own the calling thread has left."""
    results: list[ast.Module | Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again below
            results.append(error.with_traceback(None))

    with _stack_lock:
        usual = threading.stack_size(_STACK)
        try:
            thread = threading.Thread(target=run, name="callgate-parse")
            thread.start()
        finally:
            threading.stack_size(usual)
    thread.join()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def _explain(error: SyntaxError, program: str) -> NoReturn:
    lines = program.split("\n")
    line = error.lineno if error.lineno and error.lineno <= len(lines) else None
    if error.msg == "'return' outside function":
        message = "`return` stands outside a function. Make the value the last expression of the program instead."
    else:
        shown = lines[line - 1].strip() if line else ""
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        message = f"{type(error).__name__}: {error.msg}" + (f", in `{shown}`." if shown else ".")
    raise ProgramError(message, line=line) from None


def normalise(source: str) -> str:
    """Return the program a model meant: without byte order mark, Markdown around it, or indentation of the whole.

    Text that compiles is left as it is, but for the mark and for line ends, which become LF. Prose around one fenced
    block goes; several blocks fenced as Python are joined in order. An encoding cookie needs no care: text that is
    compiled from `str` does not heed it.

    Raises:
        ProgramError: for a program that is empty, larger than `MOST_BYTES` or no text that can be encoded.
    """
    text = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    _refuse_hostile(text)
    lines = text.strip().split("\n")
    whole, blocks = _inside(lines), _blocks(lines)
    joined = "\n".join(map(_dedent, blocks)) if blocks else None
    flush = _dedent(text.split("\n"))
    readings = [one for one in (text, whole, joined, flush) if one is not None]
    program = next((one for one in readings if _compiles(one)), None)
    if program is None:
        program = next(one for one in (joined, whole, flush) if one is not None)
    if not program.strip():
        raise ProgramError("The program is empty.")
    return program


def _inside(lines: list[str]) -> str | None:
    """Return what stands between a fence on the first line and one on the last, which may be missing."""
    opening = _FENCE.fullmatch(lines[0])
    if opening is None:
        return None
    closing = lines[-1].strip()
    ended = len(lines) > 1 and closing.startswith(opening[1]) and set(closing) == {opening[1][0]}
    return _dedent(lines[1:-1] if ended else lines[1:])


def _blocks(lines: list[str]) -> list[list[str]]:
    """Return the lines of each Python block; of unlabelled blocks where none is labelled Python."""
    labelled: list[list[str]] = []
    plain: list[list[str]] = []
    outside: list[str] = []
    block: list[str] | None = None
    fence = ""
    for line in lines:
        match = _FENCE.fullmatch(line)
        if block is None and match:
            fence, label, block = match[1], match[2].lower(), []
            if label in _PYTHON:
                labelled.append(block)
            elif not label:
                plain.append(block)
        elif block is None:
            outside.append(line)
        elif match and not match[2] and match[1].startswith(fence):
            block = None
        else:
            block.append(line)
    if any(quotes in line for line in outside for quotes in ('"""', "'''")):
        return []  # the fences may stand inside a string of a broken program
    return labelled or plain


def _dedent(lines: list[str]) -> str:
    """Remove the indentation that all code has in common; where there is none, that of the first line of code."""
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    least, most = min(code, default=""), max(code, default="")  # what these two share, all share
    margin = least[: len(least) - len(least.lstrip(" \t"))]
    while not most.startswith(margin):
        margin = margin[:-1]
    if margin:
        return "\n".join(line[len(margin) :] if line.startswith(margin) else line.lstrip(" \t") for line in lines)
    return "\n".join(line.lstrip(" \t") if code and line is code[0] else line for line in lines)


def _compiles(text: str) -> bool:
    try:
        parse(text)
    except ProgramError:
        return False
    return True
