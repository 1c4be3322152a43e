"""The model calls tools, by programs and plainly: each call arrives once, and each answer where it belongs."""

from __future__ import annotations

from behaviours.capabilities import both_ways, jailed, needs, on_loops
from behaviours.case import Case
from behaviours.host import Given, code

__all__ = ["Calls"]

SUM = "total = 0\nfor n in range(3):\n    total += look(n=n)\ntotal"


class Calls:
    """What a model can ask for."""

    @both_ways
    @jailed
    def test_a_program_calls_tools_and_its_value_is_the_answer(self, case: Case) -> None:
        """The model is told what the program ends with, as the answer to its own call."""
        ran = case.run(SUM)
        assert ran.answers == {"call-1": "3"}
        assert case.did == [("look", 0), ("look", 1), ("look", 2)]

    def test_what_is_printed_comes_before_the_value(self, case: Case) -> None:
        """Output is part of the answer."""
        assert case.run("print('seen', look(n=4))\nlook(n=5)").answer == "seen 4\nValue: 5"

    @on_loops
    def test_functions_and_coroutines_are_called_alike(self, case: Case) -> None:
        """A program calls both, each as an agent on an event loop does."""
        assert case.value("[look(n=1), fetch(n=2), look(n=3)]", "look fetch") == [1, 2, 3]

    @both_ways
    def test_calls_of_a_program_run_at_the_same_time(self, case: Case) -> None:
        """Three calls that wait for one another come to an end."""
        assert case.value("call_tools([('meet', {'n': n}) for n in range(3)])", "meet") == [0, 1, 2]

    @both_ways
    def test_programs_of_one_message_each_get_their_own_answers(self, case: Case) -> None:
        """Of three programs each is answered under its own id, with what its own calls returned."""
        turn = [code(f"x = look(n={n})\n[x, look(n={n} + 1)]") for n in (10, 20, 30)]
        ran = case.life("look", turn).go()
        assert ran.answers == {"call-1": "[10,11]", "call-2": "[20,21]", "call-3": "[30,31]"}
        assert sorted(case.did) == [("look", n) for n in (10, 11, 20, 21, 30, 31)]

    @both_ways
    def test_programs_and_plain_calls_stand_in_one_message(self, case: Case) -> None:
        """A message may hold both; each call is answered under its own id."""
        turn = [("look", {"n": 1}), code("look(n=2) + look(n=3)"), ("write", {"text": "a"})]
        ran = case.life("look write", turn, mode="mixed").go()
        assert ran.answers == {"call-1": "1", "call-2": "5", "call-3": "a"}

    def test_several_turns_of_one_run(self, case: Case) -> None:
        """What a program answered, the next program is written after; each runs once."""
        life = case.life("look", [code("look(n=1)\nx = 1\nx")], [code("look(n=2)\nx = 2\nx")])
        assert life.go().answers == {"call-1": "1", "call-2": "2"}
        assert case.did == [("look", 1), ("look", 2)]

    def test_a_tool_without_a_python_name_is_called(self, case: Case) -> None:
        """A name such as get-item is a function of a name that Python takes, and `call_tool` takes it as it is."""

        def item(n: int) -> int:
            """Get an item."""
            case.world.note("item", n)
            return n

        item.__name__ = "get-item"
        life = case.life([Given(function=item)], [code("[get_item(n=1), call_tool('get-item', n=2)]")])
        assert life.go().answers == {"call-1": "[1,2]"}

    def test_arguments_that_are_left_out_are_the_tools_own(self, case: Case) -> None:
        """A default is the function's, as for a plain call."""
        assert case.value("[pay(amount=1), pay(amount=2, to='bob')]", "pay") == ["paid 1", "paid 2"]
        assert case.did == [("pay", 1, "nobody"), ("pay", 2, "bob")]

    @both_ways
    def test_a_single_call_is_made_as_any_other(self, case: Case) -> None:
        """A program that is one call needs no sandbox, and nobody can tell."""
        ran = case.run("look(n=7)")
        assert ran.answers == {"call-1": "7"}
        assert case.did == [("look", 7)]

    def test_a_call_without_a_program_is_answered(self, case: Case) -> None:
        """The model is told what is missing, and nothing runs."""
        ran = case.life("look", [("execute_code", {})], [("execute_code", {"code": 3})]).go()
        assert set(ran.answers) == {"call-1", "call-2"} == ran.failed
        assert all("code" in text for text in ran.answers.values())

    @both_ways
    def test_in_json_mode_nothing_is_different(self, case: Case) -> None:
        """Tools as they are shown, answers and messages of plain calls are those of an agent without callgate."""
        calls = [("look", {"n": 1}), ("rows", {"count": 2}), ("write", {"text": "é"}), ("nothing", {})]
        own, bare = (case.life("look rows write nothing", calls, mode="json", bare=bare) for bare in (False, True))
        ran, expected = own.go(), bare.go()
        assert (ran.answers, ran.failed, ran.text) == (expected.answers, expected.failed, expected.text)
        assert set(ran.answers) == {"call-1", "call-2", "call-3", "call-4"}
        assert own.definitions() == bare.definitions()

    def test_each_mode_shows_its_tools(self, case: Case) -> None:
        """Plain tools, `execute_code`, or both."""
        shown = {mode: case.life("look write", mode=mode) for mode in ("json", "code", "mixed")}
        for one in shown.values():
            one.go()
        assert {mode: one.shown() for mode, one in shown.items()} == {
            "json": [["look", "write"]],
            "code": [["execute_code"]],
            "mixed": [["look", "write", "execute_code"]],
        }

    def test_a_program_is_shown_the_signatures(self, case: Case) -> None:
        """Names, types, defaults, what is returned and what it does, of each tool."""
        life = case.life("look pay rows")
        life.go()
        text = life.definitions()[0][0]["function"]["description"]
        for line in (
            "def look(n: int) -> int: Look at a number.",
            "def pay(amount: int, to: str = 'nobody') -> str: Pay money.",
            "def rows(count: int) -> list[dict]: Return rows.",
        ):
            assert line in text

    @needs("modes")
    @both_ways
    def test_an_invocation_sets_its_mode(self, case: Case) -> None:
        """From json to code and back, in one thread."""
        life = case.life("look", [("look", {"n": 1})], "json", [code(SUM)], "code", [("look", {"n": 3})], mode="json")
        for mode in ("json", "code", "json"):
            life.go(mode)
        assert life.shown() == [["look"]] * 2 + [["execute_code"]] * 2 + [["look"]] * 2
        assert case.did == [("look", 1), ("look", 0), ("look", 1), ("look", 2), ("look", 3)]

    @needs("modes")
    def test_the_router_chooses(self, case: Case) -> None:
        """In mode auto few small tools are shown plainly, and many as code."""
        few = case.life("look", mode="auto")
        many = case.life([numbered(n) for n in range(40)], mode="auto")
        few.go()
        many.go()
        assert (few.shown(), many.shown()) == ([["look"]], [["execute_code"]])

    @needs("modes")
    def test_a_model_that_is_shown_plain_tools_runs_no_program(self, case: Case) -> None:
        """In json mode `execute_code` is a tool that is not there."""
        ran = case.life("look", [code("look(n=1)")], mode="json").go()
        assert "execute_code" in ran.answer
        assert (ran.failed, case.did) == ({"call-1"}, [])


def numbered(n: int) -> Given:
    """Return one of many tools."""

    def tool(customer: str, since: str, until: str, limit: int = 100) -> str:
        """Return the records of a customer between two days, newest first, and no more of them than the limit says."""
        return customer

    tool.__name__ = f"records_{n}"
    return Given(function=tool)
