"""`callgate estimate`: what it prices, what it says, in which form, and with which exit status."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pricing import count, exact_without_network, price

from callgate import UsageError, cli
from callgate.costs import Tokens
from callgate.estimate import Estimate, estimate
from callgate.history import Message, ModelCall
from callgate.stretches import loops_of, parts_of, printing
from callgate.surface import definition
from callgate.tokens import ApproximateTokens
from callgate.tools import Catalogue, Tool

SCHEMA = {"type": "object", "properties": {"user": {"type": "string"}}, "required": ["user"]}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "description": f"The tool {name}.", "parameters": SCHEMA}}
    for name in ("find", "total", "refund")
]
CATALOGUE = Catalogue(
    [
        Tool(name=one["function"]["name"], description=one["function"]["description"], input_schema=SCHEMA)
        for one in TOOLS
    ]
)
AS_JSON = sum(count(json.dumps(one)) for one in TOOLS)
AS_CODE = count(json.dumps({"type": "function", "function": definition(CATALOGUE)}, ensure_ascii=False))


SINGLE = "r = find(user='u1')\nr = [total(user=\"x['id']\") for x in r]\nprint(r)"


def user(text: str) -> Message:
    return Message(role="user", text=text)


def says(text: str, *calls: tuple[str, str, dict[str, Any]], **more: Any) -> Message:
    made = tuple(ModelCall(id=one, name=name, arguments=json.dumps(given)) for one, name, given in calls)
    return Message(role="assistant", text=text, calls=made, **more)


def result(id: str, text: str) -> Message:
    return Message(role="tool", text=text, answers=id)


FIND = ("f", "find", {"user": "u1"})
FIRST, SECOND = (("t1", "total", {"user": "W-551"}), ("t2", "total", {"user": "W-552"}))
FOUND, ONE, TWO = result("f", '["W-551", "W-552"]'), result("t1", "7.25"), result("t2", "8.5")
ASKED = user("What do the orders of u1 come to?")
SEQUENCE = [ASKED, says("I look.", FIND), FOUND, says("", FIRST), ONE, says("", SECOND), TWO, says("15.75 in all.")]
PARALLEL = [ASKED, says("I look.", FIND), FOUND, says("", FIRST, SECOND), ONE, TWO, says("15.75 in all.")]


def programs(*written: tuple[str, str, str]) -> list[Message]:
    """Return messages that run programs: text, program and answer of each."""
    told: list[Message] = []
    for text, program, answer in written:
        told += [says(text, ("c", "execute_code", {"code": program})), result("c", answer)]
    return told


def of(messages: list[Message], tools: list[dict[str, Any]] = TOOLS) -> Estimate:
    return estimate(messages, tools, ApproximateTokens())


def cost(messages: list[Message], definitions: int) -> Tokens:
    return price(messages, [definitions] * sum(one.role == "assistant" for one in messages), read=False)


def test_a_conversation_is_priced_as_it_was_and_with_its_calls_in_parallel() -> None:
    found = of(SEQUENCE)
    assert (found.was.tokens, found.was.requests) == (cost(SEQUENCE, AS_JSON), 4)
    assert (found.parallel.tokens, found.parallel.requests) == (cost(PARALLEL, AS_JSON), 3)
    assert of(PARALLEL).was == found.parallel
    assert (found.calls, found.definitions) == (3, (AS_JSON, AS_CODE))


def test_code_mode_is_bracketed() -> None:
    found = of(SEQUENCE)
    shown = [
        ASKED,
        *programs(
            ("I look.", "print(find(user='u1'))", '["W-551", "W-552"]'),
            ("", "print(total(user='W-551'))\nprint(total(user='W-552'))", "7.25\n8.5"),
        ),
        says("15.75 in all."),
    ]
    assert (found.shown.tokens, found.shown.requests) == (cost(shown, AS_CODE), 3)
    answer = [ASKED, *programs(("I look.", SINGLE, "15.75 in all.")), says("15.75 in all.")]
    assert (found.answer.tokens, found.answer.requests) == (cost(answer, AS_CODE), 2)


def test_a_program_shows_no_more_than_there_is_and_the_last_result_where_nothing_is_said() -> None:
    chatty = [*SEQUENCE[:-1], says("word " * 100)]
    all_results = count('["W-551", "W-552"]') + count("7.25") + count("8.5")
    said, most = of([*SEQUENCE[:-1], says("8.5")]).answer.tokens, of(chatty).answer.tokens
    assert most.new - said.new == all_results - count("8.5")
    asked_again = [user("Well?"), says("15.75.")]
    unsaid = [ASKED, *programs(("I look.", SINGLE, "8.5")), *asked_again]
    assert of([*SEQUENCE[:-1], *asked_again]).answer.tokens == cost(unsaid, AS_CODE)


@pytest.mark.parametrize("messages", [SEQUENCE, PARALLEL, SEQUENCE[:-1], [ASKED, says("Hello.")]])
@pytest.mark.parametrize("tools", [TOOLS, []], ids=["tools", "none"])
def test_the_parts_of_a_saving_add_up(messages: list[Message], tools: list[dict[str, Any]]) -> None:
    found = of(messages, tools)
    for bound in (found.shown, found.answer):
        saving = bound.saving
        assert saving.total == found.was.tokens - bound.tokens
        parts = (saving.definitions, saving.turns, saving.payload)
        assert sum(one.total for one in parts) == found.was.tokens.total - bound.tokens.total
        assert sum(round(one.weighted * 10) for one in parts) == round(saving.total.weighted * 10)
    if not tools:
        assert found.definitions is None
        assert found.shown.saving.definitions == Tokens()


def test_calls_of_two_turns_are_not_put_together() -> None:
    again = [
        *SEQUENCE,
        user("Refund them."),
        says("", ("r", "refund", {"user": "W-551"})),
        result("r", "done"),
        says("Ok."),
    ]
    found = of(again)
    assert (found.was.requests, found.parallel.requests, found.shown.requests, found.answer.requests) == (6, 5, 5, 4)


def test_results_without_a_call_and_calls_without_a_result_are_read_as_they_stand() -> None:
    told = [result("gone", "12"), says("", FIND, FIRST), result("f", "[]"), result("f", "[1]"), says("None.")]
    found = of(told)
    assert found.was.tokens == cost(told, AS_JSON)
    assert found.parallel.tokens == found.was.tokens


def test_programs_are_python() -> None:
    calls = [
        ModelCall(id="", name="get-all", arguments='{"a": null}'),
        ModelCall(id="", name="get", arguments='{"not a name": true}'),
        ModelCall(id="", name="get", arguments="no json"),
        ModelCall(id="", name="get", arguments='{"a": "it\'s"}'),
    ]
    text = printing(calls)
    assert text.splitlines() == [
        "print(call_tool('get-all', **{'a': None}))",
        "print(call_tool('get', **{'not a name': True}))",
        "print(call_tool('get', **'no json'))",
        'print(get(a="it\'s"))',
    ]
    compile(text, "program", "exec")
    (stretch,) = (one for one in parts_of(SEQUENCE) if not isinstance(one, Message))
    compile("\n".join(loops_of(stretch)), "program", "exec")
    literal = [says("", *((str(at), "get", {"a": at, "b": "same"}) for at in range(3)))]
    (stretch,) = (one for one in parts_of(literal) if not isinstance(one, Message))
    assert list(loops_of(stretch)) == ["r = [get(a=0, b='same') for x in [1, 2]]"]


ids = st.sampled_from(["a", "b", ""])
arguments = st.sampled_from(
    ["{}", '{"a": 1}', '{"a": "W-551"}', "[1, [2]]", '"text"', "no json", "", "[" * 900 + "]" * 900, '{"a": "\\ud800"}']
)
calls = st.builds(ModelCall, id=ids, name=st.sampled_from(["find", "get-all"]), arguments=arguments)
texts = st.sampled_from(["", "W-551", "some words", "[1, 2]"])
conversations = st.lists(
    st.builds(Message, role=st.sampled_from(["user", "system"]), text=texts)
    | st.builds(Message, role=st.just("assistant"), text=texts, calls=st.lists(calls, max_size=3).map(tuple))
    | st.builds(Message, role=st.just("tool"), text=texts, answers=ids),
    max_size=12,
)


@given(conversations)
def test_whatever_a_conversation_is_it_is_priced_and_the_parts_add_up(messages: list[Message]) -> None:
    found = of(messages)
    assert found.was.tokens == cost(messages, AS_JSON)
    assert found.answer.requests <= found.shown.requests == found.parallel.requests <= found.was.requests + found.calls
    for bound in (found.shown, found.answer):
        assert bound.saving.total == found.was.tokens - bound.tokens


def test_a_conversation_in_code_mode_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"messages\[1\] calls execute_code: this conversation was in code mode; the l"
    ):
        of([ASKED, *programs(("", "1", "1"))])


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "find", "description": "The tool find.", "input_schema": SCHEMA},
        {"name": "find", "description": "The tool find.", "inputSchema": SCHEMA},
        {"type": "function", "name": "find", "description": "The tool find.", "parameters": SCHEMA},
        {"type": "custom", "name": "find", "description": "The tool find.", "input_schema": SCHEMA},
    ],
)
def test_definitions_are_read_in_the_forms_of_vendors(tool: dict[str, Any]) -> None:
    found, known = of(SEQUENCE, [tool]).definitions, of(SEQUENCE, TOOLS[:1]).definitions
    assert found is not None
    assert known is not None
    assert found == (count(json.dumps(tool)), known[1])


def test_tools_of_the_vendor_stay_as_they_are() -> None:
    own = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    found = of(SEQUENCE, [*TOOLS, own])
    assert found.definitions == (AS_JSON + count(json.dumps(own)), AS_CODE + count(json.dumps(own)))
    assert any(one.startswith("saving on 1 of the vendor's own tools") for one in found.not_counted)


@pytest.mark.parametrize(
    ("tool", "told"),
    [
        ({"description": "x"}, r'tools\[0\] has no "name"'),
        ({"type": "function", "function": {"name": 7}}, r'tools\[0\] has no "name"'),
        ({"name": "find", "parameters": "x"}, r"tools\[0\], find: its parameters are no JSON Schema"),
        ({"name": "load_value", "parameters": {}}, "load_value"),
    ],
)
def test_what_is_no_definition_is_refused(tool: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        of(SEQUENCE, [tool])


def test_a_catalogue_too_large_to_list_is_said_to_need_searches() -> None:
    many = [{"name": f"tool_{at}", "description": "x" * 200, "parameters": SCHEMA} for at in range(400)]
    found = of(SEQUENCE, many)
    assert found.definitions is not None
    assert found.definitions[1] < 1_000
    assert any(one.startswith("search: ") for one in found.not_counted)


def test_what_the_vendor_counted_stands_beside_the_count_of_the_same_requests() -> None:
    usage = Tokens(new=900, repeated=80, output=20)
    found = of([*SEQUENCE[:3], replace(SEQUENCE[3], usage=usage), *SEQUENCE[4:]])
    assert (found.billed, found.billed_requests) == (usage, 1)
    assert found.billed_counted == cost(SEQUENCE[:4], AS_JSON) - cost(SEQUENCE[:2], AS_JSON)
    assert of(SEQUENCE).billed is None


def test_the_work_grows_with_the_conversation_and_not_with_its_square() -> None:
    def work(calls: int) -> int:
        ran = itertools.count()

        def trace(*_: Any) -> Any:
            next(ran)
            return trace

        told = [ASKED]
        for at in range(calls):  # a chain: each call takes what the one before returned
            told += [says("", (f"c{at}", "total", {"user": f"id-{at:05}"})), result(f"c{at}", f"id-{at + 1:05}")]
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            of([*told, says("Done.")])
        finally:
            sys.settrace(before)
        return next(ran)

    assert work(400) < 9 * work(50)


# ---- the command


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Run `callgate estimate` on some data."""

    def run(data: Any, *options: str) -> tuple[int, str, str]:
        path = tmp_path / "messages.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
        try:
            status = cli.main(["estimate", str(path), *options])
        except SystemExit as error:
            status = int(str(error.code))
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def stored(messages: list[Message]) -> list[dict[str, Any]]:
    """Return messages in OpenAI's form."""
    return [
        {
            "role": one.role,
            "content": one.text,
            "tool_call_id": one.answers,
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in one.calls
            ],
        }
        for one in messages
    ]


