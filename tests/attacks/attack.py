"""What an attack is: a program, what it wants, and a place without the jail where it gets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from callgate import Limits, Tool
from callgate.outcome import Outcome
from callgate.steps import Waiting

MODES = ("namespaces", "no namespaces")
"""The two ways of the jail."""

SLACK_MB = 64
"""How far the host's memory may go above its level before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The host side of a trial: what it allows, and who answers its questions."""

    limits: Limits = field(default_factory=lambda: Limits(seconds=20, cpu_seconds=20, memory_mb=512, disk_mb=16))
    asks_for: tuple[str, ...] = ("pay",)
    """Tools that wait for a human."""
    opened: tuple[str, ...] = ()
    """Tools that code may call here although it normally may not: "vault", or "hidden", which no catalogue has."""
    loose: bool = False
    """Whether the tools take any argument."""
    decide: Callable[[Waiting], object] | None = None
    """What a human says about a waiting call; None leaves it waiting."""
    extra: Callable[[list[tuple[str, Any]]], list[Tool]] | None = None
    """More tools; they note what they do in the list."""
    thread: str = ""
    """Whose kept values the program may load."""
    next_thread: str = ""
    """The same of the program after it."""
    shown: bool = False
    """Whether the sandbox shows a directory of the host."""
    killed: bool = False
    """Whether the host process is killed once the program has called `note`."""

    def but(self, **changes: Any) -> World:
        """Return this world with changes; those of `Limits` are taken for limits."""
        limits = {name: changes.pop(name) for name in list(changes) if name in Limits.__dataclass_fields__}
        return replace(self, limits=replace(self.limits, **limits), **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Where the very same program succeeds.

    bare: an ordinary child process with the guest's own code, and nothing of it that refuses;
    reused: the same, but one process for all programs, as many interpreters for agents work;
    inline: `exec` in the host process, as the simplest of them work; forked: the same, in a fork of it;
    pickled: inline, and the value is pickled and loaded again; file: the program is written down and run by its path.
    """

    where: Literal["bare", "reused", "inline", "forked", "pickled", "file"] = "bare"
    world: Callable[[World], World] = lambda world: world
    """What this host does wrong."""
    patch: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Code of the host that is taken out meanwhile."""
    root: bool = False
    """Whether only root can do it without the jail either."""
    absent: Callable[[Trial], str | None] = lambda trial: None
    """Says, of a control that did not succeed, what this host lacks for it."""


@dataclass(kw_only=True)
class Trial:
    """What came of one run of an attack."""

    attack: Attack
    stage: Any
    status: str = ""
    value: Any = None
    output: str = ""
    error: tuple[str, str] | None = None
    limit: str | None = None
    text: str = ""
    seconds: float = 0.0
    effects: list[tuple[str, Any]] = field(default_factory=list)
    """(tool, arguments) of each call that was executed."""
    approved: list[tuple[str, Any]] = field(default_factory=list)
    """(tool, arguments) of each call that a human allowed."""
    outcome: Outcome | None = None
    raised: str | None = None
    """What the host's own code raised."""
    grew_mb: float = 0.0
    """How far the memory of the host process went above its level before."""
    waiting: int = 0
    """Calls that wait for a human."""
    survivors: int = 0
    """Processes below the host that were not there before."""
    died: bool = False
    """Whether the host process died of it."""
    second: Trial | None = None
    """The run of the program after it, or beside it."""

    @property
    def shown(self) -> str:
        """Everything of the guest that anybody is shown."""
        return f"{self.value!r}{self.output}{self.error}{self.text}"

    def executed(self, tool: str) -> list[Any]:
        """Return the arguments of each executed call of a tool."""
        return [arguments for name, arguments in self.effects if name == tool]


def says_so(trial: Trial) -> bool:
    """The program says that it succeeded."""
    return trial.value is True


def got(trial: Trial) -> bool:
    """The program ended with what a successful system call returns."""
    return type(trial.value) is int and trial.value >= 0


def found_any(trial: Trial) -> bool:
    """The program ended with a list of what it found."""
    return isinstance(trial.value, list) and len(trial.value) > 0


def leaked(trial: Trial) -> bool:
    """The secret of the host is in what the guest shows."""
    return trial.stage.canary in trial.shown


def touched(trial: Trial) -> bool:
    """A file or directory of the host changed."""
    return bool(trial.stage.touched())


def arrived(trial: Trial) -> bool:
    """Something reached a socket of the host."""
    return bool(trial.stage.arrived())


def told_so(trial: Trial) -> bool:
    """The second program says that it succeeded."""
    return trial.second is not None and trial.second.value is True


def survived(trial: Trial) -> bool:
    """A process is left."""
    return trial.survivors > 0


def swelled(trial: Trial) -> bool:
    """The host's memory grew beyond what a program may make it hold."""
    return trial.grew_mb > SLACK_MB


def crashed(trial: Trial) -> bool:
    """The host's own code failed."""
    return trial.raised is not None


def died(trial: Trial) -> bool:
    """The host process is gone."""
    return trial.died


def executed(tool: str, times: int = 1) -> Callable[[Trial], bool]:
    """A tool was executed, so many times at least."""
    return lambda trial: len(trial.executed(tool)) >= times


def above(most: float) -> Callable[[Trial], bool]:
    """The program got hold of more than it may."""
    return lambda trial: isinstance(trial.value, int | float) and trial.value > most


def answered(*errors: int) -> Callable[[Trial], bool]:
    """The kernel's own code answered the call, with success or with one of these errors."""
    return lambda trial: type(trial.value) is int and (trial.value >= 0 or -trial.value in errors)


BARE = Control()
ROOT = Control(root=True)
REUSED = Control(where="reused")
INLINE = Control(where="inline")
FORKED = Control(where="forked")
PLAIN = World()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One program that tries to get what it must not."""

    name: str
    program: str
    """Its source; it finds the names of `prelude` and a namespace `bait` that says where to attack."""
    prelude: bool = True
    """Whether it has that in front of it."""
    won: Callable[[Trial], bool] = says_so
    """The detector: whether it got what it wanted."""
    world: World = PLAIN
    control: Control = BARE
    after: str | None = None
    """A program that runs in the next guest."""
    beside: str | None = None
    """A program that runs in another guest at the same time; the two meet by the tool `meet`."""
    gaps: Mapping[str, str] = field(default_factory=dict)
    """Mode, or "mode, user", to the reason why it is known to succeed there; SECURITY.md says so."""
    refusals: tuple[str, ...] = ()
    """Exceptions and limits that mean "refused" here although they could also mean that the program is wrong."""
    laid_by_root: bool = False
    """Whether only root can lay out what it is after."""
    not_by_nobody: bool = False
    """Whether there is nothing to find where the host itself is the user that everybody is inside."""
    needs: str | None = None
    """A package without which there is nothing to attack."""
    category: str = ""

    @property
    def id(self) -> str:
        """Category and name."""
        return f"{self.category}: {self.name}"

    def known(self, mode: str, user: str) -> bool:
        """Say whether it is known to succeed there."""
        return mode in self.gaps or f"{mode}, {user}" in self.gaps


def in_category(category: str, attacks: list[Attack]) -> list[Attack]:
    """Return attacks with their category."""
    return [replace(one, category=category) for one in attacks]
