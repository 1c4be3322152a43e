"""An event loop that several threads run in turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("e2b", reason="needs the E2B SDK: pip install 'callgate[e2b]'")

from cloud.waiting import until

from callgate.sandboxes.e2b import shared_loop
from callgate.sandboxes.e2b.shared_loop import SharedLoop

OWN = "callgate-test-loop"
PATIENCE = 20


def never() -> bool:
    return False


def name() -> str:
    return threading.current_thread().name


@pytest.fixture
def shared() -> Iterator[SharedLoop]:
    one = SharedLoop(OWN)
    yield one
    one.close(PATIENCE)
    assert OWN not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def lent(shared: SharedLoop, monkeypatch: pytest.MonkeyPatch) -> SharedLoop:
    """One that its own thread leaves to others until it is called back."""
    monkeypatch.setattr(shared_loop, "ABSENCE", 60)
    lend(shared)
    return shared


def lend(shared: SharedLoop) -> None:
    until(shared._running.locked)
    shared.loop.call_soon_threadsafe(shared.loop.stop)
    until(lambda: not shared._running.locked())


@pytest.fixture
def beside() -> Iterator[Callable[..., Any]]:
    """Calls something in a thread that is not the main one, and returns what it returns."""
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as pool:
        yield lambda work, *given: pool.submit(work, *given).result(PATIENCE)


def test_its_own_thread_runs_it_while_nobody_else_does(shared: SharedLoop) -> None:
    names: list[str] = []
    shared.post(lambda: names.append(name()))
    until(lambda: names == [OWN])


def test_who_takes_a_turn_runs_it_until_it_is_stopped(lent: SharedLoop, beside: Callable[..., Any]) -> None:
    names: list[str] = []
    lent.loop.call_soon(lambda: (names.append(name()), lent.loop.stop()))
    assert beside(lent.turn, None, never)
    assert names == ["beside_0"]


def test_a_turn_ends_when_its_time_is_over(lent: SharedLoop, beside: Callable[..., Any]) -> None:
    assert beside(lent.turn, 0.01, never)


def test_what_came_before_a_turn_is_not_waited_for(lent: SharedLoop, beside: Callable[..., Any]) -> None:
    assert beside(lent.turn, None, lambda: True)


def test_there_is_one_turn_at_a_time(lent: SharedLoop, beside: Callable[..., Any]) -> None:
    other = threading.Thread(target=lent.turn, args=(None, never))
    other.start()
    until(lent._running.locked)
    assert not beside(lent.turn, 0, never)
    lent.loop.call_soon_threadsafe(lent.loop.stop)
    other.join(PATIENCE)
    assert beside(lent.turn, 0, never)


def test_neither_the_main_thread_nor_one_with_a_loop_takes_a_turn(lent: SharedLoop, beside: Callable[..., Any]) -> None:
    async def turn() -> bool:
        return lent.turn(0, never)

    assert not lent.turn(0, never)
    assert not beside(asyncio.run, turn())
    assert beside(lent.turn, 0, never)


def test_its_own_thread_comes_back_when_nobody_has_taken_a_turn_for_a_while(
    shared: SharedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_loop, "ABSENCE", 0.5)
    names: list[str] = []
    lend(shared)
    shared.loop.call_soon(lambda: names.append(name()))
    until(lambda: names == [OWN])


def test_its_own_thread_comes_back_after_a_long_turn(shared: SharedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_loop, "ABSENCE", 0.2)
    names: list[str] = []

    def taken() -> bool:
        lend(shared)
        return shared.turn(None, never)

    other = threading.Thread(target=until, args=(taken,))
    other.start()
    until(lambda: shared._asleep)
    shared.loop.call_soon_threadsafe(shared.loop.stop)
    other.join(PATIENCE)
    shared.loop.call_soon(lambda: names.append(name()))
    until(lambda: names == [OWN])


@pytest.mark.parametrize("call", [lambda one: one.call_back(), lambda one: one.post(lambda: None)])
def test_its_own_thread_is_called_back(lent: SharedLoop, call: Callable[[SharedLoop], None]) -> None:
    call(lent)
    until(lent._running.locked)


def test_what_is_done_while_nobody_runs_it_is_done_at_once(lent: SharedLoop, beside: Callable[..., Any]) -> None:
    names: list[str] = []
    beside(lent.do, lambda: names.append(name()))
    assert names == ["beside_0"]


def test_what_is_done_while_it_runs_is_done_on_it(shared: SharedLoop, beside: Callable[..., Any]) -> None:
    loops: list[object] = []
    until(shared._running.locked)
    beside(shared.do, lambda: loops.append(asyncio.get_running_loop()))
    until(lambda: loops == [shared.loop])


def test_closing_ends_a_turn(lent: SharedLoop, beside: Callable[..., Any]) -> None:
    other = threading.Thread(target=lent.turn, args=(None, never))
    other.start()
    until(lent._running.locked)
    lent.close(PATIENCE)
    other.join(PATIENCE)
    assert not other.is_alive()
    assert lent.loop.is_closed()
    assert not beside(lent.turn, 0, never)
