"""What a check works with: agents of one adapter, the tools of a world, a sandbox."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from behaviours.host import Called, Given, Host, Life, Ran, Setup, Turn, code
from behaviours.world import World

__all__ = ["Case"]

READS = {"look": "read", "fetch": "read", "rows": "read", "echo": "read", "meet": "read", "crash": "read"}


class Case:
    """One check's view of an adapter.

    Args:
        host: of the adapter.
        sandbox: where programs run.
    """

    def __init__(self, host: Host, sandbox: Any) -> None:
        self.host, self.sandbox = host, sandbox
        self.world = World.begun(host.refusal)
        self._lives = list[Life]()

    @property
    def did(self) -> list[tuple[Any, ...]]:
        """What the tools did, in all lives."""
        return self.world.did

    def life(
        self,
        tools: str | Sequence[Given],
        *turns: Turn,
        mode: str = "code",
        state: dict[str, Any] | None = None,
        wrapper: Any = None,
        bare: bool = False,
        **options: Any,
    ) -> Life:
        """Return an agent whose model says turns; "done" comes after the last.

        Args:
            tools: names in one text, or tools.
            turns: of the model.
            mode: of the agent.
            state: of the run.
            wrapper: around tool calls.
            bare: whether callgate is left out.
            options: of the adapter.
        """
        given = self.world.tools(*tools.split()) if isinstance(tools, str) else list(tools)
        names = {one.function.__name__ for one in given}
        if not bare:
            options = {"effects": {name: one for name, one in READS.items() if name in names}, **options}
        setup = Setup(
            tools=given,
            turns=[*turns, "done"],
            sandbox=self.sandbox,
            mode=mode,
            state=state or {},
            wrapper=wrapper,
            bare=bare,
            options=options,
        )
        return self.kept(self.host.life(setup))

    def kept(self, life: Life) -> Life:
        """Have a life closed in the end."""
        self._lives.append(life)
        return life

    def reborn(self, life: Life, kept: Any) -> Life:
        """Return an agent in another process, over what was kept; the first process is over."""
        return self.kept(life.reborn(kept))

    def run(self, program: str, tools: str = "look", **given: Any) -> Ran:
        """Run one program to its end."""
        ran = self.life(tools, [code(program)], **given).go()
        assert ran.text == "done", ran
        return ran

    def value(self, program: str, tools: str = "look", **given: Any) -> Any:
        """Return what a program ends with, as the model is told."""
        ran = self.run(program, tools, **given)
        assert not ran.failed, ran.answers
        return json.loads(ran.answer)

    def plain(self, calls: list[Called], tools: str, **given: Any) -> Ran:
        """Make plain calls."""
        return self.life(tools, calls, **{"mode": "json", **given}).go()

    def close(self) -> None:
        """Let go of everything."""
        for one in reversed(self._lives):
            one.close()
