"""The tokens of tasks, arm by arm, and where what code saves comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from arms import Arms

from callgate.costs import PER_CALL, PER_MESSAGE, Meter, Tokens
from callgate.history import Message
from callgate.tokens import TokenCounter

ANSWER = 30
"""Tokens of what a model says at the end of a turn, where a task does not give it."""

JSON_ARMS, CODE_ARMS = ("json_sequential", "json_parallel"), ("code_leveled", "code_one_shot")
ARMS = (*JSON_ARMS, *CODE_ARMS)


class Tally:
    """Tokens of the arms of several tasks.

    Args:
        counter: counts them.
    """

    def __init__(self, counter: TokenCounter) -> None:
        self._count = lru_cache(maxsize=1 << 16)(counter.count)
        self.tasks = 0
        self.requests, self.dearer = Counter[str](), dict.fromkeys(CODE_ARMS, 0)
        self.definitions = {"json": 0, "code": 0}
        self.tokens = dict.fromkeys(ARMS, Tokens())
        self._defined_as_code = dict.fromkeys(JSON_ARMS, Tokens())
        self._at_once = dict.fromkeys(CODE_ARMS, Tokens())

    def add(self, arms: Arms) -> None:
        """Add a task."""
        self.tasks += 1
        shown = {arm: sum(map(self._count, one.definitions)) for arm, one in arms.played.items()}
        costs = {arm: self.cost(one.messages, shown[arm]) for arm, one in arms.played.items()}
        for arm, one in arms.played.items():
            self.requests[arm] += sum(each.role == "assistant" for each in one.messages)
            self.tokens[arm] += costs[arm]
        for arm in JSON_ARMS:
            self._defined_as_code[arm] += self.cost(arms.played[arm].messages, shown["code_one_shot"])
        for arm in CODE_ARMS:
            self._at_once[arm] += self.cost(arms.at_once[arm], shown[arm])
            self.dearer[arm] += costs[arm].weighted > costs["json_parallel"].weighted
        self.definitions["json"] += shown["json_sequential"]
        self.definitions["code"] += shown["code_one_shot"]

    def cost(self, messages: Iterable[Message], definitions: int) -> Tokens:
        """Return the tokens of a conversation, every request of it."""
        meter, total = Meter(definitions), Tokens()
        for one in messages:
            text = self._count(one.text) if one.text or one.role != "assistant" or one.calls else ANSWER
            if one.role != "assistant":
                meter.say(text + PER_MESSAGE)
                continue
            asked = sum(self._count(each.name) + self._count(each.arguments) + PER_CALL for each in one.calls)
            total += meter.request(text + asked)
            meter.say(PER_MESSAGE)
        return total

    def figures(self) -> dict[str, Any]:
        """Return the tokens of a task, on average, and what of the savings comes from where.

        A saving is the difference between a JSON arm and a code arm, divided as `callgate.ledger` does it. Definitions:
        what the JSON arm would save if it were shown those of code. Turns: what it would save beyond that with the
        requests of code, each making the calls of a program as JSON and reading all their results. Payload: what is
        saved beyond that by programs, and what they show, in the place of those calls and results.
        """
        arms = {
            arm: {"requests": round(self.requests[arm] / self.tasks, 2), **self._mean(self.tokens[arm])} for arm in ARMS
        }
        return {
            "tasks": self.tasks,
            "definitions": {kind: round(sum_ / self.tasks) for kind, sum_ in self.definitions.items()},
            "tokens_per_task": arms,
            "weighted_saving": {code: {json_: self._share(code, json_) for json_ in JSON_ARMS} for code in CODE_ARMS},
            "split": {code: {json_: self._split(code, json_) for json_ in JSON_ARMS} for code in CODE_ARMS},
            "tasks_dearer_than_json_parallel": self.dearer,
        }

    def _mean(self, tokens: Tokens) -> dict[str, int]:
        named = {**asdict(tokens), "input": tokens.input, "total": tokens.total, "weighted": tokens.weighted}
        return {name: round(one / self.tasks) for name, one in named.items()}

    def _share(self, code: str, json_: str) -> float:
        return round(1 - self.tokens[code].weighted / self.tokens[json_].weighted, 4)

    def _split(self, code: str, json_: str) -> dict[str, dict[str, int]]:
        before, after = self.tokens[json_], self.tokens[code]
        defined = self._defined_as_code[json_]
        at_once = self._at_once[code]
        parts = {"definitions": before - defined, "turns": defined - at_once, "payload": at_once - after}
        return {
            kind: {name: round(getattr(part, kind) / self.tasks) for name, part in parts.items()}
            for kind in ("input", "output", "total", "weighted")
        }
