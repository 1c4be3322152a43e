"""From ToolNode to CodeActNode: two lines change. A script plays the model, or CALLGATE_MODEL=openai:gpt-5 does."""

import os

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition

from callgate.testing import ScriptedChatModel
from callgate_langgraph import CodeActNode


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

node = CodeActNode([list_orders, price], mode="code")  # before: node = ToolNode([list_orders, price])
llm = node.bind_model(model)  # before: llm = model.bind_tools([list_orders, price])

builder = StateGraph(MessagesState)
builder.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
builder.add_node("tools", node)
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
builder.compile().invoke({"messages": [("user", "What do u1's orders cost?")]})["messages"][-1].pretty_print()
