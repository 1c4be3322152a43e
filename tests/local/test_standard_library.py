"""What programs use works inside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from local.harness import Server, run, value

PROGRAMS = {
    "asyncio": """
import asyncio
async def work(n):
    await asyncio.sleep(n / 10)
    return n
async def main(): return await asyncio.gather(*(work(n) for n in range(5)))
asyncio.run(main()) == [0, 1, 2, 3, 4]
""",
    "threads": """
import queue, threading
q = queue.Queue()
threads = [threading.Thread(target=q.put, args=(n,)) for n in range(10)]
for t in threads: t.start()
for t in threads: t.join()
sorted(q.get() for _ in range(10)) == list(range(10))
""",
    "a thread pool": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool: found = list(pool.map(abs, range(-9, 0)))
found == list(range(9, 0, -1))
""",
    "sqlite3": """
import sqlite3
db = sqlite3.connect("/tmp/a.db")
db.execute("create table t (x)")
db.executemany("insert into t values (?)", [(n,) for n in range(100)])
db.commit()
db.close()
sqlite3.connect("/tmp/a.db").execute("select sum(x) from t").fetchone() == (4950,)
""",
    "sqlite3 with a write-ahead log": """
import sqlite3
db = sqlite3.connect("a.db")
mode = db.execute("pragma journal_mode=wal").fetchone()
db.execute("create table t (x)")
db.execute("insert into t values (1)")
db.commit()
db.execute("select * from t").fetchall() == [(1,)]
""",
    "zipfile": """
import io, zipfile
with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as z: z.writestr("x/y.txt", "hello")
with zipfile.ZipFile("a.zip") as z: z.extractall("out")
open("out/x/y.txt").read() == "hello"
""",
    "tarfile": """
import tarfile
open("x", "w").write("hello")
with tarfile.open("a.tar.gz", "w:gz") as t: t.add("x")
with tarfile.open("a.tar.gz") as t: t.extractall("out")
open("out/x").read() == "hello"
""",
    "tempfile": """
import os, tempfile
with tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile(dir=d) as f, tempfile.TemporaryFile() as g:
    g.write(b"x")
    found = os.path.exists(f.name)
found
""",
    "shutil": """
import os, shutil
os.makedirs("a/b")
open("a/b/x", "w").write("hello")
shutil.copy2("a/b/x", "y")
shutil.copytree("a", "c")
shutil.move("c", "d")
shutil.rmtree("a")
[open("y").read(), os.path.exists("d/b/x"), os.path.exists("a")] == ["hello", True, False]
""",
    "files": """
import os, pathlib
p = pathlib.Path("x.txt")
p.write_text("a\\nb")
p.rename("y.txt")
os.symlink("y.txt", "z")
os.chmod("y.txt", 0o600)
os.utime("y.txt", (1, 2))
with open("z") as f: lines = f.readlines()
[len(lines), os.stat("y.txt").st_mtime, sorted(os.listdir("."))] == [2, 2.0, ["y.txt", "z"]]
""",
    "mmap": """
import mmap
with open("x", "wb") as f: f.write(bytes(8192))
with open("x", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
    m[0:5] = b"hello"
open("x", "rb").read(5) == b"hello"
""",
    "dbm": """
import dbm.dumb
with dbm.dumb.open("a", "c") as d: d["x"] = "y"
with dbm.dumb.open("a") as d: found = d["x"]
found == b"y"
""",
    "decimal and fractions": """
from decimal import Decimal, getcontext
from fractions import Fraction
getcontext().prec = 50
[str(Decimal(1) / 7)[:12], str(Fraction("0.1") + Fraction(1, 5))] == ["0.1428571428", "3/10"]
""",
    "compression": """
import bz2, gzip, lzma, zlib
data = b"hello" * 1000
all(m.decompress(m.compress(data)) == data for m in (bz2, gzip, lzma, zlib))
""",
    "hashes": """
import hashlib, hmac
hashlib.sha256(b"x").hexdigest()[:8] + hmac.new(b"k", b"x", "sha1").hexdigest()[:4] == "2d711642" + "cb00"
""",
    "text": """
import csv, difflib, html, io, json, re, string, textwrap, unicodedata
rows = list(csv.DictReader(io.StringIO("a,b\\n1,2")))
[rows[0]["b"], re.sub("[aeiou]", "", "hello"), json.loads(json.dumps({"a": [1]}))["a"]] == ["2", "hll", [1]]
""",
    "xml and html": """
import html.parser, xml.etree.ElementTree as E
E.fromstring("<a><b>1</b></a>").find("b").text == "1"
""",
    "dates": """
import calendar, datetime, time
day = datetime.date(2024, 2, 29).isoformat()
[time.tzname[0], day, calendar.monthrange(2024, 2)[1]] == ["UTC", "2024-02-29", 29]
""",
    "ctypes callbacks": """
import ctypes
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 4)(3, 1, 2, 0)
ctypes.CDLL(None).qsort(numbers, 4, 4, compare(lambda a, b: a[0] - b[0]))
list(numbers) == [0, 1, 2, 3]
""",
    "logging and warnings": """
import logging, warnings
logging.basicConfig(filename="log")
logging.error("x")
open("log").read() == "ERROR:root:x\\n"
""",
    "statistics and random": """
import random, statistics
statistics.mean(random.sample(range(100), 100)) == 49.5
""",
    "big integers and recursion": """
def down(n): return n if n == 0 else down(n - 1)
[down(900), len(str(3 ** 5000))] == [0, 2386]
""",
    "terminal and platform": """
import os, platform, shutil, sys
columns = shutil.get_terminal_size().columns
[sys.stdin.read(), os.isatty(1), columns > 0, platform.system()] == ["", False, True, "Linux"]
""",
}


