"""Limits hold for every program, and whoever reads the answer knows which one ended it."""

from __future__ import annotations

from behaviours.capabilities import jailed
from behaviours.case import Case
from behaviours.host import code

from callgate import Limits

__all__ = ["Bounds"]


class Bounds:
    """Calls, seconds and output."""

    def test_calls_are_bounded(self, case: Case) -> None:
        """The call above the limit is refused, and the program ended."""
        ran = case.run("[look(n=n) for n in range(9)]", limits=Limits(calls=3))
        assert case.did == [("look", n) for n in range(3)]
        assert "LimitExceeded" in ran.answer or "calls" in ran.answer
        assert ran.failed == {"call-1"}

    def test_what_swallows_the_refusal_is_ended(self, case: Case) -> None:
        """A program that asks on and on is limited, by name."""
        program = "for n in range(99):\n    try:\n        look(n=n)\n    except Exception:\n        pass"
        ran = case.run(program, limits=Limits(calls=3))
        assert (ran.details["call-1"]["status"], ran.details["call-1"]["limit"]) == ("limited", "calls")
        assert len(case.did) == 3

    @jailed
    def test_seconds_are_bounded(self, case: Case) -> None:
        """A program that never ends is ended, with what it did before, and the next one runs."""
        life = case.life(
            "look", [code("look(n=1)\nwhile True: pass")], [code("look(n=2) + 1")], limits=Limits(seconds=0.4)
        )
        ran = life.go()
        assert ran.details["call-1"]["limit"] == "seconds"
        assert "look(n=1)" in ran.answers["call-1"]
        assert ran.answers["call-2"] == "3"

    def test_what_is_shown_is_bounded(self, case: Case) -> None:
        """However much a program prints and returns, its answer is short, and says what was cut."""
        ran = case.run("print('x' * 50_000)\n'y' * 50_000", limits=Limits(shown_chars=1_000))
        assert len(ran.answer) < 3_000
        assert {one["part"] for one in ran.details["call-1"]["truncated"]} == {"stdout", "value"}

    def test_arguments_that_are_too_large_are_refused(self, case: Case) -> None:
        """An argument above `frame_mb` does not reach the tool."""
        ran = case.run("x = 'x' * 3_000_000\nwrite(text=x)", "write", limits=Limits(frame_mb=1))
        assert "frame_mb" in ran.answer
        assert case.did == []
