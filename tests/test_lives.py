"""Lives of an action: real guests in simulated time, killed at random lines and events, paused, resumed and decided about.

Whatever happens on the way, each write happens once, gated calls run only as approved, answers and decisions reach
the calls they belong to, and the end is what an undisturbed run would have given. Programs that no replay can repeat
diverge, and nothing executes.
"""

from __future__ import annotations

import pytest
from lives import Laboratory
from shapes import SHAPES

from callgate.errors import ReplayDivergence

HONEST = [name for name, shape in SHAPES.items() if not shape.impossible]
IMPOSSIBLE = [name for name, shape in SHAPES.items() if shape.impossible]


def run(sandbox, name, seed, **how):
    """Live one life and check it; return the laboratory and the life."""
    shape = SHAPES[name]
    if shape.addresses and not getattr(sandbox, "fixed_addresses", False):
        pytest.skip("this sandbox cannot fix the addresses of objects")
    laboratory = Laboratory(sandbox, shape, seed)
    life = laboratory.live(**how)
    laboratory.check(life)
    return laboratory, life


def diverge(sandbox, name, seed):
    with pytest.raises(ReplayDivergence) as caught:
        Laboratory(sandbox, SHAPES[name], seed).live()
    assert caught.value.executed == []


@pytest.mark.parametrize("name", HONEST)
def test_lives(sandbox, name):
    for seed in range(10):
        run(sandbox, name, seed)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_no_replay_repeats_diverges_and_nothing_executes(sandbox, name):
    for seed in range(10):
        diverge(sandbox, name, seed)


def test_something_happens_in_lives(sandbox):
    tallies = [run(sandbox, "in sequence", seed)[0].tally for seed in range(10)]
    assert all(sum(one[what] for one in tallies) >= 10 for what in ("kills", "pauses", "questions"))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", HONEST)
def test_many_lives(sandbox, name):
    for seed in range(100, 300):
        run(sandbox, name, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_many_lives_of_what_no_replay_repeats(sandbox, name):
    for seed in range(100, 300):
        diverge(sandbox, name, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", HONEST)
def test_a_kill_at_every_line(sandbox, name):
    for seed in (1, 2):
        _, life = run(sandbox, name, seed, kill_at=0)
        for line in range(1, len(life.lines) + 1):
            run(sandbox, name, seed, kill_at=line)
