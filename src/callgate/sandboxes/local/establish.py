"""From a policy to a fork server with a proof: as strong as this host allows, and never below the floor."""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass

from callgate.errors import SandboxUnavailable, UsageError
from callgate.sandboxes.local import cache, cures
from callgate.sandboxes.local.forkserver import ForkServer
from callgate.sandboxes.local.policy import JailPolicy, layer_of
from callgate.sandboxes.local.proof import LEVELS, Proof, judge, reachable

__all__ = ["Standing", "establish"]

RETRY_SECONDS = 10.0
"""How long it is remembered that a host cannot isolate: each try takes up to a second, and somebody may mend the host.
"""

_MACHINES = ("x86_64", "aarch64")
_PROMISE = "a kept promise"

_failed: dict[tuple[str, str, int], tuple[float, list[cures.Missing]]] = {}
"""(policy, floor, user) to when it may be tried again, and what was missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A fork server that stands, and what is proven of its guests."""

    server: ForkServer
    proof: Proof
    missing: tuple[cures.Missing, ...]
    """What this host lacks of the policy; the server does without."""


def establish(policy: JailPolicy, floor: str, *, anew: bool = False) -> Standing:
    """Start a fork server with as many of the policy's layers as this host has, and prove what guests are promised.

    Args:
        policy: what guests are confined by and shown.
        floor: the level that has to be proven, one of `LEVELS`.
        anew: prove it although it was proven before.

    Raises:
        SandboxUnavailable: if that level cannot be had; names everything that is missing, and what to do about it. For
            `RETRY_SECONDS` the next call says the same without a try.
        SandboxLost: if a server does not come up, or ends.
        UsageError: if there is no such level.
    """
    if floor not in LEVELS:
        raise UsageError(f"floor={floor!r}: give one of {', '.join(map(repr, reversed(LEVELS)))}")
    _check_host()
    attempt = policy.digest, floor, os.geteuid()
    if (known := _failed.get(attempt)) is not None and time.monotonic() < known[0] and not anew:
        raise cures.together(known[1])
    missing: list[cures.Missing] = []
    if not _reaches(policy, floor):
        missing.append(cures.Missing.of("namespaces", "namespaces=False"))
    while True:
        try:
            server, proof = _standing(policy, floor, anew=anew)
        except SandboxUnavailable as error:
            missing += cures.missing_of(error)
            layer = layer_of(error.missing[0])
            if layer is None or layer not in policy.layers:
                raise _unavailable(attempt, missing) from None
            policy = policy.without(layer)
            continue
        if proof is not None and LEVELS.index(proof.level) >= LEVELS.index(floor):
            _failed.pop(attempt, None)
            return Standing(server=server, proof=proof, missing=tuple(missing))
        server.close()
        if proof is not None and proof.level != reachable(policy.layers):
            missing.append(_broken(proof))
        raise _unavailable(attempt, missing)


def _unavailable(attempt: tuple[str, str, int], missing: list[cures.Missing]) -> SandboxUnavailable:
    """Return the error, and remember it where it is about the host, not about the moment."""
    if all(layer_of(each.name) is not None or each.name == _PROMISE for each in missing):
        _failed[attempt] = time.monotonic() + RETRY_SECONDS, missing
    return cures.together(missing)


def _check_host() -> None:
    if sys.platform != "linux":
        raise cures.unavailable("Linux", f"this is {platform.system() or sys.platform}")
    if platform.machine() not in _MACHINES or sys.maxsize < 1 << 32:
        raise cures.unavailable("a known processor", f"this is {platform.machine()}, Python for {sys.maxsize:#x}")


def _reaches(policy: JailPolicy, floor: str) -> bool:
    return LEVELS.index(reachable(policy.layers)) >= LEVELS.index(floor)


def _standing(policy: JailPolicy, floor: str, *, anew: bool) -> tuple[ForkServer, Proof | None]:
    """Return a server and its proof; None where the floor is out of reach, so that not even a canary runs."""
    server = ForkServer(policy)
    try:
        return server, _proof(server, policy, anew=anew) if _reaches(policy, floor) else None
    except BaseException:
        server.close()
        raise


def _proof(server: ForkServer, policy: JailPolicy, *, anew: bool) -> Proof:
    name = cache.key(policy, server.landlock)
    if anew or (broken := cache.load(name)) is None:
        from callgate.sandboxes.local.trial import prove  # noqa: PLC0415 - Linux only

        broken = prove(server, policy)
        proof = judge(server.layers, server.landlock, broken)
        if proof.level == reachable(server.layers):
            cache.store(name, broken)
        else:
            cache.forget(name)
        return proof
    return judge(server.layers, server.landlock, broken)


def _broken(proof: Proof) -> cures.Missing:
    found = [f"{each.name}: {', '.join(each.broken)}" for each in proof.properties if each.broken]
    return cures.Missing.of(_PROMISE, "; ".join(found))
