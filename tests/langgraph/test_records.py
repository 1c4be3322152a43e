"""What tools say of themselves for a journal, and sealed journals, through CodeActNode."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from langgraph_cases import answers, asks, call, code, codeact, graph_of

from callgate import JournalError, MemoryJournal, UsageError
from callgate_langchain import from_langchain

both_ways = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
CONFIG = {"configurable": {"thread_id": "t"}}
KEY = b"0123456789abcdef"
APPROVED = Command(resume={"decisions": [{"type": "approve"}]})


class Shop:
    """Tools with all that can be said about them."""

    def __init__(self, says: Any = None) -> None:
        self.done: list[str] = []
        self.salary = 4_711_147_114
        self.asked: list[str] = []

        def reconcile(call: Any) -> Any:
            self.asked.append(call.id)
            return says

        @tool
        def salary_of(name: str) -> int:
            """Tell a salary."""
            self.done.append(f"salary {name}")
            return self.salary

        @tool
        def book(n: int) -> str:
            """Book."""
            self.done.append(f"book {n}")
            return f"booked {n}"

        @tool
        def pay(n: int) -> str:
            """Pay."""
            self.done.append(f"pay {n}")
            return f"paid {n}"

        salary_of.metadata = {"callgate": {"effect": "read", "record": "digest"}}
        book.metadata = {"callgate": {"reconcile": reconcile}}
        self.tools = [salary_of, book, pay]

    def graph(self, **arguments: Any) -> Any:
        node = codeact(self.tools, interrupt_on={"pay": True}, **arguments)
        return graph_of(node, checkpointer=arguments.pop("saver", None) or InMemorySaver())


def text_of(end: Any) -> str:
    return str(answers(end)[-1].content)


@both_ways
@pytest.mark.parametrize("changed", [False, True])
def test_a_read_whose_result_no_journal_holds_is_called_again(changed: bool, use_async: bool) -> None:
    shop, journal = Shop(), MemoryJournal()
    graph = shop.graph(journal=journal)
    program = "high = salary_of(name='ann') > 4000\npay(n=1)\nhigh"
    call(graph, {"messages": [asks(code(program))]}, CONFIG, use_async=use_async)
    shop.salary = 5_000_000_017 if changed else 4_711_147_114
    end = call(graph, APPROVED, CONFIG, use_async=use_async)
    assert shop.done == ["salary ann", "salary ann", "pay 1"]
    assert text_of(end) == "true"
    (answer,) = answers(end)
    assert "4711147114" not in json.dumps(answer.artifact) + json.dumps(list(journal._lines.values()))
    assert "5000000017" not in json.dumps(answer.artifact)


@both_ways
@pytest.mark.parametrize(
    ("says", "done"),
    [
        ({"type": "done", "value": "it was booked"}, ["book 1"]),
        ({"type": "run again"}, ["book 1", "book 1"]),
        ({"type": "failed", "message": "no room"}, ["book 1"]),
    ],
)
def test_a_hook_says_what_became_of_a_write_and_nobody_is_asked(says: Any, done: list[str], use_async: bool) -> None:
    shop = Shop(says)
    graph = shop.graph(journal=Lost())
    program = "try:\n    got = book(n=1)\nexcept ToolFailed as error:\n    got = str(error)\ngot"
    with pytest.raises(ConnectionError, match="gone"):
        call(graph, {"messages": [asks(code(program))]}, CONFIG, use_async=use_async)
    end = call(graph, None, CONFIG, use_async=use_async)
    assert shop.done == done
    assert len(shop.asked) == 1
    assert says.get("value", says.get("message", "booked 1")) in text_of(end)


class Lost(MemoryJournal):
    """Loses its process once, before a write is known to be over."""

    lost = False

    def append(self, key: str, position: int, lines: Any) -> None:
        if not self.lost and any('"e":"done"' in line for line in lines):
            self.lost = True
            raise ConnectionError("the process is gone")
        super().append(key, position, lines)

    async def aappend(self, key: str, position: int, lines: Any) -> None:
        self.append(key, position, lines)


@both_ways
def test_a_sealed_journal_goes_on_only_with_its_key(use_async: bool) -> None:
    shop, journal, saver = Shop(), MemoryJournal(), InMemorySaver()

    def graph(key: bytes | None) -> Any:
        node = codeact(shop.tools, interrupt_on={"pay": True}, journal=journal, journal_key=key)
        return graph_of(node, checkpointer=saver)

    program = "book(n=1)\npay(n=2)"
    call(graph(KEY), {"messages": [asks(code(program))]}, CONFIG, use_async=use_async)
    for wrong in (None, KEY[::-1]):
        with pytest.raises(JournalError):
            call(graph(wrong), APPROVED, CONFIG, use_async=use_async)
    assert shop.done == ["book 1"]
    assert "paid 2" in text_of(call(graph(KEY), APPROVED, CONFIG, use_async=use_async))
    assert shop.done == ["book 1", "pay 2"]


def test_a_sealed_journal_in_a_checkpointer_is_refused_once_it_was_changed(tmp_path: Any) -> None:
    shop = Shop()
    connection = sqlite3.connect(tmp_path / "c.db", check_same_thread=False)
    graph = graph_of(
        codeact(shop.tools, interrupt_on={"pay": True}, journal_key=KEY), checkpointer=SqliteSaver(connection)
    )
    graph.invoke({"messages": [asks(code("book(n=1)\npay(n=2)"))]}, CONFIG)
    changed = connection.execute(
        "UPDATE writes SET value = CAST(replace(CAST(value AS TEXT), 'booked 1', 'booked 7') AS BLOB)"
        " WHERE CAST(value AS TEXT) LIKE '%booked 1%'"
    ).rowcount
    connection.commit()
    assert changed
    with pytest.raises(JournalError):
        graph.invoke(APPROVED, CONFIG)
    assert shop.done == ["book 1"]
    connection.close()


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"effects": "read"}, "holds 'effect', 'output_schema', 'reconcile' or 'record', not 'effects'"),
        ({"record": "digest"}, "digest"),
        ({"effect": "read", "record": "half"}, "record is one of"),
        ({"effect": "read", "reconcile": print}, "only a write"),
    ],
)
def test_what_a_tool_cannot_say_is_refused(said: dict[str, Any], complaint: str) -> None:
    @tool
    def one() -> str:
        """Do."""
        return ""

    one.metadata = {"callgate": said}
    with pytest.raises(UsageError, match=complaint):
        from_langchain([one])
