"""Programs call tools: each call arrives once, and each answer where it belongs."""

from __future__ import annotations

import threading
import time

from callgate.codec import JSON
from callgate.errors import ToolFailed
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once
from callgate.tools import tool

__all__ = ["Calls", "Counting"]


class Counting:
    """A tool `take(n)` that returns n and counts its calls."""

    def __init__(self) -> None:
        self.taken: list[int] = []

        @tool
        def take(n: int) -> int:
            """Return a number."""
            self.taken.append(n)
            return n

        self.tool = take


@tool(effect="read")
def echo(value: JSON) -> JSON:
    """Return the value."""
    return value


@tool(effect="read")
def late(n: int) -> int:
    """Return n, the sooner the larger it is."""
    time.sleep(0.06 - n * 0.01)
    return n


@tool(effect="read")
def broken(why: str) -> None:
    """Fail."""
    raise ToolFailed(why)


THREADS = """
from concurrent.futures import ThreadPoolExecutor
def work(n): return [n, [take(n=n * 10 + i) for i in range(5)]]
with ThreadPoolExecutor(6) as pool: found = list(pool.map(work, range(6)))
found
"""

TASKS = """
import asyncio
async def work(n):
    return [n, [await take(n=n * 10 + i) for i in range(5)]]
async def main():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(n)) for n in range(5)]
        alone = group.create_task(take(n=100))
    return [[one.result() for one in tasks], alone.result(), await asyncio.gather(*[take(n=200 + n) for n in range(3)])]
asyncio.run(main())
"""


