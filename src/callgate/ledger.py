"""What code actions cost in tokens, and what the same calls would have cost as plain JSON tool calls.

A request is one message of the model; it reads the definitions of the tools and all that was said so far, and writes
that message. What an earlier request of the conversation has read is repeated, and so cheaper (see `costs`).
An action is charged with the requests since the action before it in its conversation, its own among them, and with the
reading of its answer, which the next request does: that part is charged here and not there, so the accounts of a
thread add up to every request up to the one that reads the last answer. What comes after that is not counted.

Beside the conversation as it went stands the one in which each inner call whose tool ran was a plain call: its
arguments written by the model, its whole result read. Sequential: a request for each call. Parallel: a request for each
level of calls, as by an oracle that asks at once for everything that can be known; a call needs an earlier one of its
program if a scalar argument of at least three characters first appeared in that one's result and nowhere before (see
`dependencies`). A program that called nothing has no counterpart and is a loss. Messages that run no program are the
same in every way, but are read after different ones; those of actions that another process ran count as they stand.

The saving is what the plain way costs more. It is divided by going from one to the other in three steps, each priced
request by request, so that the parts add up to the whole exactly: new, repeated and written tokens each, and therefore
raw and weighted. Definitions: the JSON loop, but shown the definitions that the model was shown. Turns: all calls of a
message in one request, as JSON, and all their results read. Payload: the programs and their answers in their place.

What nobody can know is not in it: which calls a model would have made without programs and which again, whether a
result would have been cut before it was read, and what it takes in words to compute what a program computed. What is
not in the messages, such as a system prompt that the graph adds, is not counted either; where messages hold the
vendor's own count, that stands beside the count of the same requests.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from callgate.codec import decode
from callgate.costs import PER_CALL, PER_MESSAGE, Tokens
from callgate.counterfactual import Account, Opened, Shown, Ways
from callgate.dependencies import levels_of, words_of
from callgate.history import Message, ModelCall, SurfaceKind
from callgate.ledger_text import told
from callgate.outcome import CallRecord
from callgate.surface import EXECUTE_CODE
from callgate.tokens import ApproximateTokens, TokenCounter
from callgate.tools import RESERVED_NAMES

__all__ = ["Account", "Counted", "Ledger"]

_MOST_KEPT, _MOST_WORDS = 1_000, 1 << 18
"""Threads, routes, conversations and actions that are kept, and words of all conversations: about 20 MB."""

OTHERS = "(others)"
"""The route that stands for all after the first thousand."""

_LARGE = 1 << 16
"""Characters of a result that is not parsed once more only to put blanks into it."""

_RAN = ("done", "failed", "started")
"""States of calls whose tools ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One code action."""

    id: str
    """Of its `execute_code` call."""
    route: str
    """ "" where there is none."""
    thread: str | None
    account: Account


@dataclass(slots=True, kw_only=True)
class _Conversation:
    """Where a conversation stands."""

    ways: Ways
    """Before the message at `at`."""
    opened: Opened
    at: int
    """Position of the last message that ran a program."""
    mark: int
    """Sets it apart from another message at this position."""
    between: Account
    """The requests since the action before this message."""
    usage: Tokens | None
    """What the vendor counted for this message."""
    counted: set[str] = field(default_factory=set[str])
    """Ids of its programs that were counted."""
    charged: Account = field(default_factory=Account)
    """What was charged for them, and `between`."""
    words: set[str] = field(default_factory=set[str])
    """Of all messages before it."""


class Ledger:
    """What code actions cost, by route and thread, in this process.

    The newest 1,000 threads and actions are kept; what older ones cost stays in the sums of `total` and `routes`.

    Args:
        counter: of tokens.
    """

    def __init__(self, counter: TokenCounter | None = None) -> None:
        self.counter: TokenCounter = counter or ApproximateTokens()
        self._lock = threading.Lock()
        self._total, self._left_out = Account(), 0
        self._routes = dict[str, Account]()
        self._threads = OrderedDict[str, Account]()
        self._recent = deque[Counted](maxlen=_MOST_KEPT)
        self._conversations = OrderedDict[str, _Conversation]()
        self._words = 0
        self._known = OrderedDict[str, None]()

    @property
    def total(self) -> Account:
        """The sum of all actions."""
        with self._lock:
            return self._total

    @property
    def routes(self) -> Mapping[str, Account]:
        """The sum of each route's actions; "" is for those without a route."""
        with self._lock:
            return dict(self._routes)

    @property
    def threads(self) -> Mapping[str, Account]:
        """The sum of each thread's actions, the least recent first."""
        with self._lock:
            return dict(self._threads)

    @property
    def recent(self) -> Sequence[Counted]:
        """The newest actions, oldest first."""
        with self._lock:
            return tuple(self._recent)

    @property
    def left_out(self) -> int:
        """Actions that came without the message that runs them, so nothing is known of what the model read."""
        with self._lock:
            return self._left_out

    def __str__(self) -> str:
        with self._lock:
            total, routes, left_out = self._total, dict(self._routes), self._left_out
        return "\n".join(told(total, routes, left_out, self.counter.name))

    def add(
        self,
        id: str,
        messages: Sequence[Message],
        *,
        answer: str,
        calls: Sequence[CallRecord],
        definitions: Mapping[SurfaceKind, int],
        route: str | None = None,
        thread: str | None = None,
        conversation: str | None = None,
        key: str | None = None,
    ) -> Account | None:
        """Count a code action that has ended. The time it takes grows with what is new in the conversation.

        Args:
            id: of its `execute_code` call.
            messages: of the conversation, the one with that call among them.
            answer: what the model is told.
            calls: its inner calls.
            definitions: tokens of what each surface shows; "json" is of all tools as JSON. They have to be there for
                "json" and for what the model was shown.
            route: it belongs to.
            thread: it belongs to.
            conversation: names the messages that grow; None is the thread. Without either the calls of earlier actions
                are not known, and count as they stand.
            key: names this run of the action; what was counted under it before is not counted again.

        Returns:
            what it is charged with, None if it was counted before or `messages` lack its call.
        """
        ran = [one for one in calls if one.status in _RAN and one.tool not in RESERVED_NAMES]
        arguments = [decode(one.arguments_text) for one in ran]
        results = [_shown(one) for one in ran]
        sizes = [
            Shown(written=self._call(one.tool, _json(given)), read=self._message(text), level=0)
            for one, given, text in zip(ran, arguments, results, strict=True)
        ]
        unknown = sum(one.status == "started" or (one.status == "done" and one.result is None) for one in ran)
        name = conversation if conversation is not None else thread
        with self._lock:
            if key is not None and key in self._known:
                return None
            at = _asking(messages, id)
            if at is None:
                self._left_out += 1
                return None
            place = self._entered(name, messages, at, definitions, None if key is None else id)
            if id in place.counted:
                return None
            place.counted.add(id)
            program = next(one for one in messages[at].calls if one.id == id)
            levels = levels_of(arguments, results, place.words, _words_in(messages[at].text, program))
            shown = [replace(one, level=level) for one, level in zip(sizes, levels, strict=True)]
            place.opened.add(self._call(program.name, program.arguments), self._message(answer), shown)
            charged = self._charged(place)
            account = charged - place.charged + Account(actions=1, unknown=unknown)
            place.charged = charged
            self._sum(Counted(id=id, route=route or "", thread=thread, account=account), key)
            return account

    # ---- following a conversation

    def _entered(
        self,
        name: str | None,
        messages: Sequence[Message],
        at: int,
        definitions: Mapping[SurfaceKind, int],
        new: str | None,
    ) -> _Conversation:
        """Return the conversation, followed up to the message that runs the action.

        Where `new`, of which it is certain that it was not counted, was counted there, it is another conversation.
        """
        place = self._conversations.pop(name, None) if name is not None else None
        if place is not None:
            self._words -= len(place.words)
            counted = place.at == at and new in place.counted
            if place.at > at or place.mark != hash(messages[place.at].calls) or counted:
                place = None  # it was changed, or goes on elsewhere
        if place is None or place.at < at:
            place = self._followed(place, messages, at, definitions)
        if name is not None:
            self._conversations[name] = place
            self._words += len(place.words)
            self._trim()
        return place

    def _followed(
        self, place: _Conversation | None, messages: Sequence[Message], at: int, definitions: Mapping[SurfaceKind, int]
    ) -> _Conversation:
        """Follow what was said since the last action, or all that was said."""
        told = list(messages[place.at + 1 if place is not None else 0 : at + 1])
        asking = told.pop()
        if place is None:
            ways, words = Ways(definitions), set[str]()
            ways.show(next((one.surface for one in (*told, asking) if one.surface is not None), None))
            between, ours = Account(), set[str]()
        else:
            ways, words = place.opened.settled()[1], place.words
            between, ours = Account() - ways.reading(), place.counted
            _learn(words, messages[place.at])
        programs = set[str]()
        for one in told:
            if one.role == "assistant":
                ways.show(one.surface)
                between += _billed(ways.request(self._written(one, one.calls)), one.usage)
                programs.update(call.id for call in one.calls if _runs(call))
            elif one.answers is None or one.answers not in ours:  # else it was said when the action was counted
                ways.say(self._message(one.text))
                if one.answers in programs:  # of an action that was charged elsewhere
                    between = Account() - ways.reading()
            _learn(words, one)
        ways.show(asking.surface)
        plain = [one for one in asking.calls if not _runs(one)]
        opened = Opened(ways, self._written(asking, plain), plain=bool(plain))
        mark = hash(asking.calls)
        return _Conversation(
            ways=ways, opened=opened, at=at, mark=mark, between=between, usage=asking.usage, words=words
        )

    def _charged(self, place: _Conversation) -> Account:
        """Return everything a message that runs programs is charged with."""
        costs, after = place.opened.settled()
        return place.between + _billed(costs, place.usage) + after.reading()

    # ---- sums

    def _sum(self, counted: Counted, key: str | None) -> None:
        account, route = counted.account, counted.route
        self._total += account
        if route not in self._routes and len(self._routes) >= _MOST_KEPT:
            route = OTHERS
        self._routes[route] = self._routes.get(route, Account()) + account
        if counted.thread is not None:
            self._threads[counted.thread] = self._threads.pop(counted.thread, Account()) + account
        self._recent.append(counted)
        if key is not None:
            self._known[key] = None
        self._trim()

    def _trim(self) -> None:
        """Let go of the oldest."""
        for kept in (self._threads, self._conversations, self._known):
            while len(kept) > _MOST_KEPT:
                gone = kept.popitem(last=False)[1]
                self._words -= len(gone.words) if isinstance(gone, _Conversation) else 0
        while self._words > _MOST_WORDS and len(self._conversations) > 1:
            self._words -= len(self._conversations.popitem(last=False)[1].words)

    # ---- tokens

    def _message(self, text: str) -> int:
        return self.counter.count(text) + PER_MESSAGE

    def _call(self, name: str, arguments: str) -> int:
        return self.counter.count(name) + self.counter.count(arguments) + PER_CALL

    def _written(self, message: Message, calls: Sequence[ModelCall]) -> int:
        return self.counter.count(message.text) + sum(self._call(one.name, one.arguments) for one in calls)


