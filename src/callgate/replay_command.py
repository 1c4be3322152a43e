"""`callgate replay FILE`: recorded actions run again against their journals, for a pipeline."""

from __future__ import annotations

import argparse
import functools
import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from callgate.action import KEPT, kept_key
from callgate.codec import NotJSON, decode, is_object
from callgate.errors import CallgateError, UsageError
from callgate.journal import Journal
from callgate.outcome import visible
from callgate.replaying import Replay, replay
from callgate.sandboxes.base import Sandbox
from callgate.sandboxes.local import LocalSandbox
from callgate.sandboxes.local.proof import LEVELS

__all__ = ["Finding", "add_replay_command"]

_EPILOG = """\
FILE is the file of a SqliteJournal, or the journal of one action as JSON lines, written by
  Path("run.jsonl").write_text(outcome.journal.text())        (outcome.journal.lines are its lines)
No tool is called: recorded results answer the calls of each program.

  same            it went as recorded, to the same end
  diverged        it left its record: where, by the program's own line where that is known, and how
  not ended       the journal stops before the action's end; it went as recorded up to there
  not replayable  the journal was changed, or lacks what a replay needs: a key, or results that it does not hold

--json prints one object:
  ok       whether no action diverged and all could be replayed
  actions  [{key, action, status, differences, line, source}]: line and source of where it left its record, or null

Exit status: 0 if so, 1 if an action diverged, 2 for wrong usage, or if an action could not be replayed.
"""
_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one action. The fields are the keys of `--json`."""

    key: str | None
    action: str | None = None
    status: str
    differences: tuple[str, ...] = ()
    line: int | None = None
    source: str | None = None


def add_replay_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage] - argparse names it nowhere else
    """Add the command to a parser."""
    parser = commands.add_parser(
        "replay",
        help="run recorded actions again, and say where they left their journals",
        description="Run recorded actions again against their journals, and say where they left them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="of a SqliteJournal, or JSON lines of one action")
    parser.add_argument("keys", metavar="KEY", nargs="*", help="actions of a SqliteJournal (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON, for other programs")
    parser.add_argument(
        "--key-file", metavar="PATH", type=Path, help="holds the bytes that the journals are sealed with"
    )
    parser.add_argument("--floor", choices=LEVELS[::-1], default="L2", help="as LocalSandbox(floor=...) (default: L2)")
    parser.add_argument(
        "--package", metavar="NAME", action="append", default=[], help="shown to programs; may be given several times"
    )
    parser.set_defaults(run=functools.partial(_run, parser))


def _run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    try:
        stored = _open(given.file, given.keys)
        key = given.key_file.read_bytes() if given.key_file is not None else None
        Journal(key=key)
        place = LocalSandbox(floor=given.floor, packages=given.package)
    except (OSError, UsageError, sqlite3.Error) as error:
        parser.error(str(error))
    with place as sandbox:
        found = [_replayed(one, key, sandbox) for one in stored]
    diverged = any(one.status == "diverged" for one in found)
    failed = any(one.status == "not replayable" for one in found)
    if given.json:
        told = json.dumps({"ok": not (diverged or failed), "actions": [asdict(one) for one in found]}, indent=2)
    else:
        told = "\n".join(line for one in found for line in _told(one)) or f"{given.file} holds no action"
    sys.stdout.write(f"{told}\n")
    return 1 if diverged else 2 if failed else 0


# ---- what is in a file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    key: str | None
    lines: Sequence[str]
    file: _Database | None = None

    def kept(self, key: str) -> str | None:
        lines = self.file.read(key) if self.file is not None else []
        return lines[0] if lines else None


class _Database:
    """The file of a SqliteJournal, read and never written, as a SqliteJournal itself would."""

    def __init__(self, path: Path) -> None:
        uri = path.resolve().as_uri()
        beside = path.with_name(f"{path.name}-wal")
        # Without a log of its own the file is whole, and a folder that cannot be written is no hindrance.
        self._connection = sqlite3.connect(f"{uri}?mode=ro{'' if beside.exists() else '&immutable=1'}", uri=True)

    def read(self, key: str) -> list[str]:
        query = "SELECT line FROM callgate_journal WHERE key = ? ORDER BY position"
        return [line for (line,) in self._connection.execute(query, (key,))]

    def actions(self) -> list[str]:
        """Return the keys of actions, oldest first: not of kept values, nor of what an adapter notes beside them."""
        query = "SELECT key, line FROM callgate_journal WHERE position = 0 AND key NOT LIKE ?"
        found = self._connection.execute(query, (f"{KEPT}%",))
        headers = {key: header for key, line in found if (header := _header(line))}
        return sorted(headers, key=lambda key: headers[key])


def _header(line: str) -> tuple[float, str] | None:
    try:
        entry = decode(line)
        is_header = is_object(entry) and entry.get("e") == "header"
        return (float(entry["wall"]), str(entry["action"])) if is_header else None
    except (NotJSON, KeyError, TypeError, ValueError):
        return None


def _open(path: Path, keys: Sequence[str]) -> list[_Stored]:
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        if keys:
            raise UsageError(f"{path} holds one action; KEYs name the actions of a SqliteJournal")
        return [_Stored(key=None, lines=path.read_text(encoding="utf-8", errors="replace").splitlines())]
    database = _Database(path)
    found = [
        _Stored(key=key, lines=database.read(key), file=database) for key in dict.fromkeys(keys or database.actions())
    ]
    if missing := [str(one.key) for one in found if not one.lines]:
        raise UsageError(
            f"{path} has no action {', '.join(missing)}; it has: {', '.join(database.actions()) or 'none'}"
        )
    return found


# ---- what becomes of an action


def _replayed(stored: _Stored, key: bytes | None, sandbox: Sandbox) -> Finding:
    try:
        journal = Journal(stored.lines, key=key)
        again = replay(journal, sandbox=sandbox, kept=lambda handle: stored.kept(kept_key(journal, handle)))
    except CallgateError as error:
        return Finding(key=stored.key, status="not replayable", differences=(str(error),))
    except (KeyError, TypeError, ValueError) as error:  # lines that hold together, and are no action's
        text = f"the journal is not of an action: {type(error).__name__}"
        return Finding(key=stored.key, status="not replayable", differences=(text,))
    line, program = again.line, journal.header["program"].split("\n")
    return Finding(
        key=stored.key,
        action=journal.header["action"],
        status=_status(again, journal),
        differences=again.differences,
        line=line,
        source=program[line - 1].strip() if line is not None and 0 < line <= len(program) else None,
    )


def _status(again: Replay, journal: Journal) -> str:
    if not again.same:
        return "diverged"
    return "same" if any(entry["e"] == "ended" for entry in journal.entries()) else "not ended"


def _told(one: Finding) -> Iterator[str]:
    """Yield the lines that a person reads. Programs and journals are not ours: what they hold is made visible."""
    where = f", line {one.line}: {one.source}" if one.line is not None else ""
    yield visible(f"{one.status:14}  {one.key or one.action or ''}{where}").rstrip()
    for difference in one.differences:
        yield visible(f"{'':16}{difference}")
