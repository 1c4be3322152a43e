"""Stored conversations, in every form they are stored in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callgate import UsageError
from callgate.costs import Tokens
from callgate.history import Message, ModelCall, read_messages

FIND = ModelCall(id="f", name="find", arguments='{"user": "größe"}')
TOTAL = ModelCall(id="t", name="total", arguments='{"order": 1}')
CONVERSATION = [
    Message(role="system", text="Be brief."),
    Message(role="user", text="What?"),
    Message(role="assistant", text="Look.", calls=(FIND, TOTAL)),
    Message(role="tool", text="[1]", answers="f"),
    Message(role="tool", text="12.5", answers="t"),
    Message(role="assistant", text="12.5"),
]
OPENAI: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Wh"}, {"type": "image_url"}, {"type": "text", "text": "at?"}],
    },
    {
        "role": "assistant",
        "content": "Look.",
        "tool_calls": [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for one in (FIND, TOTAL)
        ],
    },
    {"role": "tool", "tool_call_id": "f", "content": "[1]"},
    {"role": "tool", "tool_call_id": "t", "content": "12.5"},
    {"role": "assistant", "content": "12.5", "tool_calls": None},
]


def test_openai_form() -> None:
    assert read_messages(OPENAI) == (CONVERSATION, [])
    tools = [{"type": "function", "function": {"name": "find"}}]
    assert read_messages({"model": "m", "messages": OPENAI, "tools": tools}) == (CONVERSATION, tools)
    assert read_messages({"messages": OPENAI, "tools": None}) == (CONVERSATION, [])


def test_openai_form_of_functions() -> None:
    told = [
        {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}},
        {"role": "function", "name": "find", "content": "[]"},
    ]
    messages, tools = read_messages({"messages": told, "functions": [{"name": "find"}]})
    assert messages == [
        Message(role="assistant", calls=(ModelCall(id="find", name="find", arguments="{}"),)),
        Message(role="tool", text="[]", answers="find"),
    ]
    assert tools == [{"name": "find"}]


def langchain() -> list[Any]:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    calls: Any = [
        {"name": one.name, "args": {"user": "größe"} if one is FIND else {"order": 1}, "id": one.id}
        for one in (FIND, TOTAL)
    ]
    used: Any = {"tool_use": "as a vendor writes it", "type": "tool_use", "id": "f", "name": "find", "input": {}}
    return [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:"}}]),
        AIMessage(
            [{"type": "text", "text": "Look."}, used],
            tool_calls=calls,
            usage_metadata={
                "input_tokens": 10,
                "output_tokens": 2,
                "total_tokens": 12,
                "input_token_details": {"cache_read": 4},
            },
            response_metadata={"callgate": {"surface": "json", "reason": "json: set"}},
            additional_kwargs={"tool_calls": OPENAI[2]["tool_calls"]},
        ),
        ToolMessage("[1]", tool_call_id="f"),
        ToolMessage("12.5", tool_call_id="t"),
        AIMessage("12.5"),
    ]


@pytest.mark.parametrize("form", ["messages_to_dict", "model_dump", "dumpd"])
def test_langchain_forms_are_read_as_the_messages_themselves(form: str) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.load import dumpd
    from langchain_core.messages import messages_to_dict

    from callgate_langchain.history import history_of

    messages = langchain()
    stored: Any = {
        "messages_to_dict": lambda: messages_to_dict(messages),
        "model_dump": lambda: [one.model_dump() for one in messages],
        "dumpd": lambda: dumpd(messages),
    }[form]()
    read, _ = read_messages(stored)
    assert read == list(history_of(messages))
    assert [one.text for one in read] == [one.text for one in CONVERSATION]
    assert [one.calls for one in read] == [one.calls for one in CONVERSATION]
    assert (read[2].surface, read[2].usage) == ("json", Tokens(new=6, repeated=4, output=2))
    assert read_messages({"messages": stored})[0] == read


def test_chunks_invalid_calls_and_calls_in_additional_kwargs() -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.messages import AIMessageChunk

    from callgate_langchain.history import history_of

    invalid: Any = [{"name": "find", "args": "{", "id": "x", "error": None}]
    chunk = AIMessageChunk("", invalid_tool_calls=invalid)
    assert read_messages([chunk.model_dump()])[0] == list(history_of([chunk]))
    old = {"type": "ai", "content": "Look.", "additional_kwargs": {"tool_calls": OPENAI[2]["tool_calls"]}}
    assert read_messages([old])[0] == [CONVERSATION[2]]


def changed(**fields: Any) -> list[Any]:
    """Return the conversation with fields of the message that makes calls put in."""
    messages = copy.deepcopy(OPENAI)
    messages[2] |= fields
    return messages


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (7, "messages are a list in OpenAI's chat form, LangChain's messages_to_dict, model_dump or dumpd, not '7'"),
        ({"items": []}, 'an object needs "messages", .*; this one has: items'),
        ({"messages": {}}, "messages are a list .*, not an object"),
        ({"messages": [], "tools": {}}, '"tools" is a list of definitions, not an object'),
        ({"messages": [], "tools": ["find"]}, r"tools\[0\] is 'find', not an object"),
        (["hello"], r"messages\[0\] is 'hello', not a message"),
        ([*OPENAI, {"content": "x"}], r'messages\[6\] has neither "role" nor "type"'),
        ([{"role": "robot", "content": "x"}], r"messages\[0\] is of role 'robot', which is none of system,"),
        ([{"role": "user", "content": 7}], r"messages\[0\]\.content is '7', not text or a list of parts"),
        ([{"role": "user", "content": [7]}], r"messages\[0\]\.content\[0\] is '7', not a part"),
        ([{"role": "tool", "content": "x"}], r"messages\[0\]\.tool_call_id is missing: which call does it answer\?"),
        ([{"role": "user", "content": [{"type": "tool_result"}]}], r"content\[0\] is a tool_result: convert"),
        ([{"role": "assistant", "content": [{"type": "tool_use"}]}], r"content\[0\] is a tool_use: convert"),
        (changed(tool_calls="find"), r"messages\[2\]\.tool_calls is 'find', not a list"),
        (changed(tool_calls=["find"]), r"messages\[2\]\.tool_calls\[0\] is 'find', not a call"),
        (changed(tool_calls=[{"id": "x"}]), r"messages\[2\]\.tool_calls\[0\] names no tool"),
        (changed(usage_metadata=7), r"messages\[2\]\.usage_metadata is '7', not an object"),
        (changed(usage_metadata={"input_tokens": 1}), r'messages\[2\]\.usage_metadata: "input_tokens" and'),
        ([{"lc": 1, "type": "not_implemented", "id": ["x"]}], r"messages\[0\] was not serialised"),
    ],
)
def test_what_is_no_conversation_is_refused_and_said_where(data: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_messages(data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["x", "ai", "tool", "text"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "content", "name"]), inner),
    max_leaves=4,
)
FORMS: list[Any] = [
    *OPENAI,
    {"role": "assistant", "function_call": {"name": "f"}},
    {
        "type": "ai",
        "data": {
            "content": [{"type": "text", "text": "x"}],
            "tool_calls": [{"name": "f", "args": {}, "id": "1"}],
            "invalid_tool_calls": [],
            "additional_kwargs": {"tool_calls": []},
            "usage_metadata": {"input_tokens": 1, "output_tokens": 1, "input_token_details": {"cache_read": 1}},
            "response_metadata": {"callgate": {"surface": "json"}},
        },
    },
    {"lc": 1, "id": ["langchain", "AIMessage"], "kwargs": {"content": "x", "tool_calls": [{"name": "f"}]}},
    {"type": "chat", "role": "user", "content": "x"},
]


@given(st.data())
def test_whatever_stands_in_a_file_is_read_or_refused(data: st.DataObject) -> None:
    messages = copy.deepcopy(FORMS)
    place: Any = messages
    while True:
        at = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[at], dict | list) or not place[at] or data.draw(st.booleans()):
            place[at] = data.draw(anything)
            break
        place = place[at]
    try:
        read, _ = read_messages(messages)
    except UsageError:
        return
    assert len(read) == len(FORMS)
    assert all(isinstance(one.text, str) and hash(one) is not None for one in read)