LONG = [{**one, "function": {**one["function"], "description": "What it does. " * 60}} for one in TOOLS]
SHORT_TOOL = [{"name": "find", "parameters": SCHEMA}]


@pytest.mark.parametrize(
    ("messages", "tools", "verdict"),
    [
        (SEQUENCE, LONG, "Code mode would have paid: "),
        ([ASKED, says("", FIND), FOUND, says("Two.")], SHORT_TOOL, "Code mode would not have paid: "),
        ([ASKED, says("", FIND), result("f", "x " * 4_000), says("Two.")], SHORT_TOOL, "Code mode may have paid: "),
        (
            [ASKED, says("Hello.")],
            TOOLS,
            "The conversation makes no tool calls, so programs would have nothing to save.",
        ),
    ],
    ids=["paid", "not", "maybe", "no calls"],
)
def test_it_says_in_one_sentence_whether_code_mode_would_have_paid(
    command: Any, messages: list[Message], tools: list[dict[str, Any]], verdict: str
) -> None:
    status, text, _ = command({"messages": stored(messages), "tools": tools})
    assert status == 0
    sentence = text.splitlines()[0]
    assert sentence.startswith(verdict)
    assert sentence.count(".") == 1
    if "Code mode" in verdict:
        found = of(messages, tools)
        for bound in (found.shown, found.answer):
            share = bound.tokens.weighted / found.was.tokens.weighted - 1
            assert f"{abs(share) * 100:.0f} % {'more' if share > 0 else 'less'} with" in sentence


