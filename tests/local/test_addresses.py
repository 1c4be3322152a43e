"""Addresses repeat: from guest to guest, and from server to server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from local.harness import value

from callgate.limits import Limits
from callgate.sandboxes.local import LocalSandbox

GUESTS = 1_000

PROGRAM = """
import sqlite3, zipfile
class Thing: pass
things = [Thing() for _ in range(50)]
places = [id(each) for each in (object(), things[0], [], {}, print, Thing, sqlite3.connect, zipfile.ZipFile)]
[places, [things.index(thing) for thing in set(things)], hash("x"), hash(None)]
"""


def test_addresses_are_those_of_the_first_guest_in_every_other_and_in_another_server(sandbox: LocalSandbox) -> None:
    if not sandbox.fixed_addresses:
        pytest.skip("this host does not let a process switch address randomisation off")
    with LocalSandbox() as first, LocalSandbox() as second:
        expected = value(first, PROGRAM)
        assert value(first, PROGRAM) == expected
        with ThreadPoolExecutor(4) as pool:
            for guest in pool.map(lambda _: first.start(Limits()), range(GUESTS - 3)):
                guest.kill()
        assert value(first, PROGRAM) == expected
        assert value(second, PROGRAM) == expected


TWO_STRANDS = """
import threading, time
stop, seen = threading.Event(), []
def beat():
    while not stop.is_set():
        seen.append(round(time.monotonic(), 6)); stop.wait(0.1)
thread = threading.Thread(target=beat, daemon=True)
thread.start()
for _ in range(3): time.sleep(0.25); seen.append("main")
stop.set()
thread.join()
seen
"""


def test_what_the_server_did_before_does_not_show_in_its_later_guests() -> None:
    with LocalSandbox() as server:
        expected = value(server, TWO_STRANDS)
        with ThreadPoolExecutor(4) as pool:
            for guest in pool.map(lambda _: server.start(Limits()), range(1_100)):
                guest.kill()
        assert value(server, TWO_STRANDS) == expected
