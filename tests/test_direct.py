"""A direct run cannot be told from a sandbox run of the same program."""

from __future__ import annotations

import pytest
from direct_programs import programs, tools

from callgate import CodeRunner, ProgramError
from callgate import runner as runner_module
from callgate.program import direct, normalise
from callgate.tools import Catalogue

PROGRAMS = programs()


def outcomes(sandbox, source, monkeypatch):
    """Run a program both ways and return what each outcome says."""
    told = []
    for recognise in (direct, lambda program, catalogue: None):
        monkeypatch.setattr(runner_module, "direct", recognise)
        outcome = CodeRunner(tools(), sandbox=sandbox).run(source, id="same")
        told.append(
            (
                outcome.status,
                outcome.ran,
                outcome.stdout,
                outcome.value,
                outcome.error,
                outcome.limit,
                outcome.calls,
                outcome.truncated,
                outcome.text,
            )
        )
    return told


def differing(sandbox, selected, monkeypatch):
    return [
        (name, source, told)
        for name, source in selected
        if (told := outcomes(sandbox, source, monkeypatch))[0] != told[1]
    ]


def is_direct(source):
    try:
        return direct(normalise(source), Catalogue(tools())) is not None
    except ProgramError:
        return False


def test_the_programs_stand_on_both_sides_of_the_boundary():
    assert len(PROGRAMS) > 1000
    assert 300 < sum(is_direct(source) for _, source in PROGRAMS) < len(PROGRAMS) - 300


@pytest.mark.timeout(600)
def test_every_direct_run_has_the_outcome_of_the_sandbox_run(sandbox, monkeypatch, caplog):
    assert differing(sandbox, [one for one in PROGRAMS if is_direct(one[1])], monkeypatch) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_all_programs_have_the_same_outcome_twice(sandbox, monkeypatch, caplog):
    assert differing(sandbox, PROGRAMS, monkeypatch) == []
