"""`python -m callgate.testing.e2b`: the loopback server in a process of its own, until its input ends.

It prints one line of JSON, with what `e2b.E2B` and `E2BSandbox` take to find it.
"""

from __future__ import annotations

import argparse
import json
import sys

from callgate.testing.e2b.server import LoopbackE2B


def main() -> None:
    """Serve."""
    arguments = argparse.ArgumentParser(prog="python -m callgate.testing.e2b", description=__doc__)
    arguments.add_argument("--port", type=int, default=0, help="to listen on; 0 takes a free one (0)")
    arguments.add_argument("--api-key", help="that clients must send; one is made up without it")
    given = arguments.parse_args()
    with LoopbackE2B(port=given.port, api_key=given.api_key) as server:
        sys.stdout.write(json.dumps(server.options) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
