"""What a level means."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.errors import UsageError
from callgate.sandboxes.local import LocalSandbox
from callgate.sandboxes.local.establish import establish
from callgate.sandboxes.local.policy import jail_policy
from callgate.sandboxes.local.proof import PROPERTIES, judge, reachable

NOTHING: dict[str, list[str]] = {name: [] for name in PROPERTIES}
FULL = ("namespaces", "Landlock", "seccomp")


def broken(*names: str) -> dict[str, list[str]]:
    return NOTHING | {name: ["an attempt"] for name in names}


@pytest.mark.parametrize(
    ("layers", "found", "level"),
    [
        (FULL, (), "L3"),
        (("Landlock", "seccomp"), (), "L2"),
        (("namespaces", "seccomp"), (), "L2"),
        (("seccomp",), ("files.read", "environment"), "L1"),
        (("seccomp",), (), "L1"),
        (("namespaces", "Landlock"), (), "L0"),
        ((), (), "L0"),
        (FULL, ("files.read",), "L1"),
        (FULL, ("files.metadata",), "L1"),
        (FULL, ("environment", "disk"), "L1"),
        (FULL, ("network",), "L0"),
        (FULL, ("kernel_surface",), "L0"),
        (("Landlock", "seccomp"), ("lifetime",), "L0"),
        (("seccomp",), ("signals",), "L0"),
    ],
)
def test_the_level_is_what_held(layers: tuple[str, ...], found: tuple[str, ...], level: str) -> None:
    proof = judge(layers, 7 if "Landlock" in layers else 0, broken(*found))
    assert proof.level == level
    assert not any(each.held for each in proof.properties if each.name in found)


@pytest.mark.parametrize("name", PROPERTIES)
def test_any_broken_promise_lowers_the_level(name: str) -> None:
    assert judge(FULL, 7, broken(name)).level in ("L0", "L1")


def layers_of(layers: tuple[str, ...], landlock: int) -> dict[str, str]:
    return {each.name: " ".join(each.layers) for each in judge(layers, landlock, NOTHING).properties}


def test_the_layers_of_each_property_are_those_that_hold_it() -> None:
    assert layers_of(FULL, 7) == {
        "files.read": "namespaces Landlock",
        "files.write": "namespaces Landlock",
        "files.metadata": "namespaces",
        "network": "namespaces Landlock seccomp",
        "environment": "namespaces Landlock",
        "signals": "namespaces Landlock seccomp",
        "processes": "namespaces Landlock seccomp",
        "kernel_surface": "seccomp",
        "memory": "resource limits",
        "cpu": "resource limits",
        "disk": "namespaces",
        "lifetime": "namespaces seccomp",
    }
    assert layers_of(("Landlock", "seccomp"), 3) == {
        "files.read": "Landlock",
        "files.write": "Landlock",
        "files.metadata": "seccomp",
        "network": "seccomp",
        "environment": "Landlock",
        "signals": "seccomp",
        "processes": "Landlock seccomp",
        "kernel_surface": "seccomp",
        "memory": "resource limits",
        "cpu": "resource limits",
        "disk": "Landlock",
        "lifetime": "seccomp",
    }


def test_a_property_that_no_layer_holds_is_not_held() -> None:
    alone = {each.name: each for each in judge(("seccomp",), 0, NOTHING).properties}
    assert not alone["files.read"].held
    assert not alone["environment"].held
    assert alone["network"].held


def test_everything_holds_here(full: LocalSandbox) -> None:
    proof = full.proof
    assert [each.name for each in proof.properties] == list(PROPERTIES)
    assert all(each.held and each.layers and not each.broken for each in proof.properties)


@pytest.mark.parametrize("floor", ["L4", "", "l3", None])
def test_a_floor_is_a_level(floor: Any) -> None:
    with pytest.raises(UsageError, match="'L3', 'L2', 'L1', 'L0'"):
        establish(jail_policy(), floor)


@pytest.mark.parametrize(
    ("layers", "most"),
    [(FULL, "L3"), (("namespaces", "seccomp"), "L2"), (("seccomp",), "L1"), (("namespaces", "Landlock"), "L0")],
)
def test_what_can_be_reached(layers: tuple[str, ...], most: str) -> None:
    assert reachable(frozenset(layers)) == most
