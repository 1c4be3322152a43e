"""The recorded journals of this repository, replayed."""

from __future__ import annotations

import pytest
import recorded

from callgate import Journal, replay


def read(name):
    lines = recorded.path_of(name).read_text(encoding="utf-8").splitlines()
    return Journal(lines, key=recorded.KEY if name == "sealed" else None)


@pytest.mark.parametrize("name", recorded.PROGRAMS)
def test_a_recorded_action_goes_the_way_it_went(sandbox, name):
    journal = read(name)
    assert journal.header["program"].strip() == recorded.PROGRAMS[name].strip(), "it was not recorded anew"
    tools = recorded.TOOLS if name == "digest" else None
    again = replay(journal, sandbox=sandbox, kept=recorded.kept, tools=tools)
    assert again.same, again.differences
    ended = next(entry for entry in journal.entries() if entry["e"] == "ended")
    assert again.outcome.status == ended["status"] == ("failed" if name == "failures" else "completed")


def test_each_journal_has_its_program():
    assert sorted(recorded.JOURNALS.iterdir()) == sorted(map(recorded.path_of, recorded.PROGRAMS))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("approvals", '"edited"'),
        ("approvals", '"e":"resumed"'),
        ("large results", '"kept"'),
        ("large results", '"output_kept"'),
        ("large results", '"value_kept"'),
        ("files", '"artifacts"'),
        ("digest", '"digest"'),
        ("a crash", '"by":"reconcile"'),
        ("sealed", '"mac"'),
    ],
)
def test_the_journals_hold_what_they_are_for(name, said):
    assert said in read(name).text()
