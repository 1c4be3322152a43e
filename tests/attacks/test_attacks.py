"""Every attack is held off in each mode and for each user, and has succeeded where nothing holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from attacks import matrix
from attacks.attack import MODES
from attacks.suite import ATTACKS

pytestmark = pytest.mark.timeout(matrix.SECONDS)  # whichever comes first waits for all

BY_ID = {one.id: one for one in ATTACKS}
LEAST = 80
"""Attacks that have to count, by the project's own promise."""


@pytest.fixture(scope="session")
def runs() -> Iterator[dict[tuple[str, str], matrix.Run]]:
    """The whole matrix, all of it running at the same time."""
    started = matrix.runs()
    yield started
    for run in started.values():
        run.close()


def result_of(run: matrix.Run, attack: str) -> dict[str, Any]:
    """Return what came of an attack; skips with the reason where it could not be tried."""
    report = run.report()
    if report["skipped"]:
        pytest.skip(report["skipped"])
    result = report["attacks"][attack]
    if result["state"] == "skipped":
        pytest.skip(result["detail"])
    return result


@pytest.mark.parametrize("user", matrix.USERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attack", BY_ID)
def test_an_attack_is_held_off(runs: dict[tuple[str, str], matrix.Run], attack: str, mode: str, user: str) -> None:
    """It does not get what it wants, and leaves the host and the next program as they were."""
    result = result_of(runs[mode, user], attack)
    expected = "won" if BY_ID[attack].known(mode, user) else "held"
    assert (result["state"], result["harm"]) == (expected, []), result["detail"]


@pytest.mark.parametrize("attack", BY_ID)
def test_its_detector_sees_it_succeed(runs: dict[tuple[str, str], matrix.Run], attack: str) -> None:
    """The very same program, judged by the very same detector, succeeds where there is no jail."""
    reports = [run.report() for (mode, _), run in runs.items() if mode == matrix.CONTROL]
    results = [report["attacks"][attack] for report in reports if not report["skipped"]]
    failed = [result["detail"] for result in results if result["state"] not in ("won", "skipped")]
    assert failed == []
    if not any(result["state"] == "won" for result in results):
        pytest.skip("; ".join({result["detail"] for result in results}) or "no control could run")


def test_attacks_have_names_of_their_own() -> None:
    """No two share one, for results are kept by it."""
    assert [name for name, times in Counter(one.id for one in ATTACKS).items() if times > 1] == []


def test_enough_attacks_count(runs: dict[tuple[str, str], matrix.Run]) -> None:
    """Those whose control has succeeded here are as many as promised, and every category has some."""
    reports = [run.report() for (mode, _), run in runs.items() if mode == matrix.CONTROL]
    won = {name for report in reports for name, result in report["attacks"].items() if result["state"] == "won"}
    assert len(won) >= LEAST
    assert {BY_ID[name].category for name in won} == {one.category for one in ATTACKS}
