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
from pages import compared, told

TEXT = """
# Adapters

callgate works in agents of LangGraph, LangChain and LlamaIndex. What it does there is one suite of {checks} checks, each
written once, without a framework in it, and made with every adapter in `make test`: on threads and on event loops where
that goes other ways, some of them in the jail. Where a check lets a process die, everything is built anew from what a
checkpointer, or a Context as JSON, had kept at that moment.

This page is made of the suite and of what the adapters declare there. It is not written by hand, and a test compares.
"""


def page(classes: Sequence[type[Behaviours]]) -> str:
    """Return the page."""
    return "\n".join([TEXT.strip().format(checks=len(Behaviours.checks())), *_offers(classes), *_checks()]) + "\n"


def _offers(classes: Sequence[type[Behaviours]]) -> Iterator[str]:
    yield "\n## What each can offer\n"
    yield from compared(classes, Behaviours.checks(), CAPABILITIES, what="behaviour", each="adapter")
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


if __name__ == "__main__":
    from behaviours.adapters import ADAPTERS

    sys.stdout.write(page(ADAPTERS))
