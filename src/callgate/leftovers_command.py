"""`callgate doctor --e2b`: the sandboxes that are left at E2B, and their end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC

from callgate.errors import LimitExceeded, SandboxError
from callgate.sandboxes.e2b.leftovers import Leftover, State, end_leftovers, leftovers

__all__ = ["add_leftovers_arguments", "list_leftovers"]

_STATES: dict[str, tuple[State, ...]] = {"paused": ("paused",), "all": ("paused", "running")}


def add_leftovers_arguments(doctor: argparse.ArgumentParser) -> None:
    """Give the doctor what it needs to look at E2B."""
    doctor.add_argument("--e2b", action="store_true", help="list the sandboxes at E2B that E2BSandbox made, instead")
    doctor.add_argument(
        "--end", choices=_STATES, help="with --e2b: end those that are paused, or all; running ones may be in use"
    )
    doctor.add_argument(
        "--older", type=float, default=1.0, metavar="HOURS", help="with --end: only those that are older (default: 1)"
    )


def list_leftovers(given: argparse.Namespace) -> int:
    """List, end what is to be ended, and return the exit status."""
    try:
        if given.end:
            ended = end_leftovers(states=_STATES[given.end], older_than=given.older * 3600)
            sys.stdout.writelines(_told(ended, "ended"))
        sys.stdout.writelines(_told(leftovers(), "at E2B"))
    except (SandboxError, LimitExceeded) as error:
        sys.stderr.write(f"callgate doctor --e2b: {error}\n")
        return 1
    return 0


def _told(found: Sequence[Leftover], what: str) -> Iterator[str]:
    yield f"{what}: {len(found)} sandbox{'' if len(found) == 1 else 'es'} of callgate\n"
    for one in found:
        until = f", until {one.ends.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if one.state == "running" else ""
        yield f"  {one.id}  {one.state}{until}, {one.age() / 3600:.1f} hours old, template {one.template}\n"
