"""Finding tools in a large catalogue: 527 tools of 70 MCP servers, and what prompts of them take.

    python benchmarks/discovery.py [--rounds 7]

Recall at 10 is the share of a task's tools among the first ten that its text finds, averaged over the tasks. The
baseline is BM25 (k1 1.5, b 0.75) over the words of whole schemas, names included. Catalogues of other sizes are the
first tools of this one, or several of it under names of their own.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from figures import counter_of_tokens, keep, lines_of

from callgate import Catalogue, Tool
from callgate.search import index_of
from callgate.surface import definition

SIZES = (10, 30, 100, 527, 1_000, 3_000, 10_000)
FOUND = 10

MOST_MS = 5.0
"""What a search may take."""

Best = Callable[[str, int], list[int]]


class PlainBM25:
    """The baseline.

    Args:
        texts: what is searched, one per tool.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._counts = [Counter(self._words(text)) for text in texts]
        self._average = sum(one.total() for one in self._counts) / len(texts)
        self._containing = Counter(word for one in self._counts for word in one)

    @staticmethod
    def _words(text: str) -> list[str]:
        return re.findall(r"[^\W_]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text).lower())

    def best(self, query: str, count: int) -> list[int]:
        """Return the positions of the best texts."""
        scores = [0.0] * len(self._counts)
        for word in set(self._words(query)):
            among = self._containing[word]
            rarity = math.log(1 + (len(scores) - among + 0.5) / (among + 0.5))
            for at, one in enumerate(self._counts):
                if times := one[word]:
                    length = 0.25 + 0.75 * one.total() / self._average
                    scores[at] += rarity * times * 2.5 / (times + 1.5 * length)
        return sorted(range(len(scores)), key=lambda at: -scores[at])[:count]


def tools_of(given: Sequence[dict[str, Any]], size: int) -> Catalogue:
    """Return a catalogue of so many tools."""
    taken = Counter[str]()
    tools: list[Tool] = []
    for at in range(size):
        one = given[at % len(given)]
        name = one["name"] if at < len(given) else f"{one['name']}_{at // len(given)}"
        taken[name] += 1
        if taken[name] > 1:
            name = f"{one['server']} {name}"  # names clash across servers
        tools.append(Tool(name=name, description=one["description"] or "", input_schema=one["input_schema"]))
    return Catalogue(tools)


def schema_text(one: dict[str, Any], name: str) -> str:
    """Return a tool in OpenAI's form."""
    function = {"name": name, "description": one["description"], "parameters": one["input_schema"]}
    return json.dumps({"type": "function", "function": function}, ensure_ascii=False)


def recall(best: Best, names: Sequence[str], tasks: Sequence[dict[str, Any]]) -> float:
    """Return the recall at 10."""
    shares = list[float]()
    for task in tasks:
        wanted = set(task["gold_tools"]) & set(names)
        if wanted:
            found = {names[at] for at in best(task["question"], FOUND)}
            shares.append(len(wanted & found) / len(wanted))
    return statistics.fmean(shares)


def milliseconds(best: Best, tasks: Sequence[dict[str, Any]], rounds: int) -> float:
    """Return the median time of a search."""
    taken = list[float]()
    for _ in range(rounds):
        for task in tasks:
            began = time.perf_counter()
            best(task["question"], FOUND)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def main() -> None:
    """Search, count and keep."""
    arguments = argparse.ArgumentParser(description="Finding tools in a large catalogue.")
    arguments.add_argument("--rounds", type=int, default=7, help="how often each search is timed (7)")
    rounds = arguments.parse_args().rounds
    warnings.simplefilter("ignore")
    given, tasks, tokens = lines_of("livemcp_tools.jsonl"), lines_of("livemcp_gold.jsonl"), counter_of_tokens()
    names = [one["name"] for one in given]
    catalogue = tools_of(given, len(given))
    began = time.perf_counter()
    ours = index_of(catalogue.functions.items())
    indexed = time.perf_counter() - began
    baseline = PlainBM25([schema_text(one, one["name"]) for one in given])
    search = {
        "tools": len(given),
        "tasks": len(tasks),
        "library": bool(find_spec("bm25s") and find_spec("Stemmer")),
        "recall_at_10": round(recall(ours.best, names, tasks), 4),
        "recall_at_10_plain_bm25": round(recall(baseline.best, names, tasks), 4),
        "milliseconds": round(milliseconds(ours.best, tasks, rounds), 3),
        "milliseconds_to_index": round(1000 * indexed, 1),
    }
    print(json.dumps(search, indent=1))
    as_json = [tokens.count(schema_text(one, one["name"])) for one in given]
    prompts: dict[str, dict[str, int]] = {}
    for size in SIZES:
        shown = {"type": "function", "function": definition(tools_of(given, size))}
        prompts[str(size)] = {
            "code": tokens.count(json.dumps(shown, ensure_ascii=False)),
            "json": round(sum(as_json[at % len(as_json)] for at in range(size))),
        }
        print(
            f"{size:>6,} tools: {prompts[str(size)]['code']:,} tokens as code, {prompts[str(size)]['json']:,} as JSON"
        )
    keep("discovery", {"search": search, "prompt_tokens": prompts}, tokens=tokens.name)
    if search["recall_at_10"] <= search["recall_at_10_plain_bm25"] or search["milliseconds"] > MOST_MS:
        raise SystemExit(f"search finds no more than plain BM25, or takes more than {MOST_MS:g} ms")


if __name__ == "__main__":
    main()
