"""The ways without any process between a program and its host, as the simplest executors work."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from attacks.attack import Attack, Trial, World
from attacks.prelude import source_of
from attacks.stage import Estate, Stage
from attacks.tools import tools_for

from callgate import Call, CodeRunner
from callgate.testing import FakeSandbox

_VALUE = "_value"


def run(attack: Attack, where: str, estate: Estate, world: World) -> Trial:
    """Run an attack in this process, or in a fork of it. The stage is the caller's to close."""
    stage = Stage(estate, sockets=False)
    trial = Trial(attack=attack, stage=stage)
    source = source_of(attack, attack.program, stage.bait())
    effects: list[tuple[str, Any]] = trial.effects
    tools = tools_for(stage, effects, world, lambda: None)
    runner = CodeRunner(tools, sandbox=FakeSandbox())  # such hosts have one too
    tool = {one.name: one for one in runner.catalogue}

    def call_tool(name: str, /, **arguments: Any) -> Any:
        return tool[name].invoke(Call(id="inline", tool=name, arguments=arguments))

    if where == "file":
        trial.value = _by_path(source, stage.root / "program.py")
        return trial
    if where == "forked":
        trial.died = _dies(source, {"call_tool": call_tool})
        return trial
    began = time.monotonic()
    try:
        trial.value = _execute(source, {"call_tool": call_tool})
        if where == "pickled":
            trial.value = repr(pickle.loads(pickle.dumps(trial.value)))
    except Exception as error:
        trial.error = (type(error).__name__, str(error))
    trial.seconds = time.monotonic() - began
    return trial


def _with_value(source: str | bytes) -> ast.Module:
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(ast.Assign([ast.Name(_VALUE, ast.Store())], last.value), last)
    return ast.fix_missing_locations(tree)


def _execute(source: str, names: dict[str, Any]) -> Any:
    module = type(sys)("program")
    module.__dict__.update(names)
    sys.modules["program"] = module  # pickle looks classes up by their module
    try:
        exec(compile(_with_value(source), "<program>", "exec"), module.__dict__)
    finally:
        kept = module.__dict__.get(_VALUE)
    return kept


def _by_path(source: str, path: Path) -> Any:
    path.write_bytes(source.encode())
    shown = f"import json, runpy; print(json.dumps(runpy.run_path({str(path)!r}).get('won')))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=False)
    return json.loads(done.stdout or "null")


def _dies(source: str, names: dict[str, Any]) -> bool:
    """Say whether a fork of this process that runs a program ends before the program does."""
    finished, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(Exception):  # the host goes on after what a program raises
            _execute(source, names)
        os.write(tell, b"!")
        os._exit(0)
    os.close(tell)
    os.waitpid(child, 0)
    with os.fdopen(finished, "rb") as file:
        return file.read() == b""
