"""BFCL's multi-turn tasks, base and long_context, through the live tool classes of the `bfcl-eval` wheel.

    python benchmarks/bfcl.py [--sample 10]

Every arm starts from a task's own state. After all of them the calls, their results, what programs were given and the
state of every class have to be the same. The calls are the ground truth of the wheel, the tools its function documents;
what those say of results becomes the result types that the code surface shows and pays for.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from arms import Live, Turn, all_arms
from figures import counter_of_tokens, expect_alike, keep, opened_sandbox, skip, task_parser
from programs import Asked
from pydantic import WithJsonSchema
from tally import Tally

CATEGORIES = ("base", "long_context")
SOURCES = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
MODULES = {"TwitterAPI": "posting_api", "TravelAPI": "travel_booking", "VehicleControlAPI": "vehicle_control"}
"""Classes whose modules are not named as they are."""
STATELESS = ("MathAPI",)
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
"""JSON Schema's names for those of the documents; "any" is left out."""


def data() -> Path:
    """Return the wheel's data."""
    found = find_spec("bfcl_eval")
    if found is None or found.origin is None or find_spec("mpmath") is None:
        skip("BFCL needs `pip install --no-deps bfcl-eval==2026.3.23` and `pip install mpmath`")
    return Path(found.origin).parent / "data"


def lines_in(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file, one per line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def schema(given: Any) -> Any:
    """Return a schema of the documents as JSON Schema."""
    if isinstance(given, list):
        return [schema(one) for one in given]
    if not isinstance(given, dict):
        return given
    read = {key: schema(one) for key, one in given.items() if not (key == "type" and one == "any")}
    return read | ({"type": _TYPES.get(read["type"], read["type"])} if isinstance(read.get("type"), str) else {})


def module_of(name: str) -> str:
    """Return the name of the module of a class, which is that of its document, too."""
    return MODULES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@cache
def documents(name: str) -> list[dict[str, Any]]:
    """Return the tools of a class as their document has them, in JSON Schema."""
    given = lines_in(data() / "multi_turn_func_doc" / f"{module_of(name)}.json")
    return [{**one, "parameters": schema(one["parameters"]), "response": schema(one["response"])} for one in given]


class Task:
    """A task of the wheel.

    Args:
        entry: of the questions.
        truth: the calls, per turn, as Python.
    """

    system = None

    def __init__(self, entry: Mapping[str, Any], truth: list[list[str]]) -> None:
        self.id: str = entry["id"]
        self._entry = entry
        users = [" ".join(message["content"] for message in turn) for turn in entry["question"]]
        self.turns = [
            Turn(user=user, calls=tuple(map(self._asked, calls))) for user, calls in zip(users, truth, strict=True)
        ]

    def open(self) -> Live:
        """Return the tools over fresh instances of the task's classes."""
        live = Instances(self._entry)
        excluded = self._entry.get("excluded_function", ())
        for name, instance in live.instances.items():
            for one in documents(name):
                if one["name"] not in excluded:
                    live.add(one, getattr(instance, one["name"]), Annotated[Any, WithJsonSchema(one["response"])])
        return live

    def _asked(self, source: str) -> Asked:
        """Return a call; positional arguments get the names they have in the signature."""
        call = ast.parse(source, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise TypeError(f"{self.id}: {source}")
        name = call.func.id
        owner = next(one for one in map(class_of, self._entry["involved_classes"]) if hasattr(one, name))
        names = list(inspect.signature(getattr(owner, name)).parameters)[1:]
        arguments = dict(zip(names, map(ast.literal_eval, call.args), strict=False))
        arguments |= {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg}
        return Asked(name=name, arguments=json.loads(json.dumps(arguments)))


class Instances(Live):
    """Instances of a task's classes, and their tools."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__()
        self.instances: dict[str, Any] = {}
        for name in entry["involved_classes"]:
            self.instances[name] = class_of(name)()
            if name not in STATELESS:
                scenario = copy.deepcopy(entry["initial_config"].get(name, {}))
                self.instances[name]._load_scenario(scenario, long_context="long_context" in entry["id"])

    def state(self) -> dict[str, dict[str, Any]]:
        """Return every attribute of every instance; their own `==` leaves out when a file was last modified."""
        return {
            name: {
                key: value.getstate() if isinstance(value, random.Random) else value
                for key, value in vars(instance).items()
            }
            for name, instance in self.instances.items()
        }


@cache
def class_of(name: str) -> type:
    """Return a class of tools."""
    return getattr(importlib.import_module(f"{SOURCES}.{module_of(name)}"), name)


def tasks_of(category: str) -> list[Task]:
    """Return the tasks of a category."""
    name = f"BFCL_v4_multi_turn_{category}.json"
    truths = {one["id"]: one["ground_truth"] for one in lines_in(data() / "possible_answer" / name)}
    return [Task(entry, truths[entry["id"]]) for entry in lines_in(data() / name)]


def main() -> None:
    """Play, compare, count and keep."""
    given = task_parser("BFCL multi-turn through LangGraph, as JSON and as code.").parse_args()
    warnings.simplefilter("ignore")
    tokens, began, found = counter_of_tokens(), time.perf_counter(), dict[str, Any]()
    with opened_sandbox() as sandbox:
        for category in CATEGORIES:
            tally, equal, counts = Tally(tokens), Counter[str](), Counter[str]()
            for task in tasks_of(category)[: given.sample]:
                arms = all_arms(task, sandbox)
                equal.update({kind: int(same) for kind, same in arms.equal.items()})
                counts.update(calls=sum(len(turn.calls) for turn in task.turns), turns=len(task.turns))
                counts.update(chained=arms.chained, read=arms.read)
                tally.add(arms)
            found[category] = {"equal": dict(equal), **counts, **tally.figures()}
            print(f"{category}: {json.dumps(found[category], indent=1)}")
        about = {"bfcl-eval": metadata.version("bfcl-eval"), "sandbox": f"{sandbox.name} {sandbox.level}"}
    print(f"{time.perf_counter() - began:.0f} s")
    if given.sample is None:
        keep("bfcl", {**about, "categories": found}, tokens=tokens.name)
    for category, one in found.items():
        expect_alike(category, one)


if __name__ == "__main__":
    main()
