"""Runs one attack on the jail, or where it has to succeed, and says whether it got what it wanted."""

from __future__ import annotations

import errno
import faulthandler
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from attacks import inhost
from attacks.attack import SLACK_MB, Attack, Trial
from attacks.bare import BareSandbox
from attacks.prelude import missing_calls
from attacks.stage import NOBODY, Estate
from attacks.trial import Meter, run
from local.harness import run as run_plain

from callgate.sandboxes.base import Sandbox

HELD, WON, SKIPPED, WRONG = "held", "won", "skipped", "wrong"
"""The attack was held off; it succeeded; it could not be tried here; it failed for a reason of its own."""

MISTAKES = ("AttributeError", "ImportError", "IndexError", "KeyError", "ModuleNotFoundError", "NameError")
MISTAKES += ("ProcessDied", "ProgramError", "SyntaxError", "TypeError", "UnboundLocalError", "ValueError")
"""Exceptions that say that a program is wrong, unless its attack names them."""

UNSUPPORTED = {
    getattr(errno, name)
    for name in ("EAFNOSUPPORT", "ENODEV", "ENOPROTOOPT", "ENOSYS", "EOPNOTSUPP", "EPFNOSUPPORT", "EPROTONOSUPPORT")
}
HUNG = 60.0
"""Seconds after which one attack has brought the host to a halt."""

BRIEF = 0.2
"""Seconds that what is killed may take to be gone where it is to stay."""


@dataclass(kw_only=True)
class Result:
    """What came of one attack."""

    state: str
    detail: str = ""
    harm: list[str] = field(default_factory=list)
    """What was not as before afterwards."""
    seconds: float = 0.0
    grew_mb: float = 0.0


@contextmanager
def _watched() -> Iterator[None]:
    faulthandler.dump_traceback_later(HUNG, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class Jail:
    """Runs attacks on sandboxes that have to hold them off.

    Args:
        sandbox: for most of them.
        showing: makes one that shows a directory of the host on purpose.
        estate: what there is to get.
        driver: of the host, "threads" or "asyncio".
    """

    def __init__(self, sandbox: Sandbox, showing: Callable[[], Sandbox], estate: Estate, driver: str) -> None:
        self._sandboxes = {False: sandbox}
        self._showing, self._estate, self._driver = showing, estate, driver
        plain(sandbox)

    def judge(self, attack: Attack) -> Result:
        """Run one attack."""
        if (missing := _not_here(attack)) is not None:
            return Result(state=SKIPPED, detail=missing)
        sandbox = self._sandbox(attack.world.shown)
        with _watched():
            meter = Meter(list(self._sandboxes.values()))
            trial = run(attack, sandbox, self._estate, attack.world, self._driver, meter)
            try:
                result = _result(trial, WON if attack.won(trial) else HELD)
            finally:
                trial.stage.close()
            if result.state == HELD and (mistake := _mistake(attack, trial)):
                result.state, result.detail = WRONG, mistake
            result.harm = _harm(trial, meter, sandbox)
        return result

    def _sandbox(self, shown: bool) -> Sandbox:
        if shown not in self._sandboxes:
            self._sandboxes[shown] = self._showing()
            plain(self._sandboxes[shown])
        return self._sandboxes[shown]


class Open:
    """Runs attacks where they have to succeed."""

    def __init__(self, estate: Estate, driver: str) -> None:
        self._estate, self._driver = estate, driver
        self._sandboxes = {"bare": BareSandbox(), "reused": BareSandbox(reuse=True)}
        for sandbox in self._sandboxes.values():
            plain(sandbox)  # what guests are forked from is there before anybody counts

    def judge(self, attack: Attack) -> Result:
        """Run one attack."""
        control = attack.control
        if control.root and os.getuid() != 0:
            return Result(state=SKIPPED, detail="only root can do this at all")
        if (missing := _not_here(attack)) is not None:
            return Result(state=SKIPPED, detail=missing)
        world, meter = control.world(attack.world), Meter()
        with _watched(), control.patch():
            if (sandbox := self._sandboxes.get(control.where)) is not None:
                trial = run(attack, sandbox, self._estate, world, self._driver, meter, BRIEF)
            else:
                trial = inhost.run(attack, control.where, self._estate, world)
        try:
            result = _result(trial, WON if attack.won(trial) else HELD)
        finally:
            trial.stage.close()
            meter.end_survivors()
        if result.state == HELD and (reason := control.absent(trial) or _unsupported(trial)):
            result.state, result.detail = SKIPPED, reason
        return result

    def close(self) -> None:
        """End the sandboxes that hold nothing."""
        for sandbox in self._sandboxes.values():
            sandbox.close()


def _harm(trial: Trial, meter: Meter, sandbox: Sandbox) -> list[str]:
    """Say what an attack left behind, or broke."""
    harm: list[str] = []
    if trial.raised is not None:
        harm.append(f"the host raised {trial.raised}")
    if trial.grew_mb > SLACK_MB:
        harm.append(f"the host's memory went up by {trial.grew_mb:.0f} MiB")
    if trial.survivors:
        harm.append(f"{trial.survivors} processes are left")
    if left := meter.left_open():
        harm.append(f"{left} descriptors are left open")
    if (found := plain(sandbox)) != 42:
        harm.append(f"the next program does not run: {found}")
    return harm


def plain(sandbox: Sandbox) -> Any:
    """Return what a plain program ends with: 42."""
    result = run_plain(sandbox, "6 * 7")
    return result.error or result.value


def _not_here(attack: Attack) -> str | None:
    if attack.laid_by_root and os.getuid() != 0:
        return "only root can lay out what this is after"
    if attack.not_by_nobody and os.getuid() == NOBODY:
        return "the host is the user that everybody is inside"
    if attack.needs is not None and importlib.util.find_spec(attack.needs) is None:
        return f"{attack.needs} is not installed"
    missing = missing_calls(attack.program)
    return f"this processor has no {', '.join(missing)}" if missing else None


def _result(trial: Trial, state: str) -> Result:
    detail = f"{trial.status} {trial.value!r}"[:200]
    detail += f" {trial.error}"[:300] if trial.error else ""
    detail += f" the host raised {trial.raised}" if trial.raised else ""
    seconds, grew = trial.seconds, trial.grew_mb
    trial.outcome = None  # it may be large
    return Result(state=state, detail=detail, seconds=seconds, grew_mb=grew)


def _mistake(attack: Attack, trial: Trial) -> str | None:
    """Say how a program failed for a reason of its own, if it did: then nothing was attacked."""
    if attack.world.killed:
        return None if trial.value is True else "the program did not get to the point where its host is killed"
    for one in (trial, trial.second):
        if one is None:
            continue
        if one.error is not None and one.error[0] in MISTAKES and one.error[0] not in attack.refusals:
            return f"the program is wrong: {one.error[0]}: {one.error[1]}"
        if one.status == "rejected":
            return f"the program was rejected before it ran: {one.text}"
        if one.status == "limited" and one.limit not in attack.refusals:
            return f"the program did not get to its end: {one.limit}"
    return None


def _unsupported(trial: Trial) -> str | None:
    """Say what this kernel does not have, if that is why a control did not succeed."""
    code = -trial.value if type(trial.value) is int else 0
    if trial.error is not None and (match := re.match(r"\[Errno (\d+)\]", trial.error[1])):
        code = int(match[1])
    return f"this kernel answers {errno.errorcode[code]}" if code in UNSUPPORTED else None
