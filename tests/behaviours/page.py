"""ADAPTERS.md: what callgate does in every framework, and what it cannot do in some.

PYTHONPATH=src:adapters:tests python -m behaviours.page > ADAPTERS.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from inspect import cleandoc

from behaviours.capabilities import CAPABILITIES
from behaviours.lacking import LACKING
from behaviours.suite import Behaviours

TEXT = """
# Adapters

callgate works in agents of LangGraph, LangChain and LlamaIndex. What it does there is one suite of {checks} checks, each
written once, without a framework in it, and made with every adapter in `make test`: on threads and on event loops where
that goes other ways, some of them in the jail. Where a check lets a process die, everything is built anew from what a
checkpointer, or a Context as JSON, had kept at that moment.

This page is made of the suite and of what the adapters declare there. It is not written by hand, and a test compares.
"""


def summary(one: type[Behaviours]) -> str:
    """Return what a class says of itself in its first line."""
    return cleandoc(one.__doc__ or "").splitlines()[0]


def page(classes: Sequence[type[Behaviours]]) -> str:
    """Return the page."""
    return "\n".join([TEXT.strip().format(checks=len(Behaviours.checks())), *_offers(classes), *_checks()]) + "\n"


def _offers(classes: Sequence[type[Behaviours]]) -> Iterator[str]:
    checks = Behaviours.checks()
    numbers = range(1, len(classes) + 1)
    yield "\n## What each can offer\n"
    yield from (f"{n}. {summary(one)}" for n, one in zip(numbers, classes, strict=True))
    yield f"\n| behaviour | means | checks |{''.join(f' {n} |' for n in numbers)}"
    yield f"| --- | --- | --- |{' --- |' * len(classes)}"
    for name, meaning in CAPABILITIES.items():
        marks = "".join(" no |" if name in one.lacks else " yes |" for one in classes)
        yield f"| `{name}` | {meaning} | {list(checks.values()).count(name) or 'all'} |{marks}"
    made = "".join(f" {sum(need not in one.lacks for need in checks.values())} |" for one in classes)
    yield f"| checks made | of those that every adapter passes and of the above | {len(checks)} |{made}"
    yield "\nWhy not:\n"
    for n, one in zip(numbers, classes, strict=True):
        for reason in dict.fromkeys(one.lacks.values()):
            names = ", ".join(f"`{name}`" for name, given in one.lacks.items() if given == reason)
            yield f"- {n}, {names}: {reason}"
    yield "\nWhat there is in its place, which is checked, too:\n"
    for name in CAPABILITIES:
        if any(name in one.lacks for one in classes):
            yield f"- `{name}`: {told(LACKING[name])}"


def _checks() -> Iterator[str]:
    yield "\n## The checks"
    needed = Behaviours.checks()
    for one in Behaviours.__bases__:
        yield f"\n{cleandoc(sys.modules[one.__module__].__doc__ or '').splitlines()[0]}\n"
        for name in vars(one):
            if name in needed:
                needs = f" (`{needed[name]}`)" if needed[name] else ""
                yield f"- **{name.removeprefix('test_').replace('_', ' ')}**{needs}: {told(getattr(one, name))}"


def told(check: object) -> str:
    """Return the text of a check in one line."""
    return " ".join(cleandoc(check.__doc__ or "").split())


if __name__ == "__main__":
    from behaviours.adapters import ADAPTERS

    sys.stdout.write(page(ADAPTERS))
