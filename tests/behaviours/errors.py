"""What goes wrong is told to whoever can do something about it: the program, the model, the user."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

from behaviours.capabilities import both_ways, jailed, needs
from behaviours.case import Case
from behaviours.host import code

import callgate

__all__ = ["Errors"]


class Errors:
    """Faults of models, programs and tools."""

    def test_a_tool_that_is_not_there_is_said_before_anything_runs(self, case: Case) -> None:
        """A name that the text of the program holds is checked first, and the near one is named."""
        ran = case.run("look(n=1)\nlok(n=2)")
        assert "lok" in ran.answer
        assert "look" in ran.answer
        assert (ran.failed, case.did) == ({"call-1"}, [])
        assert ran.details["call-1"]["status"] == "rejected"

    def test_a_tool_that_is_not_there_is_an_exception(self, case: Case) -> None:
        """A name that is made up while the program runs is `UnknownTool`, a subclass of `Refused`."""
        program = "try:\n    call_tool('lo' + 'ck')\nexcept Refused as e:\n    x = type(e).__name__\nx"
        assert case.value(program) == "UnknownTool"

    def test_arguments_that_are_not_there_are_an_exception(self, case: Case) -> None:
        """Unknown and missing arguments are `InvalidArguments`, which names them, and the tool does not run."""
        program = (
            "found = []\nfor given in ({'m': 1}, {}):\n    try:\n        look(**given)\n"
            "    except InvalidArguments as e:\n        found.append(str(e))\nfound"
        )
        odd, missing = case.value(program)
        assert "'m'" in odd
        assert "misses 'n'" in missing
        assert case.did == []

    @needs("argument_types")
    def test_arguments_of_another_type_are_refused_with_their_path(self, case: Case) -> None:
        """As for a plain call: the program catches `ToolFailed`, whose text says which argument, and what it should be."""
        program = "try:\n    pay(amount='much')\nexcept ToolFailed as e:\n    x = str(e)\nx"
        text = case.value(program, "pay")
        assert "amount" in text
        assert "integer" in text
        assert case.did == []

    @both_ways
    def test_what_a_tool_refuses_a_program_may_catch(self, case: Case) -> None:
        """The text that is meant for the model is that of `ToolFailed`, and the program goes on."""
        program = "try:\n    refuse(why='no row 7 é')\nexcept ToolFailed as e:\n    x = str(e)\n[x, look(n=1)]"
        text, value = case.value(program, "refuse look")
        assert "no row 7 é" in text
        assert value == 1

    def test_a_tool_that_fails_is_not_called_again(self, case: Case) -> None:
        """A failure is an outcome; only the program tries again, and each attempt is a call."""
        program = (
            "for n in range(3):\n    try:\n        refuse(why='x')\n    except ToolFailed:\n        pass\nlook(n=1)"
        )
        case.run(program, "refuse look")
        assert case.did == [("refuse", "x")] * 3 + [("look", 1)]

    @both_ways
    @jailed
    def test_an_uncaught_failure_is_told_with_its_line_and_what_was_done(self, case: Case) -> None:
        """The model is told the program's own line, and the calls that are not undone."""
        ran = case.run("x = pay(amount=3)\ny = look(n=1)\nz = refuse(why='closed')\nlook(n=2)", "pay look refuse")
        assert "line 3" in ran.answer
        assert "z = refuse(why='closed')" in ran.answer
        assert "closed" in ran.answer
        assert "pay(amount=3)" in ran.answer
        assert ran.failed == {"call-1"}
        assert case.did == [("pay", 3, "nobody"), ("look", 1), ("refuse", "closed")]

    def test_a_mistake_of_the_program_is_told_with_its_line(self, case: Case) -> None:
        """Any exception of a program is its outcome, and no crash of the agent."""
        ran = case.run("a = look(n=0)\nb = 10 // a")
        assert "ZeroDivisionError" in ran.answer
        assert "line 2" in ran.answer
        assert ran.failed == {"call-1"}

    def test_a_program_that_python_cannot_read_does_not_run(self, case: Case) -> None:
        """The model is told the line, and that nothing ran."""
        ran = case.run("look(n=1)\nfor x in")
        assert "was not run" in ran.answer
        assert "line 2" in ran.answer
        assert (ran.failed, case.did) == ({"call-1"}, [])

    @both_ways
    @jailed
    def test_nothing_of_the_host_is_told(self, case: Case) -> None:
        """Whatever fails, in a tool or in a program, no path or traceback of the host is in what the model reads."""
        program = (
            "import traceback\ntry:\n    crash(n=9)\nexcept ToolFailed:\n    print(traceback.format_exc())\ncrash(n=8)"
        )
        life = case.life("crash", [code(program)], [code("open('/nowhere/at/all')")])
        life.go()
        text = json.loads(json.dumps(life.messages()))
        for private in (sys.prefix, sysconfig.get_path("stdlib"), str(Path(callgate.__file__).parent), "world.py"):
            assert private not in text
        assert 'return "abc"[n]' not in text

    def test_after_a_failure_the_next_program_runs(self, case: Case) -> None:
        """In the same thread."""
        ran = case.life("look", [code("1 / 0")], [code("look(n=1) + 1")]).go()
        assert ran.answers["call-2"] == "2"
        assert ran.failed == {"call-1"}

    def test_failures_of_one_program_leave_the_others(self, case: Case) -> None:
        """Of several programs of a message, those that work are answered as ever."""
        ran = case.life("look refuse", [code("look(n=1) + 1"), code("refuse(why='x')\n1"), code("look(n=2) + 1")]).go()
        assert (ran.answers["call-1"], ran.answers["call-3"]) == ("2", "3")
        assert ran.failed == {"call-2"}
