"""Puts the code actions of a node into its ledger."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, overload

from langchain_core.utils.function_calling import convert_to_openai_tool

from callgate.history import Message, SurfaceKind
from callgate.ledger import Ledger
from callgate_langchain.guards import is_list
from callgate_langgraph.actions import CodeAction
from callgate_langgraph.approvals import Setting
from callgate_langgraph.keeping import messages_in, scope_of
from callgate_langgraph.steps import Steps
from callgate_langgraph.surfaces import Surfaces

__all__ = ["Counting"]

logger = logging.getLogger("callgate")


class Counting:
    """Counts the code actions of one node.

    Args:
        ledger: that they are put into.
        tools: all tools of the node, of which a JSON loop would be shown the definitions.
        surfaces: of the node.
        messages_key: of the state.
    """

    def __init__(self, ledger: Ledger, tools: Iterable[Any], surfaces: Surfaces, messages_key: str) -> None:
        self._ledger, self._surfaces, self._messages_key = ledger, surfaces, messages_key
        self._shown: dict[SurfaceKind, Sequence[Any]] = {**surfaces.shown, "json": list(tools)}

    def count(self, actions: Collection[CodeAction], setting: Setting) -> Steps[None]:
        """Count the actions of a node run that is over. What goes wrong here stays here.

        Args:
            actions: of the node run.
            setting: that it began with.
        """
        if not actions:
            return
        try:
            messages, config = messages_in(setting.state, self._messages_key), setting.config
            told = _Told(messages if is_list(messages) else [], self._surfaces.history)
            scope = scope_of([one.call for one in actions], messages, config, setting.runtime)
            first = getattr(told.messages[0], "id", None) if told.messages else None
            # Without a thread the messages grow all the same, while the graph runs.
            conversation = _lasting(scope) if len(scope) > 1 else first and f"message {first}"
            route = self._surfaces.route(config, lambda: setting.state)
            for one in actions:
                outcome = yield from one.ended()
                self._ledger.add(
                    one.id,
                    told,
                    answer=one.answer,
                    calls=outcome.calls if outcome is not None else (),
                    definitions=self._definitions,
                    route=route,
                    thread=scope[0] if len(scope) > 1 else None,
                    conversation=conversation,
                    key=outcome.journal.head if outcome is not None else None,
                )
        except Exception:
            logger.exception("the ledger could not count a code action")

    @functools.cached_property
    def _definitions(self) -> dict[SurfaceKind, int]:
        known = dict[int, int]()
        for tools in self._shown.values():
            for one in tools:
                if id(one) not in known:
                    text = json.dumps(convert_to_openai_tool(one), ensure_ascii=False)
                    known[id(one)] = self._ledger.counter.count(text)
        return {kind: sum(known[id(one)] for one in tools) for kind, tools in self._shown.items()}


def _lasting(scope: Sequence[str]) -> str:
    """Return the name of a conversation: of the thread and of the nodes, not of the tasks of a turn, where it is in."""
    thread, namespace, node, _ = scope
    return json.dumps([thread, *(one.partition(":")[0] for one in namespace.split("|")), node])


class _Told(Sequence[Message]):
    """Messages in neutral form, each made so when it is looked at: most were, when the action before was counted."""

    def __init__(self, messages: list[Any], history: Callable[[Any], Sequence[Message]]) -> None:
        self.messages, self._history = messages, history
        self._known = dict[int, Message]()

    def __len__(self) -> int:
        return len(self.messages)

    @overload
    def __getitem__(self, at: int) -> Message: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Message]: ...
    def __getitem__(self, at: int | slice) -> Message | Sequence[Message]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        if at not in self._known:
            (self._known[at],) = self._history([self.messages[at]])
        return self._known[at]