def _runs(call: ModelCall) -> bool:
    return call.name == EXECUTE_CODE


def _asking(messages: Sequence[Message], id: str) -> int | None:
    """Return the position of the last message with a call."""
    for at in range(len(messages) - 1, -1, -1):
        if any(one.id == id and _runs(one) for one in messages[at].calls):
            return at
    return None


def _learn(words: set[str], message: Message) -> None:
    """Take in the words of a message; where a conversation has far too many, the rest counts as not said."""
    if len(words) < _MOST_WORDS:
        words.update(_words_in(message.text, *message.calls))


def _words_in(text: str, *calls: ModelCall) -> set[str]:
    return {word for one in (text, *(call.arguments for call in calls)) for word in words_of(one)}


def _billed(account: Account, usage: Tokens | None) -> Account:
    """Add what the vendor counted for a request to what is counted for it here."""
    if usage is None:
        return account
    return account + Account(billed=usage, billed_requests=1, billed_counted=account.code)


def _shown(call: CallRecord) -> str:
    """Return what a ToolNode would show of a call: text as it is, anything else as JSON; much of it without blanks."""
    if call.result is None:
        return call.error or ""
    if len(call.result) > _LARGE and call.result[0] in "[{" and "\\u" not in call.result:
        return call.result
    value = decode(call.result)
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
