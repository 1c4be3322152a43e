"""The loopback server, as the real SDK sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

import e2b
from cloud.waiting import until

from callgate.testing.e2b import LoopbackE2B


@pytest.fixture
def client(server: LoopbackE2B) -> Any:
    return e2b.E2B(**server.options)


@pytest.fixture
def machine(client: Any) -> Iterator[Any]:
    made = client.Sandbox.create("base", timeout=60, metadata={"for": "tests"})
    yield made
    made.kill()


def test_a_sandbox_is_made_with_what_was_asked_for(client: Any, server: LoopbackE2B) -> None:
    client.Sandbox.create("mine", timeout=77, metadata={"a": "b"}, allow_internet_access=False, envs={"X": "1"})
    (told,) = server.sandboxes()
    assert (told["templateID"], told["metadata"]) == ("mine", {"a": "b"})
    assert told["order"]["timeout"] == 77
    assert told["order"]["allow_internet_access"] is False


def test_an_idempotency_key_makes_one_sandbox(client: Any, server: LoopbackE2B) -> None:
    made = [client.Sandbox.create("base", idempotency_key="run-1").sandbox_id for _ in range(2)]
    assert made[0] == made[1]
    assert server.made == 1


def test_a_wrong_key_is_refused(server: LoopbackE2B) -> None:
    other = e2b.E2B(**{**server.options, "api_key": "e2b_0"})
    with pytest.raises(e2b.AuthenticationException):
        other.Sandbox.create("base")


def test_sandboxes_are_found_by_metadata(client: Any, machine: Any) -> None:
    query = e2b.SandboxQuery(metadata={"for": "tests"})
    assert [one.sandbox_id for one in client.Sandbox.list(query).next_items()] == [machine.sandbox_id]
    assert client.Sandbox.list(e2b.SandboxQuery(metadata={"for": "others"})).next_items() == []


def test_commands_run_and_tell_how_they_ended(machine: Any) -> None:
    done = machine.commands.run("echo out; echo err >&2; echo $X", envs={"X": "7"})
    assert (done.stdout, done.stderr, done.exit_code) == ("out\n7\n", "err\n", 0)
    with pytest.raises(e2b.CommandExitException) as failed:
        machine.commands.run("exit 3")
    assert failed.value.exit_code == 3


def test_files_are_written_read_and_listed(machine: Any) -> None:
    machine.files.write("a/b.txt", "text")
    machine.files.write("/data/c.bin", b"\x00\xff\x0a")
    assert machine.files.read("a/b.txt") == "text"
    assert bytes(machine.files.read("/data/c.bin", format="bytes")) == b"\x00\xff\x0a"
    assert [one.name for one in machine.files.list("a")] == ["b.txt"]
    assert not machine.files.exists("nowhere")
    with pytest.raises(e2b.NotFoundException):
        machine.files.read("nowhere")


def test_no_path_leads_out_of_a_sandbox(machine: Any) -> None:
    with pytest.raises(e2b.NotFoundException):
        machine.files.read("../../../../etc/hostname")
    with pytest.raises(e2b.NotFoundException):
        machine.files.read("/etc/hostname")


async def test_input_reaches_a_command_both_ways(client: Any) -> None:
    machine = await client.AsyncSandbox.create("base", timeout=60)
    heard: list[str] = []
    handle = await machine.commands.run("cat", background=True, stdin=True, timeout=0, on_stdout=heard.append)
    stream = machine.commands.stream_input(handle.pid, timeout=0)
    await stream.send("one\n")
    await stream.close()
    await handle.send_stdin("two\n")
    await handle.close_stdin()
    assert (await handle.wait()).exit_code == 0
    assert "".join(heard) == "one\ntwo\n"


async def test_output_is_lost_while_nobody_listens(client: Any, server: LoopbackE2B) -> None:
    machine = await client.AsyncSandbox.create("base", timeout=60)
    heard: list[str] = []
    script = "for i in 1 2 3; do read line; echo $i; done; read line; exit 0"
    handle = await machine.commands.run(script, background=True, stdin=True, timeout=0)
    await handle.disconnect()
    while server.discarded() < 4:
        await handle.send_stdin("\n")
        await asyncio.sleep(0.02)
    again = await machine.commands.connect(handle.pid, timeout=0, on_stdout=heard.append)
    await again.send_stdin("\n\n\n")
    await again.wait()
    assert "1" not in "".join(heard)


def test_a_command_is_killed_at_its_timeout(machine: Any, server: LoopbackE2B) -> None:
    handle = machine.commands.run("sleep 60", background=True, timeout=0.3)
    assert server.processes() == 1
    with pytest.raises((e2b.CommandExitException, e2b.TimeoutException)):  # whichever the client sees first
        handle.wait()
    until(lambda: server.processes() == 0)


def test_a_sandbox_ends_at_its_timeout(client: Any, server: LoopbackE2B) -> None:
    made = client.Sandbox.create("base", timeout=60)
    made.set_timeout(0)
    until(lambda: server.sandboxes() == [])
    with pytest.raises(e2b.exceptions.SandboxNotRunningException):
        made.commands.run("echo")


def test_a_paused_sandbox_goes_on_where_it_was(client: Any, machine: Any, server: LoopbackE2B) -> None:
    handle = machine.commands.run("read line; echo got $line", background=True, stdin=True, timeout=0)
    machine.pause()
    assert [one["state"] for one in server.sandboxes()] == ["paused"]
    with pytest.raises(e2b.TimeoutException):
        machine.commands.run("echo")
    again = client.Sandbox.connect(machine.sandbox_id, timeout=60)
    heard: list[str] = []
    listening = again.commands.connect(handle.pid, timeout=0)
    listening.send_stdin("it\n")
    listening.wait(on_stdout=heard.append)
    assert "".join(heard) == "got it\n"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, e2b.exceptions.NotFoundException),
        (429, e2b.exceptions.RateLimitException),
        (502, e2b.exceptions.SandboxUnreachableException),
    ],
)
def test_a_fault_reaches_the_client_as_the_real_one_does(
    machine: Any, server: LoopbackE2B, status: int, error: type[Exception]
) -> None:
    server.faults.fail("/process.Process/Start", status)
    with pytest.raises(error):
        machine.commands.run("echo")
    assert machine.commands.run("echo again").stdout == "again\n"


def test_a_dropped_stream_is_an_error_and_not_an_end(machine: Any, server: LoopbackE2B) -> None:
    handle = machine.commands.run("sleep 60", background=True, timeout=0)
    assert server.drop_streams("/process.Process/Start") == 1
    with pytest.raises(Exception) as dropped:
        handle.wait()
    assert not isinstance(dropped.value, e2b.CommandExitException)
    assert server.processes() == 1


def test_output_comes_in_pieces_split_at_any_byte(machine: Any, server: LoopbackE2B) -> None:
    server.faults.largest = 2
    heard: list[str] = []
    machine.commands.run("echo 'ä€𝄞ä€𝄞'", on_stdout=heard.append)
    assert "".join(heard) == "ä€𝄞ä€𝄞\n"
    assert len(heard) > 5


def test_a_closed_server_leaves_nothing(nothing_left: None) -> None:
    with LoopbackE2B() as server:
        made = e2b.E2B(**server.options).Sandbox.create("base", timeout=60)
        made.commands.run("sleep 60", background=True, timeout=0)
        home = made.commands.run("pwd").stdout.strip()
    assert not Path(home).exists()
