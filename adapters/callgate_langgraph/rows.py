"""Lines under a key, as rows in a checkpointer that can only add.

A checkpointer stores the writes of a task under (checkpoint, task id) once: a second put under the same id is dropped
without a word. Each append is therefore one write under a task id of its own, made of the key, the position and the
row before it; whoever wrote the row that is found there won, and rows that follow a row which was never stored are
found by nobody. A key's rows lie in chunks, each an empty checkpoint in a namespace of its own: reading one back costs
the same however long the journal is, and nothing that reads the graph's checkpoints comes across them.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint

from callgate.errors import JournalError
from callgate_langgraph.placement import Place
from callgate_langgraph.saving import Ask, Asks, get_tuple

__all__ = ["CHANNEL", "Chain", "append_row", "read_rows", "taken"]

CHANNEL = "__callgate__"
"""The channel of every row. No graph has it, and LangGraph looks at none it does not know."""

CHUNK_ROWS, CHUNK_CHARS = 24, 64 * 1024
"""A chunk that reaches one of these is full. A new one costs a put, a larger one dearer read-backs."""

_NAMESPACE = uuid.UUID("6b5d8c4e-3f0a-5b8e-9d27-0c1f4a7e62d9")
_VERSION = 4
"""Of checkpoints, as LangGraph writes them today: nothing has to be migrated."""


class _Row(NamedTuple):
    """One row as it is stored."""

    task_id: str
    nonce: str
    text: str


class Chain:
    """How far the rows under one key are known.

    Args:
        place: of the node; the rows belong to its checkpoint.
        key: of the lines.
        of_thread: whether the rows belong to the whole thread instead.
    """

    def __init__(self, place: Place, key: str, *, of_thread: bool) -> None:
        self.key, self.of_thread, self._place = key, of_thread, place
        self.position = 0
        """Lines so far."""
        self.task: str | None = None
        """Id of the graph's task that wrote the first row."""
        self.chunk: int
        """Number of the chunk the next row goes to."""
        self.config: RunnableConfig
        """Of that chunk."""
        self.fenced = False
        """Whether the last row is a fence."""
        self.stored = -1
        """Number of the last chunk that is there."""
        self.unread: dict[str, str] = {}
        """Rows of this chunk, task id to nonce, that were written and not read back: perhaps lost to another run."""
        parts = () if of_thread else (place.namespace, place.checkpoint, place.node)
        self._name = _name(*parts, key)
        self._after = ""
        self._rows = self._chars = 0
        self._next_chunk(0)

    def _next_chunk(self, chunk: int) -> None:
        self.chunk, self._rows, self._chars = chunk, 0, 0
        # Postgres prunes a namespace with a colon together with the root checkpoint that its metadata names.
        namespace = f"callgate-{self._name}" if self.of_thread else f"callgate:{self._name}:{chunk}"
        self.config = self._place.config(namespace, _name(self._name, str(chunk)))

    def checkpoint(self) -> tuple[RunnableConfig, Checkpoint, dict[str, Any], dict[str, Any]]:
        """Return what to put so that the chunk of the next row is there: an empty checkpoint."""
        configurable = self.config.get("configurable", {})
        empty: Any = {"v": _VERSION, "id": configurable["checkpoint_id"], "ts": datetime.now(UTC).isoformat()}
        empty |= {"channel_values": {}, "channel_versions": {}, "versions_seen": {}, "updated_channels": None}
        place = self._place
        parents = {} if self.of_thread else dict(place.levels)
        metadata: dict[str, Any] = {"source": "callgate", "step": self.chunk, "parents": parents}
        metadata |= {"callgate_node": place.node, "callgate_key": _name(self.key)}
        return place.config(configurable["checkpoint_ns"], None), empty, metadata, {}

    @property
    def first_chunks(self) -> dict[str, Any]:
        """What the metadata of first chunks hold, wherever in the thread the same node kept lines under this key."""
        return {"source": "callgate", "step": 0, "callgate_node": self._place.node, "callgate_key": _name(self.key)}

    def next_id(self) -> str:
        """Return the task id of the next row."""
        return str(uuid.uuid5(_NAMESPACE, f"{self._name}/{self.position}/{self._after}"))

    def row(self, lines: Sequence[str]) -> _Row:
        """Return the next row. Without lines it is a fence: whoever does not know of it cannot append any more."""
        nonce = secrets.token_hex(8)
        fields: dict[str, Any] = {"nonce": nonce, "key": self.key, "position": self.position, "lines": list(lines)}
        if not self._after:
            fields["task"] = self._place.task
        return _Row(self.next_id(), nonce, json.dumps(fields))

    def fills(self, row: _Row) -> bool:
        """Say whether a row is the last one of its chunk."""
        return self._rows + 1 >= CHUNK_ROWS or self._chars + len(row.text) >= CHUNK_CHARS

    def take(self, text: object) -> list[str]:
        """Move past a row and return its lines.

        Raises:
            JournalError: for what is no row of this chain.
        """
        try:
            fields: dict[str, Any] = json.loads(text) if isinstance(text, str) else {}
            lines: list[str] = fields["lines"]
            nonce: str = fields["nonce"]
            if (fields["key"], fields["position"]) != (self.key, self.position):
                raise JournalError(f"a row of journal {self.key!r} is not where it was written: it was changed")
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(f"a row of journal {self.key!r} cannot be read: it was changed") from error
        self._advance(nonce, len(lines), len(str(text)), fields.get("task"))
        return lines

    def wrote(self, row: _Row, count: int) -> None:
        """Move past a row just written."""
        self._advance(row.nonce, count, len(row.text), self._place.task)

    def _advance(self, nonce: str, count: int, chars: int, task: str | None) -> None:
        if not self._after:
            self.task = task
        self._after = nonce
        self.position += count
        self.fenced = not count
        self._rows += 1
        self._chars += chars
        if self._rows >= CHUNK_ROWS or self._chars >= CHUNK_CHARS:
            self._next_chunk(self.chunk + 1)


