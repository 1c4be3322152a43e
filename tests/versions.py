"""Runs what depends on frameworks with the oldest or the newest versions of them: `make test-lowest` and `test-newest`.

The oldest are those that the bounds in pyproject.toml allow. LlamaIndex has an environment of its own:
together they might be newer, where one asks for more than the bounds do. The newest are the releases that pip
would install today, without pre-releases. Where something newer exists, it is named, with what holds it back.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(sys.prefix)
UV = str(HOME / "bin" / "uv")

LEFT_OUT = {"benchmarks", "host_memory", "limits", "lives", "mint", "program", "wire"}
CORE = sorted(f"tests/{one.name}" for one in ROOT.glob("tests/test_*.py") if one.stem[5:] not in LEFT_OUT)
GRAPHS = [*CORE, "tests/behaviours", "tests/cloud", "tests/langchain", "tests/langgraph"]
LLAMA_INDEX = ["tests/behaviours", "tests/llama_index_adapter", "tests/test_examples.py"]
SLOW = [
    "tests/behaviours/test_mutants.py",
    "tests/langgraph/test_journal_kills.py",
    "tests/langgraph/test_node_kills.py",
]

RUNS = {
    "lowest": [("create-agent,demo,e2b,search,tokens", GRAPHS), ("llama-index", LLAMA_INDEX)],
    "newest": [("all,demo", sorted({*GRAPHS, *LLAMA_INDEX}))],
}
"""Per name the environments, each as the extras of callgate in it and what is tested there.

Left out is what takes long and depends on no framework: the jail, the guest, the conformance of sandboxes without a
vendor, programs that are killed at every point, which the journal answers for, and faults made on purpose.
"""

RESOLUTION = {"lowest": "lowest-direct", "newest": "highest"}


def main(which: str) -> int:
    """Make each environment anew, say what is in it, and run its tests; return whether any failed."""
    failed: list[str] = []
    for number, (extras, tests) in enumerate(RUNS[which], 1):
        home = HOME / f"env-{number}"
        python = str(home / "bin" / "python")
        wanted = ["--resolution", RESOLUTION[which], "--editable", f".[{extras}]"]
        uv("venv", "--clear", "--python", sys.executable, str(home))
        uv("pip", "install", "--python", python, *wanted)
        chosen = home / "chosen.txt"
        chosen.write_text(uv("pip", "freeze", "--python", python, "--exclude-editable"), encoding="utf-8")
        uv("pip", "install", "--python", python, "--constraint", str(chosen), "--editable", ".[tests]")
        told(f"{which} versions for {extras}: {', '.join(f'{one} {at}' for one, at in installed(python).items())}")
        if which == "newest":
            tell_what_is_newer(python, wanted)
        run = [python, "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", "-m", "not soak", *tests]
        run += [f"--ignore={one}" for one in SLOW]
        if subprocess.run(run, cwd=ROOT, check=False).returncode:
            failed.append(extras)
    told(f"FAILED with the {which} versions for {' and for '.join(failed)}" if failed else f"{which} versions pass")
    return bool(failed)


def told(text: str) -> None:
    print(f"== {text}", flush=True)  # noqa: T201


def installed(python: str) -> dict[str, str]:
    """Return the version of each package that callgate itself asks for, where it is installed."""
    there = json.loads(uv("pip", "list", "--python", python, "--format", "json"))
    return {one["name"]: one["version"] for one in there if one["name"] in direct()}


def tell_what_is_newer(python: str, wanted: list[str]) -> None:
    """Name each release that is newer than what is tested, and what holds it back: our own bound or another package."""
    for one in json.loads(uv("pip", "list", "--python", python, "--outdated", "--format", "json")):
        name, newer = one["name"], one["latest_version"]
        if name in direct():
            trial = uv("pip", "install", "--python", python, "--dry-run", *wanted, f"{name}=={newer}", fails=True)
            why = " ".join(trial.split()).rpartition("cause: ")[2]
            told(f"NOT TESTED: {name} {newer}, newer than {one['version']}. {why or 'Nothing holds it back.'}")


def direct() -> set[str]:
    """Return the names of the packages that callgate itself asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(each for one in extras.keys() - {"demo", "dev", "tests"} for each in extras[one]),
    ]
    return {re.split(r"[^\w.-]", each)[0].lower() for each in asked} - {"callgate"}


def uv(*arguments: str, fails: bool = False) -> str:
    """Run uv against the index that pip is told to use, and return what it says.

    Args:
        *arguments: of uv.
        fails: whether it may fail; it then says why.
    """
    done = subprocess.run(
        [UV, "--quiet", *arguments],
        cwd=ROOT,
        env={**os.environ, **index()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if fails else None,
        text=True,
        check=False,
    )
    if done.returncode and not fails:
        sys.exit(f"failed: uv {' '.join(arguments)}")
    return done.stdout


@functools.cache
def index() -> dict[str, str]:
    """Return uv's setting for the index that pip is told to use, which uv does not read by itself."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    url = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or told
    return {"UV_DEFAULT_INDEX": url} if url else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
