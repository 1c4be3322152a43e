"""The calls of one AIMessage, where at least one of them is code."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_executor_for_config
from langgraph.prebuilt import ToolNode

from callgate_langgraph.actions import CodeAction
from callgate_langgraph.forms import Output, combine, flatten, is_messages, with_calls
from callgate_langgraph.lift import answer_in
from callgate_langgraph.memory import Unreturned

__all__ = ["Batch"]


@dataclass(slots=True, kw_only=True)
class Batch:
    """Runs the code actions of a message beside one another, then its plain calls through a plain ToolNode.

    The plain calls come last because they may interrupt, which starts the node run over: actions that are over are
    then answered from memory.
    """

    calls: Sequence[ToolCall]
    actions: Mapping[int, CodeAction]
    """By the position of their call."""
    input: Any
    config: RunnableConfig
    plain: ToolNode
    messages_key: str
    unreturned: Unreturned[list[Output]]
    task: str | None
    """The task of the graph that this is, the same when it is run again; None outside a graph."""

    _done: dict[int, list[Output]] = field(default_factory=dict[int, list[Output]])

    def run(self) -> Any:
        """Run everything and return what the node returns.

        Raises:
            SandboxError: if a program could not run.
            Exception: what the ToolNode raises of the plain calls.
        """
        try:
            ready = self._not_done()
            if len(ready) == 1:
                self._run(ready[0])
            elif ready:
                with get_executor_for_config(self.config) as executor:
                    running = [executor.submit(self._run, at) for at in ready]
                for one in running:  # all are over: the executor waits for them
                    one.result()
            rest = self._plain_input()
            result = self.plain.invoke(rest, self.config) if rest is not None else None
        except BaseException:
            self._keep()
            raise
        return self._merged(result)

    async def arun(self) -> Any:
        """The awaitable twin of `run`."""
        try:
            running = [self._arun(at) for at in self._not_done()]
            for one in await asyncio.gather(*running, return_exceptions=True):
                if one is not None:
                    raise one
            rest = self._plain_input()
            result = await self.plain.ainvoke(rest, self.config) if rest is not None else None
        except BaseException:
            self._keep()
            raise
        return self._merged(result)

    def _run(self, at: int) -> None:
        self._done[at] = self.actions[at].run(self.config)

    async def _arun(self, at: int) -> None:
        self._done[at] = await self.actions[at].arun(self.config)

    def _not_done(self) -> list[int]:
        """Return the actions that an earlier run of this task did not finish."""
        for at in self.actions if self.task is not None else ():
            if (result := self.unreturned.take(self._key(at))) is not None:
                self._done[at] = result
        return [at for at in self.actions if at not in self._done]

    def _keep(self) -> None:
        if self.task is not None:
            for at, result in self._done.items():
                self.unreturned.keep(self._key(at), result)

    def _key(self, at: int) -> tuple[str, ...]:
        call = self.calls[at]
        return (str(self.task), str(at), str(call["id"]), str(call["args"].get("code")))

    def _plain_input(self) -> Any:
        calls = [call for at, call in enumerate(self.calls) if at not in self.actions]
        return with_calls(self.input, calls, self.messages_key) if calls else None

    def _merged(self, result: Any) -> Any:
        """Return all outputs in the order of the calls, in the form of the input."""
        placed = [(at, one) for at, outputs in self._done.items() for one in outputs]
        at = len(self.calls)
        for one in flatten(result, self.messages_key) if result is not None else ():
            at = next((at for at in self._open() if self._answered(one, at)), at)
            placed.append((at, one))
        placed.sort(key=lambda pair: pair[0])
        outputs = [one for _, one in placed]
        return combine(outputs, as_list=is_messages(self.input), messages_key=self.messages_key)

    def _open(self) -> list[int]:
        return [at for at in range(len(self.calls)) if at not in self.actions]

    def _answered(self, output: Output, at: int) -> bool:
        call_id = self.calls[at]["id"]
        return call_id is not None and answer_in([output], call_id, self.messages_key)[0] is not None
