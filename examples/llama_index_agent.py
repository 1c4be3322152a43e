"""From FunctionAgent to CallgateAgent: one name changes. A script plays the model; put any LLM in its place."""

import asyncio

from workflows.events import HumanResponseEvent, InputRequiredEvent

from callgate.testing import ScriptedLLM
from callgate_llama_index import CallgateAgent


def list_orders(user: str) -> list[dict[str, int]]:
    """Return the orders of a user."""
    return [{"id": number, "total": 10 * number} for number in range(1, 6)]


async def refund(order: int) -> str:
    """Give the money for an order back."""
    return f"order {order} is refunded"


PROGRAM = "[refund(order=one['id']) for one in list_orders(user='u1') if one['total'] > 40]"
model = ScriptedLLM(turns=[[("execute_code", {"code": PROGRAM})], lambda messages, _: f"Done: {messages[-1].content}"])

# Before, this was FunctionAgent(tools=[list_orders, refund], llm=model).
agent = CallgateAgent(tools=[list_orders, refund], llm=model, mode="code", interrupt_on={"refund": True})


async def main() -> None:
    """Run the agent, and say yes to what it asks."""
    handler = agent.run(user_msg="Refund what u1 paid more than 40 for.")
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            print(event.prefix)
            handler.ctx.send_event(HumanResponseEvent(id=event.id, decisions=["approve"]))
    print(await handler)


asyncio.run(main())
