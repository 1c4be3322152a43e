"""An agent of LlamaIndex that lives in several processes, one after the other.

    python llama_index_lives.py FOLDER [DECISION]

Reads its Context from the folder, if one is there, answers the question in it, and goes on until it asks again, or is
done. What it did is written to the folder by the tools themselves.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from llama_index.core.workflow import Context, InputRequiredEvent
from llama_index_cases import agent, decide, program, restored

from callgate.testing import FakeSandbox

CODE = """\
import random, time
made = [write(text=f"first {random.random()} {time.time()}")]
made.append(pay(amount=len(made)))
made.append(write(text="second"))
made.append(pay(amount=len(made)))
made
"""


def built(folder: Path, sandbox: Any, begun: bool) -> Any:
    def write(text: str) -> int:
        """Write a line."""
        with (folder / "done").open("a") as file:
            file.write("write\n")
        return len(text) > 0

    def pay(amount: int) -> str:
        """Pay."""
        with (folder / "done").open("a") as file:
            file.write(f"pay {amount}\n")
        return f"paid {amount}"

    turns = ["done"] if begun else [program(CODE), "done"]
    return agent([write, pay], *turns, interrupt_on={"pay": True}, sandbox=sandbox)


async def live(folder: Path, *decisions: str) -> str:
    kept, sandbox = folder / "context.json", FakeSandbox()
    try:
        one = built(folder, sandbox, kept.exists())
        if kept.exists():
            state = json.loads(kept.read_text())
            ctx = await restored(one, state["context"])
            handler = one.run(ctx=ctx)
            handler.ctx.send_event(decide(InputRequiredEvent(id=state["question"]), *decisions))
        else:
            ctx = Context(one)
            handler = one.run(user_msg="go", ctx=ctx)
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent) and (not kept.exists() or event.id != state["question"]):
                kept.write_text(json.dumps({"context": json.dumps(ctx.to_dict()), "question": event.id}))
                await handler.cancel_run()
                return event.prefix.splitlines()[0]
        return f"{await handler}: {one.llm.seen[-1][0][-1].content}"
    finally:
        sandbox.close()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write(asyncio.run(live(Path(sys.argv[1]), *sys.argv[2:])))
