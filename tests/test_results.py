"""Result types: what a function says it returns, as programs are given it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import typing
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pytest
import typing_extensions

from callgate import Tool, tool
from callgate.codec import decode, encode
from callgate.stubs import Stubs

if TYPE_CHECKING:
    from nowhere import Unseen  # type: ignore[import-not-found]


class Line(typing.TypedDict, total=False):
    sku: typing_extensions.Required[str]
    count: int
    parts: list[Line]


class Later(typing_extensions.TypedDict):
    at: str


@dataclasses.dataclass
class Order:
    id: str
    lines: list[Line]
    took: datetime.timedelta
    state: Literal["open", "paid"] = "open"


class Model(pydantic.BaseModel):
    total: Decimal = pydantic.Field(alias="Total")
    took: datetime.timedelta = datetime.timedelta(seconds=1)
    secret: str = pydantic.Field(default="", exclude=True)

    @pydantic.computed_field
    def double(self) -> float:
        return 2.0 * float(self.total)


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(serialize_by_alias=True)
    total: int = pydantic.Field(alias="Total")
    inner: Model


def shown(annotation: Any) -> str:
    def f() -> Any: ...

    f.__annotations__["return"] = annotation
    return Stubs({"f": tool(f)}).one("f")


LINE = "class Line(TypedDict): sku: str; count: NotRequired[int]; parts: NotRequired[list[Line]]"
MODEL = "class Model(TypedDict): total: str; took: str; double: float"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        pytest.param(list[int], "def f() -> list[int]", id="list"),
        pytest.param(None, "def f() -> None", id="nothing"),
        pytest.param(dict[str, Any], "def f() -> dict", id="map"),
        pytest.param(Later | None, "class Later(TypedDict): at: str\ndef f() -> Later | None", id="TypedDict"),
        pytest.param(list[Line], f"{LINE}\ndef f() -> list[Line]", id="typing's TypedDict, recursive"),
        pytest.param(Annotated[Line, "x"], f"{LINE}\ndef f() -> Line", id="Annotated"),
        pytest.param(
            Order,
            "class Order(TypedDict): id: str; lines: list[Line]; took: float; state: Literal['open', 'paid']\n"
            f"{LINE}\ndef f() -> Order",
            id="dataclass: what has a default is there",
        ),
        pytest.param(Model, f"{MODEL}\ndef f() -> Model", id="pydantic: names and not aliases, what is computed"),
        pytest.param(
            Aliased, f"class Aliased(TypedDict): Total: int; inner: Model\n{MODEL}\ndef f() -> Aliased", id="aliases"
        ),
        pytest.param(datetime.timedelta, "def f() -> float", id="seconds"),
        pytest.param(Awaitable[int], "def f() -> int", id="awaited"),
        pytest.param(typing.Coroutine[Any, Any, Line], f"{LINE}\ndef f() -> Line", id="of a coroutine"),
        pytest.param("list[Later]", "class Later(TypedDict): at: str\ndef f() -> list[Later]", id="text"),
        pytest.param(Any, "def f()", id="Any"),
        pytest.param(object, "def f()", id="object"),
        pytest.param("Unseen", "def f()", id="only a type checker sees it"),
        pytest.param(Callable[[int], str], "def f()", id="no JSON"),
    ],
)
def test_result_types(annotation: Any, expected: str) -> None:
    assert shown(annotation) == expected


@pytest.mark.parametrize(
    "value",
    [
        Order(id="1", lines=[{"sku": "a"}], took=datetime.timedelta(minutes=1)),
        Model(Total=Decimal("1.5")),
        Aliased(Total=1, inner=Model(Total=Decimal(2))),
        datetime.timedelta(seconds=3),
        [Later(at="x")],
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_schema_is_of_what_programs_are_given(value: Any) -> None:
    kind = list[Later] if isinstance(value, list) else type(value)

    @tool
    def f() -> kind: ...  # type: ignore[valid-type]

    f = dataclasses.replace(f, output_schema=tool(_returning(kind)).output_schema)
    assert f.output_schema is not None
    assert_fits(decode(encode(value)), dict(f.output_schema), f)


def _returning(kind: Any) -> Callable[[], Any]:
    def f() -> Any: ...

    f.__annotations__["return"] = kind
    return f


def assert_fits(value: Any, schema: dict[str, Any], one: Tool) -> None:
    """Check a value against the keywords that these schemas have."""
    if "$ref" in schema:
        return assert_fits(value, one.output_schema["$defs"][schema["$ref"].rpartition("/")[2]], one)
    kinds = {"object": dict, "array": list, "string": str, "number": float, "integer": int}
    assert isinstance(value, kinds[schema["type"]])
    if schema["type"] == "object":
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for key, item in value.items():
            assert_fits(item, schema["properties"][key], one)
    for item in value if schema["type"] == "array" else ():
        assert_fits(item, schema["items"], one)
    return None


class Shop:
    async def price(self, item: str, other: Unseen = None) -> Later:
        raise NotImplementedError

    def __call__(self) -> list[Later]:
        raise NotImplementedError


LATER = {"at": {"title": "At", "type": "string"}}


def test_methods_partials_and_callable_objects_say_what_they_return() -> None:
    from callgate.results import annotated_result

    assert annotated_result(Shop().price) is Later  # whatever else of the signature cannot be read
    assert annotated_result(functools.partial(functools.partial(Shop().price), item="x")) is Later
    assert annotated_result(Shop()) == list[Later]
    assert annotated_result(functools.partial(Shop())) == list[Later]
    assert annotated_result(len) is annotated_result(Shop) is Any


def test_an_async_function_is_known_by_what_it_returns() -> None:
    @tool
    async def later() -> list[Later]:
        """Tell."""
        raise NotImplementedError

    assert Stubs({"later": later}).one("later") == (
        "class Later(TypedDict): at: str\ndef later() -> list[Later]: Tell."
    )


def test_a_table_is_a_list_of_rows() -> None:
    pandas = pytest.importorskip("pandas")
    assert shown(pandas.DataFrame) == "def f() -> list[dict]"
    assert decode(encode(pandas.DataFrame({"a": [1]}))) == [{"a": 1}]
