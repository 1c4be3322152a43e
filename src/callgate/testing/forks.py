"""The process that guests of `FakeSandbox` are forked from: starting an interpreter for each would cost 0.1 s.

It is one per host process, ends with it, and takes what it has forked with it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from importlib import resources

from callgate.sandboxes import bundle
from callgate.sandboxes.guest_source import guest_modules

__all__ = ["fork", "kill"]

READ_ALL = "import sys; exec(compile(sys.stdin.buffer.read(), '<guest>', 'exec'))"

SERVE = """
def serve(fd):
    import gc, os, signal, socket
    def end(pid):
        for kill in (os.killpg, os.kill):
            try:
                kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        os.waitpid(pid, 0)
    control, guests = socket.socket(fileno=fd), set()
    gc.collect()
    gc.freeze()
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1 << 12, 1)
        if fds:
            pid = os.fork()
            if not pid:
                control.close()
                os.setsid()
                folder = data.decode()
                os.chdir(folder + "/tmp")
                callgate_guest.redirect.install(callgate_guest.artifacts.root, folder + "/out")
                callgate_guest.artifacts.root = folder + "/out"
                callgate_guest.main.run(fds[0])
            os.close(fds[0])
            guests.add(pid)
            control.sendall(b"%d" % pid)
        elif data:
            end(int(data))
            guests.remove(int(data))
            control.sendall(b"!")
        else:
            for pid in guests:
                end(pid)
            os._exit(0)
"""

_lock = threading.Lock()
_running: dict[int, tuple[socket.socket, subprocess.Popen[bytes]]] = {}  # by host process: forks of it have their own


def fork(channel: socket.socket, folder: str) -> int:
    """Fork a guest that speaks over its end of a channel. Returns its process id.

    Args:
        channel: its end.
        folder: with `tmp`, where it works, and `out`, what it finds at /out.
    """
    with _lock:
        return int(_ask(folder.encode(), [channel.fileno()]))


def kill(pid: int) -> None:
    """End a guest and everything of its session, and reap it."""
    with _lock:
        if os.getpid() in _running:
            _ask(b"%d" % pid, [])


def _ask(request: bytes, descriptors: list[int]) -> bytes:
    control = (_running.get(os.getpid()) or _start())[0]
    answer = b""
    try:
        socket.send_fds(control, [request], descriptors)
        answer = control.recv(1 << 12)
    finally:
        if not answer:  # gone, or interrupted: an answer that nobody read must not be taken for the next one
            _end()
    if not answer:
        raise OSError("the process that forks guests is gone")
    return answer


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs, tempfile.TemporaryFile() as text:  # a file, not a pipe that somebody would have to fill
        text.write(f"{_source()}serve({theirs.fileno()})\n".encode())
        text.seek(0)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own text
            [_interpreter(), "-S", "-s", "-P", "-B", "-c", READ_ALL],
            stdin=text,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "TZ": "UTC"},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    _running[os.getpid()] = ours, process
    atexit.register(_end)
    return ours, process


def _end() -> None:
    atexit.unregister(_end)
    if os.getpid() in _running:
        control, process = _running.pop(os.getpid())
        control.close()
        process.wait()


@cache
def _interpreter() -> str:
    found = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(shutil.which(found) or found)


@cache
def _source() -> str:
    redirect = resources.files("callgate.testing").joinpath("redirect.py").read_text("utf-8")
    return bundle.source({**guest_modules(), "redirect": redirect}, "callgate_guest.main.install()") + SERVE
