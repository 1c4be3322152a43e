"""LangChain's messages in neutral form."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompt_values import ChatPromptValue

from callgate.costs import Tokens
from callgate.history import Message, ModelCall
from callgate_langchain.history import history_of

CALL = {"name": "f", "args": {"a": "ü"}, "id": "1", "type": "tool_call"}


def test_each_kind_of_message_has_a_role() -> None:
    told = history_of(
        [
            SystemMessage("s"),
            HumanMessage("u"),
            AIMessage("a", tool_calls=[CALL]),
            ToolMessage("t", tool_call_id="1"),
            FunctionMessage("f", name="f"),
            ChatMessage("d", role="developer"),
            ChatMessage("o", role="critic"),
        ]
    )
    assert told == (
        Message(role="system", text="s"),
        Message(role="user", text="u"),
        Message(role="assistant", text="a", calls=(ModelCall(id="1", name="f", arguments='{"a": "ü"}'),)),
        Message(role="tool", text="t", answers="1"),
        Message(role="tool", text="f"),
        Message(role="system", text="d"),
        Message(role="user", text="o"),
    )


@pytest.mark.parametrize(
    "given",
    [
        "hi",
        ["hi"],
        [("user", "hi")],
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": "x"}]}],
        ChatPromptValue(messages=[HumanMessage("hi")]),
    ],
    ids=["text", "list of text", "tuple", "dict", "blocks", "prompt"],
)
def test_all_that_a_chat_model_takes_is_read(given: Any) -> None:
    assert history_of(given) == (Message(role="user", text="hi"),)


def test_no_messages_are_none() -> None:
    assert history_of([]) == ()


def test_calls_that_do_not_parse_were_written_too() -> None:
    bad = {"name": None, "args": '{"a', "id": None, "error": None, "type": "invalid_tool_call"}
    message = AIMessage("", tool_calls=[CALL], invalid_tool_calls=[bad])
    assert history_of([message])[0].calls[1] == ModelCall(id="", name="", arguments='{"a')


@pytest.mark.parametrize("record", [None, "code", {}, {"surface": "fast"}, {"surface": ["code"]}])
def test_a_record_that_says_no_surface_is_none(record: Any) -> None:
    assert history_of([AIMessage("", response_metadata={"callgate": record})])[0].surface is None


def test_the_surface_is_read_from_where_it_is_recorded() -> None:
    metadata = {"callgate": {"surface": "mixed", "reason": "r"}}
    assert history_of([AIMessage("", response_metadata=metadata)])[0].surface == "mixed"
    assert history_of([AIMessageChunk("", response_metadata=metadata)])[0].surface == "mixed"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({}, Tokens(new=100, output=7)),
        ({"input_token_details": {"cache_read": 60}}, Tokens(new=40, repeated=60, output=7)),
        ({"input_token_details": {"cache_read": None}}, Tokens(new=100, output=7)),
        ({"input_token_details": {"cache_read": 160}}, Tokens(repeated=100, output=7)),
    ],
    ids=["no details", "cached", "null", "more than all"],
)
def test_what_the_vendor_counted_is_kept(details: Any, expected: Tokens) -> None:
    usage: Any = {"input_tokens": 100, "output_tokens": 7, "total_tokens": 107, **details}
    assert history_of([AIMessage.model_construct(content="", usage_metadata=usage)])[0].usage == expected
