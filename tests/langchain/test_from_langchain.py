"""LangChain tools in neutral form."""

from __future__ import annotations

import asyncio
import types
from typing import Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, ToolException, tool
from langchain_core.tools import Tool as SingleInputTool
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.types import Command
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from callgate import Call, CodeRunner, ToolFailed, UsageError
from callgate.stubs import Stubs
from callgate.testing.fake import FakeSandbox
from callgate_langchain import from_langchain

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def neutral(one: Any, **effects: Any) -> Any:
    return from_langchain([one], effects or None)[0]


def invoke(one: Any, arguments: dict[str, Any], *, use_async: bool = False) -> Any:
    call = Call(id="c1/1", tool=one.name, arguments=arguments)
    return asyncio.run(one.ainvoke(call)) if use_async else one.invoke(call)


@tool
def orders(user: str, limit: int = 10) -> list[dict[str, int]]:
    """List orders.

    The newest come first.
    """
    return [{"total": 1}, {"total": 2}][:limit]


def plain(x: int) -> int:
    """Return x."""
    return x


def test_name_description_and_schemas() -> None:
    one = neutral(orders)
    assert (one.name, one.description) == ("orders", "List orders.\n\nThe newest come first.")
    assert one.input_schema["type"] == "object"
    assert (one.parameters, one.required) == (("user", "limit"), ("user",))
    assert one.output_schema == {
        "type": "array",
        "items": {"type": "object", "additionalProperties": {"type": "integer"}},
    }
    assert one.callers == {"direct", "code"}


def test_functions_become_tools() -> None:
    assert invoke(neutral(plain), {"x": 3}) == 3


@pytest.mark.parametrize("annotation", ["Any", "Unseen", "None"])
def test_no_output_schema_is_guessed(annotation: str) -> None:
    def function(x: int):
        """Return x."""
        return x

    if annotation != "None":
        function.__annotations__["return"] = annotation
    assert neutral(StructuredTool.from_function(function, infer_schema=True, args_schema=Nothing)).output_schema is None


class Nothing(BaseModel):
    x: int


class Sized(TypedDict):
    size: int


async def sized(x: int) -> list[Sized]:
    """Size things."""
    return [{"size": x}]


class OnlyAwaited(BaseTool):
    name: str = "only_awaited"
    description: str = "Awaited."

    def _run(self, x: int) -> Any:
        raise NotImplementedError

    async def _arun(self, x: int) -> Sized:
        return {"size": x}


SIZED = "class Sized(TypedDict): size: int\ndef f(x: int) -> "


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(StructuredTool.from_function(coroutine=sized), f"{SIZED}list[Sized]", id="awaited"),
        pytest.param(OnlyAwaited(), f"{SIZED}Sized", id="a subclass that is awaited"),
    ],
)
def test_result_types_come_from_annotations(given: BaseTool, expected: str) -> None:
    assert Stubs({"f": neutral(given)}).one("f").startswith(expected)


def returning(annotation: Any) -> BaseTool:
    def function(x: int) -> Any:
        """Return x."""
        return x

    function.__annotations__["return"] = annotation
    return StructuredTool.from_function(function)


@pytest.mark.parametrize("annotation", [Command, Command[str], ToolMessage, list[Command | ToolMessage]])
def test_of_a_message_a_program_is_given_the_content(annotation: Any) -> None:
    assert Stubs({"f": neutral(returning(annotation))}).one("f").startswith("def f(x: int) -> str | list")
    assert Stubs({"f": neutral(returning(int | Command))}).one("f").startswith("def f(x: int) -> int | str | list")


@pytest.mark.parametrize(
    "given",
    [
        Sized,
        {"type": "object", "title": "Sized", "properties": {"size": {"type": "integer"}}, "required": ["size"]},
    ],
)
def test_a_tool_s_metadata_may_say_what_it_returns(given: Any) -> None:
    one = StructuredTool.from_function(plain, metadata={"callgate": {"output_schema": given}})
    assert Stubs({"f": neutral(one)}).one("f").startswith(f"{SIZED}Sized: ")
    with pytest.raises(UsageError, match="output_schema is a JSON Schema or a type"):
        neutral(StructuredTool.from_function(plain, metadata={"callgate": {"output_schema": 3}}))


