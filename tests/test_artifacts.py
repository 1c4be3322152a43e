"""Files that programs leave: their way out, their names, and how they are saved."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Life, World, call, end, file, rest, tool_of

from callgate import Artifact, CodeRunner, LeftOut, Limits, MemoryJournal, UsageError, tool
from callgate.artifacts import Names
from callgate.room import most_of
from callgate.sandboxes.base import MOST_FILES, MOST_LEFT, Left
from callgate.testing import FakeSandbox

LIMITS = Limits(disk_mb=4, frame_mb=1, seconds=30)


@pytest.fixture(scope="module", params=["local", "fake"])
def box(request):
    if request.param == "local":
        yield request.getfixturevalue("jail")
        return
    fake = FakeSandbox()
    yield fake
    fake.close()


@pytest.fixture(params=["run", "arun"])
def run(request, box):
    """Run a program on threads, and on an event loop."""

    def go(program, *, tools=(), limits=LIMITS, **options):
        runner = CodeRunner(tools, sandbox=box, limits=limits, **options)
        return runner.run(program) if request.param == "run" else asyncio.run(runner.arun(program))

    return go


def named(outcome):
    return {one.name: one.data for one in outcome.artifacts}


# ---- from a program to its outcome


def test_what_a_program_writes_to_out_comes_back(run):
    program = """
import os
os.makedirs('/out/plots/2024')
with open('/out/report.csv', 'w') as file:
    file.write('id,total\\n' * 137 + 'x')
open('/out/plots/2024/a.bin', 'wb').write(bytes(range(256)) * 1000)
open('/out/empty', 'w').close()
"""
    outcome = run(program)
    assert outcome.status == "completed", outcome.text
    assert named(outcome) == {
        "empty": b"",
        "plots/2024/a.bin": bytes(range(256)) * 1000,
        "report.csv": b"id,total\n" * 137 + b"x",
    }
    report = outcome.artifacts[2]
    assert (report.size, report.digest) == (1234, hashlib.sha256(report.data).hexdigest())
    assert outcome.text == "[Files: empty (0 bytes), plots/2024/a.bin (256,000 bytes), report.csv (1,234 bytes)]"
    assert outcome.left_out == ()


def test_the_journal_names_files_and_holds_none(run):
    outcome = run("open('/out/secret.txt', 'w').write('contents')\n1")
    ended = outcome.journal.entries()[-1]
    assert ended["artifacts"] == [{"name": "secret.txt", "size": 8, "sha256": hashlib.sha256(b"contents").hexdigest()}]
    assert "contents'" in outcome.journal.header["program"]
    assert "contents" not in json.dumps(ended)


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        pytest.param("1 / 0", "failed", id="an exception"),
        pytest.param("import os\nos._exit(0)", "completed", id="os._exit"),
        pytest.param("import os\nos._exit(3)", "failed", id="os._exit with a status"),
        pytest.param("raise SystemExit", "completed", id="SystemExit"),
        pytest.param("raise MemoryError", "limited", id="memory"),
        pytest.param("import threading\nt = threading.Thread(target=bytearray, args=(1 << 60,))\nt.start()\nt.join()\nwhile True: pass", "limited", id="memory in a thread"),
        pytest.param("while True: print('x' * 10_000)", "limited", id="output"),
        pytest.param("import threading\nthreading.Thread(target=lambda: None).start()", "completed", id="threads"),
        pytest.param("async def main(): pass\nimport asyncio\nasyncio.run(main())", "completed", id="asyncio"),
    ],
)  # fmt: skip
def test_however_a_program_ends_by_itself(run, ending, status):
    outcome = run(f"with open('/out/a', 'w') as file: file.write('done')\n{ending}")
    assert (outcome.status, named(outcome)) == (status, {"a": b"done"}), outcome.text
    assert "[Files: a (4 bytes)]" in outcome.text


@pytest.mark.parametrize(
    ("writing", "written"),
    [
        pytest.param("f = open('/out/a', 'w')\nf.write('text')", b"text", id="a global"),
        pytest.param("f = open('/out/a', 'wb')\nf.write(b'bytes')\n1/0", b"bytes", id="after an error"),
        pytest.param("l = []\nl.append((l, open('/out/a', 'w')))\nl[0][1].write('cycle')", b"cycle", id="a cycle"),
        pytest.param("import io\nf = open('/out/a', 'w+')\nf.write('both')", b"both", id="for reading too"),
        pytest.param(
            "import sys\nsys.kept = open('/out/a', 'w')\nsys.kept.write('held')", b"held", id="held by a module"
        ),
        pytest.param(
            "import threading, time\ndef f():\n    with open('/out/a', 'w') as file:\n        file.write('daemon')\n"
            "        time.sleep(9)\nthreading.Thread(target=f, daemon=True).start()\ntime.sleep(1)",
            b"daemon",
            id="by a daemon",
        ),
        pytest.param("import gzip\ng = gzip.open('/out/a', 'wb')\ng.write(b'zip')", b"zip", id="compressed"),
    ],
)
def test_files_left_open_are_closed_as_at_the_end_of_an_interpreter(run, writing, written):
    data = named(run(writing))["a"]
    assert (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data) == written


def test_os_exit_writes_nothing_out_as_anywhere(run):
    assert named(run("import os\nf = open('/out/a', 'w')\nf.write('lost')\nos._exit(0)")) == {"a": b""}


def test_tools_called_meanwhile_and_files_do_not_mix(run):
    @tool(effect="read")
    def rows(n: int) -> list[int]:
        """Return numbers."""
        return list(range(n))

    program = "for n in range(3):\n    open(f'/out/{n}', 'w').write(str(rows(n=n)))\nprint('ok')"
    outcome = run(program, tools=[rows])
    assert named(outcome) == {"0": b"[]", "1": b"[0]", "2": b"[0, 1]"}
    assert outcome.text == "ok\n[Files: 0 (2 bytes), 1 (3 bytes), 2 (6 bytes)]"


def test_links_and_other_kinds_are_not_followed(run):
    program = """
