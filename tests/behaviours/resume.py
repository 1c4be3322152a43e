"""A process that dies: what was done is known to the next one, and not done again."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from behaviours.approval import PAY, asking
from behaviours.capabilities import both_ways, jailed, needs
from behaviours.case import Case
from behaviours.host import Life, Ran, code

from callgate import SqliteJournal

__all__ = ["Resume"]


def cut(case: Case, life: Life, during: str) -> tuple[Life, Ran]:
    """Run until a tool runs, have the process die in it, and go on in another one; what the first did after is undone."""
    kept = list[Any]()

    def dies() -> None:
        kept.append((life.kept(), list(case.did)))

    case.world.meanwhile[during] = dies
    life.go()
    (found, did) = kept[0]
    case.did[:] = did
    after = case.reborn(life, found)
    return after, after.go_on()


class Resume:
    """Pauses and crashes, with another process after them that has nothing but what was kept."""

    @needs("approval")
    @both_ways
    @jailed
    def test_a_pause_survives_its_process(self, case: Case) -> None:
        """Another process asks the same question, and what ran before it does not run again."""
        life = asking(case, [code(PAY)])
        asked = life.go().question
        after = case.reborn(life, life.kept())
        again = after.go_on().question
        assert (again.tool, again.arguments, again.id) == (asked.tool, asked.arguments, asked.id)
        assert after.decide("approve").answers == {"call-1": '["paid 5",1]'}
        assert case.did == [("write", "before"), ("pay", 5, "nobody"), ("write", "after"), ("look", 1)]

    @needs("approval")
    def test_each_pause_is_answered_in_a_process_of_its_own(self, case: Case) -> None:
        """Three pauses of one program, three processes; every effect is there once."""
        life = asking(case, [code("for n in (1, 2, 3):\n    write(text=str(n))\n    pay(amount=n)\nn")])
        life.go()
        for n in (1, 2, 3):
            life = case.reborn(life, life.kept())
            ran = life.decide("approve")
            assert case.did[-1] == (("write", str(n + 1)) if n < 3 else ("pay", 3, "nobody"))
        assert ran.answers == {"call-1": "3"}
        assert case.did == [one for n in (1, 2, 3) for one in (("write", str(n)), ("pay", n, "nobody"))]

    @needs("plain_approval")
    @both_ways
    def test_a_plain_call_that_waits_survives_its_process(self, case: Case) -> None:
        """It runs once, in the process where it was approved."""
        life = asking(case, [("pay", {"amount": 5})], mode="json")
        life.go()
        life = case.reborn(life, life.kept())
        assert len(life.go_on().asked) == 1
        assert life.decide("approve").answers == {"call-1": "paid 5"}
        assert case.did == [("pay", 5, "nobody")]

    @needs("approval")
    def test_a_program_sees_the_same_world_after_a_pause(self, case: Case) -> None:
        """Chance and clocks are what they were: the write that depends on them is the one that was recorded."""
        life = asking(
            case, [code("import random, time\nx = f'{random.random()} {time.time()}'\nwrite(text=x)\npay(amount=1)\nx")]
        )
        life.go()
        life = case.reborn(life, life.kept())
        ran = life.decide("approve")
        (written, _) = case.did
        assert ran.answers == {"call-1": f'"{written[1]}"'}

    @needs("resume")
    @both_ways
    def test_a_crash_after_a_write_does_not_repeat_it(self, case: Case) -> None:
        """The next process goes on where the first one was; the read that was cut off is made again."""
        life = case.life("write look", [code("write(text='a')\nx = look(n=1)\nwrite(text='b')\n[x]")])
        _, ran = cut(case, life, "look")
        assert ran.answers == {"call-1": "[1]"}
        assert case.did == [("write", "a"), ("look", 1), ("look", 1), ("write", "b")]

    @needs("resume")
    @both_ways
    def test_a_write_that_a_crash_cut_off_is_asked_about(self, case: Case) -> None:
        """Nobody knows whether it happened: it is not repeated, and a human says what it was."""
        life = case.life("write pay look", [code("x = pay(amount=5)\n[x, look(n=1)]")])
        after, ran = cut(case, life, "pay")
        asked = ran.question
        assert (asked.tool, asked.unknown) == ("pay", True)
        assert asked.allowed == ("done", "failed", "run again")
        assert after.decide({"type": "done", "value": "receipt 9"}).answers == {"call-1": '["receipt 9",1]'}
        assert case.did == [("pay", 5, "nobody"), ("look", 1)]

    @needs("resume")
    def test_a_human_may_have_it_run_again_or_say_that_it_failed(self, case: Case) -> None:
        """Run again repeats it once; failed is what the program catches."""
        for decision, answer, times in (
            ("run again", '["paid 5"]', 2),
            ({"type": "failed", "message": "declined"}, '["declined"]', 1),
        ):
            case.did.clear()
            program = "try:\n    x = pay(amount=5)\nexcept ToolFailed as e:\n    x = str(e)\n[x]"
            after, _ = cut(case, case.life("pay", [code(program)]), "pay")
            assert after.decide(decision).answers == {"call-1": answer}
            assert case.did == [("pay", 5, "nobody")] * times

    @needs("resume")
    def test_a_program_that_ended_is_answered_without_running_again(self, case: Case) -> None:
        """When a crash cuts off another program of the same message, the answer of the first one is in its journal."""
        turn = [
            code("write(text='a')\n['first']"),
            code("import time\ntime.sleep(0.2)\nlook(n=1)\nwrite(text='b')\n['second']"),
        ]
        _, ran = cut(case, case.life("write look", turn), "look")
        assert ran.answers == {"call-1": '["first"]', "call-2": '["second"]'}
        assert [one for one in case.did if one[0] == "write"] == [("write", "a"), ("write", "b")]

    @both_ways
    def test_a_journal_of_the_users_own_holds_what_was_done(self, case: Case) -> None:
        """`journal` is any JournalStore; the answer for the host says how a program ended and pins the journal's head."""
        path = case.host.folder / "journal.db"
        journal = SqliteJournal(path)
        ran = case.run("write(text='a')\nlook(n=1)", "write look", journal=journal)
        with contextlib.closing(sqlite3.connect(path)) as rows:
            lines = [line for (line,) in rows.execute("SELECT line FROM callgate_journal")]
        assert [one for one in lines if '"write"' in one and '"started"' in one]
        assert len(ran.details["call-1"]["journal_head"]) == 64
