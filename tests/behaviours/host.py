"""What a check works with, whichever framework is around it: tools, an agent whose model plays a script, what came of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

__all__ = ["Asked", "Called", "Given", "Host", "Life", "Ran", "Setup", "Told", "Turn", "Way", "code"]

Way: TypeAlias = Literal["sync", "async"]
Called: TypeAlias = tuple[str, dict[str, Any]]
Turn: TypeAlias = str | list[Called] | Callable[[str], Called]
"""What the model says: a text, or calls, or one call that depends on the last answer it was given.

The ids of calls are call-1, call-2 and so on, in the order of the script.
"""


def code(program: str) -> Called:
    """Return the call of a model that writes a program."""
    return ("execute_code", {"code": program})


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Given:
    """A tool, before it is one of a framework."""

    function: Callable[..., Any]
    """Plain or async. Its annotations and its docstring are what the framework reads."""
    injected: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Parameter to where its value comes from: "state", "call id", or ("fixed", value)."""
    updates: bool = False
    """Whether it returns a text, and a dict of what becomes the run's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Of an agent."""

    tools: Sequence[Given]
    turns: Sequence[Turn]
    sandbox: Any
    mode: str = "code"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """effects, interrupt_on, limits, journal, on_event: as every adapter takes them."""
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the run, from its beginning."""
    wrapper: Callable[[str, str], None] | None = None
    """The user's own, around tool calls: is told the tool and the id of each."""
    anew: bool = False
    """Whether the framework's tools are made anew, and not those of an agent before it."""
    bare: bool = False
    """Whether callgate is left out: then it is the framework's own agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that waits for a human."""

    tool: str
    arguments: dict[str, Any]
    allowed: tuple[str, ...]
    id: str
    unknown: bool
    text: str
    """What the human is told."""
    program: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Of a call, in the framework's own stream."""

    what: Literal["began", "done", "failed"]
    tool: str
    id: str


@dataclass(slots=True, kw_only=True)
class Ran:
    """What came of a run, up to its end or to where it waits."""

    text: str | None
    """The last that the model said; None while somebody has to answer."""
    answers: dict[str, str]
    """Id of a call to what the model was told of it, when it was asked last."""
    failed: set[str]
    """Ids of the answers that are marked as errors."""
    asked: list[Asked]
    questions: int
    """In how many questions they are asked."""
    stream: list[Told]
    """Inner calls only, in the order in which the stream told of them."""
    surfaces: list[tuple[str, str]]
    """What the model was shown from then on, as the stream tells it, and why."""
    details: dict[str, dict[str, Any]]
    """Id of a code action to what it left for the host."""

    @property
    def answer(self) -> str:
        """What the model was told of its only call."""
        assert len(self.answers) == 1, self.answers
        return next(iter(self.answers.values()))

    @property
    def question(self) -> Asked:
        """The only call that waits."""
        assert len(self.asked) == 1, self.asked
        return self.asked[0]


class Life(ABC):
    """An agent in one process. After it there may be another, which is built anew from what was kept."""

    agent: Any
    """The framework's own."""
    ledger: Any
    """callgate's, None where the adapter has none."""

    @abstractmethod
    def go(self, mode: str | None = None) -> Ran:
        """Run until the end, or until somebody has to answer: a message of the user's came in.

        Args:
            mode: of this invocation.
        """

    @abstractmethod
    def go_on(self) -> Ran:
        """Run without anything new: what was cut off goes on."""

    @abstractmethod
    def decide(self, *decisions: Any) -> Ran:
        """Answer everything that waits, in its order."""

    @abstractmethod
    def kept(self) -> Any:
        """Return what another process would find if this one died now. A tool may ask for it while it runs."""

    @abstractmethod
    def reborn(self, kept: Any) -> Life:
        """Return an agent that is built anew, over what was kept; its model was told and said nothing since, either."""

    @abstractmethod
    def definitions(self) -> list[list[dict[str, Any]]]:
        """Return per request the tools that the model was shown, in OpenAI's form."""

    @abstractmethod
    def messages(self) -> str:
        """Return all that the model was ever sent, as a text."""

    @abstractmethod
    def state(self, key: str) -> Any:
        """Return what the run's state holds in the end."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""

    def accounts(self) -> tuple[int, int]:
        """Return the actions and the inner calls that the ledger of this life counted."""
        return self.ledger.total.actions, self.ledger.total.calls

    def shown(self) -> list[list[str]]:
        """Return per request the names of the tools that the model was shown."""
        return [[one["function"]["name"] for one in tools] for tools in self.definitions()]


class Host(ABC):
    """One adapter: builds agents of its framework."""

    refusal: type[Exception]
    """What a tool of the framework raises when its text is for the model."""

    def __init__(self, folder: Path, way: Way) -> None:
        self.folder, self.way = folder, way

    @abstractmethod
    def life(self, setup: Setup) -> Life:
        """Return a new agent."""

    @abstractmethod
    def when(self, rule: Callable[[str, dict[str, Any]], bool]) -> Callable[[Any], bool]:
        """Return a rule about a tool and arguments as this adapter's `interrupt_on` takes it."""
