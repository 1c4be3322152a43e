"""Modules that run elsewhere, shipped as one text.

A fork server and a guest start without any path to this library, and must not read one. `source` therefore packs the
modules they need into a single Python text; executed, it lays them down in `sys.modules` as one package.
"""

from __future__ import annotations

from collections.abc import Mapping

PACKAGE = "callgate_guest"
"""The package the modules form inside; they import one another relatively."""

_LOADER = """\
import sys, types
def _load(package, sources):
    root = sys.modules[package] = types.ModuleType(package)
    root.__path__ = []
    for name, text in sources.items():
        module = types.ModuleType(f"{package}.{name}")
        module.__package__ = package
        sys.modules[module.__name__] = module
        exec(compile(text, f"<{package}.{name}>", "exec"), module.__dict__)
        setattr(root, name, module)
"""


def source(modules: Mapping[str, str], entry: str) -> str:
    """Return one text that lays down modules, in the order given, and then runs the statement entry.

    Args:
        modules: name to source text; a module may import only those in front of it.
        entry: a statement that may name `callgate_guest` and its modules.
    """
    return f"{_LOADER}_load({PACKAGE!r}, {dict(modules)!r})\nimport {PACKAGE}\n{entry}\n"