import os
open('/out/a', 'w').write('x')
os.symlink('/usr/lib/os-release', '/out/link')
os.symlink('/usr', '/out/directory')
os.symlink('a', '/out/own')
"""
    outcome = run(program)
    assert named(outcome) == {"a": b"x"}
    assert [(one.name, one.why) for one in outcome.left_out] == [
        (name, "it is no regular file") for name in ("directory", "link", "own")
    ]
    assert "[Not kept: link (0 bytes): it is no regular file]" in outcome.text


def test_what_is_too_large_is_named_with_its_size_and_why(run):
    program = """
open('/out/a', 'wb').write(bytes(700_000))
open('/out/big', 'wb').write(bytes(2_300_000))
for n in range(6): open(f'/out/c{n}', 'wb').write(bytes(700_000 if n < 4 else 1))
"""
    outcome = run(program, limits=Limits(disk_mb=8, frame_mb=4))
    assert list(named(outcome)) == ["a", "c0", "c1", "c2", "c3", "c4", "c5"]
    assert outcome.left_out == (
        LeftOut(name="big", size=2_300_000, why="a file may have about 2.1 MiB with frame_mb=4"),
    )
    assert "[Not kept: big (2,300,000 bytes): a file may have about 2.1 MiB" in outcome.text
    assert outcome.journal.entries()[-1]["left_out"][0] == {
        "name": "big",
        "size": 2_300_000,
        "why": "a file may have about 2.1 MiB with frame_mb=4",
        "count": 1,
    }


def test_all_that_a_program_sends_leaves_room_for_its_end(run):
    """Of 14 MiB, a value of 0.9 MB needs five times its length, and each file of 0.7 MB its length in base64."""
    program = "for n in range(14): open(f'/out/{n:02}', 'wb').write(bytes(700_000))\n'v' * 900_000"
    outcome = run(program, limits=Limits(disk_mb=16, frame_mb=4))
    assert (outcome.status, len(outcome.value)) == ("completed", 900_000), outcome.text[:200]
    assert len(outcome.artifacts) == 10
    why = "and with all that the program sent what frame_mb=4 leaves: 14 MiB of the host's memory"
    assert {one.why for one in outcome.left_out} == {f"all files together may have 16 MiB, {why}"}
    assert len(outcome.artifacts) + len(outcome.left_out) == 14


def test_many_files_are_counted(run):
    program = "for n in range(150): open(f'/out/{n:03}', 'w').write('xx')"
    outcome = run(program)
    assert len(outcome.artifacts) == MOST_FILES
    assert sum(one.count for one in outcome.left_out) == 50
    assert outcome.left_out[0] == LeftOut(name="100", size=2, why="100 files are kept")
    assert outcome.left_out[-1] == LeftOut(name="", size=60, why=f"{MOST_LEFT} are named", count=30)
    assert ", 019 (2 bytes), 80 more]" in outcome.text
    assert "[Not kept: 30 more files (60 bytes): 20 are named]" in outcome.text


def test_what_is_left_out_never_makes_the_end_too_large(run):
    most = most_of(1) - 106
    program = f"""
