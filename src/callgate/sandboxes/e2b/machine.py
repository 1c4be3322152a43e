"""One E2B sandbox: made, prepared, kept, and ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shlex
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from callgate.errors import SandboxUnavailable
from callgate.sandboxes import bundle
from callgate.sandboxes.e2b import client
from callgate.sandboxes.e2b.inside.server import CLIENT
from callgate.sandboxes.guest_source import guest_modules

__all__ = ["Machine", "Plan"]

logger = logging.getLogger("callgate")

MARK = "callgate"
"""Key of the metadata of every sandbox that was made here."""

REQUEST = 30.0
"""Seconds for one request."""
INSTALL = 600.0
"""Seconds for packages to be installed."""
SERVE = 5.0
"""Seconds that the process that relays are forked from may take to come up."""
TAIL = 500
SOCKET = ".callgate-relays"
"""Where it listens, below the home directory."""

USER = "root"
"""Who the relay runs as; guests get users of their own."""

Fed = Callable[[str], Coroutine[Any, Any, None] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How sandboxes are made; see `E2BSandbox`."""

    connection: Mapping[str, Any] = field(repr=False)
    """Options of the SDK's client."""
    template: str | None
    timeout: int
    idle: Literal["end", "pause"]
    internet: bool
    network: Mapping[str, Any] | None
    envs: Mapping[str, str]
    metadata: Mapping[str, str]
    packages: tuple[str, ...]
    notebook: bool = False


class Machine:
    """One sandbox, running.

    Args:
        sandbox: the SDK's object for it.
        plan: how it was made.
    """

    def __init__(self, sandbox: Any, plan: Plan) -> None:
        self._sandbox, self._plan = sandbox, plan
        self.id: str = sandbox.sandbox_id
        self.gone = False
        """Whether it is known to be over."""
        self.users = 0
        """Guests in it."""
        self.idle_since = asyncio.get_running_loop().time()
        self.frame_most = 0
        """Bytes that a frame may have, the largest of all its guests'."""

    @property
    def notebook(self) -> Any:
        """The SDK's object, whose template has the code interpreter."""
        return self._sandbox

    @classmethod
    async def make(cls, sdk: Any, plan: Plan, *, key: str) -> Machine:
        """Make a sandbox; key keeps a request that is repeated from making two.

        Raises:
            Exception: what the SDK raises.
        """
        installs = bool(plan.packages)
        options: dict[str, Any] = {"network": dict(plan.network)} if plan.network is not None else {}
        sandbox = await sdk.create(
            plan.template,
            timeout=plan.timeout,
            metadata={**plan.metadata, MARK: "1"},
            envs=dict(plan.envs) or None,
            allow_internet_access=plan.internet or installs if plan.network is None or installs else None,
            lifecycle={"on_timeout": "pause" if plan.idle == "pause" else "kill"},
            idempotency_key=key,
            request_timeout=60,
            **options,
            **plan.connection,
        )
        machine = cls(sandbox, plan)
        try:
            await machine._prepare()
        except BaseException:
            await asyncio.shield(machine.end())
            raise
        return machine

    async def _prepare(self) -> None:
        path, text = relay_source()
        await self._sandbox.files.write(f"~/{path}", text, user=USER, request_timeout=REQUEST)
        if self._plan.packages:
            await self._install()
        await self._serve()

    async def _serve(self) -> None:
        """Start the process that relays are forked from. Without it they start by themselves, and take longer."""
        heard = asyncio.Event()

        def hear(_: str) -> None:
            heard.set()

        try:
            handle = await self._sandbox.commands.run(
                _serving(), background=True, user=USER, timeout=0, on_stdout=hear, retain_output=False
            )
            try:
                async with asyncio.timeout(SERVE):
                    await heard.wait()
            finally:
                await handle.disconnect()
        except Exception as error:  # noqa: BLE001
            logger.debug("E2B sandbox %s: relays start by themselves: %s", self.id, error)

    async def _install(self) -> None:
        names = shlex.join(self._plan.packages)
        done = await self._sandbox.commands.run(
            f"python3 -m pip install --quiet --root-user-action=ignore -- {names} 2>&1 || echo 'pip failed'",
            user=USER,
            timeout=INSTALL,
        )
        if done.stdout.rstrip().endswith("pip failed"):
            raise SandboxUnavailable(
                f"packages could not be installed in the E2B sandbox: {done.stdout[-TAIL:]}",
                missing=list(self._plan.packages),
                cure="give E2BSandbox a template that has them",
            )
        if not self._plan.internet:
            await self._sandbox.update_network(dict(self._plan.network or {"deny_out": ["0.0.0.0/0"]}))

    async def run(self, command: str, on_stdout: Fed) -> Any:
        """Start a command and return the SDK's handle."""
        return await self._sandbox.commands.run(
            command,
            background=True,
            user=USER,
            stdin=True,
            timeout=0,
            on_stdout=on_stdout,
            on_stderr=self._complain,
            retain_output=False,
            request_timeout=REQUEST,
        )

    async def connect(self, pid: int, on_stdout: Fed, seconds: float) -> Any:
        """Listen again to a command that runs, unless that takes longer."""
        return await self._sandbox.commands.connect(
            pid,
            timeout=0,
            on_stdout=on_stdout,
            on_stderr=self._complain,
            retain_output=False,
            request_timeout=seconds,
        )

    async def kill(self, handle: Any) -> None:
        """End a command from outside. A relay that cannot be reached ends by itself, after some silence."""
        for attempt in range(3):
            try:
                await self._sandbox.commands.kill(handle.pid, request_timeout=REQUEST)
            except Exception as error:  # noqa: BLE001 - it is tried again
                if client.trouble(error) is client.Trouble.GONE:
                    return
                await asyncio.sleep(0.3 * (attempt + 1))
            else:
                return

    def input(self, handle: Any) -> Any:
        """Return what writes to a command's input, in order."""
        commands = self._sandbox.commands
        if hasattr(commands, "stream_input"):
            return commands.stream_input(handle.pid, timeout=0)
        return _Requests(handle)

    async def upload(self, path: str, data: bytes) -> None:
        """Write a file below the relay's working directory."""
        await self._sandbox.files.write(f"~/{path}", data, user=USER, request_timeout=60, use_octet_stream=True)

    async def download(self, path: str) -> bytes:
        """Read a file below the relay's working directory."""
        return bytes(await self._sandbox.files.read(f"~/{path}", format="bytes", user=USER, request_timeout=60))

    async def keep(self) -> None:
        """Let it live for another `timeout` seconds."""
        await self._sandbox.set_timeout(self._plan.timeout, request_timeout=REQUEST)

    async def pause(self) -> None:
        """Freeze it, to be found again by its id."""
        await self._sandbox.pause(request_timeout=60)

    @classmethod
    async def resume(cls, sdk: Any, plan: Plan, id: str) -> Machine:
        """Go on with a sandbox that was paused."""
        return cls(await sdk.connect(id, timeout=plan.timeout, request_timeout=60, **plan.connection), plan)

    async def end(self) -> None:
        """End it, as far as it can be reached; its timeout ends it otherwise."""
        self.gone = True
        for attempt in range(3):
            try:
                await self._sandbox.kill(request_timeout=10)
            except Exception as error:  # noqa: BLE001 - there is nobody to tell, and a limit of its own
                logger.debug("E2B sandbox %s could not be ended: %s", self.id, error)
                await asyncio.sleep(0.2 * attempt)
            else:
                return
        logger.warning("E2B sandbox %s could not be ended; it ends by itself in %s s", self.id, self._plan.timeout)

    def _complain(self, text: str) -> None:
        logger.debug("E2B sandbox %s: the relay says: %s", self.id, text[-TAIL:])


