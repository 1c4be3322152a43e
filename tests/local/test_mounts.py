"""Data of the host, shown to be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local.harness import served, value

from callgate.errors import SandboxUnavailable, UsageError
from callgate.sandboxes.local.forkserver import ForkServer
from callgate.sandboxes.local.policy import jail_policy

TRIED = """
import errno, os
def tried(attempt, *arguments, **more):
    try: return attempt(*arguments, **more)
    except OSError as error: return errno.errorcode[error.errno]
def text(path):
    with open(path) as file: return file.read()
"""
REFUSED = {"EROFS", "EACCES", "EPERM"}


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory that every user can reach, and that is no place a guest has of its own."""
    if not Path("/var/tmp").is_dir():
        pytest.skip("no /var/tmp on this host")
    path = Path(tempfile.mkdtemp(prefix="callgate-test-", dir="/var/tmp"))
    path.chmod(0o755)
    (path / "inner").mkdir()
    (path / "inner" / "numbers.csv").write_text("1,2,3\n")
    (path / "readme").write_text("hello")
    yield path
    shutil.rmtree(path)


def place(mode: dict[str, Any], path: Path, target: str) -> str:
    """Return where path is to be shown: at target, or without namespaces where it is."""
    return str(path) if mode else target


def test_a_directory_is_read(mode: dict[str, Any], data: Path) -> None:
    at = place(mode, data, "/data")
    program = f"{TRIED}[sorted(os.listdir({at!r})), text({at!r} + '/inner/numbers.csv')]"
    with served(jail_policy(**mode, mounts={at: data})) as server:
        assert value(server, program) == [["inner", "readme"], "1,2,3\n"]
        assert value(server, program) == [["inner", "readme"], "1,2,3\n"]


def test_a_file_is_read_and_its_neighbours_are_not(mode: dict[str, Any], data: Path) -> None:
    at, other = place(mode, data / "readme", "/deep/down/readme.txt"), str(data / "inner/numbers.csv")
    with served(jail_policy(**mode, mounts={at: data / "readme"})) as server:
        found = value(
            server, f"{TRIED}[text({at!r}), tried(text, {other!r}), tried(os.listdir, os.path.dirname({at!r}))]"
        )
    assert found[0] == "hello"
    assert found[1] in ("ENOENT", "EACCES")
    assert found[2] == "EACCES"


def test_several_are_shown(data: Path) -> None:
    mounts = {"/data": data, "/srv/one": data / "inner", "/srv/two": str(data / "readme")}
    program = f"{TRIED}[text('/data/readme'), os.listdir('/srv/one'), text('/srv/two')]"
    with served(jail_policy(mounts=mounts)) as server:
        assert value(server, program) == ["hello", ["numbers.csv"], "hello"]


def test_nothing_is_changed(mode: dict[str, Any], data: Path) -> None:
    for path in (data, data / "inner", data / "readme"):
        path.chmod(0o777)
    before = {str(path): path.stat().st_mode for path in data.rglob("*")}
    at = place(mode, data, "/data")
    program = f"""{TRIED}
at = {at!r}
[tried(*each) for each in [
    (open, at + "/readme", "w"), (open, at + "/readme", "r+"), (open, at + "/new", "x"), (os.unlink, at + "/readme"),
    (os.mkdir, at + "/new"), (os.rename, at + "/readme", at + "/new"), (os.symlink, "x", at + "/new"),
    (os.link, at + "/readme", at + "/new"), (os.truncate, at + "/readme", 0),
    (os.open, at + "/readme", os.O_RDONLY | os.O_TRUNC), (os.open, at + "/readme", 3 | os.O_TRUNC),
]] + [tried(os.chmod, at + "/readme", 0), tried(os.utime, at + "/readme", (1, 1))]
"""
    with served(jail_policy(**mode, mounts={at: data})) as server:
        *changes, mode_changed, time_changed = value(server, program)
    assert set(changes) <= REFUSED
    assert {mode_changed, time_changed} <= (REFUSED if not mode else {None})
    assert {str(path): path.stat().st_mode for path in data.rglob("*")} == before
    assert (data / "readme").read_text() == "hello"
    assert (data / "readme").stat().st_mtime > 1