def _name(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))


def taken(chain: Chain, position: int) -> JournalError:
    """Return the error of an append that another run came before."""
    return JournalError(f"journal {chain.key!r} does not end at line {position}: another run appended to it")


def read_rows(chain: Chain) -> Asks[list[str]]:
    """Move a new chain to the end of what is stored and return the lines."""
    lines: list[str] = []
    while True:
        chunk = chain.chunk
        rows = yield from _stored(chain)
        if rows is None:
            return lines
        chain.stored = chunk
        while chain.chunk == chunk and (text := rows.get(chain.next_id())) is not None:
            lines += chain.take(text)
        if chain.chunk == chunk:
            return lines


def append_row(chain: Chain, lines: Sequence[str], *, read_back: bool) -> Asks[None]:
    """Write one row at the end of a chain.

    Args:
        chain: as far as it is known.
        lines: of the row.
        read_back: make sure now that this row, and those written before without doing so, are the ones that count. At
            the end of a chunk it is done anyway.

    Raises:
        JournalError: if another run appended.
    """
    row = chain.row(lines)
    if chain.stored < chain.chunk:
        yield Ask("put", chain.checkpoint())
        chain.stored = chain.chunk
    yield Ask("put_writes", (chain.config, [(CHANNEL, row.text)], row.task_id))
    chain.unread[row.task_id] = row.nonce
    if read_back or chain.fills(row):
        rows = (yield from _stored(chain)) or {}
        for task_id, nonce in chain.unread.items():
            if not str(rows.get(task_id)).startswith(_opening(nonce)):
                raise taken(chain, chain.position)
        chain.unread.clear()
    chain.wrote(row, len(lines))


def _opening(nonce: str) -> str:
    """Return how the text of a row begins."""
    return f'{{"nonce": "{nonce}"'


def _stored(chain: Chain) -> Asks[dict[str, object] | None]:
    """Return the rows of the last chunk by task id, None if it is not there."""
    found = yield from get_tuple(chain.config)
    if found is None:
        return None
    return {task_id: value for task_id, channel, value in found.pending_writes or () if channel == CHANNEL}
