"""One recorded task, played in several ways through LangGraph, and the tokens that each way takes.

The ways, called arms: JSON in sequence (a ToolNode, one call per message of the model), JSON in parallel (the same
calls and results, but everything that needs nothing of each other in one message: a model that sees at once what it may
ask for, which is more than models do), code leveled (a CodeActNode; a program for everything that can be asked for at
once, with every result printed) and code in one shot (a program per turn, and only its last result shown). The model
is a script in all of them. Tokens are of what it was shown and wrote, request by request; nothing is cut off.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from figures import expect
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from programs import Asked, depths, in_order, needs, printing, whole

from callgate import Limits
from callgate.history import Message, ModelCall, Role
from callgate.sandboxes import Sandbox
from callgate.testing import ScriptedChatModel
from callgate_langgraph import CodeActNode

_ROLES: dict[str, Role] = {"system": "system", "human": "user", "tool": "tool"}

LIMITS = Limits(shown_chars=4_000_000, output_kb=16_384, calls=1_000)
"""So that nothing is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a user says, and the calls that answer it."""

    user: str
    calls: tuple[Asked, ...]
    depths: tuple[int, ...] | None = None
    """For each call how many have to be answered before it; None is found from arguments and results."""
    program: str | None = None
    """What one shot runs; None is made of the calls."""
    answer: str | None = None
    """What the model says in the end; None is `tally.ANSWER` tokens."""
    shows: str | None = None
    """What the program has to print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A call that reached a tool, as text: what is mutated afterwards does not count."""

    name: str
    arguments: str
    result: str


class Live:
    """The tools of one task in one arm, with the state they change."""

    def __init__(self) -> None:
        self.tools: list[BaseTool] = []
        self.made: list[Made] = []

    def add(self, schema: Mapping[str, Any], function: Callable[..., Any], returns: Any = Any) -> None:
        """Add a tool.

        Args:
            schema: {"name", "description", "parameters"}.
            function: called with keyword arguments.
            returns: its return annotation.
        """
        name: str = schema["name"]

        def run(**arguments: Any) -> Any:
            given = as_text(arguments)
            result = function(**arguments)
            self.made.append(Made(name=name, arguments=given, result=as_text(result)))
            return result

        run.__annotations__ = {"return": returns}
        parameters = {"properties": {}, **schema["parameters"]}
        tool = StructuredTool(name=name, description=schema["description"], args_schema=parameters, func=run)
        self.tools.append(tool)

    def state(self) -> Any:
        """Return what can be compared with the state after another arm; None of tools without any."""
        return None


class Task(Protocol):
    """A recorded task."""

    id: str
    system: str | None
    turns: Sequence[Turn]

    def open(self) -> Live:
        """Return its tools, in the state the recording begins with."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A task in one arm."""

    messages: list[Message]
    definitions: list[str]
    """The tools as the model was shown them."""
    made: list[Made]
    state: Any
    given: list[Any]
    """The value each call gave to a program; in JSON arms, the text of it that a message shows."""


