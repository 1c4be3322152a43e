"""A tool of LangChain that its host tells who asks. Needs langchain-core."""

from typing import Annotated, Any

from langchain_core.tools import InjectedToolArg, tool

from callgate import Tool
from callgate_langchain import from_langchain


def careful(effects: list[tuple[str, Any]]) -> list[Tool]:
    """Return the tool as callgate's adapter makes it."""
    return from_langchain([_whoami(effects)])


def naive(effects: list[tuple[str, Any]]) -> list[Tool]:
    """Return the tool as an adapter makes it that hands on whatever a program passes."""
    whoami = _whoami(effects)
    return [Tool(name="whoami", input_schema={"type": "object"}, invoke=lambda call: whoami.invoke(call.arguments))]


def _whoami(effects: list[tuple[str, Any]]) -> Any:
    @tool
    def whoami(text: str, user: Annotated[str, InjectedToolArg] = "alice") -> str:
        """Say who asks."""
        effects.append(("whoami", user))
        return user

    return whoami
