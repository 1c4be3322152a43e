"""The append-only record of a code action, and where it is kept.

A journal is JSON lines: a header, then entries. Each line ends with `prev`, the SHA-256 of the line before it, so an
edit or a missing line is found when the journal is read; the digest of the last line, `Journal.head`, pins the whole.
With a key each line also ends with `mac`, the HMAC-SHA256 of what stands before it: nobody without the key can write
one. What only a pinned head shows is that lines are missing at the end.

    {"e":"header",   "format":1, "action", "thread", "program", "catalogue", "python", "sandbox", "level", "limits",
                     "tools", "seed", "wall"}                       "tools": the functions its program may name
                                                                    ("key": under which it is stored, if not "action")
    {"e":"asked",    CALL, "why":"approval"|"unknown", "schema"}    a human has to decide
    {"e":"decision", "call", "decision"}                            and has ("edited" or "value" hold what it carries;
                                                                    "by":"reconcile": it was the tool's hook that did)
    {"e":"started",  CALL}                                          a write is about to run ("ran": edited arguments)
    {"e":"interrupted", CALL}                                       its tool waits for somebody itself ("ran")
    {"e":"done",     CALL, "value"|"kept"|"digest"|"error"}         a call is over ("undelivered": after the end)
    {"e":"resumed",  "at", "wall"}                                  a replay is complete, the program goes on from here
    {"e":"ended",    "status", "error", "limit", "printed", "output"|"output_kept", "value"|"value_kept",
                     "artifacts":[{"name", "size", "sha256"}], "left_out":[{"name", "size", "why", "count"}]}
                     ("calls": those of the last pass, where the lines before do not say which and in what order;
                     "warnings")

CALL is "call", "tool", "key", "n", "at", and "args" in the first line about a call (but for a refused one with large
arguments). `call` is a label, and never moves to another call; the identity is (tool, key, n): `key` is the SHA-256 of
the canonical arguments, `n` counts equal calls of one action from 0. `at` is the program's clock, in seconds. A value
above `INLINE` bytes is kept once beside the journal, under the handle that `kept` names together with its SHA-256;
`digest` is the SHA-256 of the text of one that is not to be stored, of a tool with `record="digest"`. Of files only the
names stand here, where a program left any; what they hold comes with the outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, cast

from callgate.codec import JSON, decode, digest, encode
from callgate.errors import JournalError, UsageError

__all__ = ["FORMAT", "INLINE", "Journal", "JournalStore", "MemoryJournal", "SqliteJournal"]

FORMAT = 1
"""Version of the lines above."""

INLINE = 256 * 1024
"""Bytes of a value's text up to which it stands in its entry."""

KEY_BYTES = 16
"""The shortest key that seals: nobody guesses 128 bits."""

_START = "0" * 64


class Journal:
    """The lines of one action, chained.

    Args:
        lines: what a store returned; nothing for a new action.
        key: seals each line; None leaves them unsealed.

    Raises:
        JournalError: if a line does not name the digest of the line before it, or is not sealed with the key, or is
            sealed and there is no key.
        UsageError: for a key that is no bytes, or shorter than `KEY_BYTES`.
    """

    def __init__(self, lines: Iterable[str] = (), *, key: bytes | None = None) -> None:
        if key is not None and (not isinstance(cast(object, key), bytes) or len(key) < KEY_BYTES):
            raise UsageError(
                f"the key of a journal is at least {KEY_BYTES} bytes, secrets.token_bytes(32) for instance"
            )
        self._lines: list[str] = []
        self._key = key
        self.head = _START
        """SHA-256 of the last line; 64 zeros for an empty journal."""
        for line in lines:
            body, _, end = line.rpartition(f',"prev":"{self.head}"')
            if not body or not _equal(end, self._seal(f'{body},"prev":"{self.head}"')):
                raise JournalError(self._fault(end))
            self._lines.append(line)
            self.head = digest(line)

    def _seal(self, text: str) -> str:
        """Return what closes a line."""
        if self._key is None:
            return "}"
        return f',"mac":"{hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()}"}}'

    def _fault(self, end: str) -> str:
        if self._key is None and end.startswith(',"mac":"'):
            return "the journal is sealed with a key; give the key it was written with"
        if self._key is not None and end == "}":
            return f"entry {len(self._lines)} is not sealed with the key: the journal was changed, or never had one"
        return f"entry {len(self._lines)} does not follow the one before it: the journal was changed"

    def __len__(self) -> int:
        return len(self._lines)

    def __getstate__(self) -> dict[str, object]:
        """Leave the key out of what is pickled: an outcome travels further than a key may."""
        return {**self.__dict__, "_key": None}

    def passed(self, head: str) -> bool:
        """Say whether head is the digest of one of the lines: then they are all there up to that one."""
        return any(digest(line) == head for line in reversed(self._lines))

    def copy(self) -> Journal:
        """Return a journal with the same lines and key, to be continued apart from this one."""
        return Journal(self._lines, key=self._key)

    @property
    def lines(self) -> Sequence[str]:
        """The lines, oldest first, without line ends."""
        return tuple(self._lines)

    @property
    def header(self) -> dict[str, JSON]:
        """The parsed header."""
        return decode(self._lines[0])

    def entries(self) -> list[dict[str, JSON]]:
        """Return the parsed entries, without the header."""
        return [decode(line) for line in self._lines[1:]]

    def add(self, fields: dict[str, JSON], raw: dict[str, str]) -> str:
        """Append an entry and return its line.

        Args:
            fields: parts of the entry; "e" names its kind.
            raw: further parts whose values are canonical JSON text already.
        """
        parts = [part for key, text in raw.items() for part in (f',"{key}":', text)]
        return self.add_text(encode(fields)[:-1], *parts)

    def add_text(self, *parts: str) -> str:
        """Append an entry given as parts of the JSON text of an object without its closing brace; return its line."""
        end = ',"prev":"', self.head, '"'
        line = "".join((*parts, *end, "}" if self._key is None else self._seal("".join((*parts, *end)))))
        self._lines.append(line)
        self.head = digest(line)
        return line

    def text(self) -> str:
        """Return the journal as JSON lines."""
        return "".join(f"{line}\n" for line in self._lines)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))


