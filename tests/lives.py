"""One program, its world, and chance: the life of an action, through everything that can happen to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from shapes import GATED, READS, WRITES, Shape, rejected
from simulated import HEADER_WALL, Killed, Life, Pass, World

from callgate.codec import decode
from callgate.errors import ReplayDivergence, ToolFailed
from callgate.limits import Limits
from callgate.sandboxes.base import EndFrame, RestFrame, Sandbox, frame
from callgate.sandboxes.frames import Frames
from callgate.steps import Pause
from callgate.tools import Call, Tool

MOST_PASSES = 300
QUIET_AFTER = 40
"""Passes after which nothing more happens to a life."""
ANYTHING = {"type": "object", "additionalProperties": True}


@dataclass(frozen=True, slots=True)
class Done:
    """One execution of a tool."""

    id: str
    tool: str
    arguments: dict[str, Any]
    ok: bool
    value: Any


class Laboratory:
    """Runs lives of one shape.

    Args:
        sandbox: where its programs run.
        shape: of the program.
        seed: of everything that happens to it.
    """

    def __init__(self, sandbox: Sandbox, shape: Shape, seed: int) -> None:
        self.sandbox, self.shape, self.chance = sandbox, shape, random.Random(f"{shape.program}{seed}")
        self.ledger: list[Done] = []
        self.tally: Counter[str] = Counter()
        self.world = World(
            tools=[self._tool(name) for name in (*READS, *WRITES, *GATED)],
            interrupt_on=dict.fromkeys(GATED, True),
            latency=self._latency,
            limits=Limits(seconds=3600, calls=2000),
        )

    # ---- the world

    def _tool(self, name: str) -> Tool:
        effect = "read" if name in READS else "write"
        return Tool(name=name, effect=effect, input_schema=ANYTHING, invoke=self._execute)

    def _latency(self, call: Call) -> float:
        chance = self.chance
        spread = chance.choice([(0.001, 0.05), (0.001, 0.05), (0.01, 0.5), (0.1, 3)])
        return chance.uniform(*spread) * (0.02 if self.shape.busy else 3 if call.tool == "slow" else 1)

    def _execute(self, call: Call) -> Any:
        ok, value = True, {"tool": call.tool, **call.arguments}
        if call.tool == "status":
            value = "paid" if self.count("pay") else "open"
        elif call.tool == "count":
            value = len(self.ledger)
        elif call.tool == "ticket":
            value = 1 + self.count("ticket")
        elif call.tool in ("flaky", "charge") and self.chance.random() < 0.4:
            ok, value = False, "try again"
        self.ledger.append(Done(call.id, call.tool, call.arguments, ok, value))
        if not ok:
            raise ToolFailed(value)
        return value

    def count(self, tool: str) -> int:
        """Count what a tool has written."""
        return len(self.arguments(tool))

    def arguments(self, tool: str, by: str | None = None) -> list[dict[str, Any]]:
        """Return the arguments of what a tool has written, in the order of the world or of an argument."""
        found = [one.arguments for one in self.ledger if one.tool == tool and one.ok]
        return found if by is None else sorted(found, key=lambda one: one[by])

    # ---- one life

    def guest(self, rests: int | None) -> Generator[list[Any], dict[str, Any], None]:
        """A real guest as the generator that the simulated driver wants; after so many rests the host is killed."""
        limits = self.world.limits
        bounds = {"output_kb": limits.output_kb, "frame_mb": limits.frame_mb, "threads": limits.threads}
        tools = {one.name: {"tool": one.name, "params": []} for one in self.world.tools}
        program = self.shape.program
        run = {"program": program, "seed": 5, "wall": HEADER_WALL, "tools": tools, "limits": bounds | {"disk_mb": 8}}
        guest, frames = self.sandbox.start(limits), Frames(limits.frame_mb)
        try:
            event = {"run": run}
            while True:
                guest.send(frame(event), 10)
                got: list[Any] = []
                while not got or not isinstance(got[-1], RestFrame | EndFrame):
                    data = guest.receive(30)
                    assert data, f"the guest died or hangs: {got}"
                    got += frames.feed(data)
                event = yield got
                rests = None if rests is None else rests - 1
                if rests == 0:
                    raise Killed
        finally:
            guest.kill()

    def live(self, kill_at: int | None = None) -> Life:
        """Run to the end; kill_at kills the host once, at this line of the journal, and nothing else happens.

        Raises:
            ReplayDivergence: with `executed` set to what ran in the pass that diverged.
        """
        life, chance = Life(self.world), self.chance
        for number in range(MOST_PASSES):
            fate = chance.random() if number < QUIET_AFTER and kill_at is None else 1.0
            kill_after = len(life.lines) + chance.randint(1, 6) if fate < 0.45 else None
            if kill_at is not None and number == 0:
                kill_after = kill_at
            rests = chance.randint(1, 12) if 0.45 <= fate < 0.6 else None
            before, guest = len(self.ledger), self.guest(rests)
            try:
                last = life.go(lambda guest=guest: guest, kill_after=kill_after)
            except Killed:
                self.tally["kills"] += 1
                self._abandon(life.passes[-1])
                if life.entries("ended"):
                    return life
                continue
            except ReplayDivergence as error:
                error.executed = self.ledger[before:]  # type: ignore[attr-defined]
                raise
            finally:
                guest.close()
            if not isinstance(last, Pause):
                return life
            self.tally["pauses"] += 1
            life.decide(self._decide(last))
        raise AssertionError(f"not over after {MOST_PASSES} passes")

    def _abandon(self, one: Pass) -> None:
        """Tools that run when the host dies take effect or not."""
        for _, _, start in one._running:
            if self.chance.random() < 0.5:
                try:
                    self._execute(start.call)
                except ToolFailed:
                    continue

    def _decide(self, pause: Pause) -> dict[str, Any]:
        """A human: answers in any order, leaves some for later, and looks up what happened."""
        decisions: dict[str, Any] = {}
        for one in self.chance.sample(pause.waiting, len(pause.waiting)):
            if decisions and self.chance.random() < 0.2:
                continue
            # A read that a crash cut off leaves no line, so that its id may be another call's in the next pass.
            past = [done for done in self.ledger if done.id == one.id and done.tool not in READS]
            if not one.unknown:
                decisions[one.id] = "reject" if rejected(one.tool, one.arguments) else "approve"
            elif not past:
                decisions[one.id] = "run again"
            elif past[-1].ok:
                decisions[one.id] = {"type": "done", "value": past[-1].value}
            else:
                decisions[one.id] = {"type": "failed", "message": past[-1].value}
        self.tally["questions"] += len(decisions)
        return decisions

    # ---- what must hold

    def check(self, life: Life) -> None:
        """Assert that each write happened once, each answer and decision reached its call, and the end is right."""
        last = {call.id: call for call in life.passes[-1].gate.calls}
        writes = [one for one in self.ledger if one.tool not in READS]
        assert not [one for one, times in Counter(one.id for one in writes).items() if times > 1], "a doubled write"
        assert {one.id for one in writes} <= set(last), "a write that the surviving program does not know of"
        made = {one.id: one for one in writes}
        for call in last.values():
            if call.tool not in READS and call.status in ("done", "failed") and call.result is not None:
                one, result = made[call.id], call.result
                answer = result.error["text"] if result.error else decode(result.text)
                assert (one.tool, one.arguments) == (call.tool, decode(call.arguments)), "a crossed call"
                assert (one.ok, one.value) == (result.error is None, answer), "a crossed answer"
        approved = {one["call"] for one in life.entries("decision") if one["decision"]["type"] == "approve"}
        gated = [one for one in writes if one.tool in GATED]
        assert not [one for one in gated if rejected(one.tool, one.arguments)], "a rejected call ran"
        assert {one.id for one in gated} <= approved, "a call ran that nobody approved"
        (ended,) = life.entries("ended")
        assert ended["status"] == ("failed" if self.shape.fails else "completed"), ended["error"]
        assert self.shape.holds(ended["value"], self), f"a wrong answer: {ended['value']}"
        if not self.shape.warns:
            assert [warning for one in life.passes for warning in one.gate.warnings] == []
