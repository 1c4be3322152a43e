"""Sandboxes that were made here and are still there: listed, and ended.

Nothing of this ever connects to a sandbox: connecting would resume a paused one and give a running one more time.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from callgate.sandboxes.e2b import client
from callgate.sandboxes.e2b.machine import MARK

__all__ = ["Leftover", "end_leftovers", "leftovers"]

State = Literal["running", "paused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A sandbox that is there. One that runs may be in use; one that is paused costs until it is ended."""

    id: str
    state: State
    template: str
    started: datetime
    ends: datetime
    """When E2B ends or pauses it by itself, if it runs and nobody asks for more."""

    def age(self) -> float:
        """Return the seconds since it was made."""
        return (datetime.now(UTC) - self.started).total_seconds()


def leftovers(**connection: Any) -> list[Leftover]:
    """Return the sandboxes of this account that `E2BSandbox` made, the oldest first.

    Args:
        connection: api_key and domain, as for `E2BSandbox`; without them what the environment says.

    Raises:
        SandboxUnavailable: if the SDK is not installed, or the key is not accepted.
        SandboxLost: if E2B cannot be reached.
    """
    sdk = client.client(connection)
    query = importlib.import_module("e2b").SandboxQuery(metadata={MARK: "1"})
    found: list[Leftover] = []
    try:
        pages = sdk.Sandbox.list(query)
        while pages.has_next:
            found += [_leftover(one) for one in pages.next_items()]
    except Exception as error:
        raise client.refused(error, "E2B's list of sandboxes could not be read") from error
    return sorted(found, key=lambda one: one.started)


def end_leftovers(
    *, states: tuple[State, ...] = ("paused",), older_than: float = 3600.0, **connection: Any
) -> list[Leftover]:
    """End those of `leftovers` that are in one of these states and older, and return them.

    Args:
        states: running ones may be in use by another process.
        older_than: seconds since they were made.
        connection: as for `leftovers`.

    Raises:
        SandboxUnavailable, SandboxLost: as `leftovers` does.
    """
    sdk = client.client(connection)
    found = [one for one in leftovers(**connection) if one.state in states and one.age() > older_than]
    failed: Exception | None = None
    for one in found:
        try:
            sdk.Sandbox.kill(one.id)
        except importlib.import_module("e2b").NotFoundException:
            continue  # somebody else was faster
        except Exception as error:  # noqa: BLE001 - the others are ended first
            failed = error
    if failed is not None:
        raise client.refused(failed, "not every sandbox at E2B could be ended") from failed
    return found


def _leftover(info: Any) -> Leftover:
    state: State = "paused" if info.state.value == "paused" else "running"
    return Leftover(
        id=info.sandbox_id, state=state, template=info.template_id, started=info.started_at, ends=info.end_at
    )
