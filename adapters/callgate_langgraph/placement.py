"""Where a running node stands in its graph: the checkpointer, and the checkpoint the node was started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.runtime import ExecutionInfo

from callgate_langgraph.upstream import CHECKPOINTER, DURABILITY, REPLAY, RESUME_MAP

__all__ = ["HasExecutionInfo", "Place", "place_of"]


class HasExecutionInfo(Protocol):
    """`Runtime` and `ToolRuntime`."""

    @property
    def execution_info(self) -> ExecutionInfo | None:
        """What LangGraph says about the running task."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One task of one checkpoint; the same when the task is entered again after an interrupt, a crash or a retry."""

    saver: BaseCheckpointSaver[Any]
    thread: str
    namespace: str
    """Of the graph the node belongs to: "" for the outermost one."""
    checkpoint: str
    """Id of the checkpoint the task was started from."""
    task: str
    """Id of the task."""
    node: str
    """Name of the node, and of the tasks inside it."""
    ancestors: tuple[tuple[str, str], ...]
    """Namespace and checkpoint id of the graphs around that of the node, outermost first."""
    only_at_exit: bool
    """Whether checkpoints are known to be stored only when the run ends."""
    may_fork: bool
    """Whether this run may have begun a branch whose checkpoint is still being stored."""
    by_interrupt_id: bool
    """Whether the run was resumed by interrupt ids, not by a plain value."""

    @property
    def root(self) -> tuple[str, str]:
        """Namespace and checkpoint id of the outermost graph."""
        return self.levels[0]

    @property
    def levels(self) -> tuple[tuple[str, str], ...]:
        """Namespace and checkpoint id of all graphs from the outermost one to that of the node."""
        return (*self.ancestors, (self.namespace, self.checkpoint))

    def config(self, namespace: str, checkpoint: str | None) -> RunnableConfig:
        """Return the config under which a checkpointer knows a checkpoint of this thread."""
        configurable = {"thread_id": self.thread, "checkpoint_ns": namespace}
        if checkpoint is not None:
            configurable["checkpoint_id"] = checkpoint
        return {"configurable": configurable}

    def own(self) -> RunnableConfig:
        """Return the config of the checkpoint itself."""
        return self.config(self.namespace, self.checkpoint)

    def thread_config(self) -> RunnableConfig:
        """Return the config of the whole thread."""
        return {"configurable": {"thread_id": self.thread}}

    def at(self, checkpoint: str) -> Place:
        """Return the same place at another checkpoint of the same graph."""
        return replace(self, checkpoint=checkpoint)

    def inside(self, levels: Sequence[tuple[str, str]]) -> Place:
        """Return the same node in other runs of the graphs around it."""
        *ancestors, (namespace, checkpoint) = levels
        return replace(self, namespace=namespace, checkpoint=checkpoint, ancestors=tuple(ancestors))


def place_of(runtime: HasExecutionInfo, config: RunnableConfig) -> Place | None:
    """Return where the running node stands; None if its graph has no checkpointer.

    Args:
        runtime: of the node, or of a tool in it.
        config: of the same.
    """
    configurable: Mapping[str, Any] = config.get("configurable", {})
    info, found = runtime.execution_info, configurable.get(CHECKPOINTER)
    if info is None or info.thread_id is None or not isinstance(found, BaseCheckpointSaver):
        return None
    saver = cast("BaseCheckpointSaver[Any]", found)
    around: Mapping[str, str] = configurable.get("checkpoint_map") or {}
    namespace = _graph_of(info, around)
    inside = info.checkpoint_ns.removeprefix(namespace).strip("|")
    return Place(
        saver=saver,
        thread=str(info.thread_id),
        namespace=namespace,
        checkpoint=info.checkpoint_id,
        task=info.task_id,
        node="|".join(part.partition(":")[0] for part in inside.split("|")),
        ancestors=tuple(one for one in around.items() if len(one[0]) < len(namespace)),
        only_at_exit=configurable.get(DURABILITY) == "exit",
        may_fork=REPLAY not in configurable or configurable[REPLAY] is not None,
        by_interrupt_id=bool(configurable.get(RESUME_MAP)),
    )


def _graph_of(info: ExecutionInfo, around: Mapping[str, str]) -> str:
    """Return the namespace of the graph of a task; one inside a node has the checkpoint of the node's graph."""
    for namespace, checkpoint in around.items():
        if checkpoint == info.checkpoint_id:
            return namespace
    return info.checkpoint_ns.rpartition("|")[0]
