"""Clocks: they move with events of the host, and by one microsecond per reading.

The reading's microsecond ends loops such as `while time.time() < t: pass`. CPU clocks (`process_time`) stay real.
"""

# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# What is replaced here is private to the standard library, and unknown to its types.

from __future__ import annotations

import ctypes
import datetime
import gc
import logging
import operator
import sys
import time
from collections.abc import Callable
from typing import Any

from .baton import baton

TICK = 1e-6


def monotonic() -> float:
    """Return the program's clock, in seconds."""
    baton.turn()
    baton.now += TICK
    return baton.now


def wall_clock() -> float:
    """Return the time of day, in seconds since the epoch."""
    return baton.wall + monotonic()


def monotonic_ns() -> int:
    """Return the program's clock, in nanoseconds."""
    return round(monotonic() * 1e9)


def wall_clock_ns() -> int:
    """Return the time of day, in nanoseconds since the epoch."""
    return round(baton.wall * 1e6) * 1000 + monotonic_ns()


def sleep(seconds: float, /) -> None:
    """time.sleep on the program's clock."""
    if not isinstance(seconds, float):
        seconds = operator.index(seconds)
    if seconds != seconds:
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if seconds > 9_223_372_036:
        raise OverflowError("timestamp too large to convert to C PyTime_t")
    if seconds:
        baton.park(baton.now + seconds)
    else:
        baton.spin()


def install() -> None:
    """Replace the clocks of `time` and `datetime`."""
    _install_time()
    _install_datetime()


def begin(wall: float) -> None:
    """Start the clocks of one run; wall is the time of day at program time 0, in seconds since the epoch."""
    baton.now, baton.wall = 0.0, wall
    baton.current.turns = 0  # what the fork server did before must not show in its thousandth guest
    logging._startTime = wall if sys.version_info < (3, 13) else round(wall * 1e9)


def _install_time() -> None:
    time.time, time.time_ns = wall_clock, wall_clock_ns
    time.monotonic = time.perf_counter = monotonic
    time.monotonic_ns = time.perf_counter_ns = monotonic_ns
    time.sleep = sleep
    for name in ("localtime", "gmtime", "ctime"):
        setattr(time, name, _defaulting(getattr(time, name)))
    asctime, strftime = time.asctime, time.strftime

    def text(*when: Any) -> str:
        return asctime(*when or (time.localtime(),))

    def formatted(form: str, *when: Any) -> str:
        return strftime(form, *when or (time.localtime(),))

    time.asctime, time.strftime = text, formatted
    ours = {time.CLOCK_REALTIME: (wall_clock, wall_clock_ns)}
    for name in ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME", "CLOCK_UPTIME_RAW"):
        if hasattr(time, name):
            ours[getattr(time, name)] = (monotonic, monotonic_ns)
    gettime, gettime_ns = time.clock_gettime, time.clock_gettime_ns
    time.clock_gettime = lambda clock, /: ours[clock][0]() if clock in ours else gettime(clock)
    time.clock_gettime_ns = lambda clock, /: ours[clock][1]() if clock in ours else gettime_ns(clock)


def _defaulting(function: Callable[[float], Any]) -> Callable[..., Any]:
    def at(seconds: float | None = None, /) -> Any:
        return function(wall_clock() if seconds is None else seconds)

    at.__name__ = at.__qualname__ = function.__name__
    return at


def _install_datetime() -> None:
    """Replace class methods inside the C types themselves.

    A subclass would be a second `datetime`: pandas crashes on it, and pickle and `type(x) is datetime` see through it.
    """

    def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return cls.fromtimestamp(wall_clock(), tz)

    def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return cls.fromtimestamp(wall_clock(), datetime.UTC).replace(tzinfo=None)

    def today(cls: type[datetime.date]) -> datetime.date:
        return cls.fromtimestamp(wall_clock())

    for cls, methods in ((datetime.datetime, (now, utcnow)), (datetime.date, (today,))):
        inner: dict[str, Any] = gc.get_referents(cls.__dict__)[0]
        for method in methods:
            method.__qualname__ = f"{cls.__name__}.{method.__name__}"
            inner[method.__name__] = classmethod(method)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))
