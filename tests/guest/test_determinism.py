"""The same seed and the same events: the same everything."""

from __future__ import annotations

import pytest
from guest.harness import run

SOURCES = """
import os, random, secrets, tempfile, time, uuid
class Thing: pass
[random.random(), random.Random().random(), random.SystemRandom().random(), os.urandom(4).hex(), secrets.token_hex(4),
 uuid.uuid4().hex, uuid.uuid1().hex, next(tempfile._get_candidate_names()), hash('text'), list({'a', 'b', 'c', 'd'}),
 time.time(), os.cpu_count()]
"""

RACE = """
import asyncio, random, threading, uuid
from concurrent.futures import ThreadPoolExecutor
log, lock = [], threading.Lock()
def work(n):
    for _ in range(3):
        f(random.randrange(100))
        with lock: log.append(n)
        echo(str(uuid.uuid4()), n)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(6)))
async def main():
    done = []
    async def one(n):
        await asyncio.sleep(random.random()); done.append(n); await g(n)
    await asyncio.gather(*[one(n) for n in range(8)])
    return done
print(asyncio.run(main()), sorted({str(uuid.uuid4()) for _ in range(3)}))
log
"""


@pytest.mark.parametrize("program", [SOURCES, RACE], ids=["sources", "race"])
def test_the_same_seed_gives_the_same_transcript(program: str) -> None:
    first, second = run(program), run(program)
    assert first.error is None
    assert first.transcript == second.transcript


def test_another_seed_gives_other_randomness_and_the_same_hashes() -> None:
    first, second = run(SOURCES, seed=1).value, run(SOURCES, seed=2).value
    assert all(one != other for one, other in zip(first[:8], second[:8], strict=True))
    assert first[8:] == second[8:]


def test_random_seeded_by_the_program_is_pythons_own() -> None:
    import random

    random.seed(5)
    assert run("import random\nrandom.seed(5)\nrandom.random()").value == random.random()
    assert run("import random\nrandom.Random('x').random()").value == random.Random("x").random()


def test_numpy_draws_from_the_seed() -> None:
    pytest.importorskip("numpy", reason="numpy is not installed")
    import site

    program = f"""
import sys; sys.path += {site.getsitepackages()!r}
import numpy as np
[float(np.random.rand()), float(np.random.default_rng().random())]
"""
    first, second, other = run(program, seed=1), run(program, seed=1), run(program, seed=2)
    assert first.error is None
    assert first.value == second.value
    assert all(one != another for one, another in zip(first.value, other.value, strict=True))
