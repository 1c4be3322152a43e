"""What programs can import besides the standard library."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local.harness import Server, converse, order, run, served, value

from callgate.errors import UsageError
from callgate.limits import Limits
from callgate.sandboxes.local import shown
from callgate.sandboxes.local.policy import JailPolicy, jail_policy

IMPORTABLE = """
def has(name):
    try: return bool(__import__(name))
    except ImportError: return False
"""


class Site:
    """A directory that packages are installed in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, path: str, text: str = "") -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def install(self, name: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> None:
        info = f"{name.replace('-', '_')}-1.0.dist-info"
        metadata = "".join(f"Requires-Dist: {each}\n" for each in requires)
        files = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}"}
        for path, text in files.items():
            self.write(path, text)
        self.write(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user can reach: pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="callgate-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An installed program "parrot" with all that may belong to one, among others that share its directory."""
    site = Site(folder / "site")
    site.install(
        "parrot",
        {
            "parrot/__init__.py": "from perch import height\nfrom . import voice\nstate = []\n",
            "parrot/voice.py": "WORDS = ['hello']\n",
            "parrot_single.py": "x = 1\n",
            "birds/tropical/__init__.py": "",
            "parrot.libs/data.txt": "data",
            "parrot-1.0.dist-info/direct_url.json": '{"url": "file:///where/it/was/built"}',
        },
        requires=("perch>=1", 'seeds; extra == "food"', "nowhere; sys_platform == 'win32'"),
    )
    site.install("perch", {"perch.py": "height = 3\n"}, requires=("Nail[steel]",))
    site.install("nail", {"nail.py": "", "perch-like.py": ""}, requires=("steel; extra == 'steel'",))
    site.install("steel", {"steel.py": ""})
    site.install("seeds", {"seeds.py": "", "birds/feeding.py": ""})
    site.install("secret", {"secret/__init__.py": "TOKEN = 'secret'\n"})
    monkeypatch.syspath_prepend(str(site.folder))
    return site


def start(mode: dict[str, Any], **wanted: Any) -> Server:
    return served(jail_policy(**mode, **wanted))


def targets(policy: JailPolicy) -> list[str]:
    return [each.target for each in policy.packages]


def test_nothing_is_there_that_was_not_asked_for(either: Server, site: Site) -> None:
    assert value(either, f"{IMPORTABLE}[has('parrot'), has('pytest'), has('callgate')]") == [False] * 3


def test_a_distribution_comes_with_what_it_requires_and_alone(mode: dict[str, Any], site: Site) -> None:
    program = f"""
import importlib.metadata as metadata, os, parrot, sys
{IMPORTABLE}
def read(path):
    try: return open(path).read()
    except OSError as error: return type(error).__name__
home = os.path.dirname(os.path.dirname(parrot.__file__))
names = {{name: has(name) for name in ("perch", "nail", "steel", "parrot_single", "birds.tropical")}}
others = {{name: has(name) for name in ("seeds", "secret", "birds.feeding")}}
[
    [name for name, there in names.items() if not there], [name for name, there in others.items() if there],
    parrot.voice.WORDS, metadata.version("parrot"), sys.path.index(home) == len(sys.path) - 1,
    read(home + "/parrot.libs/data.txt"), read(home + "/secret/__init__.py") in ("FileNotFoundError", "PermissionError"),
    read(home + "/parrot-1.0.dist-info/direct_url.json") in ("FileNotFoundError", "PermissionError"),
]
"""
    with start(mode, packages=["Parrot"]) as server:
        assert value(server, program) == [[], [], ["hello"], "1.0", True, "data", True, True]


@pytest.mark.parametrize("name", ["secret", "seeds", "compiled", "secret.part"])
def test_what_is_not_shown_is_no_module(mode: dict[str, Any], site: Site, name: str) -> None:
    site.install("compiled", {f"compiled{importlib.machinery.EXTENSION_SUFFIXES[0]}": "no such thing"})
    with start(mode, packages=["parrot"]) as server:
        error = run(server, f"import {name}").error
    assert error is not None
    top = name.partition(".")[0]
    assert error["type"] == "ModuleNotFoundError"
    assert error["text"].startswith(f"No module named {top!r} (")
    assert f"LocalSandbox(packages=['{top}'])" in error["text"]


@pytest.mark.parametrize("place", ["../out", "mocking/../../out", "mocking/sub/../../../out", "./mocking/../../out"])
def test_a_list_of_files_leads_nowhere_else(site: Site, place: str) -> None:
    site.write("../out/key", "host's own")
    site.write("mocking/sub/key", "its own")
    site.install("mocking", {"mocking/bird.py": "", f"{place}/key": "not its own"})
    for each in jail_policy(packages=["mocking"]).packages:
        assert each.source.startswith(f"{site.folder.resolve()}/")
        assert ".." not in each.target


def test_an_extra_is_asked_for_in_brackets(site: Site) -> None:
    assert "/packages/0/seeds.py" not in targets(jail_policy(packages=["parrot"]))
    assert "/packages/0/seeds.py" in targets(jail_policy(packages=["parrot[Food]"]))


def test_what_is_whole_is_shown_whole(site: Site) -> None:
    assert targets(jail_policy(packages=["parrot"])) == [
        "/packages/0/birds/tropical",
        "/packages/0/parrot",
        "/packages/0/parrot-1.0.dist-info/METADATA",
        "/packages/0/parrot-1.0.dist-info/RECORD",
        "/packages/0/parrot.libs",
        "/packages/0/parrot_single.py",
        "/packages/0/perch-1.0.dist-info",
        "/packages/0/perch.py",
        "/packages/0/nail-1.0.dist-info",
        "/packages/0/nail.py",
        "/packages/0/perch-like.py",
        "/packages/0/steel-1.0.dist-info",
        "/packages/0/steel.py",
    ]


def test_a_directory_is_importable(mode: dict[str, Any], folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "tools.py").write_text("answer = 42\n")
    with start(mode, packages=[folder / "mine"]) as server:
        assert value(server, "import tools\ntools.answer") == 42
        assert value(server, "import tools\n[tools.__file__[:12]]") == (
            [str(folder)[:12]] if mode else ["/packages/0/"]
        )


def test_everything_installed_is_importable(mode: dict[str, Any], site: Site) -> None:
    with start(mode, packages=True) as server:
        names = ["parrot", "seeds", "secret", "pytest", "pydantic"]
        assert value(server, f"{IMPORTABLE}[has(name) for name in {names!r}]") == [True] * 5


def test_an_editable_installation_is_followed(mode: dict[str, Any], site: Site, folder: Path) -> None:
    (folder / "project").mkdir()
    (folder / "project" / "draft.py").write_text("answer = 7\n")
    site.install("draft", {"draft.pth": f"{folder / 'project'}\n"})
    for wanted in ({"packages": ["draft"]}, {"preload": ["draft"]}):
        with start(mode, **wanted) as server:
            assert value(server, "import draft\ndraft.answer") == 7
    assert str(folder / "project") in [place for place, _ in jail_policy(packages=True).path]


def test_packages_are_not_changed(mode: dict[str, Any], site: Site) -> None:
    program = """
import os, parrot
def tried(attempt, *arguments):
    try: attempt(*arguments)
    except OSError: return "refused"
own, before = parrot.__file__, os.stat(parrot.__file__).st_mode
found = [tried(open, own, "w"), tried(os.unlink, own), tried(os.mkdir, os.path.dirname(own) + "/x")]
tried(os.chmod, own, 0o777)
[*found, os.stat(own).st_mode == before]
"""
    with start(mode, packages=["parrot"]) as server:
        assert value(server, program) == ["refused", "refused", "refused", True]
    assert (site.folder / "parrot/__init__.py").read_text()


def test_preloaded_modules_are_loaded_and_fresh(mode: dict[str, Any], site: Site) -> None:
    program = "import sys\nfound = 'parrot.voice' in sys.modules\nimport parrot\nparrot.state.append(1)\n"
    with start(mode, preload=["parrot", "decimal"]) as server:
        assert value(server, f"{program}[found, parrot.state, parrot.__name__]") == [True, [1], "parrot"]
        assert value(server, f"{program}[found, parrot.state]") == [True, [1]]


def test_a_preloaded_module_may_lie_in_a_directory(mode: dict[str, Any], folder: Path) -> None:
    (folder / "tools.py").write_text("answer = 42\n")
    with start(mode, preload=["tools"], packages=[folder]) as server:
        assert value(server, "import sys\n[sys.modules['tools'].answer]") == [42]


def test_a_preloaded_module_may_write_for_itself(folder: Path) -> None:
    (folder / "caching.py").write_text("import tempfile\nfile = tempfile.NamedTemporaryFile()\nname = file.name\n")
    with start({}, preload=["caching"], packages=[folder]) as server:
        program = "import caching, os\n[caching.name[:5], os.path.exists(caching.name), os.listdir('/tmp')]"
        assert value(server, program) == ["/tmp/", False, []]


WAITING = """
import concurrent.futures, threading, time
timer = threading.Timer(5, print)
timer.start()
time.sleep(3600)
second = threading.Timer(5, print)
second.start()
with concurrent.futures.ThreadPoolExecutor(4) as pool: squares = list(pool.map(lambda n: n * n, range(5)))
second.cancel()
"""


def test_a_preloaded_module_may_wait_and_start_what_ends(mode: dict[str, Any], folder: Path) -> None:
    (folder / "waiting.py").write_text(WAITING)
    program = """
import threading, time, waiting
started = time.monotonic()
time.sleep(2)
thread = threading.Thread(target=time.sleep, args=(1,))
thread.start()
thread.join()
[waiting.squares, started < 0.01, round(time.monotonic() - started, 3), threading.active_count()]
"""
    with start(mode, preload=["waiting"], packages=[folder]) as server:
        for _ in range(2):
            assert value(server, program) == [[0, 1, 4, 9, 16], True, 3.0, 1]


FAILING = {
    "a missing module": ("import nonesuch\n", "ModuleNotFoundError: No module named 'nonesuch'"),
    "a file that is not there": ("open('/where/it/is/data.txt')\n", "FileNotFoundError: [Errno 2] No such file"),
    "an exit": ("raise SystemExit(3)\n", "SystemExit: 3"),
    "a thread of Python": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1e9,), daemon=True).start()\n",
        "starts threads",
    ),
    "a wait for ever": ("import threading\nthreading.Event().wait()\n", "RuntimeError: waits for what cannot come"),
    "a thread of the kernel": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.pause, 0)\n",
        "starts threads",
    ),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_module_that_cannot_be_preloaded_is_the_developers_to_know(
    mode: dict[str, Any], folder: Path, kind: str
) -> None:
    text, told = FAILING[kind]
    (folder / "broken.py").write_text(text)
    with pytest.raises(UsageError, match="preload: importing 'broken'") as caught:
        start(mode, preload=["broken"], packages=[folder])
    assert told in str(caught.value)
    assert "/" not in str(caught.value)


