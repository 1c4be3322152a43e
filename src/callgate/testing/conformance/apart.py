"""Of the host a program sees nothing, and can do nothing to it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from callgate.testing.conformance.capabilities import needs
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once

__all__ = ["Apart"]

SECRET = "4f2a-secret-of-the-host"  # noqa: S105 - whoever reads it has left the sandbox

LIBC = """
try:
    import ctypes
    libc = ctypes.CDLL(None)
except (ImportError, OSError): libc = None
"""
"""The C library, which asks no Python for leave; None where a sandbox has none."""


class Apart:
    """What a program sees of the host."""

    @once
    @needs("environment")
    def test_the_environment_of_the_host_is_not_there(self, case: Case) -> None:
        """No variable of the host's process is seen inside, also of a sandbox that is made while it is set."""
        os.environ["CALLGATE_CONFORMANCE"] = SECRET
        try:
            with case.another() as sandbox:
                outcome = case.runner(sandbox=sandbox).run("import os\nfound = dict(os.environ)\nfound")
        finally:
            del os.environ["CALLGATE_CONFORMANCE"]
        assert outcome.status == "completed", outcome.text
        assert SECRET not in str(outcome.value)

    @once
    @needs("host_files")
    def test_files_of_the_host_are_not_there(self, case: Case) -> None:
        """A file that every user of the host may read is not there, nor is this module's."""
        folder = Path(tempfile.mkdtemp(prefix="callgate-conformance-"))
        try:
            folder.chmod(0o755)
            secret = folder / "secret"
            secret.write_text(SECRET)
            secret.chmod(0o644)
            program = f"""
seen = []
for path in ({str(secret)!r}, {__file__!r}):
    try: seen.append(open(path).read(100))
    except OSError: pass
seen
"""
            assert case.value(program) == []
        finally:
            shutil.rmtree(folder)

    @once
    @needs("network")
    def test_services_of_the_host_are_out_of_reach(self, case: Case) -> None:
        """A program cannot connect to what listens on the host, through Python or past it."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            program = f"""
{LIBC}
import socket, struct
found = []
try: found.append(socket.create_connection(('127.0.0.1', {port}), 2) and 'connected')
except OSError: pass
if libc is not None:
    address = struct.pack('=H', socket.AF_INET) + struct.pack('>H', {port}) + bytes([127, 0, 0, 1]) + bytes(8)
    if libc.connect(libc.socket(2, 1, 0), address, len(address)) == 0: found.append('connected by C')
found
"""
            assert case.value(program) == []

    @once
    @needs("processes")
    def test_no_process_is_started_or_signalled(self, case: Case) -> None:
        """Forking, starting a command and signalling the host's process are refused, to C code too."""
        program = f"""
{LIBC}
import os, subprocess
done = []
for attempt in (os.fork, lambda: subprocess.run(['/bin/true']), lambda: os.kill({os.getpid()}, 0)):
    try:
        if attempt() == 0: os._exit(0)
        done.append('done')
    except OSError: pass
if libc is not None:
    if (child := libc.fork()) == 0: libc._exit(0)
    if child > 0: done.append('forked by C')
    if libc.kill({os.getpid()}, 0) == 0: done.append('signalled by C')
done
"""
        assert case.value(program) == []
