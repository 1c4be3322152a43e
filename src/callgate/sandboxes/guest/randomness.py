"""Randomness: every source a program can ask draws from the seed of its run."""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# What is replaced here is private to the standard library, and unknown to its types.

from __future__ import annotations

import os
import random
import sys
import uuid
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_NUMPY = "numpy.random"
_source = random.Random(0)  # noqa: S311 - the point is that it repeats
_native_seed = random.Random.seed


def _bytes(size: int, flags: int = 0, /) -> bytes:
    if size < 0:
        raise ValueError("negative argument not allowed")
    return _source.randbytes(size)


def _seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    """random.Random.seed, whose default would read the kernel from C."""
    _native_seed(self, _source.getrandbits(256) if a is None else a, version)


def install() -> None:
    """Replace the kernel as the source of `os`, `random`, `secrets`, `uuid` and numpy."""
    os.urandom = _bytes
    if hasattr(os, "getrandom"):
        os.getrandom = _bytes
    random._urandom = _bytes
    random.Random.seed = _seed
    random.seed = random._inst.seed
    uuid._generate_time_safe = uuid._UuidCreate = None
    uuid._node = 1 << 40 | 1  # the multicast bit marks it as no network card's


def reseed(seed: int) -> int:
    """Start every source anew from a seed. Returns the number of the process that is drawn from it, from 1 to 2^31-1.

    Generators that a fork server made are left to those who made them, but for numpy's global one.
    """
    _native_seed(_source, seed)
    number = _source.randrange(1, 1 << 31)
    random.seed(_source.getrandbits(256))
    numpy = sys.modules.get(_NUMPY)
    if numpy is not None:
        _begin(numpy, seed)
    else:
        sys.meta_path[:] = [_Numpy(seed), *(one for one in sys.meta_path if type(one) is not _Numpy)]
    return number


def _begin(numpy: Any, seed: int) -> None:
    numpy.seed(_of_numpy(seed).getrandbits(32))


def _of_numpy(seed: int) -> random.Random:
    """Return a source of numpy's own: what a program draws must not depend on whether the fork server imported it."""
    return random.Random(f"numpy {seed}")  # noqa: S311


class _Numpy:
    """Finds numpy.random where it is, and starts its global generator from the seed of the run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != _NUMPY:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def seeded(module: ModuleType) -> None:
                global _source  # noqa: PLW0603
                program, _source = _source, _of_numpy(self._seed)
                try:
                    execute(module)  # which draws
                finally:
                    _source = program
                _begin(module, self._seed)

            spec.loader.exec_module = seeded
        return spec