import os
for n in range(25): os.symlink('x', '/out/' + chr(1) * 200 + str(n))
'v' * {most}
"""
    outcome = run(program)
    assert (outcome.status, len(outcome.value)) == ("completed", most), outcome.text[:300]
    assert outcome.left_out == (LeftOut(name="", size=0, why="20 are named", count=25),)


def test_a_full_disk_while_files_are_closed_is_told(jail):
    program = "f = open('/out/a', 'wb', buffering=8 << 20)\nf.write(bytes(6 << 20))\n'value'"
    outcome = CodeRunner([], sandbox=jail, limits=LIMITS).run(program)
    assert (outcome.status, outcome.limit, outcome.value) == ("limited", "disk_mb", "value"), outcome.text


def test_files_are_read_in_pieces(jail):
    """A file of 40 MiB comes out of a guest that may use 24 MiB more than it maps."""
    program = """
chunk = bytes(1 << 20)
with open('/out/large', 'wb') as file:
    for _ in range(40): file.write(chunk)
"""
    limits = Limits(memory_mb=24, disk_mb=64, frame_mb=80)
    outcome = CodeRunner([], sandbox=jail, limits=limits).run(program)
    assert [one.size for one in outcome.artifacts] == [40 << 20], outcome.text


def test_deep_directories_are_no_trouble(run):
    program = """
import os
path = '/out'
for _ in range(150):
    path += '/d'
    os.mkdir(path)
open(path + '/f', 'w').write('deep')
"""
    (only,) = run(program).artifacts
    assert (only.name, only.data) == ("f", b"deep")


def test_a_program_may_replace_what_it_can_reach(run):
    program = """
open('/out/a', 'w').write('x')
import os, json, gc, stat, builtins
for module in (os, json, gc, stat):
    for name in list(vars(module)):
        if callable(getattr(module, name)) and not name.startswith('__'):
            setattr(module, name, None)
