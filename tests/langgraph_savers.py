"""Every checkpointer the tests run with, and a throwaway PostgreSQL. Child processes open the same ones by address."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = ["ASYNC", "DURABLE", "SYNC", "aopen_saver", "open_saver", "postgres_server"]

SYNC = ("sqlite", "postgres")
"""Savers with sync methods, that other processes can open."""
ASYNC = ("asqlite", "apostgres")
"""Savers with awaitable methods, that other processes can open."""
DURABLE = SYNC + ASYNC


@contextmanager
def open_saver(kind: str, address: str, serde: SerializerProtocol | None = None) -> Iterator[Any]:
    """Open a sync saver: memory, sqlite (address is a file) or postgres (address is a connection string).

    "postgres pool" and "postgres pipeline" are the same, connected in other ways.
    """
    given: dict[str, Any] = {} if serde is None else {"serde": serde}
    if kind == "memory":
        yield InMemorySaver(**given)
    elif kind == "sqlite":
        import sqlite3

        from langgraph.checkpoint.sqlite import SqliteSaver

        connection = sqlite3.connect(address, check_same_thread=False, timeout=30)
        try:
            yield SqliteSaver(connection, **given)
        finally:
            connection.close()
    elif kind == "postgres pool":
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool

        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        with ConnectionPool(address, kwargs=options, min_size=2, max_size=4) as pool:
            yield PostgresSaver(pool, **given)
    elif kind == "postgres pipeline":
        from langgraph.checkpoint.postgres import PostgresSaver

        with PostgresSaver.from_conn_string(address, pipeline=True) as piped:
            yield piped
    else:
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg import Connection
        from psycopg.rows import dict_row

        with Connection.connect(address, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
            yield PostgresSaver(connection, **given)


@asynccontextmanager
async def aopen_saver(kind: str, address: str, serde: SerializerProtocol | None = None) -> AsyncIterator[Any]:
    """Open a saver for a graph that is awaited: memory, asqlite or apostgres."""
    given: dict[str, Any] = {} if serde is None else {"serde": serde}
    if kind == "memory":
        yield InMemorySaver(**given)
    elif kind == "asqlite":
        import aiosqlite
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with aiosqlite.connect(address, timeout=30) as connection:
            yield AsyncSqliteSaver(connection, **given)
    else:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg import AsyncConnection
        from psycopg.rows import dict_row

        opened = AsyncConnection.connect(address, autocommit=True, prepare_threshold=0, row_factory=dict_row)
        async with await opened as connection:
            yield AsyncPostgresSaver(connection, **given)


def _binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL server on this host."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: float(one.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _owner() -> dict[str, Any]:
    """Return how to start a server that refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a PostgreSQL of its own in a new folder and yield its connection string; skip where there is none."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    pytest.importorskip("langgraph.checkpoint.postgres", reason="langgraph-checkpoint-postgres is not installed")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    owner = _owner()
    folder = Path(tempfile.mkdtemp(prefix="callgate-pg-"))  # short: its socket's path may have 107 bytes
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    server = None
    try:
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        data = folder / "data"
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "callgate", "-A", "trust", "-E", "UTF8", "--no-locale"],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **owner,
        )
        if made.returncode:
            pytest.skip(f"initdb failed here: {made.stderr.strip()[-300:]}")
        log = (folder / "log").open("w")
        command = [binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="]
        server = subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=log, **owner)
        log.close()
        address = f"host={folder} user=callgate dbname=postgres"
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(address).close()
                break
            except psycopg.OperationalError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
        with open_saver("postgres", address) as saver:
            saver.setup()
        yield address
    finally:
        if server is not None:
            server.terminate()  # SIGTERM would wait for open connections
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.send_signal(3)  # SIGQUIT: immediate
                server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