ORDER = {"type": "object", "title": "Order", "properties": {"id": {"type": "string"}}, "required": ["id"]}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param(None, "def f(user: str = ...)", id="none"),
        pytest.param(ORDER, "class Order(TypedDict): id: str\ndef f(user: str = ...) -> Order", id="an object"),
        pytest.param(
            {
                "$defs": {"Order": ORDER},
                "type": "object",
                "properties": {"result": {"type": "array", "items": {"$ref": "#/$defs/Order"}}},
                "required": ["result"],
            },
            "class Order(TypedDict): id: str\ndef f(user: str = ...) -> list[Order]",
            id="wrapped",
        ),
    ],
)
@pytest.mark.parametrize("where", ["closure", "metadata"])
def test_what_an_mcp_server_says_of_results_is_known(schema: Any, expected: str, where: str) -> None:
    given = types.SimpleNamespace(inputSchema={}, outputSchema=schema)

    async def call_tool(**arguments: Any) -> tuple[Any, Any]:
        return given.called, None

    call_tool.__module__ = "langchain_mcp_adapters.tools" if where == "closure" else "langchain.mcp"
    one = StructuredTool(
        name="f",
        description="",
        args_schema={"type": "object", "properties": {"user": {"type": "string"}}},
        coroutine=call_tool,
        response_format="content_and_artifact",
        metadata={"mcp": {"tool": {"outputSchema": schema}}} if where == "metadata" else None,
    )
    assert Stubs({"f": neutral(one)}).one("f") == expected


def test_dict_schemas_are_taken_as_they_are() -> None:
    schema = {
        "title": "orders",
        "type": "object",
        "properties": {"user": {"type": "string"}, "page": {"$ref": "#/$defs/Page"}},
        "required": ["user"],
        "$defs": {"Page": {"type": "object", "properties": {"size": {"type": "integer"}}}},
    }
    one = neutral(StructuredTool(name="orders", description="List.", args_schema=schema, func=lambda **given: given))
    assert one.input_schema == {key: value for key, value in schema.items() if key != "title"}
    assert invoke(one, {"user": "u"}) == {"user": "u"}


def test_a_tool_of_a_single_text_takes_tool_input() -> None:
    one = neutral(SingleInputTool(name="upper", description="Upper case.", func=lambda text: text.upper()))
    assert one.parameters == ("tool_input",)
    assert invoke(one, {"tool_input": "hi"}) == "HI"


class Subclassed(BaseTool):
    name: str = "area"
    description: str = "Area."

    def _run(self, width: int, height: int) -> int:
        return width * height


def test_subclasses_work() -> None:
    one = neutral(Subclassed())
    assert (one.parameters, one.output_schema) == (("width", "height"), {"type": "integer"})
    assert invoke(one, {"width": 2, "height": 3}) == 6


@pytest.mark.parametrize(
    ("metadata", "effect"),
    [
        (None, "write"),
        ({"callgate": {"effect": "idempotent"}}, "idempotent"),
        ({"readOnlyHint": True, "idempotentHint": True}, "read"),
        ({"readOnlyHint": False, "idempotentHint": True}, "idempotent"),
        ({"annotations": {"readOnlyHint": True}}, "read"),
        ({"mcp": {"tool": {"annotations": {"readOnlyHint": True}}}}, "read"),
        ({"mcp": "text", "callgate": None}, "write"),
        ({"readOnlyHint": True, "callgate": {"effect": "write"}}, "write"),
    ],
)
def test_effects(metadata: Any, effect: str) -> None:
    one = StructuredTool.from_function(plain, metadata=metadata)
    assert neutral(one).effect == effect
    assert neutral(one, plain="read").effect == "read"


def test_an_unknown_effect_is_refused() -> None:
    with pytest.raises(UsageError, match="effect is one of"):
        neutral(StructuredTool.from_function(plain, metadata={"callgate": {"effect": "maybe"}}))
    with pytest.raises(UsageError, match="effects names other"):
        neutral(plain, other="read")


@pytest.mark.parametrize(
    ("allowed", "callers"),
    [
        (["direct"], {"direct"}),
        (["code_execution_20260120"], {"code"}),
        (["code_execution_20250825", "direct"], {"direct", "code"}),
        (["programmatic"], {"code"}),
        (["direct", "programmatic"], {"direct", "code"}),
        ([], set()),
    ],
)
def test_allowed_callers(allowed: list[str], callers: set[str]) -> None:
    one = StructuredTool.from_function(plain)
    one.extras = {"allowed_callers": allowed}
    assert neutral(one).callers == callers


