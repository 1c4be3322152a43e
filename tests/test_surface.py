"""The surface and what a program can find out itself."""

from __future__ import annotations

import ast

import pytest

from callgate import Catalogue, CodeRunner, Tool, ToolFailed, tool
from callgate.discovery import Discovery
from callgate.surface import definition


def test_the_definition_is_one_tool_with_one_argument_and_a_line_per_tool():
    @tool
    def find_orders(user: str, limit: int = 10) -> list[str]:
        """Find the orders of a user."""
        return [user][:limit]

    shown = definition(Catalogue([find_orders]))
    assert shown["name"] == "execute_code"
    assert shown["parameters"]["required"] == ["code"]
    assert shown["description"].endswith(
        "def find_orders(user: str, limit: int = 10) -> list[str]: Find the orders of a user."
    )


def many(count):
    return Catalogue(
        Tool(
            name=f"{('get', 'find', 'put')[n % 3]}_thing_{n}",
            description=f"Handle the thing number {n} of the warehouse.",
            input_schema={"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
        )
        for n in range(count)
    )


def test_a_catalogue_above_the_budget_is_searched_and_the_text_stays_flat():
    sizes = {count: len(definition(many(count))["description"]) for count in (100, 300, 3_000, 10_000)}
    assert "def get_thing_0(at: str)" in definition(many(100))["description"]
    assert max(sizes.values()) <= 25_500
    assert sizes[10_000] < sizes[100]
    text = definition(many(3_000))["description"]
    assert "3000 tools, too many to list" in text
    assert "Most names begin with: find (1000), get (1000), put (1000)" in text
    assert "def " not in text
    assert "def get_thing_0(" in definition(many(3_000), stub_tokens=10**6)["description"]


@pytest.mark.parametrize("name", ["getThing", "get_thing"])
def test_groups_are_words_and_bounded(name):
    names = [Tool(name=f"{chr(97 + n % 26)}{n // 26}{name}{k}") for n in range(500) for k in range(2)]
    text = definition(Catalogue(names), stub_tokens=10)["description"]
    assert "a0 (2)" in text or "a0get (2)" in text
    assert len(text.partition("Most names begin with: ")[2]) <= 1_200


def test_one_program_searches_reads_and_calls(sandbox):
    def price(at: str) -> str:
        """Tell the price of a banana."""
        return f"7 at {at}"

    runner = CodeRunner(Catalogue([tool(effect="read")(price), *many(500)]), sandbox=sandbox)
    outcome = runner.run(
        "hit = search_tools('banana price')[0]\n"
        "arguments = describe_tool(hit['name'])['input_schema']['properties']\n"
        "call_tool(hit['name'], **{name: 'x' for name in arguments})"
    )
    assert outcome.value == "7 at x"


def test_tools_only_for_direct_use_are_not_shown():
    hidden = Tool(name="hidden", callers=frozenset(["direct"]))
    assert "hidden" not in definition(Catalogue([hidden]))["description"]


def test_function_names_are_identifiers_and_never_collide():
    names = ["get-order", "get_order", "get order", "1st", "list", "class", "call_tool", "load", "x/y"]
    functions = Catalogue([Tool(name=name) for name in names]).functions
    assert len(functions) == len(names)
    assert functions["get_order"].name == "get_order"
    for name in functions:
        ast.parse(f"{name}()")
    assert not {"list", "class", "call_tool"} & set(functions)


def catalogue():
    return Catalogue(
        [
            Tool(name="find_orders", description="Find the orders of a user."),
            Tool(name="refund", description="Give money back for an order."),
            Tool(name="weather", description="Tell the weather."),
        ]
    )


def test_search_finds_tools_by_words():
    discovery = Discovery(catalogue())
    assert discovery.search("orders of user")[0]["name"] == "find_orders"
    assert discovery.search("zebra") == discovery.search("") == discovery.search("the of") == []


def test_describe_gives_the_whole_schema_or_says_how_to_find_one():
    discovery = Discovery(catalogue())
    assert discovery.describe("refund")["description"] == "Give money back for an order."
    with pytest.raises(ToolFailed, match="search_tools"):
        discovery.describe("nope")
