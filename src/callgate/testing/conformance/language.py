"""Programs are Python: what they can say, and what of it is shown."""

from __future__ import annotations

from callgate.testing.conformance.capabilities import needs
from callgate.testing.conformance.case import Case
from callgate.testing.conformance.ways import once

__all__ = ["Language"]

MODERN = """
from __future__ import annotations
import dataclasses, enum, pickle, typing
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Point:
    x: int
    y: Point | None = None
def kind(one):
    match one:
        case Point(x=0): return 'origin'
        case {'key': [first, *_]}: return first
        case _: return (lambda: 'other')()
def numbers(n):
    yield from (i * i for i in range(n) if i % 2)
[kind(Point(0)), kind({'key': [5, 6]}), kind(1), list(numbers(6)), pickle.loads(pickle.dumps(Point(1))) == Point(1),
 typing.get_type_hints(Point)['x'].__name__, Colour['RED'].value, f'{3.14159:.2f}', (x := 4) + x, __name__]
"""

LIBRARY = """
import bisect, collections, contextlib, csv, datetime, decimal, functools, hashlib, io, itertools, json, math, random
import re, sqlite3, statistics, string, textwrap, zlib
rows = list(csv.DictReader(io.StringIO('a,b\\n1,2\\n3,4')))
db = sqlite3.connect(':memory:')
db.execute('create table t (a, b)')
db.executemany('insert into t values (:a, :b)', rows)
[db.execute('select sum(a) from t').fetchone()[0], statistics.mean([1, 2, 6]), str(decimal.Decimal('0.1') * 3),
 re.findall(r'[a-z]+', 'ab1cd'), hashlib.sha256(b'x').hexdigest()[:8], datetime.date(2024, 2, 29).isoformat(),
 json.loads('[1]'), math.comb(5, 2), zlib.decompress(zlib.compress(b'z')).decode()]
"""


class Language:
    """What a program can say."""

    @once
    def test_the_last_expression_is_the_value(self, case: Case) -> None:
        """The value of a program is that of its last expression."""
        assert case.value("x = 20\nx * 2 + 2") == 42

    @once
    def test_a_trailing_assignment_is_the_value_unless_something_was_printed(self, case: Case) -> None:
        """`total = 3` at the end counts as the value, and no more once the program printed."""
        assert case.value("total = 3") == 3
        outcome = case.run("print('seen')\ntotal = 3")
        assert (outcome.value, outcome.stdout) == (None, "seen\n")

    @once
    def test_an_empty_program_completes(self, case: Case) -> None:
        """Nothing is a program too."""
        assert case.value("pass") is None

    @once
    def test_the_language_is_whole(self, case: Case) -> None:
        """Classes, matching, generators, annotations, pickling and the `__main__` module work as in a script."""
        expected = ["origin", 5, "other", [1, 9, 25], True, "int", 1, "3.14", 8, "__main__"]
        assert case.value(MODERN) == expected

    @once
    def test_the_standard_library_is_there(self, case: Case) -> None:
        """What programs that work with data import can be imported."""
        expected = [4, 3, "0.3", ["ab", "cd"], "2d711642", "2024-02-29", [1], 10, "z"]
        assert case.value(LIBRARY) == expected

    @once
    def test_a_program_may_await_at_its_top_level(self, case: Case) -> None:
        """`await` needs no function around it."""
        assert case.value("import asyncio\nawait asyncio.sleep(0.01)\nawait asyncio.sleep(0, 'done')") == "done"

    @once
    def test_threads_and_locks_work(self, case: Case) -> None:
        """Threads, queues and locks of the standard library work together."""
        program = """
import queue, threading
waiting, lock, total = queue.Queue(), threading.Lock(), 0
def work():
    global total
    while (n := waiting.get()) is not None:
        with lock: total += n
threads = [threading.Thread(target=work) for _ in range(4)]
for one in threads: one.start()
for n in range(50): waiting.put(n)
for _ in threads: waiting.put(None)
for one in threads: one.join()
total + 0
"""
        assert case.value(program) == sum(range(50))

    @once
    def test_sleeping_takes_program_time(self, case: Case) -> None:
        """`time.sleep` ends when the program's own clock says so."""
        program = "import time\na = time.monotonic()\ntime.sleep(0.2)\n0.2 <= time.monotonic() - a < 5"
        assert case.value(program) is True

    @once
    @needs("tmp")
    def test_a_program_may_write_and_read_its_own_files(self, case: Case) -> None:
        """There is a place for temporary files."""
        program = """
import os, tempfile
with tempfile.NamedTemporaryFile('w', delete=False) as file: file.write('text')
with open(file.name) as again: text = again.read()
os.remove(file.name)
[text, os.path.exists(file.name)]
"""
        assert case.value(program) == ["text", False]

    @once
    def test_output_of_both_streams_comes_in_order(self, case: Case) -> None:
        """What is printed arrives whole and in order, standard error and bytes among it."""
        program = """
import sys
print('a'); print('b', file=sys.stderr); sys.stdout.write('c\\n'); sys.stdout.buffer.write('ü\\n'.encode())
print('d', end='', flush=True); print('e')
"""
        assert case.run(program).stdout == "a\nb\nc\nü\nde\n"

    def test_much_output_arrives_whole(self, case: Case) -> None:
        """Ten thousand lines of all alphabets come in order."""
        lines = [f"{n} é 中 😀" for n in range(10_000)]
        program = "for n in range(10_000): print(n, 'é 中 😀')"
        assert case.run(program, limits=case.bounded(output_kb=1024)).stdout.splitlines() == lines

    def test_a_long_program_arrives_whole(self, case: Case) -> None:
        """A program of nearly 256 KiB, the most there is, with text of all alphabets, is run to its last line."""
        text = "é中😀" * 20_000
        program = "import hashlib\n" + f"text = {text!r}\n" + "# padding\n" * 5_000 + "[len(text), text[-3:]]"
        assert case.value(program) == [60_000, "é中😀"]

    @once
    def test_exit_ends_a_program(self, case: Case) -> None:
        """`sys.exit` without a status completes it, with one fails it; so does `os._exit`."""
        assert case.run("import sys\nprint(1)\nsys.exit()\nprint(2)").stdout == "1\n"
        failed = case.run("import sys\nsys.exit('no data')")
        assert (failed.status, failed.error and failed.error.text) == ("failed", "no data")
        assert case.run("import os\nprint(1)\nos._exit(0)").stdout == "1\n"
        assert case.run("import os\nos._exit(3)").status == "failed"
