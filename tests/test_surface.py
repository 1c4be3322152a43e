"""Stubs, the surface and what a program can find out itself."""

from __future__ import annotations

import ast

import pytest

from callgate import Catalogue, Tool, ToolFailed, tool
from callgate.discovery import describe, search
from callgate.schema import stub
from callgate.surface import definition

TEXT = {"type": "string"}


def made(properties, required=(), **options):
    schema = {"type": "object", "properties": properties, "required": list(required)}
    schema |= options.pop("schema", {})
    return Tool(name="f", input_schema=schema, **options)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(made({}), "def f()", id="nothing"),
        pytest.param(
            made({"a": TEXT}, ["a"], description="Say a. And b."), "def f(a: str): Say a.", id="first sentence"
        ),
        pytest.param(
            made({"b": {"enum": ["x", "y"], "default": "x"}, "a": TEXT}, ["a"]),
            "def f(a: str, b: Literal['x', 'y'] = 'x')",
            id="required first, enum, default",
        ),
        pytest.param(
            made({"a": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}}),
            "def f(a: int | None = None)",
            id="optional",
        ),
        pytest.param(
            made(
                {"a": {"type": "array", "items": {"$ref": "#/$defs/R"}}},
                ["a"],
                schema={"$defs": {"R": {"type": "object", "properties": {"x": {"type": "number"}}}}},
            ),
            'def f(a: list[{"x": float}])',
            id="reference",
        ),
        pytest.param(
            made({}, output_schema={"type": "array", "items": {"type": "integer"}}),
            "def f() -> list[int]",
            id="returns",
        ),
        pytest.param(made({"from-date": TEXT}, ["from-date"]), "def f(**arguments)", id="no identifier"),
    ],
)
def test_stubs(one, expected):
    assert stub("f", one) == expected


def test_a_recursive_schema_ends():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}
    assert "dict" in stub("f", made({"a": {"$ref": "#/$defs/N"}}, schema={"$defs": {"N": node}}))


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
    assert search(catalogue(), "orders of user")[0]["name"] == "find_orders"
    assert search(catalogue(), "zebra") == []


def test_describe_gives_the_whole_schema_or_says_how_to_find_one():
    assert describe(catalogue(), "refund")["description"] == "Give money back for an order."
    with pytest.raises(ToolFailed, match="search_tools"):
        describe(catalogue(), "nope")
