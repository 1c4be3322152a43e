"""The graph's state, as the inner calls of a code action see it."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel  # pyright: ignore[reportMissingTypeStubs] - typed, without py.typed
from langgraph.graph.message import add_messages  # pyright: ignore[reportMissingTypeStubs]
from pydantic import BaseModel

from callgate_langchain.guards import is_dict, is_list
from callgate_langgraph.upstream import READ

__all__ = ["Channels", "SeenState", "channels_of", "read_state"]

logger = logging.getLogger("callgate")

Channels = Mapping[str, BaseChannel[Any, Any, Any]]


def channels_of(config: RunnableConfig) -> Channels | None:
    """Return the channels of the graph that runs, None outside a graph."""
    arguments = getattr(config.get("configurable", {}).get(READ), "args", ())
    found = arguments[1] if len(arguments) > 1 else None
    return cast(Channels, found) if isinstance(found, Mapping) else None


def read_state(config: RunnableConfig) -> dict[str, Any]:
    """Return the state of the graph that runs, as `ToolNode` reads it; {} outside a graph."""
    channels = channels_of(config)
    return config.get("configurable", {})[READ](list(channels), True) if channels is not None else {}


class SeenState:
    """The state of one action: what the node was given, and the updates of its inner calls so far.

    Each update goes through the reducer of its key, as in the graph. Outside a graph the messages are added with
    `add_messages` and other keys replaced. Updates that are neither a dict nor a list of messages are not seen before
    the node returns.
    """

    def __init__(self, state: Any, channels: Channels | None, messages_key: str) -> None:
        self.current = state
        """Shown to the next inner call."""
        self._channels, self._messages_key = channels, messages_key
        self._lock = threading.Lock()

    def apply(self, update: Any) -> None:
        """Take in the update of one Command for this graph."""
        with self._lock:
            state = self.current
            if is_list(state):
                if is_list(update):
                    self.current = self._reduced("__root__", state, update)
                return
            if not is_dict(update):
                return
            changes = {
                key: self._reduced(key, _field(state, key), value)
                for key, value in update.items()
                if self._channels is None or key in self._channels
            }
            self.current = _changed(state, changes)

    def _reduced(self, key: str, old: Any, new: Any) -> Any:
        channel = (self._channels or {}).get(key)
        try:
            if channel is not None:
                own = channel.copy() if old is None else channel.from_checkpoint(old)
                own.update([new])
                return own.get()
            return add_messages(old or [], new) if key in (self._messages_key, "__root__") else new
        except Exception:
            logger.debug("the update of %r does not fit the state", key, exc_info=True)
            return new


def _field(state: Any, key: str) -> Any:
    return state.get(key) if is_dict(state) else getattr(state, key, None)


def _changed(state: Any, changes: dict[str, Any]) -> Any:
    """Return a copy of a state of any form with some fields changed."""
    if is_dict(state):
        return {**state, **changes}
    if isinstance(state, BaseModel):
        names = type(state).model_fields
        known = {key: value for key, value in changes.items() if key in names}
        try:
            return type(state)(**{**{key: getattr(state, key) for key in state.model_fields_set}, **known})
        except ValueError:
            return state.model_copy(update=known)
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        names = {field.name for field in dataclasses.fields(state)}
        return dataclasses.replace(state, **{key: value for key, value in changes.items() if key in names})
    return state
