"""From FunctionAgent to CallgateAgent: one name changes. A script plays the model, or OpenAI if its key is set."""

import asyncio
import os

from workflows.events import HumanResponseEvent, InputRequiredEvent

from callgate.testing import ScriptedLLM
from callgate_llama_index import CallgateAgent  # before: FunctionAgent, with the same tools and llm


def list_orders(user: str) -> list[dict[str, int]]:
    """Return the orders of a user."""
    return [{"id": number, "total": 10 * number} for number in range(1, 6)]


async def refund(order: int) -> str:
    """Give the money back."""
    return f"order {order} is refunded"


PROGRAM = "[refund(order=one['id']) for one in list_orders(user='u1') if one['total'] > 40]"
llm = ScriptedLLM(turns=[[("execute_code", {"code": PROGRAM})], lambda messages, _: f"Done: {messages[-1].content}"])
if "OPENAI_API_KEY" in os.environ:
    from llama_index.llms.openai import OpenAI

    llm = OpenAI("gpt-5")
agent = CallgateAgent(tools=[list_orders, refund], llm=llm, mode="code", interrupt_on={"refund": True})


async def main() -> None:
    handler = agent.run(user_msg="Refund what u1 paid more than 40 for.")
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            print(event.prefix)
            handler.ctx.send_event(HumanResponseEvent(id=event.id, decisions=["approve"]))
    print(await handler)


asyncio.run(main())
