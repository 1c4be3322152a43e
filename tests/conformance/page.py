"""SANDBOXES.md: what callgate asks of every sandbox, and what each of its own can do.

PYTHONPATH=src:adapters:tests python -m conformance.page > SANDBOXES.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from inspect import cleandoc

from pages import compared, told

from callgate.testing import SandboxConformance
from callgate.testing.conformance import CAPABILITIES

TEXT = """
# Sandboxes

What callgate asks of every sandbox is a suite of checks, `callgate.testing.SandboxConformance`. Each of its own sandboxes
runs it in `make test`, and this page is made of what they declare there. It is not written by hand, and a test compares.

## A sandbox of your own

A sandbox is whatever has the methods of `callgate.sandboxes.Sandbox`, and gives guests with those of
`callgate.sandboxes.Guest`; the frames that they exchange are described in `callgate/sandboxes/base.py`. To check yours,
derive one class. It takes pytest and nothing else:

```python
import pytest

from callgate.testing import FakeSandbox, SandboxConformance


class TestMySandbox(SandboxConformance):
    lacks = {{"memory_mb": "the service gives every guest 2 GB, and no less"}}

    @pytest.fixture
    def make_sandbox(self):
        return FakeSandbox  # what makes yours, each time a new one
```

- **{checks} checks**, most of them made twice: on threads (`[sync]`) and on event loops (`[async]`).
- What your sandbox cannot do is declared in `lacks`, by the names below, with a reason. Its checks skip with that reason.
  What it lacks and does not declare fails. What it declares and can do after all is said, as a warning.
- Two things no suite can do by itself: make a sandbox go away, and see what is left of its guests. Override
  `lose(sandbox)` and `leftovers(sandbox)`, or declare that you lack them.
- `patience` and `brief` are seconds, for sandboxes that take their time; see the class.
"""


def page(classes: Sequence[type[SandboxConformance]]) -> str:
    """Return the page."""
    lines = [TEXT.strip().format(checks=len(SandboxConformance.checks())), *_capabilities(classes), *_checks()]
    return "\n".join(lines) + "\n"


def _capabilities(classes: Sequence[type[SandboxConformance]]) -> Iterator[str]:
    yield "\n## What each can do\n"
    yield from compared(classes, SandboxConformance.checks(), CAPABILITIES, what="capability", each="sandbox")


def _checks() -> Iterator[str]:
    yield "\n## The checks"
    needed = SandboxConformance.checks()
    for one in (*SandboxConformance.__bases__, SandboxConformance):
        names = [name for name in vars(one) if name.startswith("test_")]
        if not names:
            continue
        yield f"\n{cleandoc(sys.modules[one.__module__].__doc__ or '').splitlines()[0]}\n"
        for name in names:
            what = (
                name.removeprefix("test_").replace("_", " ").replace("limit ", "limit: ", name.startswith("test_limit"))
            )
            needs = f" (`{needed[name]}`)" if needed[name] else ""
            yield f"- **{what}**{needs}: {told(getattr(one, name))}"


if __name__ == "__main__":
    from conformance.classes import CLASSES

    sys.stdout.write(page(CLASSES))
