"""What guests find imported: done once by the server, while it has but one thread."""

# ruff: noqa: PTH208

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from .kernel import LayerMissing, Mistake
from .plan import Plan

Alone: TypeAlias = Callable[[Callable[[], object]], int]

STANDARD = """
    abc array ast asyncio base64 bisect calendar cmath collections concurrent.futures contextlib copy csv
    dataclasses datetime decimal difflib enum fractions functools glob hashlib heapq hmac html inspect io
    itertools json logging math numbers operator pathlib pprint queue random re secrets shutil statistics string
    struct tempfile textwrap threading time traceback types typing unicodedata urllib.parse uuid zlib zoneinfo
"""
"""Modules that programs often import."""

_ONE_THREAD = """
    BLIS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS OMP_NUM_THREADS OPENBLAS_NUM_THREADS POLARS_MAX_THREADS
    RAYON_NUM_THREADS VECLIB_MAXIMUM_THREADS
"""
_FOLDERS = re.compile(r"(?:/[^\s/'\"]+)+/(?=[^\s/'\"])")
_ERROR = 500
_LOOKS = 10_000


def standard() -> None:
    """Import those of the standard library that programs often want."""
    for name in _ONE_THREAD.split():
        os.putenv(name, "1")  # for libraries, which look there; os.environ is for programs, and does not show it
    for name in STANDARD.split():
        importlib.import_module(name)


def others(plan: Plan, proc: int, alone: Alone, tell: Callable[[str], None]) -> None:
    """Import the modules that are asked for.

    Args:
        plan: which they are, and where they are found.
        proc: a descriptor of /proc.
        alone: does something before there is a host, and returns how many threads are left of it.
        tell: is called with each name before it is imported, which may be the end of this process.

    Raises:
        Mistake: if one cannot be imported, or leaves a thread behind: forked guests would be without it.
    """
    sys.path.extend(plan.path)
    for name in plan.preload:
        tell(name)
        try:
            left = alone(partial(importlib.import_module, name))
        except BaseException as error:  # noqa: BLE001 - SystemExit too
            text = _FOLDERS.sub("", str(error))[:_ERROR]
            raise Mistake(f"preload: importing {name!r} fails with {type(error).__name__}: {text}") from None
        if left or not _single(proc):
            raise Mistake(
                f"preload: importing {name!r} starts threads, which forked guests would be without; "
                "leave it to the programs to import it"
            )
    sys.stdout.flush()
    sys.stderr.flush()


def _single(proc: int) -> bool:
    """Say whether this process has one thread, once those that are ending are gone."""
    for _ in range(_LOOKS):
        if _threads(proc) == 1:
            return True
        os.sched_yield()
    return False


def _threads(proc: int) -> int:
    try:
        tasks = os.open("self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        try:
            return len(os.listdir(tasks))
        finally:
            os.close(tasks)
    except OSError as error:
        raise LayerMissing.because("a fork server", error) from None
