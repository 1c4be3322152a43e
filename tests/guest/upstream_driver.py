"""Runs CPython's own tests upon the patched guest; a program of its own, started by test_upstream.py.

At rest the clock jumps to the next timer. Reads {"bundle", "modules", "classes", "excluded"} and writes what failed.
"""

import json
import signal
import sys
import traceback
import unittest


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
    order = json.load(sys.stdin)
    names: dict[str, object] = {}
    exec(order["bundle"], names)
    guest = names["callgate_guest"]
    guest.main.install()
    jump(guest.baton.baton)
    guest.threads.limit = 1000

    import unittest.mock

    import test.support

    test.support.LOOPBACK_TIMEOUT = test.support.SHORT_TIMEOUT = 30.0
    suite = unittest.TestSuite()
    ran: list[str] = []
    for module in order["modules"]:
        loaded = unittest.defaultTestLoader.loadTestsFromName(module)
        assert not unittest.defaultTestLoader.errors, unittest.defaultTestLoader.errors[0]
        for one in flatten(loaded):
            name = one.id()
            if order["classes"] and not any(f".{wanted}." in name for wanted in order["classes"]):
                continue
            if not any(name.endswith(out) or f"{out}." in name for out in order["excluded"]):
                suite.addTest(one)
                ran.append(name)
    result = unittest.TestResult()
    suite.run(result)
    failed = {one.id(): text for one, text in result.failures + result.errors}
    json.dump({"ran": len(ran), "failed": failed, "skipped": len(result.skipped)}, sys.__stdout__)


def flatten(suite):
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from flatten(one)
        else:
            yield one


def jump(baton) -> None:
    """Replace the host: the next timer is due at once."""

    def rest() -> None:
        assert baton.timers, "".join(["deadlock\n", *traceback.format_stack(limit=12)])
        baton.now = max(baton.now, min(baton.timers.values()))
        for strand in [one for one, deadline in baton.timers.items() if deadline <= baton.now]:
            del baton.timers[strand]
            strand.parked = False
            baton.ready.append(strand)

    baton._rest = rest
    baton.wall = 1_800_000_000.0


main()
