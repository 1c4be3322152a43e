"""What a sandbox does where its relay is root, in a root directory of its own. Prints one line of JSON."""

from __future__ import annotations

import json
import sys

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

if __name__ == "__main__":
    with LoopbackE2B() as server, E2BSandbox(**server.options, envs={"CALLGATE_LOOPBACK": ""}) as sandbox:
        runner = CodeRunner([], sandbox=sandbox, limits=Limits(disk_mb=64))
        outcomes = [runner.run(LOOK) for _ in range(2)]
        told = {"values": [one.value for one in outcomes], "level": sandbox.level, "text": outcomes[0].text}
        sys.stdout.write(json.dumps(told) + "\n")