def test_nothing_of_it_runs(data: Path) -> None:
    program = f"""{TRIED}
import mmap
flags = os.statvfs("/data").f_flag
fd = os.open("/data/readme", os.O_RDONLY)
[flags & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC) == os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC,
 tried(mmap.mmap, fd, 4, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)]
"""
    with served(jail_policy(mounts={"/data": data})) as server:
        assert value(server, program) == [True, "EPERM"]


def test_links_do_not_lead_out(mode: dict[str, Any], data: Path) -> None:
    shown, hidden = data / "inner", data / "readme"
    for name, aim in {
        "absolute": "/etc/passwd",
        "relative": "../" * 20 + "etc/passwd",
        "neighbour": "../readme",
        "direct": str(hidden),
        "folder": "/proc/self/root/etc",
    }.items():
        (shown / name).symlink_to(aim)
    at = place(mode, shown, "/data")
    program = f"{TRIED}[tried(text, {at!r} + '/' + name) for name in ('absolute', 'relative', 'neighbour', 'direct', 'folder/passwd')]"
    with served(jail_policy(**mode, mounts={at: shown})) as server:
        assert set(value(server, program)) <= {"ENOENT", "EACCES"}


def test_a_link_is_followed_once(data: Path) -> None:
    link = data / "link"
    link.symlink_to(data / "inner")
    policy = jail_policy(mounts={"/data": link})
    link.unlink()
    link.symlink_to("/etc")
    with served(policy) as server:
        assert value(server, "import os\nos.listdir('/data')") == ["numbers.csv"]


def test_what_was_swapped_is_not_shown(data: Path) -> None:
    policy = jail_policy(mounts={"/data": data / "inner"})
    (data / "inner").rename(data / "moved")
    (data / "inner").symlink_to("/etc")
    with pytest.raises(UsageError, match=r"what is shown at /data was replaced"):
        served(policy)
    (data / "inner").unlink()
    (data / "inner").mkdir()
    with pytest.raises(UsageError, match=r"what is shown at /data was replaced"):
        served(policy)
    (data / "inner").rmdir()
    with pytest.raises(UsageError, match=r"what is shown at /data cannot be reached any more"):
        served(policy)


def test_a_directory_above_that_was_swapped_is_noticed(mode: dict[str, Any], data: Path) -> None:
    (data / "upper" / "lower").mkdir(parents=True)
    at = place(mode, data / "upper" / "lower", "/data")
    policy = jail_policy(**mode, mounts={at: data / "upper" / "lower"})
    (data / "other" / "lower").mkdir(parents=True)
    (data / "upper").rename(data / "moved")
    (data / "upper").symlink_to(data / "other")
    with pytest.raises(UsageError, match=f"what is shown at {at} was replaced"):
        served(policy)


