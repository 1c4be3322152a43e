"""The process that relays are forked from, once per sandbox: starting an interpreter for each would cost 0.3 s.

It has compiled the guest and imported what the guest imports. A relay that cannot have it starts by itself, so nothing
depends on it. Its loop keeps nothing from one relay to the next, not even an address: what a program can observe of its
process must not depend on how many ran before it.
"""

# ruff: noqa: PTH108

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

SERVING = b"serving\n"
_ORDER = 1 << 16
_RIGHTS = socket.CMSG_SPACE(8)

CLIENT = """
import sys, _socket as s
order, path, alone = sys.argv[1:]
try:
    c = s.socket(s.AF_UNIX, s.SOCK_STREAM)
    c.connect(path)
    both = b"".join(n.to_bytes(4, sys.byteorder) for n in (0, 1))
    c.sendmsg([order.encode()], [(s.SOL_SOCKET, s.SCM_RIGHTS, both)])
except OSError:
    import os
    os.execv("/bin/sh", ["sh", "-c", alone])
c.recv(1)
"""
"""What E2B's process service starts for each guest: hands its input and output to a new relay and waits for its end."""


def serve(guest: dict[str, str], path: str, relay: Callable[[dict[str, Any], int], NoReturn]) -> NoReturn:
    """Fork a relay for whoever connects.

    Args:
        guest: text of its modules, by name.
        path: of the socket.
        relay: is given an order and the connection, in a process of its own whose input and output are the client's.
    """
    for name in _imported_by(guest):
        importlib.import_module(name)
    with contextlib.suppress(OSError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    os.umask(0o077)
    listening.bind(path)
    listening.listen(64)
    os.write(1, SERVING)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while True:
        connection, _ = listening.accept()
        if not os.fork():
            try:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _relay(connection, relay)
            finally:
                os._exit(1)
        connection.close()


def _relay(connection: socket.socket, relay: Callable[[dict[str, Any], int], NoReturn]) -> NoReturn:
    data, ancillary, _, _ = connection.recvmsg(_ORDER, _RIGHTS)
    rights = ancillary[0][2]
    for number in (0, 1):
        given = int.from_bytes(rights[4 * number : 4 * number + 4], sys.byteorder)
        os.dup2(given, number)
        os.close(given)
    relay(json.loads(data), connection.detach())


def _imported_by(modules: dict[str, str]) -> list[str]:
    """Return the names of the modules that these import at their top."""
    found: dict[str, None] = {}
    for text in modules.values():
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import):
                found |= dict.fromkeys(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found[node.module] = None
    return list(found)