"""
    assert named(run(program)) == {"a": b"x"}


def test_a_run_that_pauses_has_no_files_yet_and_the_resumed_one_has_them(box):
    @tool
    def pay(n: int) -> int:
        """Pay."""
        return n

    runner = CodeRunner([pay], sandbox=box, limits=LIMITS, interrupt_on={"pay": True})
    paused = runner.run("open('/out/a', 'w').write('x')\nprint(pay(n=1))", id="p")
    assert (paused.status, paused.artifacts) == ("paused", ())
    outcome = runner.resume("p", {"p/1": "approve"})
    assert (outcome.status, named(outcome)) == ("completed", {"a": b"x"})


def test_guest_and_host_agree_on_their_bounds():
    from callgate.sandboxes.guest_source import guest_modules

    assert f"MOST, NAMED, PATH = {MOST_FILES}, {MOST_LEFT}, 1000" in guest_modules()["artifacts"]


# ---- a guest that lies


def test_files_count_only_with_the_end_behind_them():
    def guest():
        yield [file("a", b"1"), file("b", b"22"), end("v")]

    life = Life(World(tools=[tool_of("get", "read")]))
    assert life.go(guest).status == "completed"
    assert life.passes[0].gate.product.artifacts == (Artifact.of("a", b"1"), Artifact.of("b", b"22"))
    assert [one["name"] for one in life.entries("ended")[0]["artifacts"]] == ["a", "b"]


def test_calls_asked_for_before_the_files_are_carried_out():
    def guest():
        yield [call(1, "put", x=1), file("a"), end("early")]

    life = Life(World(tools=[tool_of("put")], latency=lambda call: 3))
    assert (life.go(guest).status, life.world.done) == ("completed", [("put", {"x": 1})])
    assert len(life.passes[0].gate.product.artifacts) == 1


def test_a_replay_takes_files_after_its_last_answer():
    def guest():
        event = yield [call(1, "pay", x=1), rest()]
        while "answer" not in event:
            event = yield [rest()]
        yield [file("a"), end(event["value"])]

    life = Life(World(tools=[tool_of("pay")], interrupt_on={"pay": True}))
    life.go(guest)
    life.decide({"a/1": "approve"})
    assert life.go(guest).status == "completed"
    assert [one.name for one in life.passes[1].gate.product.artifacts] == ["a"]


def test_what_a_guest_says_of_files_it_kept_is_cut_and_made_safe():
    left = [Left(name=f"../{n}\u202e", size=n, why="many") for n in range(3)]

    def guest():
        yield [end(left=tuple(left), more=(5, 50))]

    life = Life(World(tools=[]))
    life.go(guest)
    product = life.passes[0].gate.product
    assert [one.name for one in product.left_out] == ["_/0_", "_/1_", "_/2_", ""]
    assert product.left_out[3].count == 5


# ---- names


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("report.csv", "report.csv"),
        ("a/b/c.txt", "a/b/c.txt"),
        ("/etc/passwd", "etc/passwd"),
        ("//a///b/", "a/b"),
        ("../../x", "_/_/x"),
        ("a/../b", "a/_/b"),
        ("a/./b", "a/b"),
        ("", "_"),
        ("/", "_"),
        (".", "_"),
        ("..", "_"),
        ("...", "_"),
        (".bashrc", "_bashrc"),
        ("-rf", "_rf"),
        ("--help/-x", "_-help/_x"),
        ("~/x", "_/x"),
        ("a\\b", "a_b"),
        ("C:\\x", "C__x"),
        ("a:stream", "a_stream"),
        ('<>:"|?*', "_______"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("Aux .txt", "_Aux .txt"),
        ("lpt9.tar.gz", "_lpt9.tar.gz"),
        ("com\u00b9.x", "_com\u00b9.x"),
        ("com10", "com10"),
        ("console.log", "console.log"),
        ("a. . ", "a"),
        ("  a  ", "a"),
        ("a\nb\rc\td", "a_b_c_d"),
        ("a\x00b", "a_b"),
        ("\x1b[31m", "_[31m"),
        ("gpj\u202e.exe", "gpj_.exe"),
        ("a\u200bb\ufeff", "a_b_"),
        ("a\u2028b", "a_b"),
        ("a\u00a0b", "a b"),
        ("re\u0301sume\u0301", "r\u00e9sum\u00e9"),
        ("\u65e5\u672c.txt", "\u65e5\u672c.txt"),
        ("x" * 300 + ".csv", "x" * 196 + ".csv"),
        ("\u65e5" * 100 + ".csv", "\u65e5" * 65 + ".csv"),
        ("x." + "y" * 300, "x." + "y" * 198),
        ("d/" * 150 + "f.txt", "f.txt"),
    ],
    ids=ascii,
)
def test_names_are_made_safe(given, name):
    assert Names().take(given) == name


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a.csv", "A.CSV", "a.csv"], ["a.csv", "A-2.CSV", "a-3.csv"]),
        (["r\u00e9", "re\u0301", "RE\u0301"], ["r\u00e9", "r\u00e9-2", "R\u00c9-3"]),
        ([".x", "-x", "_x"], ["_x", "_x-2", "_x-3"]),
        (["a", "a/b"], ["a", "b"]),
        (["a/b", "a"], ["a/b", "a-2"]),
        (["a/b", "A/c", "a/B"], ["a/b", "A/c", "a/B-2"]),
        (["x" * 200, "x" * 200 + "y"], ["x" * 200, "x" * 198 + "-2"]),
        (["d/" * 98 + "abcd", "d/" * 98 + "abcd"], ["d/" * 98 + "abcd", "abcd-2"]),
    ],
    ids=ascii,
)
def test_names_are_different_wherever_they_are_saved(given, names):
    made = Names()
    assert [made.take(one) for one in given] == names


TRICKY = st.text(st.one_of(st.characters(), st.sampled_from("./\\-~: \u202e\x00con2A")), max_size=250)


@settings(max_examples=500, deadline=None)
@given(st.lists(TRICKY, max_size=6))
def test_no_name_is_dangerous(tmp_path_factory, given):
    made = Names()
    names = [made.take(one) for one in given]
    for name in names:
        assert Names().take(name) == name
        assert len(name) <= 200
        for part in name.split("/"):
            assert part
            assert part[0] not in "-.~ "
            assert part[-1] not in ". "
            assert len(part.encode()) <= 255
        assert not any(unicodedata.category(one)[0] == "C" for one in name)
        assert not set(name) & set('\\<>:"|?*')
    folded = [unicodedata.normalize("NFKC", name).casefold() for name in names]
    assert len(set(folded)) == len(folded)
    directory = tmp_path_factory.mktemp("saved")
    for name in names:
        path = Artifact.of(name, name.encode()).save(directory)
        assert path.is_relative_to(directory)
    for name in names:
        assert (directory / name).read_bytes() == name.encode()


# ---- saving


def test_saving_makes_directories_and_returns_the_path(tmp_path):
    path = Artifact.of("a/b/c.bin", b"\x00\x01").save(tmp_path / "new" / "place")
    assert path == tmp_path / "new" / "place" / "a" / "b" / "c.bin"
    assert path.read_bytes() == b"\x00\x01"
    assert not path.stat().st_mode & 0o111


def test_saving_overwrites_nothing(tmp_path):
    one = Artifact.of("a", b"new")
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        one.save(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//x", "", "-x", "con", "a\\x", "x" * 201])
def test_a_name_that_no_outcome_gives_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="no safe name"):
        Artifact.of(name, b"").save(tmp_path / "inner")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", ["directory", "file", "dangling"])
def test_nothing_is_written_through_a_link(tmp_path, link):
    outside, inner = tmp_path / "outside", tmp_path / "inner"
    outside.mkdir()
    inner.mkdir()
    (outside / "f").write_bytes(b"old")
    if link == "directory":
        (inner / "a").symlink_to(outside)
        with pytest.raises(UsageError, match="link"):
            Artifact.of("a/f", b"new").save(inner)
    else:
        (inner / "f").symlink_to(outside / ("f" if link == "file" else "none"))
        with pytest.raises(FileExistsError):
            Artifact.of("f", b"new").save(inner)
    assert {one.name: one.read_bytes() for one in outside.iterdir()} == {"f": b"old"}


def test_the_directory_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    Artifact.of("a/f", b"x").save(tmp_path / "link")
    assert (tmp_path / "real" / "a" / "f").read_bytes() == b"x"


def test_an_artifact_does_not_show_its_data():
    assert repr(Artifact.of("a", b"secret")) == (
        f"Artifact(name='a', size=6, digest='{hashlib.sha256(b'secret').hexdigest()}')"
    )


def test_a_direct_run_leaves_no_files():
    @tool(effect="read")
    def get() -> int:
        """Return one."""
        return 1

    outcome = CodeRunner([get], sandbox=FakeSandbox(), journal=MemoryJournal()).run("get()")
    assert (outcome.value, outcome.artifacts, outcome.left_out) == (1, (), ())
    assert "artifacts" not in outcome.journal.entries()[-1]
