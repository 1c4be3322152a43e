"""Calls that wait for a human: what is approved runs as it was shown, once, and nothing else does."""

from __future__ import annotations

from typing import Any

from behaviours.capabilities import both_ways, jailed, needs
from behaviours.case import Case
from behaviours.host import Life, code

__all__ = ["Approval"]

PAY = "write(text='before')\nx = pay(amount=5)\nwrite(text='after')\n[x, look(n=1)]"
CATCH = "try:\n    x = pay(amount=5)\nexcept ApprovalRejected as e:\n    x = f'rejected: {e}'\n[x, look(n=1)]"
REJECT = {"type": "reject", "message": "not this one"}
RESPOND = {"type": "respond", "message": "paid by hand"}


def edit(amount: int) -> dict[str, Any]:
    """Return the decision to pay another amount."""
    return {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": amount}}}


def asking(case: Case, *turns: Any, mode: str = "code", tools: str = "look write pay", **options: Any) -> Life:
    """Return an agent that asks before it pays."""
    return case.life(tools, *turns, mode=mode, **{"interrupt_on": {"pay": True}, **options})


class Approval:
    """Decisions of humans, about calls of programs and plain ones."""

    @needs("approval")
    @both_ways
    @jailed
    def test_what_is_approved_runs_once_and_nothing_before_it_again(self, case: Case) -> None:
        """The run stops in front of the call; what ran before it has run once in the end, and so has the call."""
        life = asking(case, [code(PAY)])
        assert life.go().text is None
        assert case.did == [("write", "before")]
        ran = life.decide("approve")
        assert ran.answers == {"call-1": '["paid 5",1]'}
        assert case.did == [("write", "before"), ("pay", 5, "nobody"), ("write", "after"), ("look", 1)]

    @needs("approval")
    def test_a_question_shows_the_exact_call_and_its_program(self, case: Case) -> None:
        """Tool, arguments, the decisions that are allowed, and what wants to make the call."""
        asked = asking(case, [code(PAY)]).go().question
        assert (asked.tool, asked.arguments, asked.unknown) == ("pay", {"amount": 5}, False)
        assert asked.allowed == ("approve", "edit", "reject", "respond")
        assert asked.id == "call-1/2"
        assert asked.program == PAY
        assert "pay" in asked.text
        assert '"amount": 5' in asked.text

    @needs("approval")
    def test_an_edited_call_runs_with_the_edited_arguments(self, case: Case) -> None:
        """And with no others."""
        life = asking(case, [code(PAY)])
        life.go()
        assert life.decide(edit(7)).answers == {"call-1": '["paid 7",1]'}
        assert [one for one in case.did if one[0] == "pay"] == [("pay", 7, "nobody")]

    @needs("approval")
    @both_ways
    def test_a_rejected_call_is_an_exception_and_does_not_run(self, case: Case) -> None:
        """`ApprovalRejected` carries what the human said; the program may go on."""
        life = asking(case, [code(CATCH)])
        life.go()
        answer = life.decide(REJECT).answer
        assert "not this one" in answer
        assert answer.endswith(",1]")
        assert case.did == [("look", 1)]

    @needs("approval")
    def test_what_a_human_answers_in_its_place_is_the_result(self, case: Case) -> None:
        """A respond decision is what the program is given, and the tool does not run."""
        life = asking(case, [code(CATCH)])
        life.go()
        assert life.decide(RESPOND).answers == {"call-1": '["paid by hand",1]'}
        assert case.did == [("look", 1)]

    @needs("approval")
    @both_ways
    def test_calls_that_wait_at_once_are_decided_one_by_one(self, case: Case) -> None:
        """One question holds them all, and each decision reaches its own call."""
        program = """
def one(n):
    try:
        return pay(amount=n)
    except ApprovalRejected:
        return 'rejected'
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(one, (1, 2, 3, 4)))
found
"""
        life = asking(case, [code(program)])
        ran = life.go()
        assert [one.arguments for one in ran.asked] == [{"amount": n} for n in (1, 2, 3, 4)]
        assert (
            life.decide("approve", REJECT, edit(30), RESPOND).answer == '["paid 1","rejected","paid 30","paid by hand"]'
        )
        assert sorted(case.did) == [("pay", 1, "nobody"), ("pay", 30, "nobody")]

    @needs("approval")
    @both_ways
    def test_programs_of_one_message_are_decided_each_for_itself(self, case: Case) -> None:
        """The decision about a call of one program does not reach the other's."""
        turn = [
            code(f"try:\n    x = pay(amount={n})\nexcept ApprovalRejected:\n    x = 'no'\n[x, {n}]") for n in (1, 2)
        ]
        life = asking(case, turn)
        asked = [one.arguments["amount"] for one in life.go().asked]
        assert sorted(asked) == [1, 2]
        ran = life.decide(*("approve" if n == 1 else REJECT for n in asked))
        assert ran.answers == {"call-1": '["paid 1",1]', "call-2": '["no",2]'}
        assert case.did == [("pay", 1, "nobody")]

    @needs("one_question")
    def test_all_that_waits_in_a_message_is_one_question(self, case: Case) -> None:
        """Calls of several programs and plain ones are answered together, in the order of the message."""
        turn = [code("pay(amount=1)\n1"), ("pay", {"amount": 2}), code("pay(amount=3)\n3")]
        life = asking(case, turn, mode="mixed")
        ran = life.go()
        assert ran.questions == 1
        assert sorted(one.arguments["amount"] for one in ran.asked) == [1, 2, 3]
        life.decide("approve", "approve", "approve")
        assert sorted(case.did) == [("pay", n, "nobody") for n in (1, 2, 3)]

    @needs("approval")
    def test_an_answer_that_does_not_fit_is_not_used(self, case: Case) -> None:
        """Nothing of it counts; the question comes again and says what was wrong."""
        life = asking(case, [code(PAY)])
        life.go()
        again = life.decide("approve", "approve").question
        assert "1 calls wait and the answer holds 2 decisions" in again.text
        again = life.decide("maybe").question
        assert "maybe" in again.text
        assert case.did == [("write", "before")]
        life.decide("approve")
        assert ("pay", 5, "nobody") in case.did

    @needs("approval")
    def test_only_allowed_decisions_count(self, case: Case) -> None:
        """`allowed_decisions` of the tool says which."""
        life = asking(case, [code(PAY)], interrupt_on={"pay": {"allowed_decisions": ["approve", "reject"]}})
        asked = life.go().question
        assert asked.allowed == ("approve", "reject")
        assert life.decide(edit(7)).asked
        life.decide("approve")
        assert [one for one in case.did if one[0] == "pay"] == [("pay", 5, "nobody")]

    @needs("approval")
    @both_ways
    def test_only_some_calls_are_asked_about(self, case: Case) -> None:
        """`when` says about which calls, by their arguments."""
        rule = {"pay": {"when": case.host.when(lambda tool, given: given["amount"] > 5)}}
        life = asking(case, [code("[pay(amount=1), pay(amount=9), pay(amount=2)]")], interrupt_on=rule)
        asked = life.go().question
        assert (asked.arguments, case.did) == ({"amount": 9}, [("pay", 1, "nobody")])
        assert life.decide("approve").answer == '["paid 1","paid 9","paid 2"]'

    @needs("approval")
    def test_no_exception_handler_of_a_program_swallows_a_question(self, case: Case) -> None:
        """A program that catches everything waits all the same."""
        program = "try:\n    x = pay(amount=5)\nexcept BaseException:\n    x = 'swallowed'\n[x, 1]"
        life = asking(case, [code(program)])
        assert len(life.go().asked) == 1
        assert life.decide("approve").answer == '["paid 5",1]'

    @needs("plain_approval")
    @both_ways
    def test_a_plain_call_is_asked_about_by_the_same_rules(self, case: Case) -> None:
        """On each surface, with each decision."""
        decided = {"approve": [("pay", 5, "nobody")], "reject": [], "respond": [], "edit": [("pay", 7, "nobody")]}
        given = {"approve": "approve", "reject": REJECT, "respond": RESPOND, "edit": edit(7)}
        said = {"approve": "paid 5", "reject": "not this one", "respond": "paid by hand", "edit": "paid 7"}
        for at, (kind, did) in enumerate(decided.items()):
            case.did.clear()
            life = asking(case, [("pay", {"amount": 5})], mode=("json", "code", "mixed", "json")[at])
            asked = life.go().question
            assert (asked.tool, asked.arguments, asked.program) == ("pay", {"amount": 5}, None)
            assert said[kind] in life.decide(given[kind]).answer
            assert case.did == did

    @needs("plain_approval")
    def test_plain_calls_and_programs_wait_beside_one_another(self, case: Case) -> None:
        """In one message; what is decided about one does not reach the other."""
        turn = [("pay", {"amount": 1}), code("x = pay(amount=2)\n[x]"), ("look", {"n": 3})]
        life = asking(case, turn, mode="mixed")
        asked = [one.arguments["amount"] for one in life.go().asked]
        ran = life.decide(*("approve" if n == 2 else REJECT for n in asked))
        assert ran.answers["call-2"] == '["paid 2"]'
        assert "not this one" in ran.answers["call-1"]
        assert ran.answers["call-3"] == "3"
        assert sorted(case.did) == [("look", 3), ("pay", 2, "nobody")]