class _Requests:
    """Writes to a command's input by one request each: what an SDK offers that is older than `stream_input`."""

    queues = False
    """Whether `send` returns before anything is sent."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def send(self, data: bytes) -> None:
        await self._handle.send_stdin(data, request_timeout=REQUEST)

    async def close(self) -> None:
        with suppress(Exception):
            await self._handle.close_stdin()


def command(order: Mapping[str, Any]) -> str:
    """Return what starts a relay."""
    given = json.dumps(order)
    starter = ["python3", "-I", "-S", "-c", CLIENT, given, SOCKET, _python(shlex.quote(given))]
    return f'cd "$HOME" || exit 1; exec {shlex.join(starter)}'


def _serving() -> str:
    """Return what starts the process that relays are forked from."""
    return f'cd "$HOME" || exit 1; {_python(f"serve {SOCKET}")}'


def _python(arguments: str) -> str:
    """Return what runs the relay's file, with memory laid out the same way each time where the machine lets it be."""
    path, _ = relay_source()
    return (
        "set --; setarch -R true 2>/dev/null && set -- setarch -R; "
        'exec "$@" env -i PATH="$PATH" PYTHONHASHSEED=0 TZ=UTC LANG=C.UTF-8 CALLGATE_LOOPBACK="$CALLGATE_LOOPBACK" '
        f"python3 -S -s -P -B {path} {arguments}"
    )


@cache
def relay_source() -> tuple[str, str]:
    """Return name and text of the file that is the relay, with the guest in it."""
    inside = files("callgate.sandboxes.e2b") / "inside"
    relay = {name: (inside / f"{name}.py").read_text("utf-8") for name in ("packets", "confine", "server", "relay")}
    redirect = files("callgate.testing").joinpath("redirect.py").read_text("utf-8")
    guest = {**guest_modules(), "redirect": redirect}
    text = bundle.source(relay, f"import sys\n{bundle.PACKAGE}.relay.main({guest!r}, sys.argv[1:])")
    return f"callgate-relay-{hashlib.sha256(text.encode()).hexdigest()[:16]}.py", text
