"""Tools that note what they do, in neutral form."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from behaviours.host import Given

__all__ = ["World"]


class World:
    """Tools, and what they did: it goes on when a process dies.

    There is one per framework, since what frameworks make of functions takes them longer than a check; each check
    begins it anew.

    Args:
        refusal: that `refuse` raises.
    """

    def __init__(self, refusal: type[Exception]) -> None:
        self.refusal = refusal
        self._known = dict[str, Given]()
        self._begin()

    def _begin(self) -> None:
        self.did: list[tuple[Any, ...]] = []
        self.meanwhile: dict[str, Callable[[], None]] = {}
        """Name of a tool to what happens, once, while it runs."""
        self.barrier = threading.Barrier(3)

    @classmethod
    def begun(cls, refusal: type[Exception]) -> World:
        """Return the world of a framework, in which nothing was done."""
        world = _worlds.setdefault(refusal, cls(refusal))
        world._begin()
        return world

    def note(self, name: str, *what: Any) -> None:
        """Note that a tool did something."""
        self.did.append((name, *what))
        if (happens := self.meanwhile.pop(name, None)) is not None:
            happens()

    def tools(self, *names: str) -> list[Given]:
        """Return tools by their names."""
        for name in {*names} - self._known.keys():
            self._known[name] = getattr(self, f"make_{name}")()
        return [self._known[name] for name in names]

    def make_look(self) -> Given:
        def look(n: int) -> int:
            """Look at a number."""
            self.note("look", n)
            return n

        return Given(function=look)

    def make_fetch(self) -> Given:
        async def fetch(n: int) -> int:
            """Fetch a number."""
            self.note("fetch", n)
            return n

        return Given(function=fetch)

    def make_meet(self) -> Given:
        def meet(n: int) -> int:
            """Wait for the others."""
            self.barrier.wait(20)
            return n

        return Given(function=meet)

    def make_pay(self) -> Given:
        def pay(amount: int, to: str = "nobody") -> str:
            """Pay money."""
            self.note("pay", amount, to)
            return f"paid {amount}"

        return Given(function=pay)

    def make_write(self) -> Given:
        def write(text: str) -> str:
            """Write a line."""
            self.note("write", text)
            return text

        return Given(function=write)

    def make_rows(self) -> Given:
        def rows(count: int) -> list[dict[str, Any]]:
            """Return rows."""
            return [{"id": n, "name": f"row-{n:05d}"} for n in range(count)]

        return Given(function=rows)

    def make_echo(self) -> Given:
        def echo(value: Any) -> Any:
            """Return a value."""
            self.note("echo", value)
            return value

        return Given(function=echo)

    def make_spoil(self) -> Given:
        def spoil(items: list[int]) -> int:
            """Count items, and empty the list."""
            count = len(items)
            items.clear()
            return count

        return Given(function=spoil)

    def make_nothing(self) -> Given:
        def nothing() -> None:
            """Return nothing."""

        return Given(function=nothing)

    def make_refuse(self) -> Given:
        def refuse(why: str) -> str:
            """Refuse."""
            self.note("refuse", why)
            raise self.refusal(why)

        return Given(function=refuse)

    def make_crash(self) -> Given:
        def crash(n: int) -> str:
            """Fail by a mistake of its own."""
            self.note("crash", n)
            return "abc"[n]

        return Given(function=crash)

    def make_whoami(self) -> Given:
        def whoami(question: str, account: str) -> str:
            """Say whose account it is."""
            self.note("whoami", account)
            return f"{account}: {question}"

        return Given(function=whoami, injected={"account": "state"})

    def make_where(self) -> Given:
        def where(question: str, region: str = "nowhere") -> str:
            """Say where it is."""
            self.note("where", region)
            return f"{region}: {question}"

        return Given(function=where, injected={"region": ("fixed", "north")})

    def make_ticket(self) -> Given:
        def ticket(text: str, call: str) -> str:
            """Write a ticket."""
            self.note("ticket", text, call)
            return call

        return Given(function=ticket, injected={"call": "call id"})

    def make_rename(self) -> Given:
        def rename(name: str) -> tuple[str, dict[str, Any]]:
            """Rename the account."""
            return f"now {name}", {"account": name}

        return Given(function=rename, updates=True)


_worlds: dict[type[Exception], World] = {}
