"""callgate's adapters, as the suite sees them: what ADAPTERS.md is made of, and what the tests run."""

from __future__ import annotations

import pytest
from behaviours.suite import Behaviours

LANGGRAPH = ("langgraph.prebuilt", "langgraph")
LANGCHAIN = ("langchain.agents", "create-agent")
LLAMA_INDEX = ("llama_index.core", "llama-index")

UPSTREAM = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
"""Workflows look at every attribute of an agent."""

NO_GRAPH = "it is a tool like any other, which is told nothing of what is around it"
AS_IT_IS = "the surface is what the agent is built with: its tools, this one, or both"
ON_LOOPS = "LlamaIndex's agents are workflows, which run on an event loop only"
UNCHECKED = "LlamaIndex calls functions with whatever a model wrote, plainly, too"
NO_ID = "LlamaIndex has nothing that tells a tool the id of its call"
NO_MIDDLEWARE = "LlamaIndex has nothing to wrap around tool calls"
STEPS = "LlamaIndex runs each tool call of a message as a step of its own, which asks for itself"
TASKS = "LangChain runs each tool call of a message as a task of its own, which asks for itself"


class Node(Behaviours):
    """CodeActNode, in a graph of LangGraph"""

    host = "behaviours.langgraph_hosts:NodeHost"
    framework = LANGGRAPH


class Middleware(Behaviours):
    """CodeActMiddleware, in an agent of LangChain's create_agent"""

    host = "behaviours.langchain_hosts:MiddlewareHost"
    framework = LANGCHAIN
    ways = ("async", "sync")
    lacks = {"one_question": TASKS}  # noqa: RUF012 - a declaration


class LangChainTool(Behaviours):
    """code_tool of callgate_langchain, a tool of any agent"""

    host = "behaviours.langchain_hosts:ToolHost"
    framework = LANGCHAIN
    lacks = {  # noqa: RUF012 - a declaration
        "approval": NO_GRAPH,
        "ledger": NO_GRAPH,
        "modes": AS_IT_IS,
        "one_question": NO_GRAPH,
        "plain_approval": "plain calls are the agent's own",
        "record": AS_IT_IS,
        "resume": "a program that a crash cut off begins anew: nothing around the tool would have it go on",
        "state": NO_GRAPH,
        "wrappers": NO_GRAPH,
    }


class Agent(Behaviours):
    """CallgateAgent, a FunctionAgent of LlamaIndex"""

    host = "behaviours.llama_index_hosts:AgentHost"
    framework = LLAMA_INDEX
    pytestmark = UPSTREAM
    ways = ("async",)
    lacks = {  # noqa: RUF012 - a declaration
        "argument_types": UNCHECKED,
        "call_id": NO_ID,
        "one_question": STEPS,
        "threads": ON_LOOPS,
        "wrappers": NO_MIDDLEWARE,
    }


class LlamaIndexTool(Behaviours):
    """code_tool of callgate_llama_index, a tool of any agent"""

    host = "behaviours.llama_index_hosts:ToolHost"
    framework = LLAMA_INDEX
    pytestmark = UPSTREAM
    ways = ("async",)
    lacks = {  # noqa: RUF012 - a declaration
        "argument_types": UNCHECKED,
        "call_id": NO_ID,
        "ledger": "what the model was sent, it is not told: the tokens of plain calls cannot be compared",
        "modes": AS_IT_IS,
        "one_question": STEPS,
        "plain_approval": "plain calls are the agent's own",
        "record": AS_IT_IS,
        "threads": ON_LOOPS,
        "wrappers": NO_MIDDLEWARE,
    }


ADAPTERS: list[type[Behaviours]] = [Node, Middleware, LangChainTool, Agent, LlamaIndexTool]
"""In the order of the table."""
