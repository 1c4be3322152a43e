"""What a sandbox does where its relay is root, in a root directory of its own. Prints one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from callgate import CodeRunner, Limits
from callgate.sandboxes.e2b import E2BSandbox
from callgate.testing.e2b import LoopbackE2B

LOOK = """
import os
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
found = [sorted(os.listdir("/tmp")), sorted(os.listdir("/out"))]
open("/tmp/left", "w").close()
open("/out/left", "w").close()
def refused(work):
    try: work()
    except OSError as error: return error.strerror
full = refused(lambda: open("/out/big", "wb").write(bytes(80 << 20)))
os.truncate("/out/big", 0)
{
    "user": int(status["Uid"].split()[0]), "capabilities": int(status["CapEff"], 16),
    "no_new_privs": status["NoNewPrivs"].strip(), "found": found, "full": full,
    "etc": refused(lambda: open("/etc/left", "w")), "relay": refused(lambda: os.listdir(f"/proc/{os.getppid()}/fd")),
}
"""

LEAVE = """
import ctypes
ctypes.CDLL(None).system(b"setsid sleep 300 > /dev/null 2>&1 < /dev/null &")
int(open("/proc/self/status").read().partition("Uid:")[2].split()[0])
"""


def running(user: int) -> int:
    """Return how many processes a user has."""
    found = 0
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found += path.stat().st_uid == user
    return found


if __name__ == "__main__":
    with LoopbackE2B() as server, E2BSandbox(**server.options, envs={"CALLGATE_LOOPBACK": ""}) as sandbox:
        runner = CodeRunner([], sandbox=sandbox, limits=Limits(disk_mb=64))
        outcomes = [runner.run(LOOK) for _ in range(2)]
        user = runner.run(LEAVE).value
        deadline = time.monotonic() + 10
        while running(user) and time.monotonic() < deadline:
            time.sleep(0.05)
        told = {
            "stray": running(user),
            "values": [one.value for one in outcomes],
            "level": sandbox.level,
            "text": outcomes[0].text,
        }
        sys.stdout.write(json.dumps(told) + "\n")
