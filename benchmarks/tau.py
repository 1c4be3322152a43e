"""tau-bench's retail tasks, replayed: each tool returns what it returned when the task was recorded.

    python benchmarks/tau.py [--sample 10]

A task is one turn: what the user wants, and the calls that end in the right state of the shop's database.
"""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

from arms import Live, Turn, all_arms
from figures import counter_of_tokens, expect, expect_alike, keep, lines_of, opened_sandbox, task_parser, workload
from programs import Asked
from tally import Tally


class Task:
    """A recorded task.

    Args:
        recorded: as the workload has it.
        tools: in OpenAI's form.
    """

    system = None

    def __init__(self, recorded: Mapping[str, Any], tools: list[dict[str, Any]]) -> None:
        self.id: str = recorded["id"]
        self._tools, self._calls = [one["function"] for one in tools], recorded["calls"]
        calls = tuple(Asked(name=one["name"], arguments=one["args"]) for one in self._calls)
        self.turns = [Turn(user=recorded["instruction"], calls=calls)]

    def open(self) -> Live:
        """Return tools that answer the recorded calls, in their order."""
        live, answers = Live(), iter(self._calls)

        def answer(name: str, arguments: dict[str, Any]) -> Any:
            recorded = next(answers)
            expect((name, arguments), (recorded["name"], recorded["args"]), self.id)
            result: str = recorded["result"]
            return json.loads(result) if result[:1] in "[{" else result

        for one in self._tools:
            live.add(one, lambda _name=one["name"], **arguments: answer(_name, arguments))
        return live


def main() -> None:
    """Replay, compare, count and keep."""
    given = task_parser("tau-bench retail, replayed as JSON and as code.").parse_args()
    warnings.simplefilter("ignore")
    recorded, tools = lines_of("tau_traces.jsonl"), json.loads(workload("tau_retail_tools.json"))
    tokens, began = counter_of_tokens(), time.perf_counter()
    tally, equal, counts = Tally(tokens), Counter[str](), Counter[str]()
    with opened_sandbox() as sandbox:
        about = {"sandbox": f"{sandbox.name} {sandbox.level}"}
        for one in [one for one in recorded if one["calls"]][: given.sample]:
            task = Task(one, tools)
            arms = all_arms(task, sandbox)
            equal.update({kind: int(same) for kind, same in arms.equal.items()})
            counts.update(calls=len(task.turns[0].calls), turns=1, chained=arms.chained, read=arms.read)
            tally.add(arms)
    found = {"equal": dict(equal), **counts, **tally.figures()}
    print(json.dumps(found, indent=1), f"\n{time.perf_counter() - began:.0f} s")
    if given.sample is None:
        keep("tau", {**about, **found}, tokens=tokens.name)
    expect_alike("retail", found)


if __name__ == "__main__":
    main()