@pytest.mark.parametrize(
    "allowed", ["direct", ["direct", "code"], ["code_execution"], ["Direct"], [None], {"direct": 1}]
)
def test_callers_that_no_vendor_knows_are_refused(allowed: Any) -> None:
    one = StructuredTool.from_function(plain)
    one.extras = {"allowed_callers": allowed}
    with pytest.raises(UsageError, match=r"tool 'plain': extras\['allowed_callers'\] is a list of \"direct\""):
        neutral(one)


@tool
def guarded(
    x: int,
    user: Annotated[str, InjectedToolArg],
    state: Annotated[dict[str, Any], InjectedState],
    id: Annotated[str, InjectedToolCallId],
    runtime: ToolRuntime[Any, Any],
) -> str:
    """Use what only the host knows."""
    return user


@tool
def identified(x: int, id: Annotated[str, InjectedToolCallId], user: Annotated[str, InjectedToolArg] = "host") -> str:
    """Return who and which call."""
    return f"{user} {id}"


def test_injected_arguments_are_not_in_the_schema() -> None:
    assert neutral(guarded).parameters == ("x",)
    assert neutral(guarded).fault(["x", "user"]) is not None


def test_a_tool_that_needs_a_graph_says_so() -> None:
    with pytest.raises(UsageError, match=r"guarded needs .*CodeActNode"):
        invoke(neutral(guarded), {"x": 1})


def test_the_call_id_and_defaults_of_injected_arguments_are_set() -> None:
    assert invoke(neutral(identified), {"x": 1}) == "host c1/1"


@both_ways
def test_forged_arguments_do_not_get_through_an_open_schema(use_async: bool) -> None:
    schema = {"type": "object", "additionalProperties": True}

    def function(user: Annotated[str, InjectedToolArg] = "host", **given: Any) -> str:
        return user

    one = neutral(StructuredTool(name="f", description="F.", args_schema=schema, func=function))
    assert one.open
    with pytest.raises(ToolFailed, match="no argument 'user'"):
        invoke(one, {"user": "guest"}, use_async=use_async)
    assert invoke(one, {"x": 1}, use_async=use_async) == "host"


def test_injected_arguments_named_by_a_dict_schema_are_taken_out() -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "user": {"type": "string"}},
        "required": ["x", "user"],
    }

    def function(x: int, user: Annotated[str, InjectedToolArg] = "host") -> str:
        return user

    one = neutral(StructuredTool(name="f", description="F.", args_schema=schema, func=function))
    assert (one.parameters, one.required) == (("x",), ("x",))


@tool
def failing(x: int) -> int:
    """Fail."""
    raise ToolException("no such order") if x else ValueError("secret")


@both_ways
def test_errors_meant_for_the_model_keep_their_text(use_async: bool) -> None:
    with pytest.raises(ToolFailed, match="no such order"):
        invoke(neutral(failing), {"x": 1}, use_async=use_async)
    with pytest.raises(ToolFailed, match=r"^invalid arguments: x: Input should be a valid integer"):
        invoke(neutral(failing), {"x": "?"}, use_async=use_async)
    with pytest.raises(ValueError, match="secret"):
        invoke(neutral(failing), {"x": 0}, use_async=use_async)


@both_ways
def test_errors_a_tool_handles_itself_are_failures(use_async: bool) -> None:
    handled = failing.model_copy(update={"handle_tool_error": "try another order"})
    with pytest.raises(ToolFailed, match="try another order"):
        invoke(neutral(handled), {"x": 1}, use_async=use_async)


@tool
def commanding(id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Return a Command."""
    return Command(update={"messages": [ToolMessage("x", tool_call_id=id)]})


def test_a_command_needs_a_graph() -> None:
    with pytest.raises(UsageError, match="CodeActNode"):
        invoke(neutral(commanding), {})


def test_an_argument_that_no_schema_describes_is_refused() -> None:
    class Odd:
        pass

    class Schema(BaseModel, arbitrary_types_allowed=True):
        odd: Odd = Field()

    with pytest.raises(UsageError, match="odd_tool"):
        neutral(StructuredTool(name="odd_tool", description="O.", args_schema=Schema, func=lambda odd: odd))


@both_ways
def test_a_runner_runs_them(use_async: bool) -> None:
    @tool
    async def awaited(x: int) -> int:
        """Return x, awaited."""
        return x

    runner = CodeRunner(from_langchain([orders, plain, awaited]), sandbox=FakeSandbox())
    program = "sum(order['total'] for order in orders(user='u')) + plain(x=1) + awaited(x=10)"
    outcome = asyncio.run(runner.arun(program)) if use_async else runner.run(program)
    assert outcome.value == 14
