"""The tables of the README and of FIGURES.md that are made of benchmarks/results, and of nothing else.

    python benchmarks/table.py [--write]

They stand between two markers. Without --write they are printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from figures import RESULTS

BEGIN, END = "<!-- made by benchmarks/table.py -->", "<!-- end -->"

JSON_ARMS, CODE_ARMS = ("json_sequential", "json_parallel"), ("code_leveled", "code_one_shot")
SCENARIOS = (
    ("microsoft_order_totals", "Microsoft: totals of 8 users' orders"),
    ("anthropic_ptc_expenses", "Anthropic: expenses of a team"),
    ("anthropic_drive_to_salesforce", "Anthropic: a transcript from Drive to Salesforce"),
    ("cloudflare_calendar_31", "Cloudflare: 31 events of a calendar"),
    ("cloudflare_calendar_1", "Cloudflare: one event"),
)

WIDTH = 120
"""Of a line of prose."""

_HEAD = ("JSON, in sequence", "JSON, parallel", "code, every result printed", "code, one shot")

Figures = Mapping[str, Any]


def results(name: str) -> dict[str, Any]:
    """Return what a benchmark kept; nothing where it never ran."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def tasks() -> dict[str, Figures]:
    """Return everything that was played in all arms, by what the tables call it."""
    bfcl, tau, vendors = map(results, ("bfcl", "tau", "vendors"))
    recorded = {f"BFCL multi-turn {name}": one for name, one in bfcl.get("categories", {}).items()}
    recorded |= {"tau-bench retail": tau} if tau else {}
    scenarios = {title: vendors["scenarios"][name] for name, title in SCENARIOS if vendors}
    return {f"{name}, {one['tasks']} tasks": one for name, one in recorded.items()} | scenarios


# ---- the README's


def readme_block() -> str:
    """Return the table of cache-weighted tokens, with what has to be said of it."""
    head = (*_HEAD, "saved by definitions · turns · payload")
    rows = [_row(name, one) for name, one in tasks().items()]
    told = " ".join([*_told(), *_published(), *_found(), *_chosen()])
    return "\n".join(
        [
            *_heads("cache-weighted tokens per task", *head),
            *rows,
            *_small(),
            "",
            fill(told, WIDTH, break_on_hyphens=False),
        ]
    )