class JournalStore(Protocol):
    """Where lines are kept: under keys, in order, never changed. Each operation has an awaitable twin.

    Values too large for an entry are kept by the same two operations, as one line under a key of their own.
    """

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep lines durably, as number position and following under key, before returning.

        Raises:
            JournalError: if key does not hold exactly position lines: somebody else appended.
        """
        ...

    def read(self, key: str) -> list[str]:
        """Return the lines under key, oldest first; nothing for an unknown key."""
        ...

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """The awaitable twin of `append`."""
        ...

    async def aread(self, key: str) -> list[str]:
        """The awaitable twin of `read`."""
        ...


def _taken(key: str, position: int) -> JournalError:
    return JournalError(f"journal {key!r} does not end at line {position}: another run appended to it")


class MemoryJournal:
    """Keeps lines in this process, for as long as this object lives. Safe to share between threads."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep lines; see `JournalStore.append`."""
        with self._lock:
            kept = self._lines.setdefault(key, [])
            if len(kept) != position:
                raise _taken(key, position)
            kept.extend(lines)

    def read(self, key: str) -> list[str]:
        """Return the lines under key; see `JournalStore.read`."""
        with self._lock:
            return list(self._lines.get(key, ()))

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """The awaitable twin of `append`; never waits."""
        self.append(key, position, lines)

    async def aread(self, key: str) -> list[str]:
        """The awaitable twin of `read`; never waits."""
        return self.read(key)


class SqliteJournal:
    """Keeps lines in an SQLite file, on disk before `append` returns. Safe to share between threads and processes.

    Args:
        path: the file; created if absent, its folder must exist.

    Raises:
        JournalError: if the file is no journal of this format.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        with self._lock:
            self._open()

    def _open(self) -> sqlite3.Connection:
        """Return a connection of this process: SQLite's must not cross a fork."""
        if self._connection is None or self._owner != os.getpid():
            if self._connection is not None:
                self._finish()
            connection = sqlite3.connect(self._path, timeout=30, check_same_thread=False, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS callgate_journal"
                    " (key TEXT, position INTEGER, line TEXT NOT NULL, PRIMARY KEY (key, position)) WITHOUT ROWID"
                )
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version not in (0, FORMAT):
                    raise JournalError(f"{self._path} holds journals of format {version}, this version reads {FORMAT}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
            except BaseException as error:
                connection.close()
                if isinstance(error, sqlite3.DatabaseError):
                    raise JournalError(f"{self._path} is no journal: {error}") from error
                raise
            self._connection, self._owner = connection, os.getpid()
            self._finish = weakref.finalize(self, _close_own, connection, self._owner)
        return self._connection

    def append(self, key: str, position: int, lines: Sequence[str]) -> None:
        """Keep lines in one transaction; see `JournalStore.append`."""
        with self._lock:
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                query = "SELECT coalesce(max(position) + 1, 0) FROM callgate_journal WHERE key = ?"
                (count,) = connection.execute(query, (key,)).fetchone()
                if count != position:
                    raise _taken(key, position)
                rows = ((key, position + index, line) for index, line in enumerate(lines))
                connection.executemany("INSERT INTO callgate_journal VALUES (?, ?, ?)", rows)
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise JournalError(f"{self._path} cannot be written: {error}") from error
                raise

    def read(self, key: str) -> list[str]:
        """Return the lines under key; see `JournalStore.read`."""
        query = "SELECT line FROM callgate_journal WHERE key = ? ORDER BY position"
        with self._lock:
            return [line for (line,) in self._open().execute(query, (key,))]

    async def aappend(self, key: str, position: int, lines: Sequence[str]) -> None:
        """The awaitable twin of `append`; the disk is awaited in a thread."""
        await asyncio.to_thread(self.append, key, position, lines)

    async def aread(self, key: str) -> list[str]:
        """The awaitable twin of `read`."""
        return await asyncio.to_thread(self.read, key)

    def close(self) -> None:
        """Close the file. Does nothing the second time; a later call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._finish()
            self._connection = None


_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process: closing them here would take away locks the parent holds."""


def _close_own(connection: sqlite3.Connection, owner: int) -> None:
    if owner == os.getpid():
        connection.close()
    else:
        _inherited.append(connection)
