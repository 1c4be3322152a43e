"""The surface and what a program can find out itself."""

from __future__ import annotations

import ast

import pytest

from callgate import Catalogue, CodeRunner, Tool, ToolFailed, tool
from callgate.discovery import Discovery
from callgate.surface import definition, mixed_definition


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


ORDER = {"type": "object", "title": "Order", "properties": {"id": {"type": "string"}}, "required": ["id"]}
ORDERS = {"type": "array", "items": ORDER}


def test_beside_plain_tools_only_what_those_do_not_say_is_told():
    short = mixed_definition(Catalogue([Tool(name="find"), Tool(name="refund")]))
    assert short["name"] == "execute_code"
    assert len(short["description"]) < 0.7 * len(definition(Catalogue([]))["description"])
    assert "refund" not in short["description"]
    assert "Results" not in short["description"]
    tools = [
        Tool(name="find", output_schema=ORDERS),
        Tool(name="recent", output_schema=ORDERS),
        Tool(name="get-order", output_schema=ORDER),
        Tool(name="pay"),
        Tool(name="ask", callers=frozenset(["direct"]), output_schema=ORDER),
        Tool(
            name="count-all", description="Count them.", callers=frozenset(["code"]), output_schema={"type": "integer"}
        ),
    ]
    told = mixed_definition(Catalogue(tools))["description"].removeprefix(short["description"])
    assert told == (
        "Functions of another name: get_order is get-order.\n"
        "Not for programs: ask.\n"
        "\n"
        "Results, and functions that only programs call:\n"
        "class Order(TypedDict): id: str\n"
        "# find, recent -> list[Order]\n"
        "# get_order -> Order\n"
        "def count_all() -> int: Count them."
    )


def test_beside_plain_tools_too_many_lines_are_searched():
    results = [Tool(name=f"t{n}", output_schema={"title": f"R{n}", **ORDER}) for n in range(500)]
    short = mixed_definition(Catalogue(results), stub_tokens=100)["description"]
    assert short.endswith('describe_tool(name)["output_schema"] is what a tool returns.\n')
    only_code = [Tool(name=f"get_{n}", callers=frozenset(["code"])) for n in range(500)]
    text = mixed_definition(Catalogue([*results, *only_code]), stub_tokens=100)["description"]
    assert "500 tools, too many to list" in text
    assert text.endswith("Most names begin with: get (500)")
    few = mixed_definition(Catalogue([*results, *only_code[:3]]), stub_tokens=100)["description"]
    assert few.endswith("Tools:\ndef get_0()\ndef get_1()\ndef get_2()")


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