SUBMOUNT = """
import ctypes, json, os, sys
sys.path[:0] = {path!r}
from local.harness import served, value
from callgate.sandboxes.local.policy import jail_policy
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0 and libc.mount(b"none", b"/", None, 0x44000, None) == 0, ctypes.get_errno()
assert libc.mount(b"tmpfs", {inner!r}, b"tmpfs", 0, None) == 0, ctypes.get_errno()
open(os.fsdecode({inner!r}) + "/below", "w").write("x")
os.mknod(os.fsdecode({inner!r}) + "/zero", 0o20666, os.makedev(1, 5))
os.chmod(os.fsdecode({inner!r}) + "/zero", 0o666)
program = '''
import errno, os
def tried(attempt, *arguments):
    try: return attempt(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
[sorted(os.listdir("/data/inner")), tried(open, "/data/inner/new", "w"), tried(open, "/data/inner/zero"), os.statvfs("/data/inner").f_flag & 15]
'''
with served(jail_policy(mounts={{"/data": {data!r}}})) as server:
    print(json.dumps(value(server, program)))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount something below a directory first")
def test_what_is_mounted_below_is_read_only_too(data: Path) -> None:
    path = [str(Path(__file__).parent.parent), *sys.path]
    program = SUBMOUNT.format(path=path, inner=os.fsencode(data / "inner"), data=str(data))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    if "AssertionError" in run.stderr:
        pytest.skip(f"this root cannot mount: {run.stderr.splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
    names, written, device, flags = json.loads(run.stdout)
    assert names == ["below", "zero"]
    assert {written, device} <= REFUSED
    assert flags == os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC


TAKEN = [
    "/", "/usr", "/usr/data", "/lib", "/lib64/x", "/libx32", "/bin", "/sbin/x", "/python", "/packages/0", "/tmp",
    "/tmp/data", "/out", "/out/x", "/dev/x", "/etc", "/etc/passwd", "/proc", "/proc/self", "/sys/kernel",
]  # fmt: skip


@pytest.mark.parametrize("target", TAKEN)
def test_places_of_the_sandbox_are_taken(data: Path, target: str) -> None:
    with pytest.raises(UsageError, match="is taken by the sandbox itself"):
        jail_policy(mounts={target: data})


@pytest.mark.parametrize("target", ["", "data", "./data", "/data/", "/a//b", "/a/../b", "/a/.", "//data", "/a\0b"])
def test_a_target_is_a_plain_absolute_path(data: Path, target: str) -> None:
    with pytest.raises(UsageError, match="no absolute path"):
        jail_policy(mounts={target: data})


def test_a_target_is_not_endless(data: Path) -> None:
    with pytest.raises(UsageError, match="too long"):
        jail_policy(mounts={"/" + "x" * 256: data})
    with pytest.raises(UsageError, match="too long"):
        jail_policy(mounts={"/" + "x/" * 600 + "x": data})
    with served(jail_policy(mounts={"/" + "/".join(["x" * 250] * 4): data})) as server:
        assert value(server, f"import os\nlen(os.listdir('/{'/'.join(['x' * 250] * 4)}'))") == 2


def test_no_target_lies_in_another(data: Path) -> None:
    with pytest.raises(UsageError, match="'/data/inner' lies inside '/data'"):
        jail_policy(mounts={"/data/inner": data, "/data": data})
    assert len(jail_policy(mounts={"/data": data, "/data2": data}).mounts) == 2


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/", "is the host's own"),
        ("/proc", "is the host's own"),
        ("/proc/self", "is the host's own"),
        ("/sys/kernel", "is the host's own"),
        ("/dev", "is the host's own"),
        ("/dev/null", "is the host's own"),
        ("/nonesuch", "No such file or directory"),
        ("{data}/root", "is the host's own"),
        ("{data}/circle", "Too many levels|RuntimeError"),
        ("{data}/pipe", "neither a file nor a directory"),
    ],
)
def test_what_is_no_data_is_not_shown(data: Path, source: str, told: str) -> None:
    (data / "root").symlink_to("/")
    (data / "circle").symlink_to("circle")
    os.mkfifo(data / "pipe")
    with pytest.raises(UsageError, match=told):
        jail_policy(mounts={"/data": source.format(data=data)})


@pytest.mark.skipif(os.getuid() != 0, reason="what an ordinary user starts stays that user's own")
def test_what_root_keeps_to_itself_is_not_shown(data: Path) -> None:
    (data / "readme").chmod(0o600)
    with pytest.raises(UsageError, match=r"closed to other users, .* chmod -R o\+rX"):
        jail_policy(mounts={"/data": data / "readme"})


def test_without_namespaces_nothing_is_moved(data: Path) -> None:
    with pytest.raises(UsageError, match="without namespaces '/data' can only show what is really there"):
        jail_policy(namespaces=False, mounts={"/data": data})
    with pytest.raises(SandboxUnavailable, match="/data cannot be had") as caught:
        ForkServer(jail_policy(mounts={"/data": data}).without("namespaces"))
    assert caught.value.missing == ("mount namespaces",)


@pytest.mark.skipif(os.getuid() != 0, reason="what an ordinary user starts stays that user's own")
def test_without_namespaces_a_closed_directory_above_is_told(mode: dict[str, Any], data: Path) -> None:
    if not mode:
        pytest.skip("a tree of its own does not pass through it")
    (data / "inner").chmod(0o755)
    data.chmod(0o700)
    with pytest.raises(UsageError, match="closed to the user that programs run as"):
        served(jail_policy(**mode, mounts={str(data / "inner"): data / "inner"}))
