"""From ToolNode to CodeActNode: two lines of a graph change.

    python examples/swap.py

A script plays the model here; put any chat model in its place.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition

from callgate.testing import ScriptedChatModel
from callgate_langgraph import CodeActNode

# ---- your tools: nothing changes


@tool
def list_orders(user: str) -> list[dict[str, Any]]:
    """Return the orders of a user: id, item."""
    return [{"id": number, "item": f"item-{number}"} for number in range(1, 6)]


@tool
def price(item: str) -> float:
    """Return what an item costs, in EUR."""
    return 10.0 * int(item.removeprefix("item-"))


tools = [list_orders, price]


# ---- your model: here a script that writes a program, and then says what came of it

PROGRAM = """\
orders = list_orders(user="u1")
prices = call_tools([("price", {"item": order["item"]}) for order in orders])
sum(prices)
"""

model = ScriptedChatModel(
    turns=[
        AIMessage("", tool_calls=[{"name": "execute_code", "args": {"code": PROGRAM}, "id": "call-1"}]),
        lambda messages, tools: AIMessage(f"The orders of u1 come to {float(messages[-1].text):g}."),
    ]
)


# ---- your graph: two lines change

node = CodeActNode(tools, mode="code")  # before: node = ToolNode(tools)
llm = node.bind_model(model)  # before: llm = model.bind_tools(tools)
# Without mode="code" it is "auto", which shows tools as few and as small as these two as plain tools.


def call_model(state: MessagesState) -> dict[str, Any]:
    """Let the model say what comes next."""
    return {"messages": [llm.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("model", call_model)
builder.add_node("tools", node)
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
graph = builder.compile()


if __name__ == "__main__":
    messages = graph.invoke({"messages": [("user", "What do the orders of u1 come to?")]})["messages"]
    shown = next(one for one in messages if isinstance(one, ToolMessage))
    print(f"The model wrote one program:\n\n{PROGRAM}")
    print(f"It made six calls, and the model was shown: {shown.text}\n")
    print(messages[-1].text)
