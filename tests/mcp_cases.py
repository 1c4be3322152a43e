"""Real MCP servers, and what programs do with their tools: the same in every framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).with_name("mcp_shop.py")

VALUES = """\
try:
    refund(id=-1)
except ToolFailed as error:
    said = str(error)
many = call_tools([("order", {"id": n}) for n in range(20)])
[sum(one["total"] for one in orders(user="u")), order(id=7), note(text="x"), label(id=1, text="t"), len(many), said]
"""
"""24 calls."""

ANSWERED = [5.5, {"id": 7, "total": 1.0, "note": None}, "123 x", True, 20]
"""And the text of an error."""

STUBS = (
    "orders(user: str) -> list[Order]",
    "order(id: int) -> Order",
    "label(id: int, text: str) -> bool",
    "refund(id: int) -> str",
    "class Order(TypedDict):",
)

EFFECTS = {
    "orders": "read",
    "order": "read",
    "note": "write",
    "label": "idempotent",
    "refund": "write",
    "crash": "read",
}

STUBBORN = """\
for _ in range(3):
    try:
        said = refund(id=13)
        break
    except BaseException as error:
        said = str(error)
said
"""
"""Tries a write again and again, in the middle of which the server ends."""

READS = """\
told = []
for _ in range(2):
    try:
        crash(times=1)
    except ToolFailed as error:
        told.append(str(error))
told
"""


class Shop:
    """A server, over stdio or HTTP, and the log that it writes."""

    def __init__(self, folder: Path, transport: str, name: str = "shop") -> None:
        self.transport, self._log = transport, folder / f"{name}.log"
        self._log.touch()
        self.command = [sys.executable, str(SERVER), str(self._log)]
        self._running: subprocess.Popen[str] | None = None
        self._port = 0
        if transport == "http":
            self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/mcp"

    def start(self) -> None:
        """Serve HTTP, on the same port as before if it did before."""
        self._running = subprocess.Popen([*self.command, str(self._port)], stdout=subprocess.PIPE, text=True)
        assert self._running.stdout is not None
        self._port = int(self._running.stdout.readline())

    def stop(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.communicate()

    def forget(self) -> None:
        """Begin a new log."""
        self._log.write_text("")

    def come_back(self) -> None:
        if self.transport == "http":
            self.stop()
            self.start()

    @property
    def sessions(self) -> int:
        return self._lines().count("session")

    @property
    def done(self) -> list[str]:
        return [one for one in self._lines() if one != "session"]

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines()