NEED_FILES = {
    "sqlite3", "sqlite3 with a write-ahead log", "zipfile", "tarfile", "tempfile", "shutil", "files", "mmap", "dbm",
    "logging and warnings",
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_standard_library_works(either: Server, mode: dict[str, Any], name: str) -> None:
    if mode and name in NEED_FILES:
        assert run(either, PROGRAMS[name]).error is not None  # nothing can be written there
    else:
        assert value(either, PROGRAMS[name]) is True


def test_what_needs_no_file_of_its_own_works_without_one(either: Server) -> None:
    program = """
import io, mmap, sqlite3, zipfile
db = sqlite3.connect(":memory:")
db.execute("create table t (x)")
db.executemany("insert into t values (?)", [(n,) for n in range(100)])
with zipfile.ZipFile(file := io.BytesIO(), "w") as z: z.writestr("x", "hello")
memory = mmap.mmap(-1, 4096)
memory[:5] = b"hello"
[db.execute("select sum(x) from t").fetchone(), zipfile.ZipFile(file).read("x"), memory[:5]] == [(4950,), b"hello", b"hello"]
"""
    assert value(either, program) is True


def test_every_module_of_the_standard_library_is_importable(either: Server, mode: dict[str, Any]) -> None:
    program = """
import importlib, sys
odd = {"antigravity", "this", "idlelib", "lib2to3", "turtledemo", "turtle", "tkinter", "test", "nt", "msvcrt", "winreg"}
found = {}
for name in sorted(sys.stdlib_module_names - odd):
    if not name.startswith("_"):
        try: importlib.import_module(name)
        except ImportError as error: found[name] = str(error)
found
"""
    outside = subprocess.run(
        [mode.get("python") or sys.executable, "-W", "ignore", "-S", "-c", f"{program}\nimport json; print(json.dumps(found))"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert value(either, program) == json.loads(outside.stdout)


@pytest.mark.skipif(not Path("/usr/share/zoneinfo/Europe/Berlin").exists(), reason="no time zones on this host")
def test_time_zones_are_there(either: Server) -> None:
    program = """
import datetime, zoneinfo
summer = datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
[summer.utcoffset().total_seconds(), len(zoneinfo.available_timezones()) > 100]
"""
    assert value(either, program) == [7200.0, True]


def test_a_deep_recursion_is_an_error_and_no_crash(either: Server) -> None:
    program = "def down(): down()\ntry:\n    down()\nexcept RecursionError:\n    found = 'refused'\nfound"
    assert value(either, program) == "refused"
