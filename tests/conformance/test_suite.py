"""The suite as its users meet it: declarations, counts, the page that is made of them, and pytest alone."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.classes import CLASSES, Fake
from conformance.page import TEXT, page
from test_repository import CORE, ROOT, relative

from callgate import Limits, UsageError
from callgate.testing import SandboxConformance
from callgate.testing.conformance import CAPABILITIES

USER = """
import pytest
from callgate.testing import FakeSandbox, SandboxConformance

class TestMine(SandboxConformance):
    lacks = {"frames": "not looked at yet"}

    @pytest.fixture
    def make_sandbox(self):
        return FakeSandbox

class TestNone(SandboxConformance):
    pass
"""

CHOSEN = "memory_mb or answer_itself or declared or expression_is or told_as_lost"


def test_there_are_enough_checks_and_each_says_what_it_asks() -> None:
    checks = SandboxConformance.checks()
    assert len(checks) >= 60
    assert all(getattr(SandboxConformance, name).__doc__ for name in checks)


def test_no_check_hides_another_one() -> None:
    names = [name for one in SandboxConformance.__mro__ for name in vars(one) if name.startswith("test_")]
    assert len(names) == len(set(names))


def test_every_limit_has_a_check() -> None:
    checks = " ".join(SandboxConformance.checks())
    assert [field.name for field in dataclasses.fields(Limits) if f"test_limit_{field.name}" not in checks] == []


def test_every_capability_has_a_check() -> None:
    assert set(SandboxConformance.checks().values()) - {None} == set(CAPABILITIES)


@pytest.mark.parametrize(
    ("lacks", "said"),
    [({"wings": "it cannot fly"}, "names 'wings'; capabilities are addresses, "), ({"tmp": " "}, "say why")],
)
def test_a_lack_is_a_capability_with_a_reason(lacks: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        type("Mine", (SandboxConformance,), {"lacks": lacks})


def test_what_is_lacked_is_inherited_by_nobody_who_says_otherwise() -> None:
    assert type("Mine", (Fake,), {"lacks": {}}).lacks == {}


def test_a_user_needs_pytest_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(USER)
    (tmp_path / "test_page.py").write_text(TEXT.partition("```python")[2].partition("```")[0].format())
    plugins = [
        f"-p no:{name}" for name in ("asyncio", "randomly", "xdist", "timeout", "anyio", "langsmith", "hypothesis")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *" ".join(plugins).split(), "-q", "-rpsfE", "-W", "error", "-k", CHOSEN],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(CORE.parent), *sys.path)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = done.stdout
    assert "PASSED test_mine.py::TestMine::test_the_last_expression_is_the_value[sync]" in said
    assert "lacks frames: not looked at yet" in said
    assert "lacks memory_mb: the service gives every guest 2 GB, and no less" in said
    assert "FAILED test_mine.py::TestMine::test_limit_memory_mb[sync]" in said, "a lack that nobody declared"
    assert "assert ('completed', None) == ('limited', 'memory_mb')" in said, "asserts explain themselves"
    assert "TestMine declares that it lacks 'frames', and every check of that passes: take it out of `lacks`" in said
    assert "FAILED test_mine.py::TestMine::test_a_sandbox_that_goes_away_is_told_as_lost" in said
    assert "declare that it lacks 'lose'" in said
    assert "TestNone needs a fixture `make_sandbox` that returns what makes a sandbox" in said


def test_the_page_is_up_to_date() -> None:
    path = ROOT / "SANDBOXES.md"
    assert path.read_text(encoding="utf-8") == page(CLASSES), (
        "make it again: PYTHONPATH=src:adapters:tests python -m conformance.page > SANDBOXES.md"
    )


@pytest.mark.parametrize("path", sorted((CORE / "testing" / "conformance").glob("*.py")), ids=relative)
def test_the_suite_knows_no_sandbox_of_ours(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [name for name in ("LocalSandbox", "FakeSandbox", "E2B", ".pid", "SocketGuest") if name in text]
