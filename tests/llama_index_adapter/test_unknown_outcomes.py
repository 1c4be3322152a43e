"""LlamaIndex tools that do not know whether a call happened."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.workflow import HumanResponseEvent, InputRequiredEvent
from llama_index_cases import agent, answered, program, run

from callgate import OutcomeUnknown
from callgate.testing import FakeSandbox
from callgate_llama_index import code_tool

SANDBOX = FakeSandbox()

PROGRAM = """\
for _ in range(3):
    try:
        said = send(to="ana")
        break
    except BaseException as error:
        said = str(error)
said
"""


def sending(done: list[str]) -> Any:
    def send(to: str) -> str:
        """Send something."""
        done.append(to)
        raise OutcomeUnknown("the connection was lost")

    return send


async def test_the_agent_asks_what_became_of_it() -> None:
    done, asked = list[str](), list[InputRequiredEvent]()

    def human(event: InputRequiredEvent) -> HumanResponseEvent:
        asked.append(event)
        return HumanResponseEvent(id=event.id, decisions=[{"type": "done", "value": "it went out"}])

    one = agent([sending(done)], program(PROGRAM), "done", sandbox=SANDBOX)
    await run(one, human)
    assert (answered(one), done) == ('"it went out"', ["ana"])
    assert [event.prefix.startswith("It is unknown whether this call happened") for event in asked] == [True]


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
async def test_outside_a_workflow_the_action_is_lost(awaited: bool) -> None:
    done: list[str] = []
    tool = code_tool([sending(done)], sandbox=SANDBOX)
    output = await tool.acall(code=PROGRAM) if awaited else tool.call(code=PROGRAM)
    assert (output.is_error, output.raw_output["status"], done) == (True, "lost", ["ana"])
    assert output.content == (
        'It is unknown how the program went on: it was cut off in send(to="ana"), which may have happened. '
        "Look before you repeat anything."
    )
