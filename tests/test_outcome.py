"""What the model is given to read."""

from __future__ import annotations

import json

import pytest

from callgate import Artifact, CallRecord, Fault, Journal, LeftOut, Outcome, Waiting
from callgate.outcome import lost, render, show_output, show_value, visible


def text(**given):
    parts = {
        "status": "completed",
        "stdout": "",
        "printed": len(given.get("stdout", "")),
        "value": None,
        "error": None,
        "limit": None,
        "calls": (),
        "waiting": (),
        "handles": {},
        "most": 200,
    }
    return render(**{**parts, **given})[0]


def made(tool, status="done", value=None, error=None, **arguments):
    told = {"arguments_text": json.dumps(arguments), "result": json.dumps(value)}
    return CallRecord(id="a/1", tool=tool, status=status, error=error, **told)


FAULT = Fault(type="KeyError", text="'x'", line=2, source="row['x']")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"value": {"b": [1, "é"]}}, '{"b":[1,"é"]}', id="only a value"),
        pytest.param({"stdout": "hi\n"}, "hi", id="only output"),
        pytest.param({"stdout": "hi\n", "value": 3}, "hi\nValue: 3", id="both"),
        pytest.param(
            {}, "The program completed and showed nothing: print a value or end with an expression.", id="neither"
        ),
        pytest.param(
            {"status": "failed", "error": FAULT, "stdout": "so far\n", "calls": (made("pay", value=1, user="u"),)},
            "The program failed in line 2: KeyError: 'x'\n    2 | row['x']\nso far\n"
            'Calls already made, not undone:\n  pay(user="u") -> 1',
            id="failed",
        ),
        pytest.param(
            {"status": "limited", "limit": "seconds", "calls": (made("pay", status="started"),)},
            "The program was ended: its limit seconds is used up.\nCalls already made, not undone:\n  pay() -> no answer came; it may still happen",
            id="limited by the host",
        ),
        pytest.param(
            {
                "status": "limited",
                "limit": "memory_mb",
                "error": Fault(type="MemoryError", text="", line=1, source="x"),
            },
            "The program was ended by its limit memory_mb in line 1: MemoryError\n    1 | x\nNo tool was called.",
            id="limited inside",
        ),
        pytest.param(
            {
                "status": "rejected",
                "ran": False,
                "error": Fault(type="ProgramError", text="no tool 'a'", line=1, source="a()"),
            },
            "The program was not run, see line 1: no tool 'a'\n    1 | a()",
            id="rejected",
        ),
        pytest.param(
            {
                "status": "limited",
                "ran": False,
                "limit": "guests",
                "error": Fault(type="LimitExceeded", text="64 programs run already"),
            },
            "The program was not run, the limit guests is used up: 64 programs run already",
            id="no place",
        ),
        pytest.param(
            {"value": 1, "artifacts": [Artifact.of("a.csv", b"x" * 1234), Artifact.of("b", b"x")]},
            "1\n[Files: a.csv (1,234 bytes), b (1 byte)]",
            id="files",
        ),
        pytest.param(
            {"artifacts": [Artifact.of(f"{n}", b"") for n in range(22)]},
            f"[Files: {', '.join(f'{n} (0 bytes)' for n in range(20))}, 2 more]",
            id="many files",
        ),
        pytest.param(
            {
                "status": "failed",
                "error": FAULT,
                "left_out": [
                    LeftOut(name="big", size=99, why="too large"),
                    LeftOut(name="", size=5000, why="20 are named", count=3),
                ],
            },
            "The program failed in line 2: KeyError: 'x'\n    2 | row['x']\n[Not kept: big (99 bytes): too large]\n"
            "[Not kept: 3 more files (5,000 bytes): 20 are named]\nNo tool was called.",
            id="files left out",
        ),
        pytest.param(
            {
                "status": "paused",
                "waiting": (
                    Waiting(
                        id="a/1",
                        tool="pay",
                        arguments={"n": 1},
                        unknown=False,
                        interrupted=False,
                        description="",
                        allowed=("approve",),
                    ),
                ),
            },
            "Waiting for a human: pay(n=1)",
            id="paused",
        ),
        pytest.param(
            {"status": "lost", "error": Fault(type="SandboxLost", text="the sandbox went away")},
            "It is unknown how the program went on: the sandbox went away. Look before you repeat anything.\n"
            "No tool was called.",
            id="lost",
        ),
    ],
)
def test_texts(given, expected):
    assert text(**given) == expected


def test_a_cut_says_how_much_there_is_and_how_to_get_the_rest():
    told, cuts = render(
        status="completed",
        stdout="",
        printed=0,
        value=list(range(1000)),
        error=None,
        limit=None,
        calls=(),
        waiting=(),
        handles={"value": "abc"},
        most=200,
    )
    assert "[The value has 3,891 characters" in told
    assert "load_value('abc')" in told
    assert cuts[0].total == 3891


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(list(range(100_000)), id="a list"),
        pytest.param([{"id": n, "text": "x" * 50} for n in range(1000)], id="rows"),
        pytest.param("x" * 100_000, id="a string"),
        pytest.param({f"k{n}": n for n in range(10_000)}, id="an object"),
        pytest.param({"a": {"b": [["x" * 9000] * 50] * 50}}, id="nested"),
    ],
)
def test_a_large_value_is_cut_by_its_structure(value):
    shown, total = show_value(value, 2000)
    assert len(shown) <= 2000
    assert total == len(json.dumps(value, separators=(",", ":")))
    json.loads(shown)
    assert "more" in shown


def test_output_keeps_its_first_and_last_lines():
    shown = show_output("".join(f"line {n}\n" for n in range(1000)), 400)
    assert shown.startswith("line 0\n")
    assert shown.endswith("line 999\n")
    assert "characters cut" in shown
    assert len(shown) < 500


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\u202e", "\u2066", "\x00", "\u200f", "\x9b"])
def test_control_and_bidirectional_characters_are_shown_as_escapes(hidden):
    assert hidden[0] not in visible(f"a{hidden}b")
    assert visible("tab\tline\nend") == "tab\tline\nend"


def test_a_long_list_of_calls_is_counted():
    told = text(status="limited", limit="calls", calls=tuple(made("get", value=n) for n in range(50)))
    assert told.count("get()") == 20
    assert "and 30 more" in told


def test_a_call_that_is_lost_is_told_in_place_of_what_waited():
    asked = {"interrupted": False, "description": None, "allowed": ()}
    waiting = (Waiting(id="a/2", tool="pay", arguments={"to\nwhom": "ana"}, unknown=True, **asked),)
    calls = (made("look", value=1), made("pay", status="asked"))
    shown = text(status="paused", stdout="hi\n", calls=calls, waiting=waiting)
    rest = {"error": None, "limit": None, "truncated": (), "journal": Journal()}
    paused = {"status": "paused", "stdout": "hi\n", "value": None, "calls": calls, "waiting": waiting, "text": shown}
    outcome = lost(Outcome(id="a", ran=True, **paused, **rest))
    assert (outcome.status, outcome.waiting) == ("lost", ())
    assert outcome.text == (
        'It is unknown how the program went on: it was cut off in pay(to\nwhom="ana"), which may have happened. '
        "Look before you repeat anything.\nhi\nCalls already made, not undone:\n  look() -> 1"
    )