def test_the_table_is_small_and_its_parts_add_up(command: Any) -> None:
    status, text, _ = command({"messages": stored(SEQUENCE), "tools": TOOLS})
    assert status == 0
    assert max(map(len, text.splitlines()[1:])) <= 110
    assert len(text.splitlines()) < 20
    rows = {line[:30].strip(): line[30:].split() for line in text.splitlines()}
    for name in ("all results shown, cost", "only the answer shown, cost"):
        whole, *parts = (round(10 * float(one.replace(",", ""))) for one in rows[name])
        assert whole == sum(parts)
    for name in ("all results shown, tokens", "only the answer shown, tokens"):
        whole, *parts = (int(one.replace(",", "")) for one in rows[name])
        assert whole == sum(parts)
    assert f"Definitions: {AS_JSON:,} tokens as JSON, {AS_CODE:,} as code." in text


def test_without_definitions_it_says_what_is_not_counted(command: Any) -> None:
    _, text, _ = command(stored(SEQUENCE))
    assert 'Not counted: definitions: the file has no "tools", so neither what these take as JSON nor' in text
    assert "Definitions:" not in text


def test_json_says_the_same(command: Any) -> None:
    status, text, _ = command({"messages": stored(SEQUENCE), "tools": TOOLS}, "--json")
    said, found = json.loads(text), of(SEQUENCE)
    assert status == 0
    assert list(said) == [
        "verdict",
        "counter",
        "calls",
        "definitions",
        "json",
        "parallel",
        "code",
        "billed",
        "not_counted",
    ]
    assert said["verdict"] == command({"messages": stored(SEQUENCE), "tools": TOOLS})[1].splitlines()[0]
    assert said["definitions"] == {"json": AS_JSON, "code": AS_CODE}
    for name, one in (("json", found.was), ("parallel", found.parallel)):
        assert said[name]["requests"] == one.requests
        assert said[name]["tokens"].items() >= asdict(one.tokens).items()
    for name, bound in (("all_shown", found.shown), ("answer_shown", found.answer)):
        assert said["code"][name]["tokens"].items() >= asdict(bound.tokens).items()
        saving = said["code"][name]["saving"]
        for part in ("definitions", "turns", "payload", "total"):
            assert saving[part].items() >= asdict(getattr(bound.saving, part)).items()
    assert said["billed"] is None


