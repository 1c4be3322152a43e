"""FakeSandbox, and the socket-backed guest that it shares with real sandboxes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from callgate.limits import Limits
from callgate.sandboxes.base import EndFrame, Guest, Sandbox, frame
from callgate.sandboxes.channel import SocketGuest
from callgate.sandboxes.frames import Frames
from callgate.testing.fake import FakeSandbox


@pytest.fixture
def sandbox() -> Iterator[FakeSandbox]:
    one = FakeSandbox()
    yield one
    one.close()


def order(program: str) -> bytes:
    bounds = {"output_kb": 64, "frame_mb": 16, "threads": 64}
    return frame({"run": {"program": program, "seed": 1, "wall": 0.0, "tools": {}, "limits": bounds}})


def last(guest: SocketGuest, frames: Frames) -> EndFrame:
    while data := guest.receive(20):
        for one in frames.feed(data):
            if isinstance(one, EndFrame):
                return one
    raise AssertionError("no end")


def test_it_is_a_sandbox_and_gives_guests(sandbox: FakeSandbox) -> None:
    typed: Sandbox = sandbox
    guest: Guest = typed.start(Limits())
    assert isinstance(sandbox, Sandbox)
    assert (sandbox.name, sandbox.level) == ("fake", "L0")
    guest.kill()


def test_a_guest_sees_an_empty_environment_and_an_empty_folder(sandbox: FakeSandbox) -> None:
    guest = sandbox.start(Limits())
    guest.send(order("import os\n[sorted(os.environ), os.listdir()]"), 5)
    value = last(guest, Frames(16)).value
    assert set(value[0]) - {"LC_CTYPE"} == {"PYTHONHASHSEED", "TZ"}
    assert value[1] == []


def test_kill_leaves_no_process_and_no_descriptor(sandbox: FakeSandbox) -> None:
    sandbox.start(Limits()).kill()
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        guest = sandbox.start(Limits())
        guest.send(order("1"), 5)
        assert last(guest, Frames(16)).value == 1
        os.kill(guest.pid, 0)
        guest.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(guest.pid, 0)
    assert len(list(Path("/dev/fd").iterdir())) == before
