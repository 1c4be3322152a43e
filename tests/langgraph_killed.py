"""Lives of a graph in processes of their own, which can kill themselves at a chosen moment.

A moment is the time before or after a row of the journal, a pause or a cleared answer is stored, and the time right
after a tool's effect. A process that has loaded everything forks one process per life.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import langgraph_node
from langgraph_durable import SANDBOX, Life, config_of, graph_of, input_of, said
from langgraph_savers import aopen_saver, open_saver

from callgate_langgraph import checkpoint_journal, saving, stale_resume

__all__ = ["Lives", "Process"]

LIFE_SECONDS = 60


class Process:
    """One life, running or over."""

    def __init__(self, lives: Lives, folder: Path) -> None:
        self._lives, self._folder = lives, folder
        self.status: int | None = None
        """As `os.waitpid` says it, once it is over."""

    def killed(self) -> bool:
        """Wait for the end and say whether it killed itself as it was told to."""
        self._lives.wait_for(self)
        assert self.status is not None
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    def result(self) -> dict[str, Any]:
        """Wait for the end and return what it said; {"error": ...} if the graph raised."""
        assert not self.killed(), "killed"
        assert self.status == 0, (self._folder / "err").read_text()[-4000:]
        return json.loads((self._folder / "result").read_text())


class Lives:
    """Starts processes. Close it at the end."""

    def __init__(self) -> None:
        root = Path(__file__).resolve().parents[1]
        paths = [root / "src", root / "adapters", root / "tests"]
        self._folder = tempfile.TemporaryDirectory(prefix="callgate-lives-")
        self._running: dict[str, Process] = {}
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def start(self, life: Life) -> Process:
        """Start a life and return at once."""
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        given = {name: value for name, value in asdict(life).items() if name not in ("moments", "durability_said")}
        (folder / "life").write_text(json.dumps(given))
        process = self._running[str(folder)] = Process(self, folder)
        assert self._server.stdin is not None
        self._server.stdin.write(f"{folder}\n")
        self._server.stdin.flush()
        return process

    def live(self, life: Life) -> dict[str, Any]:
        """Live a whole life and return what it said."""
        return self.start(life).result()

    def wait_for(self, process: Process) -> None:
        """Wait until a process is over."""
        assert self._server.stdout is not None
        while process.status is None:
            folder, _, status = self._server.stdout.readline().strip().rpartition(" ")
            self._running.pop(folder).status = int(status)

    def close(self) -> None:
        """End the server; lives that run are ended with it."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(LIFE_SECONDS)
        self._server.stdout.close()
        self._folder.cleanup()


# ---- inside


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def serve() -> None:
    """Fork a process for each folder named on stdin; say when one is over."""
    say("ready")
    running: dict[int, tuple[str, float]] = {}
    buffer = b""
    while True:
        if select.select([0], [], [], 0.005)[0]:
            data = os.read(0, 1 << 16)
            if not data:
                break
            *folders, buffer = (buffer + data).split(b"\n")
            for folder in folders:
                pid = os.fork()
                if not pid:
                    be(Path(folder.decode()))
                running[pid] = (folder.decode(), time.monotonic() + LIFE_SECONDS)
        for pid, (folder, deadline) in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del running[pid]
                say(f"{folder} {status}")
            elif time.monotonic() > deadline:
                os.kill(pid, signal.SIGABRT)  # faulthandler says where it hangs
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def be(folder: Path) -> None:
    """Be the process of a life, and end."""
    import faulthandler

    status = 1
    try:
        errors = os.open(folder / "err", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        faulthandler.enable()
        life = Life(**json.loads((folder / "life").read_text()))
        watch(life)
        result = asyncio.run(arun_life(life)) if life.is_async else run_life(life)
        (folder / "result").write_text(json.dumps(result))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            SANDBOX.close()
            langgraph_node.SANDBOX.close()
        os._exit(status)


class Watched:
    """A saver whose stored rows are moments."""

    def __init__(self, saver: Any, life: Life) -> None:
        self._saver, self._life = saver, life

    def __getattr__(self, name: str) -> Any:
        return getattr(self._saver, name)

    def put_writes(self, *given: Any) -> None:
        self._life.moment()
        self._saver.put_writes(*given)
        self._life.moment()

    async def aput_writes(self, *given: Any) -> None:
        self._life.moment()
        await self._saver.aput_writes(*given)
        self._life.moment()


def watch(life: Life) -> None:
    """Make moments of everything that callgate stores."""
    ask, aask = saving.ask, saving.aask
    for module in (checkpoint_journal, stale_resume):
        module.ask = lambda saver, asks: ask(Watched(saver, life), asks)  # type: ignore[assignment]
        module.aask = lambda saver, asks: aask(Watched(saver, life), asks)  # type: ignore[assignment]


def slowed(life: Life, saver: Any) -> Any:
    """Make every put of a graph's checkpoint slow, as a database far away is."""
    if life.slow:
        put, aput = saver.put, saver.aput

        def slow_put(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
            if metadata.get("source") != "callgate":
                time.sleep(life.slow)
            return put(config, checkpoint, metadata, versions)

        async def slow_aput(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
            if metadata.get("source") != "callgate":
                await asyncio.sleep(life.slow)
            return await aput(config, checkpoint, metadata, versions)

        saver.put, saver.aput = slow_put, slow_aput
    return saver


def built(life: Life, saver: Any) -> Any:
    return langgraph_node.graph_of(life, saver) if life.shape in langgraph_node.SHAPES else graph_of(life, saver)


def meet(life: Life) -> None:
    if life.meeting is not None:
        place = Path(life.meeting)
        (place / str(os.getpid())).touch()
        while len(list(place.iterdir())) < 2:
            time.sleep(0.001)


def run_life(life: Life) -> dict[str, Any]:
    with open_saver(life.kind, life.address) as saver:
        graph = built(life, slowed(life, saver))
        if life.update is not None:
            graph.update_state(config_of(life), life.update)
        meet(life)
        try:
            return said(graph.invoke(input_of(life), config_of(life), durability=life.durability), life)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}


async def arun_life(life: Life) -> dict[str, Any]:
    async with aopen_saver(life.kind, life.address) as saver:
        graph = built(life, slowed(life, saver))
        if life.update is not None:
            await graph.aupdate_state(config_of(life), life.update)
        meet(life)
        try:
            return said(await graph.ainvoke(input_of(life), config_of(life), durability=life.durability), life)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    serve()
