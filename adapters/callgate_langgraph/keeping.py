"""Where a node run keeps its lines, and under which keys: the same ones whenever it is entered again."""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, ToolCall
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.runtime import Runtime

from callgate import Journal
from callgate.codec import digest
from callgate.journal import JournalStore
from callgate_langchain.guards import is_dict, is_list
from callgate_langgraph.memory import RunMemory
from callgate_langgraph.steps import Steps, read_lines

__all__ = ["ACTION", "Keeping", "asking", "began", "keys_of", "messages_in", "scope_of", "told"]

ACTION = "callgate-action:"
"""Begins the keys of what belongs to one node run."""

_serde = JsonPlusSerializer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Where the lines of one node run are."""

    store: JournalStore
    scope: tuple[str, ...]
    """What sets the keys of this node run apart from those of others; empty where the store does that itself."""
    lasting: bool
    """Whether the lines outlive the node run, for people to look at."""
    seal: bytes | None = None
    """The key of sealed journals."""
    serde: SerializerProtocol = _serde
    """Of the checkpointer, where lines are kept there: so what its graph can store, can be kept."""

    def journal(self, key: str) -> Steps[Journal]:
        """Read the lines under a key.

        Raises:
            JournalError: if they were changed.
        """
        return Journal((yield from read_lines(self.store, key)), key=self.seal)

    def key(self, kind: str, *parts: object) -> str:
        """Return the key of something in this node run."""
        return ACTION + json.dumps([*self.scope, kind, *parts])

    def pack(self, value: Any) -> str:
        """Return what the framework gave, as text for a line.

        Raises:
            TypeError: for what no checkpoint can hold either.
        """
        if isinstance(self.store, RunMemory):
            self.store.objects.append(value)
            return f"object:{len(self.store.objects) - 1}"
        kind, data = self.serde.dumps_typed(value)
        return f"{kind}:{base64.b64encode(data).decode()}"

    def unpack(self, text: str) -> Any:
        """Return what `pack` was given."""
        kind, _, data = text.rpartition(":")
        if isinstance(self.store, RunMemory):
            return self.store.objects[int(data)]
        return self.serde.loads_typed((kind, base64.b64decode(data)))


def scope_of(
    calls: Sequence[ToolCall], messages: Any, config: RunnableConfig, runtime: Runtime[Any]
) -> tuple[str, ...]:
    """Return what sets a node run apart: the same whenever LangGraph enters it again.

    With a thread, that is the thread, the graph's namespace, the node's name and the message: so it stays when the
    state is updated while the run is paused. Without one, or where messages have no ids, it is the task, which only an
    answer, a crash or a retry enters again.

    Args:
        calls: of the node run.
        messages: of the state; the AIMessage with the calls among them.
        config: of the node.
        runtime: of the node.
    """
    info = runtime.execution_info
    thread = config.get("configurable", {}).get("thread_id")
    message = asking(messages, calls)
    if thread is not None and message is not None and message.id is not None:
        namespace, _, node = info.checkpoint_ns.rpartition("|") if info is not None else ("", "", "")
        return (str(thread), namespace, node.partition(":")[0], message.id)
    return (info.task_id if info is not None else uuid.uuid4().hex,)


def told(calls: Sequence[ToolCall]) -> str:
    """Return a digest of some calls: their ids, names and arguments."""
    shown = [[one["id"], one["name"], one["args"]] for one in calls]
    return digest(json.dumps(shown, default=repr, sort_keys=True))[:16]


def asking(messages: Any, calls: Sequence[ToolCall]) -> AIMessage | None:
    """Return the newest AIMessage that holds these calls."""
    wanted = {one["id"] for one in calls}
    for message in reversed(messages) if is_list(messages) else ():
        if isinstance(message, AIMessage) and wanted <= {one["id"] for one in message.tool_calls}:
            return message
    return None


def messages_in(state: Any, messages_key: str) -> Any:
    """Return the messages of a state of any form."""
    if is_list(state):
        return state
    return state.get(messages_key) if is_dict(state) else getattr(state, messages_key, None)


def keys_of(kind: Literal["action", "plain"], calls: Mapping[int, ToolCall], keeping: Keeping) -> dict[int, str]:
    """Return the keys of code actions, or plain calls, by the position of their call.

    A key names the call's id, its tool and its arguments: so a call keeps it when others of its message are taken away,
    and one that was changed is another call.
    """
    keys: dict[int, str] = {}
    seen = Counter[str]()
    for at, call in calls.items():
        key = keeping.key(kind, call["id"], told([call]))
        seen[key] += 1
        keys[at] = key if seen[key] == 1 else f"{key}/{seen[key]}"
    return keys


def began(keys: Iterable[str], keeping: Keeping) -> Steps[bool]:
    """Say whether an earlier entry began any of these actions: then they are code, whatever the mode is now."""
    for key in keys:
        if (yield from read_lines(keeping.store, key)):
            return True
    return False
