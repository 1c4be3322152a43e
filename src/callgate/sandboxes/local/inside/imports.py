"""What guests find imported: done once by the server, while it has but one thread."""

# ruff: noqa: PTH208

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable

from .kernel import LayerMissing, Mistake

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


def standard() -> None:
    """Import those of the standard library that programs often want."""
    for name in _ONE_THREAD.split():
        os.putenv(name, "1")  # for libraries, which look there; os.environ is for programs, and does not show it
    for name in STANDARD.split():
        importlib.import_module(name)


def others(path: Iterable[str], preload: Iterable[str], proc: int, tell: Callable[[str], None]) -> None:
    """Import the modules that are asked for.

    Args:
        path: where they are found, after the standard library's places.
        preload: their names.
        proc: a descriptor of /proc.
        tell: is called with each name before it is imported, which may be the end of this process.

    Raises:
        Mistake: if one cannot be imported, or starts a thread: forked guests would be without it.
    """
    sys.path.extend(path)
    for name in preload:
        tell(name)
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - SystemExit too
            text = _FOLDERS.sub("", str(error))[:_ERROR]
            raise Mistake(f"preload: importing {name!r} fails with {type(error).__name__}: {text}") from None
        if (threads := _threads(proc)) > 1:
            raise Mistake(
                f"preload: importing {name!r} starts threads ({threads - 1}), which forked guests would be without; "
                "leave it to the programs to import it"
            )
    sys.stdout.flush()
    sys.stderr.flush()


def _threads(proc: int) -> int:
    try:
        tasks = os.open("self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        try:
            return len(os.listdir(tasks))
        finally:
            os.close(tasks)
    except OSError as error:
        raise LayerMissing.because("a fork server", error) from None
