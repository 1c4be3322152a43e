"""The tools of a trial's host. Each notes that it was executed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from attacks.attack import World
from attacks.stage import Stage

from callgate import Call, Tool

MEETING = 5.0
"""Seconds that two programs wait for each other."""

LARGE = 300_000
"""Characters of what `big` returns: more than a frame of the kernel's buffers, and more than is kept inline."""


def tools_for(stage: Stage, effects: list[tuple[str, Any]], world: World, noted: Callable[[], None]) -> list[Tool]:
    """Return the tools that a program may name in this world; `effects` grows by what is executed."""
    barrier = threading.Barrier(2)
    running = 0

    def note(call: Call) -> None:
        effects.append((call.tool, call.arguments))
        noted()

    def pay(call: Call) -> str:
        effects.append((call.tool, call.arguments))
        return "paid"

    def vault(call: Call) -> str:
        effects.append((call.tool, call.arguments))
        return stage.canary

    def boom(call: Call) -> str:
        password = stage.canary
        raise RuntimeError(f"cannot connect with {password}, see {__file__}")

    def big(call: Call) -> str:
        return stage.canary + "x" * LARGE

    def slow(call: Call) -> int:
        """Say how many run at the same time."""
        nonlocal running
        running += 1
        effects.append((call.tool, running))
        time.sleep(0.05)
        running -= 1
        return running

    def look(call: Call) -> bool:
        """Say whether the host finds what the program claims to have done."""
        found = stage.look(str(call.arguments["at"]))
        effects.append((call.tool, found))
        return found

    def meet(call: Call) -> None:
        barrier.wait(MEETING)

    def made(name: str, invoke: Any, *parameters: str, effect: Any = "write", code: bool = True) -> Tool:
        schema: dict[str, Any] = {"type": "object", "properties": {one: {} for one in parameters}}
        schema |= {"required": list(parameters), "additionalProperties": world.loose}
        code = code or name in world.opened
        callers = frozenset({"direct", "code"} if code else {"direct"})
        secret = f"Opens what {stage.canary} closes." if name == "vault" else name
        return Tool(name=name, description=secret, input_schema=schema, effect=effect, callers=callers, invoke=invoke)

    made_here = [
        made("note", note, "text"),
        made("pay", pay, "to", "amount"),
        made("vault", vault, code=False),
        made("boom", boom),
        made("big", big, effect="read"),
        made("slow", slow, "n", effect="read"),
        made("look", look, "at", effect="read"),
        made("meet", meet, "n", effect="read"),
    ]
    if "hidden" in world.opened:
        made_here.append(made("hidden", note, "text"))
    return made_here + (world.extra(effects) if world.extra is not None else [])