class Calls:
    """What a program can ask for, and what comes back."""

    def test_a_tool_is_called_by_its_own_name(self, case: Case) -> None:
        """A tool is a function, which takes its arguments by name and by position."""
        assert case.value("rows = [echo(value={'a': [1, None]}), echo(2)]\nrows", echo) == [{"a": [1, None]}, 2]

    def test_a_tool_is_called_by_call_tool(self, case: Case) -> None:
        """`call_tool` and its awaitable twin call a tool by any name."""
        program = "name = 'echo'\na = call_tool(name, value=1)\nb = await acall_tool(name, value=2)\n[a, b]"
        assert case.value(program, echo) == [1, 2]

    def test_many_calls_one_after_another(self, case: Case) -> None:
        """Of 200 calls none is lost, doubled or answered by another one's result."""
        counting = Counting()
        program = "found = [take(n=n) for n in range(200)]\nfound == list(range(200))"
        assert case.value(program, counting.tool) is True
        assert counting.taken == list(range(200))

    def test_call_tools_returns_results_in_order(self, case: Case) -> None:
        """Results of parallel calls stand in the order of the calls, whichever returns first."""
        assert case.value("found = call_tools([('late', {'n': n}) for n in range(6)])\nfound", late) == list(range(6))

    def test_parallel_calls_run_at_the_same_time(self, case: Case) -> None:
        """Twelve calls that all wait for one another come to an end."""
        barrier = threading.Barrier(12)

        @tool(effect="read")
        def meet(n: int) -> int:
            barrier.wait(case.patience)
            return n

        assert case.value("found = call_tools([('meet', {'n': n}) for n in range(12)])\nsum(found)", meet) == 66

    def test_threads_get_their_own_answers(self, case: Case) -> None:
        """Thirty calls out of six threads: each thread sees what it asked for."""
        counting = Counting()
        expected = [[n, [n * 10 + i for i in range(5)]] for n in range(6)]
        assert case.value(THREADS, counting.tool) == expected
        assert sorted(counting.taken) == [n * 10 + i for n in range(6) for i in range(5)]

    def test_tasks_get_their_own_answers(self, case: Case) -> None:
        """Calls in tasks of asyncio, as tasks, and in `gather`: each sees what it asked for."""
        counting = Counting()
        expected = [[n, [n * 10 + i for i in range(5)]] for n in range(5)]
        assert case.value(TASKS, counting.tool) == [expected, 100, [200, 201, 202]]
        assert len(counting.taken) == 29

    @once
    def test_a_slow_tool_is_waited_for(self, case: Case) -> None:
        """A guest that says nothing while a tool runs is not taken for a dead one."""
        released = threading.Event()

        @tool(effect="read")
        def slow() -> str:
            released.wait(0.5)
            return "there"

        assert case.value("print('before')\nfound = slow()\nfound + '!'", slow) == "there!"

    def test_a_failing_tool_raises_its_text(self, case: Case) -> None:
        """A program catches `ToolFailed` and goes on."""
        program = "try:\n    broken(why='no row 7 é')\nexcept ToolFailed as error:\n    text = str(error)\ntext"
        assert case.value(program, broken) == "no row 7 é"

    @once
    def test_an_unknown_tool_is_refused(self, case: Case) -> None:
        """A name that is made up at run time is `UnknownTool`, a subclass of `Refused`."""
        program = (
            "try:\n    call_tool('ec' + 'ho2')\nexcept UnknownTool as e:\n    found = isinstance(e, Refused)\nfound"
        )
        assert case.value(program, echo) is True

    @once
    def test_unknown_arguments_are_refused(self, case: Case) -> None:
        """Arguments that a tool does not have are `InvalidArguments`, and it does not run."""
        counting = Counting()
        program = "try:\n    take(**{'m': 1})\nexcept InvalidArguments as error:\n    text = str(error)\n'm' in text"
        assert case.value(program, counting.tool) is True
        assert counting.taken == []

    def test_of_parallel_calls_all_are_waited_for_when_one_fails(self, case: Case) -> None:
        """`call_tools` raises the first failure in order once all calls are over."""
        counting = Counting()
        program = """
try:
    call_tools([('take', {'n': 1}), ('broken', {'why': 'first'}), ('broken', {'why': 'second'}), ('take', {'n': 2})])
except ToolFailed as error:
    text = str(error)
text
"""
        assert case.value(program, counting.tool, broken) == "first"
        assert sorted(counting.taken) == [1, 2]

    def test_a_program_may_stop_waiting(self, case: Case) -> None:
        """A task that is cancelled gives up its call; what is asked for next gets its own answer."""
        released = threading.Event()

        @tool(effect="read")
        def hang() -> str:
            released.wait(0.3)
            return "too late"

        program = """
import asyncio
try:
    await asyncio.wait_for(hang(), 0.1)
except TimeoutError:
    found = [await echo(value=n) for n in range(3)]
found
"""
        assert case.value(program, hang, echo) == [0, 1, 2]

    def test_calls_asked_for_before_the_end_are_carried_out(self, case: Case) -> None:
        """A program that ends while its calls run has asked for them all the same."""
        counting = Counting()
        program = """
import asyncio
async def main():
    waiting = [asyncio.create_task(acall_tool('take', n=n)) for n in (1, 2)]
    await acall_tool('echo', value=0)
    for one in waiting: one.cancel()
await main()
'over'
"""
        assert case.value(program, counting.tool, echo) == "over"
        assert sorted(counting.taken) == [1, 2]

    def test_output_comes_before_the_call_that_follows_it(self, case: Case) -> None:
        """Calls and output keep their order, which an observer of the tools can see."""
        with case.peer() as peer:
            peer.order("print('a')\nx = echo(1)\nprint('b', x)\ny = echo(2)\nprint('c')")
            kinds = [type(one).__name__ for one in peer.converse().frames]
        assert [kind for kind in kinds if kind in ("OutFrame", "CallFrame")] == [
            "OutFrame",
            "CallFrame",
            "OutFrame",
            "CallFrame",
            "OutFrame",
        ]

    def test_a_program_finds_tools_and_kept_values(self, case: Case) -> None:
        """`search_tools`, `describe_tool` and `load_value` answer a program like any tool."""
        runner = case.runner(echo)
        cut = runner.run("data = list(range(20_000))\ndata").truncated[0]
        program = f"""
found = search_tools('echo a value')
whole = load_value({cut.handle!r})
['echo' in str(found), 'value' in str(describe_tool('echo')), len(whole)]
"""
        assert runner.run(program).value == [True, True, 20_000]
