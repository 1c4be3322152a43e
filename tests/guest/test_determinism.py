"""The same seed and the same events: the same everything."""

from __future__ import annotations

from typing import Any

import pytest
from guest.harness import run

from callgate import CodeRunner, SandboxUnavailable
from callgate.sandboxes import LocalSandbox
from callgate.sandboxes.base import Sandbox

IDENTITY = """
import os, threading
seen = []
def look(): seen.append(threading.get_native_id() - os.getpid())
threads = [threading.Thread(target=look) for _ in range(3)]
for t in threads: t.start()
for t in threads: t.join()
main = threading.main_thread().native_id
[os.getpid(), os.getppid(), threading.get_native_id(), main, os.getpgrp(), os.getpgid(0), os.getsid(os.getpid()),
 [t.native_id - os.getpid() for t in threads], seen]
"""


def test_a_program_sees_numbers_of_its_seed_as_its_process_and_threads() -> None:
    first, second, other = run(IDENTITY, seed=1).value, run(IDENTITY, seed=1).value, run(IDENTITY, seed=2).value
    pid = first[0]
    assert first == second == [pid, 1, pid, pid, pid, pid, pid, [1, 2, 3], [1, 2, 3]]
    assert 0 < pid < 1 << 31
    assert other[0] != pid
    assert other[7:] == first[7:]


def test_other_processes_are_not_there() -> None:
    result = run("import os\nos.getpgid(1)")
    assert result.error is not None
    assert result.error["type"] == "ProcessLookupError"


def test_a_program_starts_with_no_thread_counted(jail: Sandbox) -> None:
    outcomes = [CodeRunner([], sandbox=jail).run(IDENTITY) for _ in range(3)]
    assert all(outcome.value[7:] == [[1, 2, 3], [1, 2, 3]] for outcome in outcomes)
    assert len({outcome.value[0] for outcome in outcomes}) == 3


def test_numpy_that_the_fork_server_loaded_draws_from_the_seed() -> None:
    pytest.importorskip("numpy", reason="numpy is not installed")
    program = "import numpy as np\n[np.random.rand(), np.random.default_rng().random(), np.random.RandomState().rand()]"
    with LocalSandbox(preload=["numpy"], spares=0) as sandbox:
        try:
            sandbox.check()
        except SandboxUnavailable as error:
            pytest.skip(f"this host cannot isolate programs: {error}")
        values = [run(program, seed=seed, sandbox=sandbox).value for seed in (1, 1, 2)]
    assert values[0] == values[1]
    assert all(one != other for one, other in zip(values[0], values[2], strict=True))


def test_numpy_draws_the_same_whoever_loads_it() -> None:
    pytest.importorskip("numpy", reason="numpy is not installed")
    program = """
import os
import numpy as np
[np.random.rand(), np.random.randint(1000), np.random.default_rng().random(), os.urandom(4).hex()]
"""
    values: list[Any] = []
    for given in ({"preload": ["numpy"]}, {"packages": ["numpy"]}):
        with LocalSandbox(spares=0, **given) as sandbox:
            try:
                sandbox.check()
            except SandboxUnavailable as error:
                pytest.skip(f"this host cannot isolate programs: {error}")
            values.append(run(program, seed=1, sandbox=sandbox).value)
    assert values[0] == values[1]


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
