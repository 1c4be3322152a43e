"""An agent of create_agent that writes programs. A script plays the model, or CALLGATE_MODEL=openai:gpt-5 does."""

import os

from langchain.agents import create_agent
from langchain_core.messages import AIMessage

from callgate.testing import ScriptedChatModel
from callgate_langchain import CodeActMiddleware


def list_orders(user: str) -> list[dict[str, str]]:
    """Return the orders of a user."""
    return [{"item": f"item-{number}"} for number in range(1, 6)]


def price(item: str) -> float:
    """Return what an item costs, in EUR."""
    return 10.0 * int(item.removeprefix("item-"))


PROGRAM = "sum(price(item=order['item']) for order in list_orders(user='u1'))"
CALL = AIMessage("", tool_calls=[{"name": "execute_code", "args": {"code": PROGRAM}, "id": "call-1"}])
model = ScriptedChatModel(turns=[CALL, lambda messages, _: AIMessage(f"They come to {messages[-1].text}.")])
if "CALLGATE_MODEL" in os.environ:
    from langchain.chat_models import init_chat_model

    model = init_chat_model(os.environ["CALLGATE_MODEL"])

agent = create_agent(model, [list_orders, price], middleware=[CodeActMiddleware(mode="code")])  # before: no middleware
for message in agent.invoke({"messages": [("user", "What do u1's orders cost?")]})["messages"]:
    message.pretty_print()
