"""The guest as text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import callgate
from callgate.sandboxes.guest_source import guest_modules

FOLDER = Path(callgate.__file__).parent / "sandboxes" / "guest"


def test_every_module_of_the_guest_is_packed_after_those_it_imports() -> None:
    modules = guest_modules()
    assert set(modules) == {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} | {"codec", "room"}
    seen: set[str] = set()
    for name, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert {node.module} <= seen or {one.name for one in node.names} <= seen, (name, node.lineno)
        seen.add(name)


def test_the_guest_imports_only_the_standard_library_and_itself() -> None:
    for name, text in guest_modules().items():
        for node in ast.walk(ast.parse(text)):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            tops = {module.partition(".")[0] for module in modules} - {"callgate"}  # for types only
            assert tops <= sys.stdlib_module_names, (name, tops)


def test_the_host_never_imports_the_guest() -> None:
    program = (
        "import sys, callgate, callgate.testing.fake\n"
        "assert not [name for name in sys.modules if name.startswith('callgate.sandboxes.guest.')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})
