"""An agent of LangChain's create_agent that writes programs: one line of it changes.

    python examples/create_agent.py

A script plays the model here; put any chat model in its place.
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage

from callgate.testing import ScriptedChatModel
from callgate_langchain import CodeActMiddleware


def list_orders(user: str) -> list[dict[str, Any]]:
    """Return the orders of a user: id, item."""
    return [{"id": number, "item": f"item-{number}"} for number in range(1, 6)]


def price(item: str) -> float:
    """Return what an item costs, in EUR."""
    return 10.0 * int(item.removeprefix("item-"))


PROGRAM = 'sum(price(item=order["item"]) for order in list_orders(user="u1"))'
CALL = {"name": "execute_code", "args": {"code": PROGRAM}, "id": "call-1"}
TURNS = [AIMessage("", tool_calls=[CALL]), lambda messages, _: AIMessage(f"They come to {messages[-1].text}.")]

model = ScriptedChatModel(turns=TURNS)
agent = create_agent(model, [list_orders, price], middleware=[CodeActMiddleware(mode="code")])  # before: no middleware
# Without mode="code" it is "auto", which shows tools as few and as small as these two as plain tools.

if __name__ == "__main__":
    messages = agent.invoke({"messages": [("user", "What do the orders of u1 come to?")]})["messages"]
    print(f"One program, six calls: {PROGRAM}\n{messages[-1].text}")
