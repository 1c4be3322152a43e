"""Runs all attacks in one host process and prints what came of them as JSON.

    python -m attacks.runner MODE [--driver threads|asyncio] [--only TEXT]

MODE is "namespaces" or "no namespaces", the two ways of the jail, or "no jail", the positive controls.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import faulthandler
import gc
import json
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attacks import inhost, suite
from attacks.attack import SLACK_MB, Attack, Trial
from attacks.bare import BareSandbox
from attacks.prelude import missing_calls
from attacks.stage import CANARY, Estate
from attacks.trial import Meter, run

from callgate import CodeRunner, SandboxUnavailable
from callgate.sandboxes import LocalSandbox
from callgate.sandboxes.base import Sandbox

CONTROL = "no jail"
HELD, WON, SKIPPED, WRONG = "held", "won", "skipped", "wrong"
"""The attack was held off; it succeeded; it could not be tried here; it failed for a reason of its own."""

MISTAKES = ("AttributeError", "ProcessDied", "ImportError", "IndexError", "KeyError", "ModuleNotFoundError", "NameError")
MISTAKES += ("ProgramError", "SyntaxError", "TypeError", "UnboundLocalError", "ValueError", "ZeroDivisionError")
"""Exceptions that say that a program is wrong, unless its attack names them."""

UNSUPPORTED = {
    getattr(errno, name)
    for name in ("EAFNOSUPPORT", "ENODEV", "ENOPROTOOPT", "ENOSYS", "EOPNOTSUPP", "EPFNOSUPPORT", "EPROTONOSUPPORT")
}
HUNG = 60.0
"""Seconds after which one attack has brought the host to a halt."""

BRIEF = 0.2
"""Seconds that what is killed may take to be gone where it is to stay."""

_SUBREAPER = 36


@dataclass(kw_only=True)
class Result:
    """What came of one attack."""

    state: str
    detail: str = ""
    harm: list[str] = field(default_factory=list)
    """What was not as before afterwards."""
    seconds: float = 0.0
    grew_mb: float = 0.0


def system_python() -> str | None:
    """Return an interpreter of this version that everybody can read, or None."""
    path = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    return str(path) if path.exists() else None


def jail(mode: str) -> LocalSandbox:
    """Return the sandbox of a mode.

    Raises:
        SandboxUnavailable: if this host cannot isolate programs that way.
    """
    if mode == "namespaces":
        sandbox = LocalSandbox()
    else:
        sandbox = LocalSandbox(namespaces=False, python=system_python() if os.getuid() == 0 else None)
    sandbox.check()
    return sandbox


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["namespaces", "no namespaces", CONTROL])
    parser.add_argument("--driver", choices=["threads", "asyncio"], default="threads")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if CANARY not in os.environ:  # it has to be in what the process was started with, not only in os.environ
        os.environ[CANARY] = f"canary-{secrets.token_hex(12)}"
        os.execv(sys.executable, [sys.executable, "-B", "-m", "attacks.runner", *sys.argv[1:]])
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # what an attack leaves behind falls to this process
    logging.disable()  # what a hostile guest does is logged, and expected here
    attacks = [one for one in suite.ATTACKS if options.only in one.id]
    sys.stdout.write(json.dumps(run_all(options.mode, attacks, options.driver)) + "\n")


def run_all(mode: str, attacks: list[Attack], driver: str) -> dict[str, Any]:
    """Run attacks in one mode and return {"mode", "user", "level", "skipped", "attacks": {id: Result}}."""
    estate = Estate()
    report: dict[str, Any] = {"mode": mode, "user": os.getuid(), "level": None, "skipped": None, "attacks": {}}
    began = time.monotonic()
    try:
        if mode == CONTROL:
            results = _controls(attacks, estate, driver)
        else:
            gc.freeze()  # each trial collects
            with jail(mode) as sandbox:
                report["level"] = sandbox.level
                results = {one.id: _attacked(one, sandbox, mode, estate, driver) for one in attacks}
        report["attacks"] = {name: asdict(result) for name, result in results.items()}
    except SandboxUnavailable as error:
        report["skipped"] = str(error)
    finally:
        estate.close()
    report["seconds"] = time.monotonic() - began
    return report


@contextmanager
def _watched() -> Iterator[None]:
    faulthandler.dump_traceback_later(HUNG, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _attacked(attack: Attack, sandbox: Sandbox, mode: str, estate: Estate, driver: str) -> Result:
    """Run an attack on the jail."""
    if missing := missing_calls(attack.program):
        return Result(state=SKIPPED, detail=f"this processor has no {', '.join(missing)}")
    del mode
    with _watched():
        trial, meter = run(attack, sandbox, estate, attack.world, driver)
        try:
            won = attack.won(trial)
            result = Result(state=WON if won else HELD, detail=_told(trial), seconds=trial.seconds, grew_mb=trial.grew_mb)
            if not won and (mistake := _mistake(attack, trial)):
                result.state, result.detail = WRONG, mistake
        finally:
            trial.stage.close()
        result.harm = _harm(trial, meter, sandbox)
    return result


def _told(trial: Trial) -> str:
    shown = f"{trial.status or trial.raised} {trial.value!r}"[:200]
    return f"{shown} {trial.error}"[:400] if trial.error else shown


def _mistake(attack: Attack, trial: Trial) -> str | None:
    """Say how a program failed for a reason of its own, if it did: then nothing was attacked."""
    if attack.world.killed and trial.value is not True:
        return "the program did not get to the point where its host is killed"
    for one in (trial, trial.second):
        if one is not None and one.error is not None and one.error[0] in MISTAKES and one.error[0] not in attack.refusals:
            return f"the program is wrong: {one.error[0]}: {one.error[1]}"
        if one is not None and one.status == "rejected":
            return "the program was rejected before it ran"
        if one is not None and one.status == "limited" and one.limit not in attack.refusals:
            return f"the program did not get to its end: {one.limit}"
    return None


def _harm(trial: Trial, meter: Meter, sandbox: Sandbox) -> list[str]:
    """Say what an attack left behind, or broke."""
    del trial.outcome
    gc.collect()
    harm: list[str] = []
    if trial.raised is not None:
        harm.append(f"the host raised {trial.raised}")
    if trial.grew_mb > SLACK_MB:
        harm.append(f"the host's memory went up by {trial.grew_mb:.0f} MiB")
    if trial.survivors:
        harm.append(f"{trial.survivors} processes are left")
    if left := meter.left_open():
        harm.append(f"{left} descriptors are left open")
    outcome = CodeRunner([], sandbox=sandbox).run("x = 6\nx * 7")
    if (outcome.status, outcome.value) != ("completed", 42):
        harm.append(f"the next program does not run: {outcome.text[:200]}")
    return harm


def _controls(attacks: list[Attack], estate: Estate, driver: str) -> dict[str, Result]:
    bare, reused = BareSandbox(), BareSandbox(reuse=True)
    try:
        for one in (bare, reused):
            CodeRunner([], sandbox=one).run("x = 1\nx")  # what guests are forked from is there before anybody counts
        return {one.id: _controlled(one, bare, reused, estate, driver) for one in attacks}
    finally:
        bare.close()
        reused.close()


def _controlled(attack: Attack, bare: Sandbox, reused: Sandbox, estate: Estate, driver: str) -> Result:
    """Run an attack where it has to succeed."""
    control = attack.control
    if control.root and os.getuid() != 0:
        return Result(state=SKIPPED, detail="only root can do this at all")
    if missing := missing_calls(attack.program):
        return Result(state=SKIPPED, detail=f"this processor has no {', '.join(missing)}")
    world, meter = control.world(attack.world), Meter()
    with _watched(), control.patch():
        if control.where in ("bare", "reused"):
            trial, meter = run(attack, reused if control.where == "reused" else bare, estate, world, driver, BRIEF)
        else:
            trial = inhost.run(attack, control.where, estate, world)
    try:
        if attack.won(trial):
            return Result(state=WON, detail=_told(trial), seconds=trial.seconds, grew_mb=trial.grew_mb)
        if reason := control.absent(trial) or _unsupported(trial):
            return Result(state=SKIPPED, detail=reason)
        return Result(state=HELD, detail=_told(trial), seconds=trial.seconds, grew_mb=trial.grew_mb)
    finally:
        trial.stage.close()
        meter.end_survivors()


def _unsupported(trial: Trial) -> str | None:
    """Say what this kernel does not have, if that is why a control did not succeed."""
    code = -trial.value if type(trial.value) is int else 0
    if trial.error is not None and (match := re.match(r"\[Errno (\d+)\]", trial.error[1])):
        code = int(match[1])
    return f"this kernel answers {errno.errorcode[code]}" if code in UNSUPPORTED else None


if __name__ == "__main__":
    main()
