from __future__ import annotations

import asyncio
import builtins
import dataclasses
import functools
import keyword
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callgate.errors import ToolFailed, UsageError
from callgate.names import GUEST_NAMES, RESERVED_NAMES
from callgate.tools import Call, Catalogue, Tool, tool


class Point(pydantic.BaseModel):
    x: int


def _call(one: Tool, **arguments: Any) -> Any:
    assert one.invoke is not None
    return one.invoke(Call(id="call/1", tool=one.name, arguments=arguments))


def _schema(**fields: Any) -> dict[str, Any]:
    return {"type": "object", **fields}


def _described(name: str, day: int, *, limit: int | None = None, at: Point | None = None) -> list[Point]:
    """Say something.

    At length.
    """
    return [Point(x=day), *([at] if at else [])][:limit]


FAULTY = {
    "no-name": ({"name": ""}, "needs a name"),
    "schema-of-a-list": ({"name": "t", "input_schema": {"type": "array"}}, "must describe an object"),
    "effect": ({"name": "t", "effect": "delete"}, "effect is one of"),
    "callers": ({"name": "t", "callers": frozenset(["code", "cron"])}, "callers are of"),
    "callers-as-text": ({"name": "t", "callers": "code"}, "callers are of"),
}


@pytest.mark.parametrize(("fields", "text"), FAULTY.values(), ids=FAULTY)
def test_a_tool_that_cannot_work_is_a_usage_error(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Tool(**fields)


def test_a_tool_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tool(name="t").name = "u"  # type: ignore[misc]


def test_an_undeclared_effect_is_write() -> None:
    assert Tool(name="t").effect == "write"


PARAMETERS = {
    "default": (None, (), (), False),
    "properties": (_schema(properties={"b": {}, "a": {}}, required=["a"]), ("b", "a"), ("a",), False),
    "nulls": (_schema(properties=None, required=None), (), (), False),
    "no-properties": (_schema(), (), (), True),
    "closed": (_schema(additionalProperties=False), (), (), False),
    "open": (_schema(properties={"a": {}}, additionalProperties=True), ("a",), (), True),
    "open-by-schema": (_schema(properties={}, additionalProperties={"type": "string"}), (), (), True),
    "open-by-empty-schema": (_schema(properties={}, additionalProperties={}), (), (), True),
    "null-additional": (_schema(properties={}, additionalProperties=None), (), (), False),
    "patterns": (_schema(properties={}, patternProperties={"^x": {}}), (), (), True),
}


@pytest.mark.parametrize(("schema", "parameters", "required", "is_open"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_come_from_the_schema(
    schema: dict[str, Any] | None, parameters: tuple[str, ...], required: tuple[str, ...], is_open: bool
) -> None:
    one = Tool(name="t") if schema is None else Tool(name="t", input_schema=schema)
    assert (one.parameters, one.required, one.open) == (parameters, required, is_open)


_TWO = Tool(name="t", input_schema=_schema(properties={"a": {}, "b": {}}, required=["a"]))
FAULTS = {
    "fits": (_TWO, ["a"], None),
    "fits-all": (_TWO, ["b", "a"], None),
    "unknown": (_TWO, ["a", "c"], "t has no argument 'c'; its arguments are: a, b"),
    "missing": (_TWO, ["b"], "t misses 'a'; its arguments are: a, b"),
    "open": (Tool(name="t", input_schema=_schema()), ["z"], None),
    "none": (Tool(name="t"), ["z"], "t has no argument 'z'; its arguments are: none"),
}


@pytest.mark.parametrize(("one", "names", "fault"), FAULTS.values(), ids=FAULTS)
def test_fault_names_what_is_wrong_with_argument_names(one: Tool, names: list[str], fault: str | None) -> None:
    assert one.fault(names) == fault


def test_a_function_describes_itself() -> None:
    one = tool(_described)
    assert (one.name, one.description) == ("_described", "Say something.\n\nAt length.")
    assert one.parameters == ("name", "day", "limit", "at")
    assert one.required == ("name", "day")
    assert not one.open
    assert one.output_schema is not None
    assert one.output_schema["type"] == "array"


def test_the_decorator_takes_name_effect_and_callers() -> None:
    @tool(name="get-it", effect="read", callers=["direct"])
    def get() -> int:
        return 1

    assert (get.name, get.effect, get.callers) == ("get-it", "read", {"direct"})
    assert _call(get) == 1


def test_arguments_are_coerced_as_pydantic_does() -> None:
    assert _call(tool(_described), name="n", day="3", at={"x": "4"}) == [Point(x=3), Point(x=4)]


INVALID = {
    "type": ({"name": "n", "day": "soon"}, "invalid arguments: day: Input should be a valid integer"),
    "inner": ({"name": "n", "day": 1, "at": {"x": []}}, "invalid arguments: at.x: Input should be a valid integer"),
    "missing": ({"name": "n"}, "invalid arguments: day: Missing required argument"),
    "unknown": ({"name": "n", "day": 1, "z": 2}, "invalid arguments: z: Unexpected keyword argument"),
}


@pytest.mark.parametrize(("arguments", "text"), INVALID.values(), ids=INVALID)
def test_invalid_arguments_fail_with_a_text_for_the_program(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ToolFailed) as caught:
        _call(tool(_described), **arguments)
    assert str(caught.value).startswith(text)
    assert "http" not in str(caught.value)


def test_a_validation_error_of_the_body_is_no_matter_of_the_arguments() -> None:
    @tool
    def load(x: int) -> Point:
        return Point.model_validate({"x": "private"})

    with pytest.raises(pydantic.ValidationError):
        _call(load, x=1)


def test_an_async_function_becomes_an_awaitable_tool() -> None:
    @tool
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    assert double.invoke is None
    assert double.ainvoke is not None
    assert asyncio.run(double.ainvoke(Call(id="c/1", tool="double", arguments={"x": "4"}))) == 8
    with pytest.raises(ToolFailed, match="invalid arguments"):
        asyncio.run(double.ainvoke(Call(id="c/1", tool="double", arguments={})))


def test_parameters_may_have_any_name() -> None:
    def odd(name: int, self: int, call: int, function: int) -> list[int]:
        return [name, self, call, function]

    assert _call(tool(odd), name=1, self=2, call=3, function=4) == [1, 2, 3, 4]


def test_a_method_is_a_tool_without_its_self() -> None:
    class Shop:
        def price(self, item: str) -> str:
            return f"{item}: 1"

    assert tool(Shop().price).parameters == ("item",)
    assert _call(tool(Shop().price), item="tea") == "tea: 1"


def test_a_callable_object_is_a_tool_when_named() -> None:
    class Add:
        def __call__(self, a: int, b: int = 1) -> int:
            return a + b

    assert _call(tool(name="add")(Add()), a="2") == 3
    with pytest.raises(UsageError, match="needs a name"):
        tool(Add())


def test_a_partial_keeps_what_is_left_to_give() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    assert _call(tool(name="add2")(functools.partial(add, 2)), b="3") == 5


def test_keyword_arguments_open_a_tool() -> None:
    @tool
    def gather(a: int, **rest: Any) -> dict[str, Any]:
        return {"a": a, **rest}

    assert gather.open
    assert gather.parameters == ("a",)
    assert _call(gather, a="1", z=2) == {"a": 1, "z": 2}


def _positional(a: int, /) -> None: ...


def _positions(*a: int) -> None: ...


def _unknown(a: Absent) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def _no_schema(a: asyncio.Lock) -> None: ...


@pytest.mark.parametrize("function", [_positional, _positions, _unknown, _no_schema, len, print, str])
def test_what_no_schema_describes_is_a_usage_error(function: Any) -> None:
    with pytest.raises(UsageError, match="tool '"):
        tool(function)


def test_a_return_type_without_schema_is_no_hindrance() -> None:
    def get() -> asyncio.Lock:
        raise LookupError

    assert tool(get).output_schema is None


def test_a_catalogue_keeps_the_order_and_turns_functions_into_tools() -> None:
    catalogue = Catalogue([Tool(name="z"), _described, Tool(name="a")])
    assert [one.name for one in catalogue] == list(catalogue.tools) == ["z", "_described", "a"]
    assert len(catalogue) == 3


def test_a_catalogue_does_not_change() -> None:
    catalogue = Catalogue([Tool(name="t")])
    for mapping in (catalogue.tools, catalogue.functions):
        with pytest.raises(TypeError):
            mapping["u"] = Tool(name="u")  # type: ignore[index]


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="rename the tool"):
        Catalogue([Tool(name=name)])


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two tools are called 't'"):
        Catalogue([Tool(name="t"), Tool(name="t")])


def test_a_schema_that_is_no_json_is_refused() -> None:
    with pytest.raises(UsageError, match="no JSON"):
        Catalogue([Tool(name="t", input_schema=_schema(default=float("nan")))])


NAMES = {
    "plain": (["a", "b_2"], ["a", "b_2"]),
    "sanitised": (["list-orders", "a.b/c d"], ["list_orders", "a_b_c_d"]),
    "keyword": (["class", "lambda"], ["tool_class", "tool_lambda"]),
    "builtin": (["print", "open"], ["tool_print", "tool_open"]),
    "guest-name": (["call_tool", "Refused"], ["tool_call_tool", "tool_Refused"]),
    "digit": (["2fa", "9"], ["tool_2fa", "tool_9"]),
    "nothing-left": (["-", "…"], ["tool", "tool_2"]),
    "underscores": (["_x_", "__y"], ["x", "y"]),
    "soft-keyword": (["match", "type_"], ["match", "tool_type"]),
    "clash": (["a-b", "a.b", "a b"], ["a_b", "a_b_2", "a_b_3"]),
    "clash-exact-wins": (["a-b", "a_b"], ["a_b_2", "a_b"]),
    "clash-exact-with-prefix": (["print", "tool_print"], ["tool_print_2", "tool_print"]),
    "clash-exact-with-underscore": (["_x", "x"], ["x_2", "x"]),
    "clash-with-a-number": (["a-b", "a_b", "a_b_2"], ["a_b_3", "a_b", "a_b_2"]),
    "not-ascii": (["größe", "gr__e"], ["gr__e_2", "gr__e"]),
}


@pytest.mark.parametrize(
    ("schema", "told"),
    [({"properties": ["a"]}, '"properties"'), ({"required": True}, '"required"'), ({"required": "a"}, '"required"')],
)
def test_an_input_schema_that_is_none_is_refused(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=f"tool 't': {told} of the input schema"):
        Tool(name="t", input_schema={"type": "object", **schema})


@pytest.mark.parametrize("nothing", [None, [], (), {}])
def test_an_input_schema_may_say_nothing(nothing: Any) -> None:
    one = Tool(name="t", input_schema={"type": "object", "properties": nothing, "required": nothing})
    assert one.fault(["a"]) == "t has no argument 'a'; its arguments are: none"


@pytest.mark.parametrize(("names", "functions"), NAMES.values(), ids=NAMES)
def test_functions_are_named_after_their_tools(names: list[str], functions: list[str]) -> None:
    catalogue = Catalogue([Tool(name=name) for name in names])
    assert {function: one.name for function, one in catalogue.functions.items()} == dict(
        zip(functions, names, strict=True)
    )
    assert list(catalogue.functions) == functions


@given(st.lists(st.text(min_size=1, max_size=6) | st.sampled_from(["a-b", "a_b", "print", "def", "x_2"]), unique=True))
def test_every_tool_has_a_function_name_of_its_own(names: list[str]) -> None:
    names = [name for name in names if name.isprintable()]
    functions = Catalogue([Tool(name=name) for name in names]).functions
    assert sorted(one.name for one in functions.values()) == sorted(names)
    for function in functions:
        assert function.isidentifier()
        assert function.isascii()
        assert not keyword.iskeyword(function)
        assert not hasattr(builtins, function)
        assert function not in GUEST_NAMES


def test_a_tool_that_code_may_not_call_has_no_function() -> None:
    catalogue = Catalogue([Tool(name="t", callers=frozenset(["direct"])), Tool(name="u")])
    assert list(catalogue.functions) == ["u"]
    assert list(catalogue.tools) == ["t", "u"]


def test_no_function_looks_like_a_tool_that_code_may_not_call() -> None:
    catalogue = Catalogue([Tool(name="get_it", callers=frozenset(["direct"])), Tool(name="get-it")])
    assert {function: one.name for function, one in catalogue.functions.items()} == {"get_it_2": "get-it"}


def named(*names: str) -> list[Tool]:
    return [Tool(name=name) for name in names]


SOURCES = {
    "clash": ({"a": ["find", "x"], "b": ["find", "y"]}, ["a_find", "x", "b_find", "y"]),
    "nothing clashes": ({"a": ["find"], "b": ["get"]}, ["find", "get"]),
    "the functions clash": ({"a": ["get-it"], "b": ["get_it"]}, ["a_get-it", "b_get_it"]),
    "three": ({"a": ["f"], "b": ["f"], "c": ["f", "g"]}, ["a_f", "b_f", "c_f", "g"]),
    "callgate's own": ({"a": ["search_tools", "execute_code", "load"]}, ["a_search_tools", "a_execute_code", "load"]),
    "of one source": ({"a": ["get-it", "get_it"]}, ["get-it", "get_it"]),
    "odd source": ({"My shop (v2)": ["f"], "b": ["f"]}, ["My_shop_v2_f", "b_f"]),
    "none": ({"a": [], "b": []}, []),
}


@pytest.mark.parametrize(("sources", "names"), SOURCES.values(), ids=SOURCES)
def test_tools_of_several_sources_are_told_apart(sources: dict[str, list[str]], names: list[str]) -> None:
    catalogue = Catalogue({source: named(*given) for source, given in sources.items()})
    assert list(catalogue.tools) == [one.name for one in catalogue.tools.values()] == names
    assert [one.name for one in catalogue.functions.values()] == names


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ({"a": ["f", "f"], "b": []}, "source 'a' has two tools called 'f'"),
        ({"a": ["f", "b_f"], "b": ["f"]}, "two tools would be called 'b_f', one of them 'f' of 'b'; rename a source"),
        ({"?": ["f"], "b": ["f"]}, r"source '\?': give it a name with a letter"),
    ],
)
def test_sources_that_cannot_be_told_apart_are_refused(sources: dict[str, list[str]], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Catalogue({source: named(*given) for source, given in sources.items()})


@pytest.mark.parametrize("given", [Tool(name="f"), {"f": Tool(name="f")}, _described, {"f": _described}])
def test_a_tool_is_no_list_of_tools(given: Any) -> None:
    with pytest.raises(UsageError, match="mapping of sources to lists"):
        Catalogue(given)


def test_a_tool_receives_its_calls_under_its_own_name() -> None:
    async def later(call: Call) -> Any:
        return f"later {call.tool}"

    own = Tool(name="f", invoke=lambda call: call.tool, ainvoke=later, reconcile=lambda call: call.tool)
    one = Catalogue({"a": [own], "b": [dataclasses.replace(own, reconcile=later)]})
    first, second = one
    call = Call(id="c/1", tool="a_f", arguments={})
    assert first.invoke(call) == first.reconcile(call) == "f"
    assert asyncio.run(first.ainvoke(call)) == asyncio.run(second.reconcile(call)) == "later f"
    assert asyncio.iscoroutinefunction(second.reconcile)  # or it would be run in a thread
    assert not asyncio.iscoroutinefunction(first.reconcile)
    assert call.tool == "a_f"


def test_functions_and_tools_of_sources_mix() -> None:
    def find(x: int) -> int:
        return x

    catalogue = Catalogue({"here": [find], "there": [Tool(name="find")]})
    assert list(catalogue.tools) == ["here_find", "there_find"]
    assert _call(catalogue.tools["here_find"], x="3") == 3


CHANGES = {
    "name": {"name": "u"},
    "description": {"description": "other"},
    "schema": {"input_schema": _schema()},
    "effect": {"effect": "read"},
    "callers": {"callers": frozenset(["code"])},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_digest_changes_with_what_a_call_means(change: dict[str, Any]) -> None:
    one = Tool(name="t", description="d")
    assert Catalogue([one]).digest == Catalogue([Tool(name="t", description="d")]).digest
    assert Catalogue([dataclasses.replace(one, **change)]).digest != Catalogue([one]).digest
