"""Guests that break the protocol: the action ends, nothing happens that was not asked for, the next program runs.

A program makes its own guest say them, for what a program can reach is what a host has to expect.
"""

from __future__ import annotations

from callgate.codec import quote
from callgate.outcome import Outcome
from callgate.sandboxes.base import frame
from callgate.testing.conformance.calls import Counting
from callgate.testing.conformance.capabilities import needs
from callgate.testing.conformance.case import Case

__all__ = ["Hostile"]

BROKEN = {
    "no JSON": b"\0\0\0\x04oops",
    "no text": b"\0\0\0\x02\xff\xfe",
    "an unknown form": frame({"hello": 1}),
    "a key too many": frame({"drop": 1, "tool": "take"}),
    "a wrong number": frame({"call": 7, "tool": "take", "args": {"n": 1}}),
    "call 0": frame({"call": 0, "tool": "take", "args": {"n": 1}}),
    "arguments without names": frame({"call": 1, "tool": "take", "args": [1]}),
    "a negative time": frame({"rest": -1}),
    "a time that is none": frame({"rest": True}),
    "a call at rest": frame({"rest": None}) + frame({"call": 1, "tool": "take", "args": {"n": 1}}),
    "two rests": frame({"rest": None}) + frame({"rest": None}),
    "a file at rest": frame({"rest": None}) + frame({"file": "a", "data": ""}),
    "a call after a file": frame({"file": "a", "data": ""}) + frame({"call": 1, "tool": "take", "args": {"n": 1}}),
    "no base64": frame({"file": "a", "data": "Y!Q="}),
    "an end that is none": frame({"end": 1}),
    "a call after the end": frame({"end": {"value": 1, "error": None, "printed": 0}})
    + frame({"call": 1, "tool": "take", "args": {"n": 1}}),
}
"""What no honest guest says, with headers."""

FLOODS = {
    "drops": f"while True: raw({frame({'drop': 1})!r} * 5000)",
    "output": f"while True: raw({frame({'out': 'x' * 1000})!r} * 50)",
    "padding": "while True: raw(b'\\xff' * 60_000)",
    "a length": f"raw({(1 << 31).to_bytes(4, 'big')!r})\nwhile True: raw(b'x' * 65_536)",
    "calls": (
        "n = 0\nwhile True:\n    n += 1\n"
        '    body = b\'{"call":%d,"tool":"take","args":{"m":1}}\' % n\n'
        "    raw(len(body).to_bytes(4, 'big') + body)"
    ),
}
"""Programs that never stop saying something."""


class Hostile:
    """What a guest may say."""

    @staticmethod
    def _run(case: Case, program: str, counting: Counting) -> Outcome:
        limits = case.bounded(frame_mb=1, output_kb=8, calls=8)
        outcome = case.run(f"{case.raw}\n{program}", counting.tool, limits=limits)
        assert outcome.journal.entries()[-1]["e"] == "ended"
        return outcome

    @needs("frames")
    def test_the_suite_can_make_a_guest_speak(self, case: Case) -> None:
        """A call that is made by hand reaches its tool: the checks beside this one do say what they claim to say."""
        counting = Counting()
        call = frame({"call": 1, "tool": "take", "args": {"n": 5}})
        end = frame({"end": {"value": "by hand", "error": None, "printed": 0}})
        outcome = self._run(case, f"raw({call + end!r})\nwhile True: pass", counting)
        assert (outcome.status, outcome.value, counting.taken) == ("completed", "by hand", [5]), outcome.text

    @needs("frames")
    def test_what_is_no_frame_ends_the_action(self, case: Case) -> None:
        """Each of the ways to break the protocol fails the action at once, and no tool runs."""
        for what, data in BROKEN.items():
            counting = Counting()
            outcome = self._run(case, f"raw({data!r})\nwhile True: pass", counting)
            assert (outcome.status, outcome.error and outcome.error.type) == ("failed", "ProtocolError"), what
            assert counting.taken == [], what
        assert case.value("6 * 7") == 42

    @needs("frames")
    def test_a_flood_ends_the_action(self, case: Case) -> None:
        """A guest that talks without end is ended; the host's memory and the next program stay whole."""
        for what, flood in FLOODS.items():
            counting = Counting()
            outcome = self._run(case, flood, counting)
            assert outcome.status in ("failed", "limited"), what
            assert outcome.limit != "seconds", f"{what}: it went on until its time was over"
            assert (counting.taken, len(outcome.text) < 10_000) == ([], True), what
        assert case.value("6 * 7") == 42

    @needs("frames")
    def test_a_frame_in_pieces_is_one_frame(self, case: Case) -> None:
        """Bytes that come one by one are put together."""
        end = frame({"end": {"value": "in pieces", "error": None, "printed": 0}})
        outcome = self._run(case, f"for one in {end!r}: raw(bytes([one]))\nwhile True: pass", Counting())
        assert (outcome.status, outcome.value) == ("completed", "in pieces"), outcome.text

    @needs("frames")
    def test_what_a_guest_says_of_its_error_is_cut(self, case: Case) -> None:
        """Names, texts and lines that it makes up stay short, plain, and of the form they should have."""
        error = {
            "type": "T" * 9_000,
            "text": "\u202e" + "x" * 50_000,
            "line": "1",
            "trace": [["x"], 5],
            "limit": ["no"],
        }
        end = '{"end":{"value":null,"error":' + frame(error)[4:].decode() + ',"printed":0}}'  # type: ignore[arg-type]
        data = len(end).to_bytes(4, "big") + end.encode()
        outcome = self._run(case, f"raw({data!r})\nwhile True: pass", Counting())
        assert (outcome.status, outcome.limit) == ("failed", None)
        assert len(outcome.text) < 12_000
        assert "\u202e" not in outcome.text

    @needs("frames")
    def test_a_program_cannot_answer_itself(self, case: Case) -> None:
        """What only a host says is no frame of a guest."""
        data = frame({"answer": 1, "at": 0.0, "value": quote("forged")})
        outcome = self._run(case, f"raw({data!r})\nwhile True: pass", Counting())
        assert (outcome.status, outcome.error and outcome.error.type) == ("failed", "ProtocolError")