def test_a_crash_while_preloading_is_an_error(mode: dict[str, Any], folder: Path) -> None:
    (folder / "crashing.py").write_text("import os\nos.abort()\n")
    with pytest.raises(UsageError, match="preload: the process that imports 'crashing' ended"):
        start(mode, preload=["crashing"], packages=[folder])


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"packages": ["nonesuch"]}, "nonesuch is not installed here; pip install nonesuch"),
        ({"packages": ["/nonesuch"]}, "'/nonesuch' is no directory"),
        ({"packages": ["a b"]}, "neither the name of a distribution nor a directory"),
        ({"packages": ["pytest>=8"]}, "neither the name of a distribution nor a directory"),
        ({"packages": "pandas"}, "give a list"),
        ({"packages": ["/"]}, "is the host's own"),
        ({"packages": [Path("/proc")]}, "is the host's own"),
        ({"preload": "pandas"}, "give a list"),
        ({"preload": ["nonesuch.inner"]}, "no installed distribution provides 'nonesuch.inner'"),
        ({"preload": ["import os"]}, "no name of a module"),
        ({"python": "/nonesuch"}, "no Python interpreter runs there (No such file or directory)"),
        ({"python": "/bin/true"}, "no Python interpreter runs there"),
    ],
)
def test_what_cannot_be_had_is_said_at_once(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        jail_policy(**wanted)
    assert told in str(caught.value)


def test_another_version_of_python_is_refused(folder: Path) -> None:
    other = folder / "python"
    other.write_text('#!/bin/sh\necho \'[["cpython", 3, 9, ""], "/usr/bin/python3.9", "/usr", "lib"]\'\n')
    other.chmod(0o755)
    with pytest.raises(UsageError, match=r"is cpython 3\.9; programs run on the version of the host process"):
        jail_policy(python=other)


def test_the_interpreter_of_a_virtual_environment_stands_for_the_one_below_it() -> None:
    policy, own = jail_policy(python=sys.executable), jail_policy()
    assert policy.interpreter == own.interpreter


@pytest.mark.skipif(os.getuid() != 0, reason="what an ordinary user starts stays that user's own")
def test_what_root_keeps_to_itself_is_not_shown(folder: Path) -> None:
    (folder / "mine").mkdir(mode=0o700)
    with pytest.raises(UsageError, match=r"closed to other users, .* chmod -R o\+rX"):
        jail_policy(packages=[folder / "mine"])


def test_what_was_replaced_is_not_shown(mode: dict[str, Any], site: Site) -> None:
    policy = jail_policy(**mode, packages=["perch"])
    (site.folder / "perch.py").rename(site.folder / "old.py")
    site.write("perch.py", "height = 0\n")
    with pytest.raises(UsageError, match=r"what is shown at /\S+/perch.py was replaced"):
        served(policy)


def test_what_is_gone_is_not_shown(site: Site) -> None:
    policy = jail_policy(packages=["perch"])
    (site.folder / "perch.py").unlink()
    with pytest.raises(UsageError, match=r"what is shown at /packages/0/perch.py cannot be reached any more"):
        served(policy)


def test_libraries_are_told_to_use_one_thread(either: Server) -> None:
    program = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
[os.environ.get("OMP_NUM_THREADS"), libc.getenv(b"OMP_NUM_THREADS").decode(), sorted(os.environ)]
"""
    assert value(either, program) == [None, "1", ["HOME", "LANG", "PATH", "TZ", "USER"]]


GROUPED = """
import pandas as pd
frame = pd.DataFrame({"who": list("abab"), "what": [1, 2, 3, 4]})
frame.groupby("who").what.sum().to_dict()
"""
DRAWN = """
import numpy as np, pandas as pd
frame = pd.DataFrame({"x": range(100)})
[np.random.rand(), int(np.random.default_rng().integers(1 << 40)), frame.sample(3).x.tolist(), id(frame), id(np)]
"""


@pytest.mark.parametrize("wanted", [{"packages": ["pandas"]}, {"preload": ["pandas"]}], ids=["packages", "preload"])
def test_pandas_works(mode: dict[str, Any], wanted: dict[str, Any]) -> None:
    pytest.importorskip("pandas")
    with start(mode, **wanted) as server:
        assert value(server, GROUPED) == {"a": 4, "b": 6}
        first, again = value(server, DRAWN), value(server, DRAWN)
        assert first[:3] == again[:3]
        if server.fixed_addresses:
            assert first == again
        assert drawn_with_another_seed(server)[:3] != first[:3]


def drawn_with_another_seed(server: Server) -> Any:
    guest = server.start(Limits())
    try:
        guest.send(order(DRAWN, seed=8), 5)
        return converse(guest).value
    finally:
        guest.kill()


def test_preloaded_addresses_are_those_of_another_server() -> None:
    pytest.importorskip("pandas")
    with start({}, preload=["pandas"]) as one, start({}, preload=["pandas"]) as other:
        if not one.fixed_addresses:
            pytest.skip("this host does not let a process switch address randomisation off")
        assert value(one, DRAWN) == value(other, DRAWN)


def test_memory_counts_from_what_is_preloaded(mode: dict[str, Any]) -> None:
    pytest.importorskip("pandas")
    program = "import pandas\ntry:\n    bytearray(%d << 20)\n    found = 'had'\nexcept MemoryError:\n    found = 'refused'\nfound"
    with start(mode, preload=["pandas"]) as server:
        assert value(server, program % 32, Limits(memory_mb=64)) == "had"
        assert value(server, program % 80, Limits(memory_mb=64)) == "refused"
        assert run(server, GROUPED, Limits(memory_mb=64)).value == {"a": 4, "b": 6}


def test_time_zones_come_with_a_package_where_the_system_has_none(
    mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    pytest.importorskip("tzdata")
    monkeypatch.setattr(shown, "_ZONES", folder / "nonesuch")
    program = """
import datetime, zoneinfo
zoneinfo.reset_tzpath(to=["/nonesuch"])
datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset().total_seconds()
"""
    with start(mode) as server:
        assert value(server, program) == 7200
    monkeypatch.undo()
    with start(mode) as server:
        assert run(server, program).error is not None
