"""What the host gives to tools, a program neither sees nor sets."""

from __future__ import annotations

from behaviours.capabilities import both_ways, needs
from behaviours.case import Case
from behaviours.host import code

__all__ = ["Injection"]

FORGE = """
found = []
for given in {forged}:
    try:
        found.append(call_tool({tool!r}, question='q', **given))
    except (Refused, ToolFailed) as e:
        found.append(type(e).__name__)
found
"""


def forge(tool: str, argument: str) -> str:
    """Return a program that tries to set what only the host sets."""
    forged = [{argument: "eve"}, {argument: None}, {argument: ["eve"]}, {f" {argument}": "eve"}]
    return FORGE.format(forged=forged, tool=tool)


class Injection:
    """Arguments that only the host sets, state, ids, and what is wrapped around calls."""

    @needs("state")
    @both_ways
    def test_state_reaches_the_tool(self, case: Case) -> None:
        """As it does when the tool is called plainly."""
        turns = [code("x = whoami(question='q')\n[x, whoami(question='r')]")], [("whoami", {"question": "s"})]
        ran = case.life("whoami", *turns, mode="mixed", state={"account": "alice"}).go()
        assert ran.answers == {"call-1": '["alice: q","alice: r"]', "call-2": "alice: s"}

    @needs("state")
    @both_ways
    def test_what_a_tool_changes_later_calls_see(self, case: Case) -> None:
        """A call sees the changes of the calls before it, in its program and after it, and they are there in the end."""
        program = "a = whoami(question='q')\nrename(name='bob')\n[a, whoami(question='q')]"
        life = case.life(
            "whoami rename", [code(program)], [("whoami", {"question": "r"})], mode="mixed", state={"account": "alice"}
        )
        assert life.go().answers == {"call-1": '["alice: q","bob: q"]', "call-2": "bob: r"}
        assert life.state("account") == "bob"

    @needs("state")
    def test_state_is_not_shown(self, case: Case) -> None:
        """The signature that a model is shown is without it."""
        life = case.life("whoami", mode="mixed", state={"account": "alice"})
        life.go()
        assert "account:" not in str(life.definitions())
        assert "def whoami(question: str) -> str" in str(case_shown(case, "whoami"))

    @needs("state")
    @both_ways
    def test_no_program_sets_state(self, case: Case) -> None:
        """Each try is refused, and the tool does not run."""
        ran = case.run(forge("whoami", "account"), "whoami", state={"account": "alice"})
        assert "eve" not in ran.answer
        assert case.did == []

    def test_fixed_arguments_reach_the_tool(self, case: Case) -> None:
        """What the developer fixed is given to every call."""
        assert case.value("x = where(question='q')\n[x, where(question='r')]", "where") == ["north: q", "north: r"]

    def test_fixed_arguments_are_not_shown(self, case: Case) -> None:
        """The signature that a model is shown is without them."""
        text = case_shown(case, "where")
        assert "def where(question: str) -> str" in text
        assert "region" not in text

    def test_no_program_sets_fixed_arguments(self, case: Case) -> None:
        """Each try is refused, and the tool does not run."""
        ran = case.run(forge("where", "region"), "where")
        assert "eve" not in ran.answer
        assert case.did == []

    @needs("call_id")
    @both_ways
    def test_a_tool_is_told_the_id_of_its_call(self, case: Case) -> None:
        """Each call of a program has its own, and no program sets it."""
        program = "try:\n    ticket(text='x', **{'call': 'eve'})\nexcept Refused:\n    pass\n[ticket(text='a'), ticket(text='b')]"
        first, second = case.value(program, "ticket")
        assert first != second
        assert case.did == [("ticket", "a", first), ("ticket", "b", second)]
        assert {one.partition("/")[0] for one in (first, second)} != {"eve"}

    def test_ids_of_calls_begin_with_that_of_their_program(self, case: Case) -> None:
        """So that whoever reads a log knows which program made a call."""
        turn = [code("look(n=1)\nlook(n=2)"), code("look(n=3) + 1")]
        ran = case.life("look", turn).go()
        calls = {call: [one["id"] for one in told["calls"]] for call, told in ran.details.items()}
        assert calls == {"call-1": ["call-1/1", "call-1/2"], "call-2": ["call-2/1"]}

    @needs("wrappers")
    @both_ways
    def test_what_is_wrapped_around_tool_calls_sees_each_of_a_program(self, case: Case) -> None:
        """Under its own name and id, and never the program as a call."""
        seen = list[tuple[str, ...]]()
        turn = [code("look(n=1)\nwrite(text='a')"), ("look", {"n": 2})]
        case.life("look write", turn, mode="mixed", wrapper=lambda *call: seen.append(call)).go()
        assert sorted(seen) == [("look", "call-1/1"), ("look", "call-2"), ("write", "call-1/2")]


def case_shown(case: Case, tools: str) -> str:
    """Return the description of `execute_code` over some tools."""
    life = case.life(tools, state={"account": "alice"})
    life.go()
    return life.definitions()[0][0]["function"]["description"]
