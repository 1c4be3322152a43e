"""Sandboxes that hold nothing: where the attacks must succeed, or their detectors are blind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress

from callgate import Limits
from callgate.sandboxes import bundle
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.frames import Frames
from callgate.sandboxes.guest_source import guest_modules

_SERVE = """
callgate_guest.refusals.install = lambda: None  # what it refuses, the kernel would refuse in the jail
callgate_guest.artifacts._lstat = callgate_guest.artifacts._fstat = __import__("os").stat  # follow links
callgate_guest.artifacts._FLAGS = 0
def serve(fd, reuse):
    import os, signal, socket
    class Over(BaseException): pass
    def over(status): raise Over
    control, worker = socket.socket(fileno=fd), None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1 << 12, 1)
        if not fds:
            os._exit(0)
        if worker is None:
            mine, theirs = socket.socketpair()
            pid = os.fork()
            if not pid:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                mine.close()
                os.setsid()
                os.chdir(data)
                os.makedirs("out", exist_ok=True)
                callgate_guest.artifacts.root = os.path.abspath("out")
                if fds[0] != 3:
                    os.dup2(fds[0], 3)
                    os.close(fds[0])
                if not reuse:
                    callgate_guest.main.run(3)
                callgate_guest.main._exit = over
                while True:
                    try:
                        callgate_guest.main.run(3)
                    except Over:
                        os.dup2(0, 3)
                    fds = socket.recv_fds(theirs, 1, 1)[1]
                    if fds[0] != 3:
                        os.dup2(fds[0], 3)
                        os.close(fds[0])
            theirs.close()
            worker = (mine, pid) if reuse else None
        else:
            socket.send_fds(worker[0], [b"!"], fds)
        os.close(fds[0])
        control.sendall(b"%d" % pid)
"""


class Endless(Frames):
    """Frames of a host that holds whatever comes."""

    def __init__(self, frame_mb: int) -> None:
        super().__init__(frame_mb)
        self._most = self._room = 1 << 60


class BareSandbox:
    """Runs guests as ordinary children of this process: its user, its environment, its files, what it left open.

    Args:
        reuse: run all programs in one process.
    """

    name, level = "bare", "L0"

    def __init__(self, *, reuse: bool = False) -> None:
        self._reuse = reuse
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.mkdtemp(prefix="callgate-bare-")

    def start(self, limits: Limits) -> SocketGuest:
        """Return a guest."""
        ours, theirs = socket.socketpair()
        folder = self._folder if self._reuse else tempfile.mkdtemp(dir=self._folder)
        with theirs, self._lock:
            control = self._control or self._serve()
            socket.send_fds(control, [folder.encode()], [theirs.fileno()])
            pid = int(control.recv(64))
        return SocketGuest(ours, kill=lambda: self._kill(pid), cpu=lambda: 0.0, lost=lambda: False)

    async def astart(self, limits: Limits) -> SocketGuest:
        """The awaitable twin of `start`."""
        return self.start(limits)

    def _serve(self) -> socket.socket:
        self._control, theirs = socket.socketpair()
        text = bundle.source(guest_modules(), "callgate_guest.main.install()")
        with theirs, tempfile.TemporaryFile() as file:
            file.write(f"{text}{_SERVE}serve({theirs.fileno()}, {self._reuse})\n".encode())
            file.seek(0)
            os.set_inheritable(theirs.fileno(), True)
            self._server = subprocess.Popen(
                [sys.executable, "-B", "-c", "import sys; exec(compile(sys.stdin.buffer.read(), '<bare>', 'exec'))"],
                stdin=file,
                stderr=subprocess.DEVNULL,
                close_fds=False,
            )
        return self._control

    def _kill(self, pid: int) -> None:
        if self._reuse:
            return
        with suppress(OSError):
            process = os.pidfd_open(pid)
            try:
                os.killpg(pid, signal.SIGKILL)
                select.select([process], [], [], 5)
            finally:
                os.close(process)

    def close(self) -> None:
        """End everything, as far as it lets itself be ended."""
        if self._control is not None and self._server is not None:
            self._control.close()
            self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
