"""Values cross as they are, and what is large stays where programs are."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

from behaviours.capabilities import jailed
from behaviours.case import Case
from behaviours.host import Called, Given, code
from pydantic import BaseModel

__all__ = ["Values"]


class Order(BaseModel):
    id: int
    paid: datetime.date


@dataclasses.dataclass
class Line:
    item: str
    price: float


class Values:
    """What a program is given, and gives."""

    def test_nested_values_cross_whole(self, case: Case) -> None:
        """A tool is given what a program passes, and a program what a tool returns, type for type."""
        value: Any = {"a": [1, 1.0, "1", True, None, {}], "b": {"c": [[], {"d": "x"}]}, "": 0.5}
        told = case.value(f"x = echo(value={value!r})\n[x, x == {value!r}, str(x['a'])]", "echo")
        assert told == [value, True, str(value["a"])]
        assert case.did == [("echo", value)]
        assert str(case.did[0][1]["a"]) == str(value["a"])

    def test_none_is_none(self, case: Case) -> None:
        """A tool that returns nothing returns None, and not a text."""
        assert case.value("x = nothing()\n[x is None, echo(value=None) is None]", "nothing echo") == [True, True]

    def test_whole_numbers_of_any_size_cross(self, case: Case) -> None:
        """Beyond 64 bits, too."""
        large = 2**80 + 1
        assert case.value(f"[echo(value={large}), echo(value=-{large}) == -{large}]", "echo") == [large, True]
        assert case.did == [("echo", large), ("echo", -large)]

    @jailed
    def test_text_of_all_alphabets_crosses(self, case: Case) -> None:
        """As an argument, a result, a key, the value and what is printed."""
        text = 'größe ŷ 数 🐍 \u202e \\ " \n end'
        ran = case.run(f"x = echo(value={{{text!r}: {text!r}}})\nprint('größe 数 🐍')\nx", "echo")
        assert case.did == [("echo", {text: text})]
        assert ran.answer.startswith("größe 数 🐍\nValue: ")
        assert json.loads(ran.answer.partition("Value: ")[2]) == {text: text}

    def test_text_that_looks_like_json_stays_text(self, case: Case) -> None:
        """'123' and 123, '[1]' and [1] are four different results."""
        assert case.value("[echo(value=v) for v in ('123', 123, '[1]', [1], 'null')]", "echo") == [
            "123",
            123,
            "[1]",
            [1],
            "null",
        ]

    def test_objects_of_tools_become_json_values(self, case: Case) -> None:
        """Models, dataclasses and dates are dicts and texts for a program."""

        def orders() -> list[Any]:
            """Return objects."""
            return [Order(id=1, paid=datetime.date(2026, 11, 22)), Line("tea", 2.5), datetime.date(2026, 1, 2)]

        life = case.life([Given(function=orders)], [code("x = orders()\n[x[0]['paid'], x[1]['price'] * 2, x[2]]")])
        assert life.go().answers == {"call-1": '["2026-11-22",5.0,"2026-01-02"]'}

    def test_a_large_result_stays_out_of_the_messages(self, case: Case) -> None:
        """A program works on twenty thousand rows, and the model is sent none of them."""
        life = case.life("rows", [code("x = rows(count=20_000)\nsum(r['id'] for r in x)")])
        assert life.go().answer == "199990000"
        assert "row-0" not in life.messages()

    def test_a_large_value_is_cut_and_the_next_program_reads_it_whole(self, case: Case) -> None:
        """The model is shown a part and how to read the rest, which `load_value` returns."""

        def read(answer: str) -> Called:
            handle = answer.partition("load_value(")[2].partition(")")[0]
            return code(f"x = load_value({handle})\n[len(x), x[-1]['id']]")

        life = case.life("rows", [code("rows(count=5_000)")], read)
        ran = life.go()
        assert "load_value" in ran.answers["call-1"]
        assert len(ran.answers["call-1"]) < 10_000
        assert ran.answers["call-2"] == "[5000,4999]"

    def test_a_tool_that_changes_its_arguments_changes_nothing_else(self, case: Case) -> None:
        """Neither the program's objects, nor what the host is told of the call."""
        ran = case.run("x = [1, 2, 3]\nn = spoil(items=x)\n[n, x]", "spoil")
        assert ran.answer == "[3,[1,2,3]]"
        assert ran.details["call-1"]["calls"][0]["arguments"] == {"items": [1, 2, 3]}

    def test_the_host_is_told_of_each_call(self, case: Case) -> None:
        """Beside the answer for the model there are the calls: tool, arguments, value, and how they ended."""
        ran = case.run("look(n=1)\ntry:\n    refuse(why='no')\nexcept ToolFailed:\n    pass", "look refuse")
        calls = ran.details["call-1"]["calls"]
        assert [(one["tool"], one["status"], one["arguments"]) for one in calls] == [
            ("look", "done", {"n": 1}),
            ("refuse", "failed", {"why": "no"}),
        ]
        assert calls[0]["value"] == 1
        assert ran.details["call-1"]["status"] == "completed"