def test_exact_counts_are_of_tiktoken(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exact_without_network(monkeypatch)
    data = {"messages": stored(SEQUENCE), "tools": TOOLS}
    said = json.loads(command(data, "--exact", "--json")[1])
    assert said["counter"] == "o200k_base"
    assert said["definitions"]["json"] != AS_JSON
    assert "Costs in tokens (o200k_base)" in command(data, "--exact")[1]


def test_exact_counts_without_tiktoken_are_wrong_usage(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    status, out, error = command(stored(SEQUENCE), "--exact")
    assert (status, out) == (2, "")
    assert "pip install 'callgate[tokens]'" in error


def test_the_help_names_every_key(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(command({"messages": stored(SEQUENCE), "tools": TOOLS}, "--json")[1])
    with pytest.raises(SystemExit):
        cli.main(["estimate", "--help"])
    told = capsys.readouterr().out
    assert all(f"\n  {key} " in told for key in said)
    assert all(key in told for key in (*said["code"], *said["json"]["tokens"], *said["code"]["all_shown"]["saving"]))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("{", "not JSON"),
        ("[NaN]", "not JSON"),
        ('{"rows": []}', 'an object needs "messages"'),
        ([*stored(SEQUENCE)[:2], {"role": "robot\x1b[31m"}], r"messages[2] is of role"),
        (stored([ASKED, *programs(("", "1", "1"))]), "messages[1] calls execute_code"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(command: Any, data: Any, told: str) -> None:
    status, out, error = command(data)
    assert (status, out) == (2, "")
    assert "messages.json: " in error
    assert told in error
    assert "\x1b" not in error


def test_a_byte_order_mark_is_no_part_of_the_conversation(command: Any) -> None:
    text = json.dumps(stored(SEQUENCE))
    assert command(f"\ufeff{text}") == command(text)


def test_a_missing_file_is_wrong_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["estimate", str(tmp_path / "none.json")])
    assert raised.value.code == 2
    assert "No such file" in capsys.readouterr().err