def as_text(value: Any) -> str:
    """Return a value as canonical text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


# ---- playing


def play(task: Task, script: Sequence[Sequence[AIMessage]], sandbox: Sandbox | None) -> Played:
    """Play a task: with a ToolNode, or with a CodeActNode where there is a sandbox.

    Args:
        task: to play.
        script: what the model says, per turn.
        sandbox: for programs.
    """
    live = task.open()
    model = ScriptedChatModel(turns=[each for turn in script for each in turn])
    if sandbox is None:
        node: Any = ToolNode(live.tools)
        llm = model.bind_tools(live.tools)
    else:
        node = CodeActNode(live.tools, sandbox=sandbox, mode="code", limits=LIMITS)
        llm = node.bind_model(model)

    def call_model(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", call_model)
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    graph: Any = builder.compile()
    messages: list[AnyMessage] = [SystemMessage(task.system)] if task.system else []
    for turn in task.turns:
        asked = {"messages": [*messages, HumanMessage(turn.user)]}
        messages = graph.invoke(asked, {"recursion_limit": 1_000})["messages"]
    expect(len(model.seen), len(model.turns), f"{task.id}: the script was not played to its end")
    return Played(
        messages=[_neutral(one) for one in messages],
        definitions=[json.dumps(one, ensure_ascii=False) for one in model.seen[0][1]],
        made=live.made,
        state=live.state(),
        given=[value for one in messages if isinstance(one, ToolMessage) for value in _given(task, one)],
    )


def _given(task: Task, message: ToolMessage) -> list[Any]:
    if message.name != "execute_code":
        return [_shown(message)]
    expect(message.artifact["status"], "completed", f"{task.id}: {message.text}")
    entries = map(json.loads, message.artifact["journal"])  # the artifact's own list of calls leaves out large values
    return [entry.get("value") for entry in entries if entry["e"] == "done"]


def _shown(message: AnyMessage) -> str:
    """Return the text of a message; ToolNode leaves some lists as they are."""
    content: Any = message.content
    return content if isinstance(content, str) else as_text(content)


def _neutral(message: AnyMessage) -> Message:
    if not isinstance(message, AIMessage):
        return Message(role=_ROLES[message.type], text=_shown(message))
    calls = tuple(
        ModelCall(id=one["id"] or "", name=one["name"], arguments=json.dumps(one["args"], ensure_ascii=False))
        for one in message.tool_calls
    )
    return Message(role="assistant", text=message.text, calls=calls)


def _asking(at: str, *calls: Asked) -> AIMessage:
    made = [  # of copies: some tools change what they are given
        {"name": one.name, "args": copy.deepcopy(one.arguments), "id": f"call-{at}-{number}", "type": "tool_call"}
        for number, one in enumerate(calls)
    ]
    return AIMessage("", tool_calls=made)


def _running(at: str, program: str) -> AIMessage:
    return _asking(at, Asked(name="execute_code", arguments={"code": program}))


# ---- the arms of a task


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """A task in all arms."""

    played: dict[str, Played]
    at_once: dict[str, list[Message]]
    """For the arms of code: the same requests, but with the calls of each program as JSON, and all their results."""
    chained: int
    """Calls that need another of their turn."""
    read: int
    """Arguments that one shot could not have without a model reading a result: parts of texts. They are literals."""

    @property
    def equal(self) -> dict[str, bool]:
        """What is the same in all arms.

        Results: the calls that reached tools, in their order, and what came of them. Values: programs were given what
        tools returned. States: what the calls left behind, where tools have a state.
        """
        first, *others = (self.played[arm] for arm in ("json_sequential", "code_leveled", "code_one_shot"))
        states = {} if first.state is None else {"states": all(one.state == first.state for one in others)}
        return {
            "results": all(one.made == first.made for one in others),
            "values": all([*map(as_text, one.given)] == [each.result for each in first.made] for one in others),
            **states,
        }


def all_arms(task: Task, sandbox: Sandbox) -> Arms:
    """Play a task in every arm."""
    script = [
        [*(_asking(f"{number}-{at}", call) for at, call in enumerate(turn.calls)), AIMessage(turn.answer or "")]
        for number, turn in enumerate(task.turns)
    ]
    json_loop = play(task, script, None)
    began = [Message(role="system", text=task.system)] if task.system else []
    parallel, at_once = began.copy(), {"code_leveled": began.copy(), "code_one_shot": began.copy()}
    leveled, one_shot = list[list[AIMessage]](), list[list[AIMessage]]()
    known, chained, read, answers = task.system or "", 0, 0, iter(zip(json_loop.given, json_loop.made, strict=True))
    for number, turn in enumerate(task.turns):
        known += f" {turn.user}"
        texts, made = zip(*(next(answers) for _ in turn.calls), strict=True) if turn.calls else ((), ())
        needed = needs(turn.calls, texts, known) if turn.depths is None else _needed(turn.depths)
        chained += sum(map(bool, needed))
        groups = in_order(needed)
        group_of = [number for number, group in enumerate(groups) for _ in group]
        parallel += _in_parallel(turn, texts, depths(needed))
        at_once["code_leveled"] += _in_parallel(turn, texts, group_of)
        at_once["code_one_shot"] += _in_parallel(turn, texts, [0] * len(texts))
        programs = [printing([turn.calls[at] for at in group]) for group in groups]
        said = AIMessage(turn.answer or "")
        leveled.append([*(_running(f"{number}-{at}", one) for at, one in enumerate(programs)), said])
        program, unknown = whole(turn.calls, [json.loads(one.result) for one in made], needed, known)
        read += unknown
        program = turn.program or program
        one_shot.append([*([_running(f"{number}", program)] if program else []), said])
        known += " " + " ".join(texts)
    played = {
        "json_sequential": json_loop,
        "json_parallel": replace(json_loop, messages=parallel),
        "code_leveled": play(task, leveled, sandbox),
        "code_one_shot": play(task, one_shot, sandbox),
    }
    printed = [one.text.strip() for one in played["code_one_shot"].messages if one.role == "tool"]
    for turn, text in zip((one for one in task.turns if one.calls), printed, strict=True):
        expect(turn.shows in (None, text), True, f"{task.id}: {text}")
    return Arms(played=played, at_once=at_once, chained=chained, read=read)


def _needed(levels: Sequence[int]) -> list[set[int]]:
    return [{at for at, other in enumerate(levels) if other == level - 1} for level in levels]


def _in_parallel(turn: Turn, texts: Sequence[str], levels: Sequence[int]) -> list[Message]:
    """Return a turn in which a message asks for every call of a level."""
    said = [Message(role="user", text=turn.user)]
    for level in range(max(levels, default=-1) + 1):
        ours = [at for at, one in enumerate(levels) if one == level]
        said.append(_neutral(_asking(str(level), *(turn.calls[at] for at in ours))))
        said += [Message(role="tool", text=texts[at]) for at in ours]
    return [*said, Message(role="assistant", text=turn.answer or "")]
