"""`make attacks`: runs the whole matrix, tells what it does, and ends with a table."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from attacks import matrix
from attacks.suite import ATTACKS


def main() -> int:
    """Run everything; return 1 if an attack succeeded, or could not be judged, where it must not."""
    parser = argparse.ArgumentParser(prog="make attacks", description=__doc__)
    parser.add_argument("--only", default="", help="run only the attacks whose category and name hold this text")
    only = parser.parse_args().only
    attacks = [one for one in ATTACKS if only in one.id]
    ids = [one.id for one in attacks]
    started = {column: matrix.Run(*column, ids, verbose=True) for column in matrix.columns()}
    reports = {column: run.report() for column, run in started.items()}
    faults: list[str] = []
    for (mode, user), report in reports.items():
        for one in attacks:
            result = report["attacks"].get(one.id)
            if result is not None and (fault := _fault(result, mode, known=one.known(mode, user))):
                faults.append(f"{one.id} ({mode}, {user}): {fault}")
    _table(reports, attacks)
    for fault in faults:
        sys.stdout.write(f"FAULT {fault}\n")
    return 1 if faults else 0


def _fault(result: dict[str, Any], mode: str, *, known: bool) -> str | None:
    expected = "won" if known or mode == matrix.CONTROL else "held"
    if result["state"] == "skipped":
        return None
    if result["state"] != expected:
        return f"{result['state']} instead of {expected}: {result['detail']}"
    return "; ".join(result["harm"]) or None


def _table(reports: dict[tuple[str, str], dict[str, Any]], attacks: list[Any]) -> None:
    columns = list(reports)
    write = sys.stdout.write
    write(f"\n{'':20}{'attacks':>8}" + "".join(f"{mode:>22}" for mode, _ in columns) + "\n")
    write(f"{'':28}" + "".join(f"{user:>22}" for _, user in columns) + "\n")
    for category in [*dict.fromkeys(one.category for one in attacks), ""]:
        names = [one.id for one in attacks if category in ("", one.category)]
        cells = [_cell(reports[column], names) for column in columns]
        write(f"{category or 'all':20}{len(names):>8}" + "".join(f"{cell:>22}" for cell in cells) + "\n")
    write("\nheld off + known gap / tried; without the jail: succeeded / tried\n")
    for (mode, user), report in reports.items():
        about = report["skipped"] or f"level {report['level']}, {report['seconds']:.0f} s"
        write(f"{mode}, {user}: {about}\n")


def _cell(report: dict[str, Any], names: list[str]) -> str:
    states = [report["attacks"][name]["state"] for name in names if name in report["attacks"]]
    tried = len(states) - states.count("skipped")
    if not tried:
        return "skipped"
    if report["mode"] == matrix.CONTROL:
        return f"{states.count('won')} / {tried}"
    return f"{states.count('held')} + {states.count('won')} / {tried}"


if __name__ == "__main__":
    sys.exit(main())
