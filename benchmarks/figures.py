"""What the benchmarks share: samples, figures beside their baselines, how they are shown, and where they are kept."""

from __future__ import annotations

import argparse
import json
import operator
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from callgate import SandboxUnavailable, UsageError
from callgate.sandboxes import LocalSandbox, Sandbox
from callgate.testing import FakeSandbox
from callgate.tokens import ApproximateTokens, ExactTokens, TokenCounter

RESULTS = Path(__file__).parent / "results"
"""Figures that the table of the README is made of."""

Samples = defaultdict[str, list[float]]
"""Name of a measurement to its seconds, one per round."""

Table = tuple[tuple[str, str, str, str, float | None, bool], ...]
"""Name, sample, name of its baseline, sample of that, target, and whether the target is milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure beside a baseline."""

    name: str
    milliseconds: float
    baseline: str
    baseline_ms: float
    ratio: float
    target: float | None
    """The most `ratio` may be, or where `absolute` is set `milliseconds`; None where there is none."""
    absolute: bool = False

    @property
    def ok(self) -> bool | None:
        """Whether the target is met."""
        return None if self.target is None else (self.milliseconds if self.absolute else self.ratio) <= self.target

    def cells(self) -> tuple[str, ...]:
        """Return what `show` prints."""
        target = "" if self.target is None else f"{self.target:g} ms" if self.absolute else f"{self.target:g} x"
        figures = f"{self.milliseconds:.3f}", self.baseline, f"{self.baseline_ms:.3f}", f"{self.ratio:.2f} x"
        return (self.name, *figures, target, _MET[self.ok])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One figure that stands for itself."""

    name: str
    value: float
    unit: str
    target: float | None = None
    """The most it may be; None where there is no such bound."""

    @property
    def ok(self) -> bool | None:
        """Whether the target is met."""
        return None if self.target is None else self.value <= self.target

    def cells(self) -> tuple[str, ...]:
        """Return what `show` prints."""
        target = "" if self.target is None else f"{self.target:g} {self.unit}"
        return (self.name, f"{self.value:,.4g}", self.unit, target, _MET[self.ok])


_MET = {None: "", True: "ok", False: "MISSED"}


def expect(found: object, wanted: object, told: object) -> None:
    """Stop where something measured did not happen."""
    if found != wanted:
        raise RuntimeError(f"expected {wanted!r}, got {found!r}: {str(told)[:500]}")


def rows(table: Table, samples: Samples) -> list[Row]:
    """Return the figures: medians, and medians of the ratios of each round."""
    found = list[Row]()
    for name, key, baseline, base_key, target, absolute in table:
        ratios = map(operator.truediv, samples[key], samples[base_key])
        found.append(
            Row(
                name=name,
                milliseconds=statistics.median(samples[key]) * 1000,
                baseline=baseline,
                baseline_ms=statistics.median(samples[base_key]) * 1000,
                ratio=statistics.median(ratios),
                target=target,
                absolute=absolute,
            )
        )
    return found


def parser(description: str) -> argparse.ArgumentParser:
    """Return the arguments that every benchmark has."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments.add_argument("--rounds", type=int, default=7, help="how often everything is measured (7)")
    return arguments


def task_parser(description: str) -> argparse.ArgumentParser:
    """Return the arguments of a benchmark that plays tasks."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--sample", type=int, help="play only the first so many tasks, and keep no figures")
    return arguments


def report(about: dict[str, Any], found: list[Row], facts: Sequence[Fact] = (), *, began: float, as_json: bool) -> None:
    """Print everything.

    Args:
        about: what was measured.
        found: the figures with a baseline.
        facts: the others.
        began: when it began, by `time.perf_counter`.
        as_json: print JSON in place of a table.
    """
    about = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count(), **about}
    if as_json:
        figures: dict[str, Any] = {"about": about, "rows": [{**asdict(row), "ok": row.ok} for row in found]}
        if facts:
            figures["facts"] = [{**asdict(fact), "ok": fact.ok} for fact in facts]
        print(json.dumps(figures, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in about.items()), f"({time.perf_counter() - began:.0f} s)\n")
    _show([("", "ms", "baseline", "ms", "ratio", "target", ""), *(row.cells() for row in found)], left=(0, 2))
    if facts:
        print()
        _show([fact.cells() for fact in facts], left=(0, 2))


def _show(lines: list[tuple[str, ...]], left: Sequence[int]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


# ---- where programs run, how tokens are counted, and what is kept


@contextmanager
def opened_sandbox(**arguments: Any) -> Iterator[Sandbox]:
    """Yield a LocalSandbox; on a host that has none a FakeSandbox, and say so.

    Args:
        arguments: of the LocalSandbox.
    """
    sandbox: Sandbox = LocalSandbox(**arguments)
    try:
        _ = sandbox.level
    except SandboxUnavailable as error:
        print(f"{error}\nMeasured with FakeSandbox, which isolates nothing, in its place.", file=sys.stderr)
        sandbox = FakeSandbox()
    try:
        yield sandbox
    finally:
        sandbox.close()


def counter_of_tokens() -> TokenCounter:
    """Return what counts by o200k_base, or roughly where that encoding cannot be had, and say so.

    llama-index-core brings the encoding along; without it tiktoken fetches it.
    """
    if "TIKTOKEN_CACHE_DIR" not in os.environ and find_spec("llama_index") and (spec := find_spec("llama_index.core")):
        os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(spec.origin or "").parent / "_static" / "tiktoken_cache")
    try:
        return ExactTokens()
    except UsageError as error:
        print(f"{error}\nTokens are characters / 4.", file=sys.stderr)
        return ApproximateTokens()


def workloads() -> Path:
    """Return where the recorded workloads are, which are no part of the repository."""
    given = os.environ.get("CALLGATE_WORKLOADS")
    return Path(given) if given else Path(__file__).parents[2] / "shared" / "workloads"


def workload(name: str) -> str:
    """Return the text of a workload.

    Raises:
        SystemExit: where it is not there.
    """
    path = workloads() / name
    if not path.exists():
        skip(f"there is no workload {name}; CALLGATE_WORKLOADS names its folder")
    return path.read_text(encoding="utf-8")


def lines_of(name: str) -> list[dict[str, Any]]:
    """Return the objects of a workload, one per line of its file."""
    return [json.loads(line) for line in workload(name).splitlines()]


def skip(reason: str) -> NoReturn:
    """End a benchmark that lacks something; those after it go on."""
    print(f"skipped: {reason}")
    raise SystemExit(0)


def expect_alike(name: str, figures: dict[str, Any]) -> None:
    """Stop unless all tasks ended alike in all arms."""
    expect(figures["equal"], dict.fromkeys(figures["equal"], figures["tasks"]), f"{name}: arms differ")


def keep(name: str, figures: dict[str, Any], *, tokens: str | None = None) -> None:
    """Write figures down, with what they were measured with.

    Figures that were counted exactly are not replaced by rough ones.

    Args:
        name: of the file.
        figures: nothing of the workload's own data.
        tokens: how they were counted, if tokens are among them.
    """
    path = RESULTS / f"{name}.json"
    rough = ApproximateTokens.name
    if tokens == rough and path.exists() and json.loads(path.read_text(encoding="utf-8")).get("tokens") != rough:
        print(f"not kept: {path.name} holds exact figures, and these are {rough}")
        return
    versions = {one: metadata.version(one) for one in ("langchain-core", "langgraph", "langgraph-prebuilt")}
    about = {"command": f"python benchmarks/{name}.py", "python": platform.python_version(), "versions": versions}
    about |= {"tokens": tokens} if tokens else {}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about, **figures}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
