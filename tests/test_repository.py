"""What holds for the repository as a whole: imports, exports, sizes, files."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "src" / "callgate"
FRAMEWORKS = ("langchain", "langgraph", "langsmith", "llama_index", "e2b", "tiktoken", "pandas", "numpy")
PACKAGES = {
    "callgate": None,
    "callgate.sandboxes": None,
    "callgate.testing": None,
    "callgate_langchain": "langchain_core",
    "callgate_langgraph": "langgraph",
    "callgate_llama_index": "llama_index",
}
"""Public package to the framework it needs."""
SOURCES = sorted([*CORE.rglob("*.py"), *(ROOT / "adapters").rglob("*.py")])
OTHER_MODULES = sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")])


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def newly_imported(statement: str) -> set[str]:
    """Return the top-level packages, outside the standard library, that a statement loads in a fresh interpreter."""
    program = (
        "import sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "adapters")])
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield every module a file imports, as an absolute name, and whether it does so when it is itself imported."""
    package = relative(path).removeprefix("src/").removeprefix("adapters/").split("/")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in lazy
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*above, *([node.module] if node.module else [])]), node not in lazy


def public_names(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name != "annotations"
        and getattr(typing, name, None) is not value
    }


def has(module: ModuleType, name: str) -> bool:
    """Say whether a module has a name, or would have it if the framework it is loaded with were installed."""
    try:
        return hasattr(module, name)
    except ImportError as error:  # of the framework itself, or of an adapter that says which extra to install
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        return isinstance(missing, ModuleNotFoundError) and (missing.name or "").startswith(FRAMEWORKS)


@pytest.mark.parametrize("package", ["callgate", "callgate.sandboxes", "callgate.testing"])
def test_the_core_loads_pydantic_and_nothing_else(package: str) -> None:
    allowed = {"callgate", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
    assert newly_imported(f"import {package}") <= allowed


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=relative)
def test_the_core_imports_no_framework_and_no_adapter(path: Path) -> None:
    foreign = [
        (name, at_import)
        for name, at_import in imports(path)
        if name.startswith(FRAMEWORKS) or re.match(r"callgate_(langchain|langgraph|llama_index)", name)
    ]
    if path == CORE / "testing" / "models.py":  # the scripted model is LangChain's, and loaded only when asked for
        foreign = [one for one in foreign if not one[0].startswith("langchain_core")]
    if path.is_relative_to(CORE / "testing" / "e2b"):  # made of the SDK's own server stubs
        foreign = [one for one in foreign if not one[0].startswith("e2b")]
    if path == CORE / "testing" / "llms.py":  # and this one is LlamaIndex's
        foreign = [one for one in foreign if not one[0].startswith("llama_index.core")]
    assert foreign == []


@pytest.mark.parametrize("path", sorted((CORE / "sandboxes").rglob("*.py")), ids=relative)
def test_a_sandbox_knows_no_tool_and_no_gate(path: Path) -> None:
    known = ("callgate.codec", "callgate.errors", "callgate.limits", "callgate.room", "callgate.sandboxes")
    inside = "callgate.sandboxes.guest"
    unknown = [name for name, _ in imports(path) if name.startswith("callgate") and not name.startswith(known)]
    if path.is_relative_to(CORE / "sandboxes" / "guest"):
        unknown = [name for name in unknown if name != "callgate_guest"]
    else:
        unknown += [name for name, _ in imports(path) if name.startswith(f"{inside}.")]
    assert unknown == []


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_are_the_public_names(package: str) -> None:
    if (needed := PACKAGES[package]) is not None:
        pytest.importorskip(needed, reason=f"{package} needs {needed}")
    module = importlib.import_module(package)
    exported = list(getattr(module, "__all__", []))
    assert exported == sorted(exported)
    assert len(exported) == len(set(exported))
    assert all(has(module, name) for name in exported)
    submodules = {path.stem for path in Path(module.__path__[0]).iterdir()}
    assert public_names(module) - set(exported) - submodules == set()


@pytest.mark.parametrize("path", [*SOURCES, *OTHER_MODULES], ids=relative)
def test_a_module_is_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400


@pytest.mark.parametrize("package", [name for name in PACKAGES if "." not in name])
def test_a_package_is_typed(package: str) -> None:
    module_path = CORE if package == "callgate" else ROOT / "adapters" / package
    assert (module_path / "py.typed").is_file()


def test_the_readme_stays_short() -> None:
    lines = len((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    assert lines < 150


def test_no_text_names_a_path_of_somebodys_machine() -> None:
    tops = ("src", "adapters", "tests", "examples", "benchmarks", ".ci")
    files = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    private = re.compile(
        "|".join(("/root/" + r"\.", "/" + "work/(?:main|shared)", "/tmp" + "/w/", "/home/" + r"\w+/\w"))
    )
    told = [relative(path) for path in files if private.search(path.read_text(encoding="utf-8", errors="replace"))]
    assert told == []


def test_every_target_has_a_line_of_help() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    documented = re.findall(r"^([a-z-]+):.* ## ", text, re.MULTILINE)
    assert sorted(phony[1].split()) == sorted(documented)


def test_ci_calls_make_after_installing_postgresql() -> None:
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    lines = [line for line in run.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[:2] == ["set -euo pipefail", 'cd "$(dirname "$0")/.."']
    assert [line for line in lines if "make" in line.split()] == lines[-1:] == ["make test"]
    commands = {
        word for line in lines for word in line.split() if word in ("pip", "python", "pytest", "curl", "apt-get")
    }
    assert commands == {"apt-get"}