def _heads(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", f"| --- |{' ---: |' * (len(names) - 1)}"]


def _row(name: str, one: Figures) -> str:
    weighted = {arm: tokens["weighted"] for arm, tokens in one["tokens_per_task"].items()}
    split = one["split"]["code_one_shot"]["json_parallel"]["weighted"]
    saved = sum(split.values())
    parts = " · ".join(str(round(100 * part / saved)) for part in split.values()) if saved > 0 else ""
    return _cells(name, weighted, parts and f"{parts} %")


def _cells(name: str, weighted: Mapping[str, float], parts: str = "") -> str:
    base = weighted["json_parallel"]
    plain = [f"{weighted[arm]:,.0f}" for arm in JSON_ARMS]
    code = [f"{weighted[arm]:,.0f} ({_percent(weighted[arm] / base - 1)})" for arm in CODE_ARMS]
    return f"| {' | '.join([name, *plain, *code, parts])} |"


def _percent(share: float) -> str:
    """Return a change; what is nearly all, or nearly nothing, has a decimal."""
    return f"{share:+.{1 if abs(share) > 0.99 or abs(share) < 0.01 else 0}%}"


def _small() -> Iterator[str]:
    """Yield the row of small catalogues."""
    found = [one["tokens"] for one in results("router").get("sets", ()) if one["name"] == "small catalogues"]
    if found:
        parallel, sequential = found  # code, leveled beside the one and in one shot beside the other
        arms = {"json_sequential": sequential["json"], "json_parallel": parallel["json"]}
        arms |= {"code_leveled": parallel["code"], "code_one_shot": sequential["code"]}
        yield _cells("one to three tools, short turns", arms)


def _told() -> Iterator[str]:
    yield "**Programs are scripted and no model was asked**: every column makes the recorded calls, and nobody errs."
    yield f"Tokens are {results('bfcl').get('tokens')}: new input weighs 1, repeated 0.1, output 5. In brackets, code"
    yield "against JSON that asks at once for all that needs nothing of each other. One shot knows what results look"
    yield "like: an upper bound. What it saves is divided into shorter definitions, fewer requests, results not shown."
    live = results("bfcl").get("categories", {}).values()
    same, played = sum(min(one["equal"].values()) for one in live), sum(one["tasks"] for one in live)
    yield f"BFCL's live tools end in the same states, with the same results, in {same} of {played} tasks."


def _published() -> Iterator[str]:
    found = results("vendors").get("scenarios", {}).values()
    if offs := [f"{one['published']['off']:+.1%}" for one in found if "off" in one.get("published", {})]:
        yield f"From the JSON tokens that Microsoft and Anthropic published ours differ by {', '.join(offs)};"
        yield "AIMultiple's runs cannot be rebuilt, for nobody knows their tools."


def _found() -> Iterator[str]:
    if discovery := results("discovery"):
        search = discovery["search"]
        large = [one["code"] for size, one in discovery["prompt_tokens"].items() if int(size) >= 100]
        yield f"Search among {search['tools']} MCP tools has a recall at 10 of {search['recall_at_10']:.2f}, plain BM25"
        yield f"over whole schemas {search['recall_at_10_plain_bm25']:.2f}; it takes less than"
        yield f"{search['milliseconds'] // 1 + 1:.0f} ms. From 100 to 10,000 tools the definition of `execute_code` has"
        yield f"{min(large)} to {max(large)} tokens."


def _chosen() -> Iterator[str]:
    worst: dict[str, float] = {}
    for one in results("router").get("sets", ()):
        worst[one["name"]] = max(worst.get(one["name"], one["regret"]), one["regret"])
    if worst:
        told = ", ".join(f"{name} {regret:+.1%}" for name, regret in worst.items())
        yield f"What `auto` costs beside the cheapest mode of a whole set, at worst: {told}."


# ---- that of FIGURES.md


def figures_block() -> str:
    """Return what the README has no room for."""
    return "\n\n".join("\n".join(lines) for lines in (_raw(), _beside_published(), _routed(), _prompts()))


def _raw() -> Iterator[str]:
    yield from _heads("requests: input + output tokens per task", *_HEAD)
    for name, one in tasks().items():
        arms = (one["tokens_per_task"][arm] for arm in (*JSON_ARMS, *CODE_ARMS))
        cells = (f"{arm['requests']:.1f}: {arm['input']:,} + {arm['output']:,}" for arm in arms)
        yield f"| {name} | {' | '.join(cells)} |"


def _beside_published() -> Iterator[str]:
    yield from _heads("published", "JSON", "ours", "difference", "code", "ours", "saved by code", "ours")
    scenarios = results("vendors").get("scenarios", {})
    for name, title in SCENARIOS:
        told, arms = scenarios[name]["published"], scenarios[name]["tokens_per_task"]
        code = f"{arms['code_one_shot']['total']:,}"
        if "off" in told:
            cells = [f"{told['json']:,}", f"{told['ours']:,}", f"{told['off']:+.1%}", f"{told['code']:,}", code, "", ""]
        else:
            cells = ["", f"{arms['json_parallel']['total']:,}", "", "", code]
            cells += [f"{told['saving']:.0%}", f"{told['our_saving']:.0%}"]
        yield f"| {title} | {' | '.join(cells)} |"


def _routed() -> Iterator[str]:
    yield from _heads("cache-weighted tokens per conversation", "json", "code", "mixed", "auto", "regret of auto")
    for one in results("router").get("sets", ()):
        cells = [f"{one['tokens'][mode]:,}" for mode in ("json", "code", "mixed", "auto")]
        name = f"{one['name']}, {one['conversations']:,} conversations: {one['manner']}"
        yield f"| {name} | {' | '.join(cells)} | {one['regret']:+.1%} |"


def _prompts() -> Iterator[str]:
    prompts = results("discovery").get("prompt_tokens", {})
    yield from _heads("tokens of the definitions of so many tools", *(f"{int(size):,}" for size in prompts))
    for kind, name in (("json", "JSON"), ("code", "`execute_code`")):
        yield f"| {name} | {' | '.join(f'{one[kind]:,}' for one in prompts.values())} |"


BLOCKS: Mapping[Path, Callable[[], str]] = {
    Path(__file__).with_name("FIGURES.md"): figures_block,
    Path(__file__).parents[1] / "README.md": readme_block,
}


def between_markers(text: str, path: Path) -> tuple[str, str, str]:
    """Return what is before, between and after the markers of a file.

    Raises:
        SystemExit: where they are missing.
    """
    before, begin, rest = text.partition(f"{BEGIN}\n")
    inside, end, after = rest.partition(f"{END}\n")
    if not begin or not end:
        raise SystemExit(f"{path.name} needs a line {BEGIN!r} and, below it, a line {END!r}")
    return f"{before}{begin}", inside.strip("\n"), f"{end}{after}"


def main() -> None:
    """Print the tables, or write them."""
    arguments = argparse.ArgumentParser(description="Tables made of the results that are kept.")
    arguments.add_argument("--write", action="store_true", help="write them into README.md and FIGURES.md")
    write = arguments.parse_args().write
    for path, block in BLOCKS.items():
        if not write:
            print(f"{path.name}:\n\n{block()}\n")
            continue
        before, inside, after = between_markers(path.read_text(encoding="utf-8"), path)
        path.write_text(f"{before}\n{block()}\n\n{after}", encoding="utf-8")
        print(f"{path.name}: {'as it was' if inside == block() else 'new figures'}")


if __name__ == "__main__":
    main()
