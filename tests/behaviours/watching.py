"""What users see: calls as they happen, what actions cost, and what the model was shown."""

from __future__ import annotations

from typing import Any

from behaviours.approval import PAY, asking
from behaviours.capabilities import both_ways, needs
from behaviours.case import Case
from behaviours.host import Ran, code

__all__ = ["Watching"]


def seen(ran: Ran) -> list[tuple[str, str, str]]:
    """Return what the stream tells of calls."""
    return [(one.what, one.tool, one.id) for one in ran.stream]


class Watching:
    """The framework's stream, the user's own function, the ledger, the record of surfaces."""

    @both_ways
    def test_the_stream_tells_of_each_call(self, case: Case) -> None:
        """That it began and that it is done, in order, with its own id."""
        ran = case.life("look write", [code("look(n=1)\nwrite(text='a')")]).go()
        assert seen(ran) == [
            ("began", "look", "call-1/1"),
            ("done", "look", "call-1/1"),
            ("began", "write", "call-1/2"),
            ("done", "write", "call-1/2"),
        ]

    def test_the_stream_tells_of_failures(self, case: Case) -> None:
        """A call that failed is told as such."""
        program = "try:\n    refuse(why='x')\nexcept ToolFailed:\n    pass\nlook(n=1)"
        ran = case.life("look refuse", [code(program)]).go()
        assert seen(ran)[:2] == [("began", "refuse", "call-1/1"), ("failed", "refuse", "call-1/1")]

    @needs("approval")
    def test_after_a_pause_no_call_is_told_again(self, case: Case) -> None:
        """Each call is told once, in the process in which it ran, though the program ran again from its beginning."""
        life = asking(case, [code(PAY)])
        first = seen(life.go())
        life = case.reborn(life, life.kept())
        second = seen(life.decide("approve"))
        done = [call for what, _, call in first + second if what == "done"]
        assert done == ["call-1/1", "call-1/2", "call-1/3", "call-1/4"]
        assert first == [("began", "write", "call-1/1"), ("done", "write", "call-1/1")]

    def test_a_function_of_the_users_is_told(self, case: Case) -> None:
        """`on_event` is told of calls with tool, id and arguments."""
        told = list[Any]()
        case.run("look(n=1)\nlook(n=2)", on_event=told.append)
        calls = [
            (one["status"], one["tool"], one["id"], one.get("arguments"))
            for one in told
            if one["type"] == "callgate.call"
        ]
        assert [one[:3] for one in calls] == [
            (status, "look", f"call-1/{n}") for n in (1, 2) for status in ("started", "done")
        ]
        assert calls[0][3] == {"n": 1}

    def test_a_function_that_raises_harms_nothing(self, case: Case) -> None:
        """What `on_event` raises is the user's to find in the log."""

        def broken(event: Any) -> None:
            raise RuntimeError("mine")

        assert case.value("look(n=1)\n[look(n=2)]", on_event=broken) == [2]

    @needs("ledger")
    @both_ways
    def test_an_action_is_counted_with_its_calls(self, case: Case) -> None:
        """Each code action once, a message that holds several with each of them."""
        life = case.life("look", [code("look(n=1)\nlook(n=2)"), code("look(n=3) + 1")], [code("look(n=4) + 1")])
        life.go()
        assert life.accounts() == (3, 4)

    @needs("ledger")
    def test_plain_calls_are_not_counted(self, case: Case) -> None:
        """What is no code action costs what it costs without callgate."""
        life = case.life("look", [("look", {"n": 1})], mode="json")
        life.go()
        assert life.accounts() == (0, 0)

    @needs("ledger")
    @both_ways
    def test_an_action_is_counted_once_though_it_waited(self, case: Case) -> None:
        """In the process in which it ended, with all of its calls."""
        life = asking(case, [code(PAY)])
        life.go()
        assert life.accounts() == (0, 0)
        after = case.reborn(life, life.kept())
        after.decide("approve")
        assert after.accounts() == (1, 4)

    @needs("record")
    def test_what_the_model_was_shown_is_recorded(self, case: Case) -> None:
        """The surface, and why it is that one."""
        ran = case.life("look", mode="mixed").go()
        assert [kind for kind, _ in ran.surfaces] == ["mixed"]
        assert ran.surfaces[0][1].startswith("mixed: ")

    @needs("modes")
    def test_what_an_invocation_changes_is_recorded(self, case: Case) -> None:
        """With the toggle as its reason."""
        life = case.life("look", mode="json")
        (kind, reason) = life.go("code").surfaces[-1]
        assert (kind, "callgate_mode" in reason) == ("code", True)
