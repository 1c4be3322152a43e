"""LlamaIndex tools in neutral form."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, ClassVar

import pytest
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import PydanticResponse, Response
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool, QueryEngineTool, RetrieverTool, ToolMetadata, ToolOutput
from llama_index.core.tools.tool_spec.base import BaseToolSpec
from llama_index.core.workflow import Context
from pydantic import BaseModel

from callgate import Call, Catalogue, CodeRunner, ToolFailed, UsageError
from callgate.sandboxes.base import Sandbox
from callgate.stubs import Stubs
from callgate_llama_index import from_llama_index

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


def neutral(one: Any, **effects: Any) -> Any:
    return from_llama_index([one], effects or None)[0]


def invoke(one: Any, arguments: dict[str, Any], *, use_async: bool = False) -> Any:
    call = Call(id="c1/1", tool=one.name, arguments=arguments)
    return asyncio.run(one.ainvoke(call)) if use_async else one.invoke(call)


class Order(BaseModel):
    id: int
    total: float


def orders(user: str, limit: int = 10) -> list[Order]:
    """List orders."""
    return [Order(id=1, total=2.5), Order(id=2, total=3)][:limit]


orders.__annotations__["user"] = Annotated[str, "whose they are"]  # LlamaIndex reads no names here


async def price(item: str) -> dict[str, float]:
    """Return what an item costs."""
    return {item: 1.5}


def test_a_function_is_described_by_its_schema_and_annotations() -> None:
    one = neutral(orders)
    assert (one.name, one.description) == ("orders", "List orders.")
    assert (one.parameters, one.required) == (("user", "limit"), ("user",))
    assert one.input_schema["properties"]["user"]["description"] == "whose they are"
    stub = Stubs(Catalogue([one]).functions).text()
    assert stub.startswith("class Order(TypedDict): id: int; total: float\ndef orders(user: str, limit: int = 10)")
    assert "-> list[Order]" in stub
    assert one.effect == "write"
    assert neutral(orders, orders="read").effect == "read"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(price, id="function"),
        pytest.param(FunctionTool.from_defaults(async_fn=price), id="async_fn"),
    ],
)
def test_an_async_function_has_its_own_result_type(given: Any) -> None:
    one = neutral(given)
    assert "-> dict[str, float]" in Stubs(Catalogue([one]).functions).text()
    assert one.invoke is None
    assert invoke(one, {"item": "pen"}, use_async=True) == {"pen": 1.5}


def test_an_async_tool_runs_in_a_sync_runner(sandbox: Sandbox) -> None:
    outcome = CodeRunner(from_llama_index([price, orders]), sandbox=sandbox).run(
        "price(item='pen')['pen'] + sum(one['total'] for one in orders(user='u'))"
    )
    assert outcome.value == 7.0


def test_the_signature_in_a_description_is_not_said_twice() -> None:
    assert neutral(price).description == "Return what an item costs."
    own = FunctionTool.from_defaults(orders, description="orders(of anybody) are listed")
    assert neutral(own).description == "orders(of anybody) are listed"


@both_ways
@pytest.mark.parametrize("arguments", [{"user": "u", "key": "mine"}, {"user": "u", "ctx": 1}])
def test_what_the_host_sets_is_neither_seen_nor_passed(use_async: bool, arguments: dict[str, Any]) -> None:
    def charge(user: str, key: str, **more: Any) -> str:
        return f"{user} {key}"

    class Open(BaseModel, extra="allow"):
        user: str
        key: str

    metadata = ToolMetadata(name="charge", description="Charge.", fn_schema=Open)
    one = neutral(FunctionTool.from_defaults(charge, tool_metadata=metadata, partial_params={"key": "k1", "ctx": 0}))
    assert one.parameters == ("user",)
    assert one.required == ("user",)
    assert invoke(one, {"user": "u"}, use_async=use_async) == "u k1"
    with pytest.raises(ToolFailed, match="has no argument"):
        invoke(one, arguments, use_async=use_async)


def test_a_program_cannot_set_partial_params(sandbox: Sandbox) -> None:
    def charge(user: str, key: str) -> str:
        """Charge."""
        return f"{user} {key}"

    tools = from_llama_index([FunctionTool.from_defaults(charge, partial_params={"key": "k1"})])
    outcome = CodeRunner(tools, sandbox=sandbox).run(
        "try:\n    a = call_tool('charge', **{'user': 'u', 'key': 'x'})\n"
        "except InvalidArguments as error:\n    a = str(error)\n[a, charge(user='u')]"
    )
    assert outcome.value[1] == "u k1"
    assert "no argument 'key'" in outcome.value[0]


@both_ways
def test_a_tool_with_context_says_where_it_works(use_async: bool) -> None:
    def remember(ctx: Context, text: str) -> str:
        """Remember."""
        return text

    remember.__annotations__["ctx"] = Context
    one = neutral(FunctionTool.from_defaults(remember))
    assert one.parameters == ("text",)
    with pytest.raises(UsageError, match="CallgateAgent"):
        invoke(one, {"text": "a"}, use_async=use_async)


@both_ways
def test_errors_are_told_as_agents_tell_them(use_async: bool) -> None:
    def broken(x: int) -> int:
        raise ValueError("no order 17")

    with pytest.raises(ToolFailed, match=r"^no order 17$"):
        invoke(neutral(broken), {"x": 1}, use_async=use_async)

    def refusing(x: int) -> ToolOutput:
        return ToolOutput(tool_name="refusing", content="not today", raw_input={}, is_error=True)

    with pytest.raises(ToolFailed, match="not today"):
        invoke(neutral(refusing), {"x": 1}, use_async=use_async)


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        pytest.param(None, {"card": "4111", "to": "u"}, id="raw"),
        pytest.param(lambda raw: None, {"card": "4111", "to": "u"}, id="callback that changes nothing"),
        pytest.param(lambda raw: '{"to": "u"}', {"to": "u"}, id="text that is JSON of the same type"),
        pytest.param(lambda raw: "hidden", "hidden", id="text"),
        pytest.param(
            lambda raw: ToolOutput(tool_name="pay", content="hidden", raw_input={}, raw_output=raw),
            "hidden",
            id="an output with another text",
        ),
    ],
)
@both_ways
def test_what_a_callback_shows_is_what_a_program_sees(callback: Any, expected: Any, use_async: bool) -> None:
    def pay(to: str) -> dict[str, str]:
        """Pay."""
        return {"card": "4111", "to": to}

    one = neutral(FunctionTool.from_defaults(pay, callback=callback))
    assert invoke(one, {"to": "u"}, use_async=use_async) == expected
    assert (one.output_schema is None) == (callback is not None)


class Engine(BaseQueryEngine):
    """Answers every question alike."""

    def __init__(self, answer: Any) -> None:
        super().__init__(CallbackManager([]))
        self.answer, self.asked = answer, list[str]()

    def _query(self, query_bundle: QueryBundle) -> Any:
        self.asked.append(query_bundle.query_str)
        return self.answer

    async def _aquery(self, query_bundle: QueryBundle) -> Any:
        return self._query(query_bundle)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


NODE = TextNode(
    id_="n1", text="Ships in May.", metadata={"page": 3, "path": "/secret"}, excluded_llm_metadata_keys=["path"]
)
SEEN = {"id": "n1", "text": "Ships in May.", "metadata": {"page": 3}, "score": 0.5}


@both_ways
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(Response("In May.", source_nodes=[NodeWithScore(node=NODE)]), "In May.", id="text"),
        pytest.param(PydanticResponse(Order(id=1, total=2)), Order(id=1, total=2), id="a model"),
    ],
)
def test_a_query_engine_answers(use_async: bool, answer: Any, expected: Any) -> None:
    engine = Engine(answer)
    one = neutral(QueryEngineTool.from_defaults(engine, name="docs", description="Ask the docs."))
    assert one.parameters == ("input",)
    assert invoke(one, {"input": "When?"}, use_async=use_async) == expected
    assert engine.asked == ["When?"]


class Retriever(BaseRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=NODE, score=0.5)]


@both_ways
def test_nodes_are_what_a_model_may_see_of_them(use_async: bool) -> None:
    one = neutral(RetrieverTool.from_defaults(Retriever(), name="find", description="Find."))
    assert invoke(one, {"input": "x"}, use_async=use_async) == [SEEN]
    assert "-> list[Node]" in Stubs(Catalogue([one]).functions).text()

    def first(x: int) -> NodeWithScore:
        """Return one."""
        return NodeWithScore(node=NODE, score=0.5)

    assert invoke(neutral(first), {"x": 1}, use_async=use_async) == SEEN
    assert "-> Node" in Stubs(Catalogue([neutral(first)]).functions).text()


class Spec(BaseToolSpec):
    spec_functions: ClassVar = ["add", ("half", "ahalf")]

    def add(self, a: int, b: int) -> int:
        """Add."""
        return a + b

    def half(self, a: int) -> float:
        """Halve."""
        return a / 2

    async def ahalf(self, a: int) -> float:
        return a / 2 + 100


def test_a_spec_is_its_tools() -> None:
    add, half = from_llama_index([Spec()])
    assert [add.name, half.name] == ["add", "half"]
    assert invoke(add, {"a": 1, "b": 2}) == 3
    assert invoke(half, {"a": 1}) == 0.5
    assert invoke(half, {"a": 1}, use_async=True) == 100.5


def test_tools_of_sources_are_told_apart() -> None:
    tools = from_llama_index({"shop": [orders], "bank": [orders, price]})
    assert [one.name for one in tools] == ["shop_orders", "bank_orders", "price"]
    assert len(invoke(tools[1], {"user": "u", "limit": 1})) == 1


def test_what_ends_the_run_is_no_tool_of_programs() -> None:
    assert neutral(FunctionTool.from_defaults(orders, return_direct=True)).callers == {"direct"}


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match="effects names ordres; the tools are: orders"):
        neutral(orders, ordres="read")
    with pytest.raises(UsageError, match="as a list"):
        from_llama_index(orders)
    with pytest.raises(UsageError, match="has no name"):
        from_llama_index([QueryEngineTool(Engine(""), ToolMetadata(description="x"))])
