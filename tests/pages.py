"""What SANDBOXES.md and ADAPTERS.md have in common: a table of what each class of a suite passes and lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any

__all__ = ["compared", "told"]


def compared(
    classes: Sequence[Any], checks: Mapping[str, str | None], capabilities: Mapping[str, str], *, what: str, each: str
) -> Iterator[str]:
    """Yield the lines of a list of classes, a table of what they can do, and their reasons for what they cannot.

    Args:
        classes: each with a docstring and with `lacks`, its reasons.
        checks: of the suite, with the capability that each needs.
        capabilities: with what they mean. One that no check needs by itself is one of all of them.
        what: the heading of the capabilities.
        each: what a class stands for.
    """
    numbers = range(1, len(classes) + 1)
    yield from (f"{n}. {cleandoc(one.__doc__ or '').splitlines()[0]}" for n, one in zip(numbers, classes, strict=True))
    yield f"\n| {what} | means | checks |{''.join(f' {n} |' for n in numbers)}"
    yield f"| --- | --- | --- |{' --- |' * len(classes)}"
    for name, meaning in capabilities.items():
        marks = "".join(" no |" if name in one.lacks else " yes |" for one in classes)
        yield f"| `{name}` | {meaning} | {list(checks.values()).count(name) or 'all'} |{marks}"
    made = "".join(f" {sum(need not in one.lacks for need in checks.values())} |" for one in classes)
    yield f"| checks made | of those that every {each} passes and of the above | {len(checks)} |{made}"
    yield "\nWhy not:\n"
    for n, one in zip(numbers, classes, strict=True):
        for reason in dict.fromkeys(one.lacks.values()):
            names = ", ".join(f"`{name}`" for name, given in one.lacks.items() if given == reason)
            yield f"- {n}, {names}: {reason}"


def told(check: object) -> str:
    """Return the text of a check in one line."""
    return " ".join(cleandoc(check.__doc__ or "").split())
