"""Every attack is held off in each mode and for each user, and has succeeded where nothing holds it.

`make test` makes each attack in each mode, for root and an ordinary user in turn; `make soak` and `make attacks` make
all of them for both.
"""

from __future__ import annotations

import os
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


def trials() -> Iterator[Any]:
    """Yield attack, mode and user; what `make test` leaves out is marked."""
    users = matrix.USERS if os.getuid() == 0 else matrix.USERS[1:]
    for row, attack in enumerate(BY_ID):
        for column, mode in enumerate(MODES):
            for user in matrix.USERS:
                now = user == users[(row + column) % len(users)] or user not in users
                yield pytest.param(attack, mode, user, marks=() if now else pytest.mark.soak)


@pytest.fixture(scope="session")
def controls() -> Iterator[list[matrix.Run]]:
    """The positive controls: all of them, in two processes."""
    column = matrix.columns()[-1]
    started = [matrix.Run(*column, list(BY_ID)[half::2]) for half in (0, 1)]
    yield started
    for run in started:
        run.close()


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, controls: list[matrix.Run]) -> Iterator[dict[tuple[str, str], matrix.Run]]:
    """The matrix, as far as the selected tests look at it, all of it running at the same time, and with the controls."""
    wanted: dict[tuple[str, str], list[str]] = {(mode, user): [] for mode in MODES for user in matrix.USERS}
    for item in request.session.items:
        if item.name.startswith("test_an_attack_is_held_off["):
            trial = item.callspec.params
            wanted[trial["mode"], trial["user"]].append(trial["attack"])
    started = {column: matrix.Run(*column, attacks) for column, attacks in wanted.items()}
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


@pytest.mark.parametrize(("attack", "mode", "user"), [*trials()])
def test_an_attack_is_held_off(runs: dict[tuple[str, str], matrix.Run], attack: str, mode: str, user: str) -> None:
    """It does not get what it wants, and leaves the host and the next program as they were."""
    result = result_of(runs[mode, user], attack)
    expected = "won" if BY_ID[attack].known(mode, user) else "held"
    assert (result["state"], result["harm"]) == (expected, []), result["detail"]


@pytest.mark.parametrize("attack", BY_ID)
def test_its_detector_sees_it_succeed(controls: list[matrix.Run], attack: str) -> None:
    """The very same program, judged by the very same detector, succeeds where there is no jail."""
    result = result_of(controls[list(BY_ID).index(attack) % 2], attack)
    assert result["state"] == "won", result["detail"]


def test_attacks_have_names_of_their_own() -> None:
    """No two share one, for results are kept by it."""
    assert [name for name, times in Counter(one.id for one in ATTACKS).items() if times > 1] == []


def test_enough_attacks_count(controls: list[matrix.Run]) -> None:
    """Those whose control has succeeded here are as many as promised, and every category has some."""
    reports = [run.report() for run in controls]
    won = {name for report in reports for name, result in report["attacks"].items() if result["state"] == "won"}
    assert len(won) >= LEAST
    assert {BY_ID[name].category for name in won} == {one.category for one in ATTACKS}
