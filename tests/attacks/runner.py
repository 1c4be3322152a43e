"""Runs all attacks in one host process and prints what came of them as JSON.

    python -m attacks.runner MODE [--driver threads|asyncio] [--spares N] [--verbose] [--attacks ID...]

MODE is "namespaces" or "no namespaces", the two ways of the jail, or "no jail", the positive controls.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attacks import suite
from attacks.attack import MODES, Attack
from attacks.judge import Jail, Open, Result
from attacks.stage import CANARY, Estate

from callgate import SandboxUnavailable, workers
from callgate.sandboxes import LocalSandbox

CONTROL = "no jail"
PRELOAD = ("ctypes", "mmap")
"""What nearly every attack imports."""

_SUBREAPER = 36


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=[*MODES, CONTROL])
    parser.add_argument("--driver", choices=["threads", "asyncio"], default="threads")
    parser.add_argument("--spares", type=int, default=2, help="guests of the jail that are made ahead")
    parser.add_argument("--attacks", nargs="*", default=[], metavar="ID", help="those to run")
    parser.add_argument("--verbose", action="store_true", help="tell on standard error what is going on")
    options = parser.parse_args()
    if CANARY not in os.environ:  # it has to be in what the process was started with, not only in os.environ
        os.environ[CANARY] = f"canary-{secrets.token_hex(12)}"
        os.execv(sys.executable, [sys.executable, "-B", "-m", "attacks.runner", *sys.argv[1:]])
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # what an attack leaves behind falls to this process
    workers.IDLE_SECONDS = 0.1  # each attack has a runner of its own: threads that wait for more would pile up
    logging.disable()  # what a hostile guest does is logged, and expected here
    attacks = [one for one in suite.ATTACKS if one.id in options.attacks]
    report = run_all(options.mode, attacks, options.driver, options.spares, verbose=options.verbose)
    sys.stdout.write(json.dumps(report) + "\n")


def run_all(mode: str, attacks: list[Attack], driver: str, spares: int, *, verbose: bool = False) -> dict[str, Any]:
    """Run attacks in one mode and return {"mode", "user", "level", "skipped", "seconds", "attacks": {id: Result}}."""
    gc.freeze()  # each trial collects
    estate, began = Estate(), time.monotonic()
    report: dict[str, Any] = {"mode": mode, "user": os.getuid(), "level": None, "skipped": None, "attacks": {}}
    try:
        with _open(estate, driver) if mode == CONTROL else _jailed(mode, estate, driver, spares, report) as judge:
            for attack in attacks:
                result = judge(attack)
                report["attacks"][attack.id] = asdict(result)
                if verbose:
                    told = "; ".join([result.detail, *result.harm])
                    sys.stderr.write(f"{mode:14} {result.state:8} {attack.id}\n{'':24}{told[:200]}\n")
    except SandboxUnavailable as error:
        report["skipped"] = str(error)
    finally:
        estate.close()
    report["seconds"] = time.monotonic() - began
    return report


@contextmanager
def _open(estate: Estate, driver: str) -> Iterator[Callable[[Attack], Result]]:
    place = Open(estate, driver)
    try:
        yield place.judge
    finally:
        place.close()


@contextmanager
def _jailed(
    mode: str, estate: Estate, driver: str, spares: int, report: dict[str, Any]
) -> Iterator[Callable[[Attack], Result]]:
    namespaces = mode == MODES[0]
    python = None if namespaces else _readable_python()
    inside = "/shown" if namespaces else str(estate.shown)  # without a tree of its own a mount is where it is

    def showing() -> LocalSandbox:
        estate.inside = inside
        return stack.enter_context(
            LocalSandbox(
                namespaces=namespaces, python=python, preload=PRELOAD, spares=spares, mounts={inside: str(estate.shown)}
            )
        )

    with ExitStack() as stack:
        sandbox = stack.enter_context(
            LocalSandbox(namespaces=namespaces, python=python, preload=PRELOAD, spares=spares)
        )
        report["level"] = sandbox.check()
        yield Jail(sandbox, showing, estate, driver).judge


def _readable_python() -> str | None:
    """Return an interpreter that everybody may read, where this one may be root's alone."""
    path = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    return str(path) if os.getuid() == 0 and path.exists() else None


if __name__ == "__main__":
    main()
