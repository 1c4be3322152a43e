"""The file service of one sandbox: `/files` for contents, and the SDK's own server stub for the rest."""

from __future__ import annotations

import email.parser
import email.policy
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.filesystem import filesystem_pb as pb
from e2b.envd.filesystem.filesystem_connect import Filesystem

__all__ = ["Files", "read_upload"]


class Files(Filesystem):
    """The `Filesystem` service, as far as it does not watch.

    Args:
        home: what relative paths are relative to. Absolute ones that do not lie below it are led below it, so that a
            test touches no other file of this machine.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def path(self, given: str) -> Path:
        """Return where a path of the sandbox lies on this machine."""
        path = Path(given.removeprefix("~/"))
        if path.is_absolute() and not path.is_relative_to(self._home):
            path = self._home / "root" / given.lstrip("/")
        found = (self._home / path).resolve()
        if not found.is_relative_to(self._home):
            raise FileNotFoundError(given)
        return found

    def read(self, given: str) -> bytes:
        """Return a file's contents."""
        return self.path(given).read_bytes()

    def write(self, given: str, data: bytes) -> dict[str, str]:
        """Write a file and the directories it needs."""
        path = self.path(given)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"name": path.name, "type": "file", "path": given}

    # ---- the service

    async def stat(self, request: pb.StatRequest, ctx: RequestContext[Any, Any]) -> pb.StatResponse:
        """Describe a file or directory."""
        return pb.StatResponse(entry=_entry(self._there(request.path)))

    async def make_dir(self, request: pb.MakeDirRequest, ctx: RequestContext[Any, Any]) -> pb.MakeDirResponse:
        """Make a directory."""
        path = self.path(request.path)
        if path.exists():
            raise ConnectError(Code.ALREADY_EXISTS, f"directory already exists: {request.path}")
        path.mkdir(parents=True)
        return pb.MakeDirResponse(entry=_entry(path))

    async def move(self, request: pb.MoveRequest, ctx: RequestContext[Any, Any]) -> pb.MoveResponse:
        """Move a file or directory."""
        path = self._there(request.source).rename(self.path(request.destination))
        return pb.MoveResponse(entry=_entry(path))

    async def list_dir(self, request: pb.ListDirRequest, ctx: RequestContext[Any, Any]) -> pb.ListDirResponse:
        """List a directory, one level deep."""
        path = self._there(request.path)
        return pb.ListDirResponse(entries=[_entry(one) for one in sorted(path.iterdir())])

    async def remove(self, request: pb.RemoveRequest, ctx: RequestContext[Any, Any]) -> pb.RemoveResponse:
        """Remove a file or directory."""
        path = self._there(request.path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return pb.RemoveResponse()

    def watch_dir(self, request: pb.WatchDirRequest, ctx: RequestContext[Any, Any]) -> Any:
        """Refuse."""
        raise ConnectError(Code.UNIMPLEMENTED, "this server does not watch")

    async def create_watcher(self, request: Any, ctx: RequestContext[Any, Any]) -> Any:
        """Refuse."""
        raise ConnectError(Code.UNIMPLEMENTED, "this server does not watch")

    get_watcher_events = remove_watcher = create_watcher

    def _there(self, given: str) -> Path:
        path = self.path(given)
        if not path.exists():
            raise ConnectError(Code.NOT_FOUND, f"path not found: {given}")
        return path


def _entry(path: Path) -> pb.EntryInfo:
    kind = pb.FileType.DIRECTORY if path.is_dir() else pb.FileType.FILE
    seen = path.stat()
    return pb.EntryInfo(name=path.name, type=kind, path=str(path), size=seen.st_size, mode=seen.st_mode & 0o7777)


def read_upload(headers: dict[str, str], path: str, body: bytes) -> list[tuple[str, bytes]]:
    """Return path and contents of the files that a request uploads."""
    kind = headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return [(path, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)]
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts = [(part.get_filename() or "", part.get_payload(decode=True)) for part in parsed.iter_parts()]
    return [(path or name, data if isinstance(data, bytes) else b"") for name, data in parts]


def told(entries: list[dict[str, str]]) -> bytes:
    """Return the answer to an upload."""
    return json.dumps(entries).encode()
