"""The program's clock."""

from __future__ import annotations

from typing import Any

import pytest
from guest.harness import WALL, run


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("time.time()", WALL + 1e-6),
        ("time.time_ns()", 1_800_000_000_000_001_000),
        ("time.monotonic()", 1e-6),
        ("time.perf_counter_ns()", 1000),
        ("time.clock_gettime(time.CLOCK_REALTIME)", WALL + 1e-6),
        ("time.clock_gettime_ns(time.CLOCK_MONOTONIC)", 1000),
        ("time.strftime('%Y-%m-%dT%H:%M')", "2027-01-15T08:00"),
        ("time.ctime()", "Fri Jan 15 08:00:00 2027"),
        ("time.asctime()", "Fri Jan 15 08:00:00 2027"),
        ("time.gmtime().tm_year", 2027),
        ("time.localtime(0).tm_year", 1970),
        ("time.strftime('%Y', time.gmtime(0))", "1970"),
        ("datetime.datetime.now().isoformat()", "2027-01-15T08:00:00.000001"),
        ("datetime.datetime.utcnow().year", 2027),
        ("datetime.datetime.today().year", 2027),
        ("datetime.datetime.now(datetime.timezone.utc).isoformat()", "2027-01-15T08:00:00.000001+00:00"),
        ("datetime.date.today()", "2027-01-15"),
        ("time.sleep(90) or round(time.time() - 1_800_000_000, 3)", 90.0),
        ("time.sleep(True) or round(time.monotonic(), 3)", 1.0),
    ],
)
def test_clocks_show_the_hosts_time_plus_a_microsecond_per_reading(expression: str, value: Any) -> None:
    result = run(f"import time, datetime\n{expression}")
    assert result.error is None
    assert result.value == value


def test_datetime_is_the_very_class_it_was() -> None:
    program = """
import copy, datetime, pickle
now = datetime.datetime.now()
class Mine(datetime.datetime): pass
[type(now) is datetime.datetime, pickle.loads(pickle.dumps(now)) == now, copy.copy(now) == now,
 type(Mine.now()) is Mine, type(Mine.today()) is Mine, type(datetime.date.today()) is datetime.date,
 isinstance(datetime.datetime.now, object), datetime.datetime.now().tzinfo is None]
"""
    assert run(program).value == [True] * 8


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("time.sleep(-1)", "ValueError"),
        ("time.sleep('1')", "TypeError"),
        ("time.sleep(float('nan'))", "ValueError"),
        ("time.sleep(1e300)", "OverflowError"),
        ("datetime.datetime.now(5)", "TypeError"),
        ("datetime.datetime.now(1, 2)", "TypeError"),
    ],
)
def test_wrong_arguments_raise_as_ever(call: str, error: str) -> None:
    result = run(f"import time, datetime\n{call}")
    assert result.error is not None
    assert result.error["type"] == error


def test_the_wall_clock_follows_the_host() -> None:
    result = run("import time\nround(time.time())", wall=1_000_000_000.0)
    assert result.value == 1_000_000_000


def test_sleeps_of_threads_overlap() -> None:
    program = """
import threading, time
ts = [threading.Thread(target=time.sleep, args=(n,)) for n in (3, 1, 2)]
[t.start() for t in ts]; [t.join() for t in ts]
round(time.monotonic(), 3)
"""
    result = run(program)
    assert (result.value, result.rests) == (3.0, [1.0, 2.0, 3.0])


def test_log_records_carry_the_programs_time() -> None:
    program = """
import logging
logging.basicConfig(format='%(relativeCreated)d %(asctime)s %(message)s', level='INFO')
import time; time.sleep(2)
logging.info('hello')
"""
    assert run(program).out.startswith("2000 2027-01-15 08:00:02,00")


def test_pandas_sees_the_programs_clock() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    import site

    path = site.getsitepackages()
    program = f"""
import sys; sys.path += {path!r}
import pandas as pd, pickle
now = pd.Timestamp.now()
[now.year, pickle.loads(pickle.dumps(now)) == now, pd.Timestamp.today().year, pd.to_datetime('now').year]
"""
    assert run(program).value == [2027, True, 2027, 2027]
