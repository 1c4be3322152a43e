"""The notebook service of one sandbox."""

from __future__ import annotations

from callgate.testing.e2b.control import Machine, read_body
from callgate.testing.e2b.http import Receive, Scope, Send, reply

__all__ = ["answer_notebook"]


async def answer_notebook(machine: Machine, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse, for now."""
    await read_body(receive)
    await reply(send, 404, b'{"code": 404, "message": "no notebook"}')
