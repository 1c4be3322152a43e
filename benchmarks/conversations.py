"""Conversations of public benchmarks, as the router's benchmark replays them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callgate import Tool

SMALL = 3
"""Tools of a small catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A recorded call."""

    name: str
    arguments: Mapping[str, Any]
    result: str
    level: int
    """How many calls of the turn must have been answered before it, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a user asks, and the calls that answer it."""

    user: str
    calls: tuple[Called, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One thread, and the tools it has."""

    id: str
    tools: tuple[Tool, ...]
    turns: tuple[Turn, ...]


def bfcl(folder: Path) -> list[Conversation]:
    """Return BFCL's multi-turn traces, each with the tools of its classes."""
    classes = {name: [_tool(one) for one in tools] for name, tools in _json(folder / "bfcl_mt_tools.json").items()}
    found = list[Conversation]()
    for task in _lines(folder / "bfcl_mt_traces.jsonl"):
        tools = [one for name in task["classes"] for one in classes[name] if one.name not in task["excluded"]]
        turns = tuple(
            Turn(
                user=turn["user"],
                calls=tuple(
                    Called(name=call["name"], arguments=call["args"], result=call["result"], level=level)
                    for call, level in zip(turn["calls"], turn["dep_level"], strict=True)
                ),
            )
            for turn in task["turns"]
        )
        found.append(Conversation(id=task["id"], tools=tuple(tools), turns=turns))
    return found


def tau_retail(folder: Path) -> list[Conversation]:
    """Return tau-bench's retail tasks: one turn each, the instruction and the calls that carry it out."""
    tools = tuple(_tool(one["function"]) for one in _json(folder / "tau_retail_tools.json"))
    found = list[Conversation]()
    for task in _lines(folder / "tau_traces.jsonl"):
        calls = tuple(
            Called(name=call["name"], arguments=call["args"], result=call["result"], level=level)
            for call, level in zip(task["calls"], task["dep_level"], strict=True)
        )
        turns = (Turn(user=task["instruction"], calls=calls),)
        found.append(Conversation(id=task["id"], tools=tools, turns=turns))
    return found


_MADE_UP: dict[str, Any] = {"integer": 10, "number": 2.5, "boolean": True, "array": ["one", "two"], "object": {"a": 1}}
"""Arguments of BFCL's single turns, by their type: what its models should pass is not in the data."""

_RESULT = json.dumps({"result": "a value of the length that most of BFCL's results have"})


def small(folder: Path) -> list[Conversation]:
    """Return turns of BFCL with one to three tools.

    What should be called how often is in the data; arguments and results of single turns are not, and stand for
    themselves by their type and by a text of 16 tokens, which is the median of BFCL's multi-turn results.
    """
    found = list[Conversation]()
    for row in _lines(folder / "router_bfcl.jsonl"):
        if not 1 <= row.get("n_tools", 0) <= SMALL or len({one["name"] for one in row["tools"]}) < row["n_tools"]:
            continue
        tools = tuple(
            Tool(
                name=one["name"],
                description=one["description"],
                input_schema={
                    "type": "object",
                    "properties": {key: _property(kind) for key, kind in one["params"].items()},
                    "required": list(one["params"]),
                },
            )
            for one in row["tools"]
        )
        calls = tuple(
            Called(
                name=(one := row["tools"][at % len(tools)])["name"],
                arguments={key: _MADE_UP.get(kind, "some text") for key, kind in one["params"].items()},
                result=_RESULT,
                level=0,
            )
            for at in range(row["n_calls"])
        )
        found.append(Conversation(id=row["id"], tools=tools, turns=(Turn(user=row["user"], calls=calls),)))
    return found


def _property(kind: str) -> dict[str, Any]:
    return {"type": kind} if kind in (*_MADE_UP, "string") else {}


def _tool(function: Mapping[str, Any]) -> Tool:
    return Tool(name=function["name"], description=function["description"], input_schema=function["parameters"])


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def cut(folder: Path) -> list[Conversation]:
    """Return BFCL's multi-turn traces up to where they need a fourth tool, with the tools they need."""
    found = list[Conversation]()
    for one in bfcl(folder):
        needed, turns = dict[str, None](), list[Turn]()
        for turn in one.turns:
            if len(needed | dict.fromkeys(call.name for call in turn.calls)) > SMALL:
                break
            needed |= dict.fromkeys(call.name for call in turn.calls)
            turns.append(turn)
        if needed:
            tools = tuple(tool for tool in one.tools if tool.name in needed)
            found.append(Conversation(id=one.id, tools=tools, turns=tuple(turns)))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """Conversations, and what their figures may be."""

    load: Callable[[Path], list[Conversation]]
    """Reads them from the folder of the workloads."""
    most_regret: float | None = None
    """Of `auto`."""
    least_lead: float | None = None
    """By how much JSON must be cheaper than code."""


SETS: dict[str, Set] = {
    "BFCL multi-turn": Set(load=bfcl, most_regret=0.02),
    "tau-bench retail": Set(load=tau_retail, most_regret=0.02),
    "small catalogues": Set(load=small, most_regret=0.02, least_lead=0.10),
    "BFCL cut to three tools": Set(load=cut),
}
