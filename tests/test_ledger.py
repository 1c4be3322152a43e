"""The ledger, against conversations written out message by message and priced request by request."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
from pricing import count, price

from callgate import Ledger
from callgate.costs import Tokens
from callgate.counterfactual import Account
from callgate.history import Message, ModelCall
from callgate.outcome import CallRecord

DEFINITIONS: dict[Any, int] = {"json": 900, "code": 300, "mixed": 1_000}
COMPONENTS = ("new", "repeated", "output")


def record(
    tool: str, result: Any = None, status: str = "done", error: str | None = None, **arguments: Any
) -> CallRecord:
    text = None if result is None else json.dumps(result, separators=(",", ":"), sort_keys=True)
    given = json.dumps(arguments, separators=(",", ":"), sort_keys=True)
    return CallRecord(id="c/1", tool=tool, arguments_text=given, status=status, result=text, error=error)


def user(text: str) -> Message:
    return Message(role="user", text=text)


def says(text: str, *calls: ModelCall, **more: Any) -> Message:
    return Message(role="assistant", text=text, calls=calls, **more)


def runs(id: str, program: str = "x = 1") -> ModelCall:
    return ModelCall(id=id, name="execute_code", arguments=json.dumps({"code": program}))


def answers(id: str, text: str) -> Message:
    return Message(role="tool", text=text, answers=id)


def plain(one: CallRecord) -> tuple[ModelCall, Message]:
    """Return an inner call as a JSON loop would have it."""
    shown = one.error or "" if one.result is None else json.loads(one.result)
    text = shown if isinstance(shown, str) else json.dumps(shown)
    return ModelCall(id="", name=one.tool, arguments=json.dumps(one.arguments)), answers("", text)


def at_once(text: str, *records: CallRecord) -> list[Message]:
    """Return one message that makes all calls, and their results."""
    shown = [plain(one) for one in records]
    return [says(text, *(call for call, _ in shown)), *(result for _, result in shown)]


FIND = record("find_orders", [{"id": "W-551"}, {"id": "W-552"}], user="u1")
FIRST, SECOND = (record("get_order", {"id": one, "total": 7}, order_id=one) for one in ("W-551", "W-552"))
ORDERS = [user("Sum the orders of u1"), says("Let me look.", runs("a", "sum(...)"))]


def add(ledger: Ledger, messages: list[Message], id: str = "a", answer: str = "14", **more: Any) -> Account | None:
    given = {"calls": [FIND, FIRST, SECOND], "definitions": DEFINITIONS, "thread": "t", **more}
    return ledger.add(id, messages, answer=answer, **given)


def test_an_action_is_priced_beside_the_same_calls_as_json() -> None:
    account = add(Ledger(), ORDERS)
    assert account is not None
    begins = [ORDERS[0]]
    sequence = [*begins, *at_once("Let me look.", FIND), *at_once("", FIRST), *at_once("", SECOND)]
    parallel = [*begins, *at_once("Let me look.", FIND), *at_once("", FIRST, SECOND)]
    assert account.code == price([*ORDERS, answers("a", "14")], [300] * 2)
    assert account.sequential == price(sequence, [900] * 4)
    assert account.sequential_defined == price(sequence, [300] * 4)
    assert account.parallel == price(parallel, [900] * 3)
    assert account.parallel_defined == price(parallel, [300] * 3)
    assert account.at_once == price([*begins, *at_once("Let me look.", FIND, FIRST, SECOND)], [300] * 2)
    assert (account.actions, account.calls) == (1, 3)
    assert (account.requests, account.requests_sequential, account.requests_parallel) == (1, 3, 2)


@pytest.mark.parametrize("baseline", ["sequential", "parallel"])
def test_the_parts_of_a_saving_add_up(baseline: Any) -> None:
    account = add(Ledger(), ORDERS)
    assert account is not None
    saving = account.saving(baseline)
    assert saving.total == account.plain(baseline) - account.code
    parts = [saving.definitions, saving.turns, saving.payload]
    for one in COMPONENTS:
        assert sum(getattr(part, one) for part in parts) == getattr(saving.total, one)
    assert sum(part.total for part in parts) == account.plain(baseline).total - account.code.total
    assert sum(round(10 * part.weighted) for part in parts) == round(10 * saving.total.weighted)
    assert account.share(baseline) == pytest.approx(saving.total.weighted / account.plain(baseline).weighted)


def test_a_program_that_calls_nothing_is_a_loss() -> None:
    account = add(Ledger(), ORDERS, calls=[], answer="The program was not run, see line 1: bad")
    assert account is not None
    assert account.requests_sequential == account.requests_parallel == 0
    assert account.sequential == account.parallel == price([ORDERS[0]], [900])
    saving = account.saving()
    assert saving.turns.output < 0
    assert saving.payload.output < 0


@pytest.mark.parametrize(
    ("one", "replayed"),
    [
        (record("get", 1, x=1), True),
        (record("get", status="failed", error="no such row", x=1), True),
        (record("get", status="started", x=1), True),
        (record("get", status="refused", error="not allowed", x=1), False),
        (record("get", status="withdrawn", x=1), False),
        (record("get", status="held", x=1), False),
        (record("load_value", "much", handle="h"), False),
        (record("search_tools", [], query="q"), False),
    ],
    ids=lambda one: f"{one.tool} {one.status}" if isinstance(one, CallRecord) else "",
)
def test_calls_are_replayed_whose_tools_ran(one: CallRecord, replayed: bool) -> None:
    account = add(Ledger(), ORDERS, calls=[one])
    assert account is not None
    assert account.calls == int(replayed)
    if replayed:
        assert account.sequential == price([ORDERS[0], *at_once("Let me look.", one)], [900] * 2)


def test_results_that_nothing_holds_are_said_to_count_as_empty() -> None:
    ledger = Ledger()
    account = add(ledger, ORDERS, calls=[record("secret", None)])
    assert account is not None
    assert account.unknown == 1
    assert "Results that nothing holds count as empty: those of 1 call." in str(ledger)


def test_text_beyond_ascii_is_counted_as_it_would_be_shown() -> None:
    one = record("say", "größer", text="größer")
    account = add(Ledger(), ORDERS, calls=[one])
    assert account is not None
    call = ModelCall(id="", name="say", arguments='{"text": "größer"}')
    shown = [ORDERS[0], says("Let me look.", call), answers("", "größer")]
    assert account.sequential == price(shown, [900] * 2)


@pytest.mark.parametrize("text", ["x", "größer", "a \\u 00e4"])
def test_large_results_are_counted_as_they_are(text: str) -> None:
    value = [{"name": text, "n": n} for n in range(5_000)]
    account = add(Ledger(), ORDERS, calls=[record("rows", value)])
    assert account is not None
    shown = json.dumps(value, ensure_ascii=False)
    fewer = 0.85 * count(shown) if text == "x" else count(shown)  # without blanks
    assert fewer <= account.sequential.new - account.code.new <= count(shown) + 1_000


# ---- conversations


def random_conversation(seed: int) -> tuple[list[tuple[list[Message], Any]], dict[str, list[Message]]]:
    """Return what a ledger is fed, and the conversation in each way up to the answers of its last programs."""
    rng = random.Random(seed)
    ways: dict[str, list[Message]] = {name: [user("begin")] for name in ("code", "sequential", "parallel", "at_once")}
    feeds: list[tuple[list[Message], Any]] = []
    ended = {name: list(messages) for name, messages in ways.items()}
    surface: Any = "code"

    def text() -> str:
        return "x" * rng.randrange(60)

    def everywhere(*messages: Message) -> None:
        for one in ways.values():
            one.extend(messages)

    def asks(name: str, said: str, calls: list[ModelCall], made: list[CallRecord]) -> None:
        shown = [plain(one) for one in made]
        ways[name].append(says(said, *calls, *(call for call, _ in shown), surface=surface))
        ways[name].extend(result for _, result in shown)

    for turn in range(rng.randrange(1, 7)):
        everywhere(user(text()))
        if rng.random() < 0.3:
            surface = rng.choice(["json", "code", "mixed"])
        said = text()
        calls = [ModelCall(id=f"p{turn}-{at}", name="plain", arguments=text()) for at in range(rng.randrange(2))]
        told = [
            (runs(f"a{turn}-{at}", text()), text(), [record("t", text(), n=1) for _ in range(rng.randrange(4))])
            for at in range(rng.randrange(3))
        ]
        if not told:
            everywhere(says(said, *calls, surface=surface), *(answers(one.id, "y" * 9) for one in calls))
            continue
        ways["code"].append(says(said, *calls, *(one for one, _, _ in told), surface=surface))
        rng.shuffle(told)
        feeds += [(list(ways["code"]), one) for one in told]
        ways["code"] += [answers(one.id, answer) for one, answer, _ in told]
        made = [one for _, _, each in told for one in each]
        asks("at_once", said, calls, made)
        for at, one in enumerate(made):
            asks("sequential", "" if at else said, [] if at else calls, [one])
        if made:
            asks("parallel", said, calls, made)
        elif calls:
            asks("sequential", said, calls, [])
            asks("parallel", said, calls, [])
        ended = {name: list(messages) for name, messages in ways.items()}
        everywhere(*(answers(one.id, "y" * 9) for one in calls))
    return feeds, ended


@pytest.mark.parametrize("way", ["code", "sequential", "parallel", "sequential_defined", "parallel_defined", "at_once"])
def test_the_accounts_of_a_conversation_add_up_to_its_price(way: str) -> None:
    """No value is long enough to make one call need another, so parallel is one request per message."""
    counted = 0
    for seed in range(150):
        feeds, ended = random_conversation(seed)
        if not feeds:
            continue
        ledger = Ledger()
        for messages, (program, answer, calls) in feeds:
            ledger.add(program.id, messages, answer=answer, calls=calls, definitions=DEFINITIONS, thread="t")
        messages = ended[way.removesuffix("_defined")]
        # A way that makes no request for the last message reads its results as the last one did.
        shown = [DEFINITIONS[one.surface] for one in messages if one.role == "assistant"]
        last = DEFINITIONS[feeds[-1][0][-1].surface]
        asked = [900] * (len(shown) + 1) if way in ("sequential", "parallel") else [*shown, last]
        total = ledger.total
        assert getattr(total, way) == price(messages, asked), seed
        if (requests := {"code": "", "sequential": "_sequential", "parallel": "_parallel"}.get(way)) is not None:
            assert getattr(total, f"requests{requests}") == len(shown)
        assert total.actions == len(feeds)
        counted += len(feeds)
    assert counted > 300


def test_accounts_add_up_by_route_and_thread() -> None:
    ledger = Ledger()
    sums: dict[tuple[str, str], Account] = {}
    for seed in range(40):
        route, thread = f"r{seed % 3}", f"t{seed % 7}"
        for messages, (program, answer, calls) in random_conversation(seed)[0]:
            account = ledger.add(
                program.id,
                messages,
                answer=answer,
                calls=calls,
                definitions=DEFINITIONS,
                route=route,
                thread=thread,
                conversation=f"{thread}/{seed}",
            )
            assert account is not None
            sums[route, thread] = sums.get((route, thread), Account()) + account
    total = sum(sums.values(), Account())
    assert ledger.total == total
    assert sum(ledger.routes.values(), Account()) == total
    assert sum(ledger.threads.values(), Account()) == total
    assert sum((one.account for one in ledger.recent), Account()) == total
    for route, account in ledger.routes.items():
        assert account == sum((one for (of, _), one in sums.items() if of == route), Account())


def two_turns() -> tuple[list[Message], list[Message]]:
    """Return a thread up to its first program, and up to its second."""
    second = [*ORDERS, answers("a", "14"), says("It is 14."), user("And W-552?"), says("", runs("b", "get_order(...)"))]
    return ORDERS, second


def test_an_action_of_a_thread_that_goes_on_is_charged_with_what_is_new() -> None:
    first, second = two_turns()
    ledger = Ledger()
    one = add(ledger, first)
    two = add(ledger, second, "b", answer="7", calls=[SECOND])
    assert one is not None
    assert two is not None
    assert one.code + two.code == price([*second, answers("b", "7")], [300] * 4)
    assert two.requests == 2
    plain_way = [ORDERS[0], *at_once("Let me look.", FIND), *at_once("", FIRST, SECOND), *second[3:5]]
    assert one.parallel + two.parallel == price([*plain_way, *at_once("", SECOND)], [900] * 5)


def test_what_another_process_counted_is_not_counted_again() -> None:
    """Together the ledgers of two processes charge each request once, as it went."""
    first, second = two_turns()
    here, there = Ledger(), Ledger()
    add(here, first)
    add(there, second, "b", answer="7", calls=[SECOND])
    assert here.total.code + there.total.code == price([*second, answers("b", "7")], [300] * 4)
    third = [*second, answers("b", "7"), says("", runs("c"))]
    back = add(here, third, "c", answer="0", calls=[])
    assert back is not None
    assert here.total.code + there.total.code == price([*third, answers("c", "0")], [300] * 5)


def test_a_conversation_that_was_changed_is_followed_anew() -> None:
    first, second = two_turns()
    ledger, fresh = Ledger(), Ledger()
    add(ledger, first)
    shortened = [user("A summary"), *second[2:]]
    assert add(ledger, shortened, "b", answer="7") == add(fresh, shortened, "b", answer="7")


def test_what_was_counted_is_not_counted_twice() -> None:
    ledger = Ledger()
    assert add(ledger, ORDERS, key="k") is not None
    total = ledger.total
    assert add(ledger, ORDERS, key="k") is None
    assert add(ledger, ORDERS) is None
    assert add(ledger, ORDERS, key="k", thread="elsewhere") is None
    assert ledger.total == total


def test_another_run_of_a_call_of_the_same_id_is_counted() -> None:
    ledger = Ledger()
    first = add(ledger, ORDERS, "a", calls=[FIND], conversation="t", key="head 1")
    assert add(ledger, ORDERS, "a", calls=[FIND], conversation="t", key="head 2") == first
    assert add(ledger, ORDERS, "a", calls=[FIND], conversation="t", key="head 2") is None
    assert ledger.total.actions == 2


def test_an_action_without_its_message_is_left_out_and_said_to_be() -> None:
    ledger = Ledger()
    assert add(ledger, [user("hello")]) is None
    assert (ledger.total, ledger.left_out) == (Account(), 1)
    assert str(ledger).splitlines() == [
        "No code action was counted.",
        "Not counted, for they came without the message that runs them: 1 code action.",
    ]


def test_what_the_vendor_counted_stands_beside_the_count_of_the_same_requests() -> None:
    first, second = two_turns()
    billed = Tokens(new=1_000, repeated=200, output=50)
    ledger = Ledger()
    add(ledger, [first[0], replace(first[1], usage=billed)])
    add(ledger, [first[0], replace(first[1], usage=billed), *second[2:]], "b", answer="7", calls=[SECOND])
    total = ledger.total
    assert (total.requests, total.billed_requests, total.billed) == (3, 1, billed)
    assert total.billed_counted == price(first, [300], read=False)
    assert (
        "The vendor counted 1,200 tokens read (200 of them repeated) and 50 written for 1 of 3 requests, which are "
        in str(ledger)
    )


# ---- what needs what


def parallel_requests(calls: list[CallRecord], said: str = "", program: str = "") -> int:
    account = add(Ledger(), [user(said), says("", runs("a", program))], calls=calls)
    assert account is not None
    return account.requests_parallel


@pytest.mark.parametrize(
    ("calls", "said", "program", "requests"),
    [
        ([FIND, FIRST, SECOND], "", "", 2),
        ([FIND, FIRST, SECOND], "W-551 and W-552, please", "", 1),
        ([FIND, FIRST, SECOND], "W-551, please", "", 2),
        ([FIND, FIRST, SECOND], "", "get_order(order_id='W-551')", 2),
        ([FIRST, FIND, FIRST], "", "", 1),
        ([record("a", 12), record("b", 1, n=12)], "", "", 1),
        ([record("a", 123), record("b", 1, n=123)], "", "", 2),
        ([record("a", "x 4711 y"), record("b", 1, n=["deep", {"x": 4711}])], "", "", 2),
        ([record("a", {"4711": 1}), record("b", 1, n="4711")], "", "", 2),
        ([record("a", "Olivia Ito"), record("b", 1, n="Olivia Ito")], "", "", 2),
        ([record("a", "Olivia"), record("b", 1, n="Olivia Ito")], "", "", 1),
        ([record("a", "line\nabc1"), record("b", "abc2", n="abc1"), record("c", 1, n="abc2")], "", "", 3),
        ([record("a", True), record("b", 1, n=True)], "", "", 1),
        ([record("a", status="failed", error="see E-77"), record("b", 1, n="E-77")], "", "", 2),
    ],
)
def test_a_call_needs_the_one_whose_result_first_showed_its_argument(
    calls: list[CallRecord], said: str, program: str, requests: int
) -> None:
    assert parallel_requests(calls, said, program) == requests


def test_what_earlier_messages_say_is_known() -> None:
    first, second = two_turns()
    chain = [record("list", ["Z-901"]), record("get", 1, id="Z-901")]
    ledger = Ledger()
    add(ledger, first, answer="Z-901")
    known = add(ledger, [*first, answers("a", "Z-901"), *second[3:]], "b", calls=chain)
    assert known is not None
    assert known.requests_parallel == 1 + 1  # of "It is 14."
    unknown = add(Ledger(), second, "b", calls=chain)
    assert unknown is not None
    assert unknown.requests_parallel == 2 + 1


# ---- what it says


def test_it_says_where_code_mode_paid_and_where_it_lost() -> None:
    ledger = Ledger()
    add(ledger, ORDERS, route="analytics", calls=[FIND, FIRST, SECOND] * 4)
    small = {"json": 100, "code": 300}
    add(ledger, ORDERS, route="billing", thread="u", calls=[FIRST], definitions=small)
    text = str(ledger)
    lines = text.splitlines()
    assert lines[0] == (
        "2 code actions, 13 calls. Costs in tokens (characters / 4): a new one counts 1, a repeated one 0.1, "
        "a written one 5."
    )
    routes = ledger.routes
    share = -routes["billing"].share()
    assert any(
        one.startswith(f"billing: code mode cost {share:.0%} more than plain".replace("%", " %")) for one in lines
    )
    assert any(
        one.startswith("analytics: code mode cost ") and " less than plain calls in parallel" in one for one in lines
    )
    rows = [line.split() for line in lines]
    for name, one in routes.items():
        (at,) = (at for at, row in enumerate(rows) if row[:1] == [name])
        ways = (one.code, one.parallel, one.sequential)
        assert rows[at][1:] == [f"{one.actions}", f"{one.calls}", "cost", *(f"{way.weighted:,.1f}" for way in ways)]
        assert rows[at + 1] == ["all", "tokens", *(f"{way.total:,}" for way in ways)]
    assert "Not known: what a model would have read" in text


def test_the_name_of_a_route_stays_on_its_line() -> None:
    ledger = Ledger()
    add(ledger, ORDERS, route="billing\n\x1b[2Jother", calls=[FIRST])
    assert next(one for one in str(ledger).splitlines() if "other" in one).startswith("billing \\x1b[2Jother  ")


def test_the_parts_it_prints_add_up_to_the_whole_it_prints() -> None:
    ledger = Ledger()
    for seed in range(30):
        for messages, (program, answer, calls) in random_conversation(seed)[0]:
            given = {"answer": answer, "calls": calls, "definitions": DEFINITIONS}
            ledger.add(program.id, messages, **given, route=f"r{seed}", conversation=str(seed))
    found = re.findall(r"calls: (\S+) = definitions (\S+), turns (\S+), payload ([^\s;]+)", str(ledger))
    assert len(found) == len(ledger.routes)
    for whole, *parts in ([round(10 * float(one.replace(",", ""))) for one in each] for each in found):
        assert sum(parts) == whole


# ---- bounds


def test_what_is_kept_is_bounded_and_the_sums_stay() -> None:
    ledger = Ledger()
    for number in range(1_200):
        account = add(ledger, ORDERS, thread=f"t{number}", route=f"r{number}", key=f"k{number}")
    assert account is not None
    assert len(ledger.threads) == len(ledger.recent) == 1_000
    assert next(iter(ledger.threads)) == "t200"
    assert len(ledger.routes) == 1_001
    assert ledger.routes["(others)"].actions == 200
    assert ledger.total == sum([account] * 1_200, Account())


def test_the_words_of_conversations_are_bounded() -> None:
    ledger = Ledger()
    for number in range(12):
        long = user(" ".join(f"w{number}-{one}" for one in range(30_000)))
        add(ledger, [long, ORDERS[1]], thread=f"t{number}")
    kept = ledger._conversations  # pyright: ignore[reportPrivateUsage]
    assert sum(len(one.words) for one in kept.values()) == ledger._words <= 1 << 18  # pyright: ignore[reportPrivateUsage]
    assert "t11" in kept
    assert "t0" not in kept


def test_threads_may_add_at_once() -> None:
    ledger, alone = Ledger(), Ledger()

    def feed(to: Ledger, number: int) -> None:
        for messages, (program, answer, calls) in random_conversation(number)[0]:
            given = {"answer": answer, "calls": calls, "definitions": DEFINITIONS}
            to.add(program.id, messages, **given, route=f"r{number % 2}", thread=str(number))

    workers = [threading.Thread(target=lambda n=number: feed(ledger, n)) for number in range(40)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    for number in range(40):
        feed(alone, number)
    assert ledger.total == alone.total
    assert dict(ledger.routes) == dict(alone.routes)


def lines_run(work: Any) -> int:
    """Return how many lines of Python some work runs."""
    ran = itertools.count()

    def trace(*_: Any) -> Any:
        next(ran)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return next(ran)


@pytest.mark.parametrize("prefix", ["id", "customer"], ids=["shorter", "longer than the number"])
def test_the_work_grows_with_the_calls_of_a_program_and_not_with_their_square(prefix: str) -> None:
    def work(calls: int) -> Any:
        ids = [f"{prefix}-{number:05}" for number in range(calls)]
        made = [record("find", ids), *(record("get", f"{prefix} row {one}", id=one) for one in ids)]
        return lambda: add(Ledger(), ORDERS, calls=made)

    assert lines_run(work(1_600)) < 9 * lines_run(work(200))


def test_the_work_grows_with_the_actions_of_a_thread_and_not_with_their_square() -> None:
    def work(actions: int) -> Any:
        messages = list(ORDERS)
        feeds = [list(messages)]
        for number in range(1, actions):
            last = messages[-1].calls[0].id
            messages += [answers(last, "14"), says("", runs(f"a{number}"))]
            feeds.append(list(messages))
        ledger = Ledger()
        return lambda: [add(ledger, each, each[-1].calls[0].id) for each in feeds]

    assert lines_run(work(400)) < 9 * lines_run(work(50))
