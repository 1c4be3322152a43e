"""The jail on a host that forbids namespaces, or lacks something else: exactly the layers that are planned, or nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from local.harness import NOBODY, Server, descendants, eventually, open_python, order, run, served, value

from callgate.errors import SandboxUnavailable
from callgate.limits import Limits
from callgate.sandboxes.local import forkserver
from callgate.sandboxes.local.inside.syscalls import number
from callgate.sandboxes.local.interpreter import Interpreter
from callgate.sandboxes.local.policy import LAYERS, jail_policy

PRELUDE = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(attempt, *arguments):
    try: return attempt(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
def syscall(nr, *arguments):
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(nr), *words)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else result
"""
SUBSETS = [frozenset(each) for size in range(len(LAYERS) + 1) for each in combinations(LAYERS, size)]


def named(layers: frozenset[str]) -> str:
    return " and ".join(sorted(layers)) or "none"


@pytest.fixture(scope="module")
def bare() -> Iterator[Server]:
    """Landlock and the filter, and the host's own files and processes."""
    with served(jail_policy(namespaces=False, python=open_python())) as server:
        yield server


@pytest.fixture
def file() -> Iterator[Path]:
    """A file that belongs to the user guests run as, and that this user may write."""
    folder = Path(tempfile.mkdtemp(prefix="callgate-test-"))
    folder.chmod(0o755)
    path = folder / "file"
    path.write_text("content")
    path.chmod(0o666)
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
        os.chown(folder, NOBODY, NOBODY)
    yield path
    shutil.rmtree(folder)


def started(server: Server) -> tuple[Any, int]:
    """Return a guest that runs until it is killed, and its process."""
    before = descendants(server._process.pid)
    guest = server.start(Limits())
    guest.send(order("import os\nos.write(3, b'on')\nwhile True: pass"), 5)
    assert guest.receive(10) == b"on"
    (pid,) = descendants(server._process.pid) - before
    return guest, pid


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("layers", SUBSETS, ids=named)
def test_a_guest_has_the_planned_layers_and_no_other(layers: frozenset[str], file: Path) -> None:
    policy = replace(jail_policy(python=open_python()), layers=layers)
    with served(policy) as server:
        assert server.layers == layers
        assert (server.landlock > 0) is ("Landlock" in layers)
        program = f"{PRELUDE}found = tried(open, {str(file)!r})\nfound if isinstance(found, str) else 'read'"
        read = value(server, program)
        guest, pid = started(server)
        try:
            found = status(pid)
        finally:
            guest.kill()
    assert read == ("ENOENT" if "namespaces" in layers else "EACCES" if "Landlock" in layers else "read")
    assert found["Seccomp"] == ("2" if "seccomp" in layers else "0")
    assert (len(found["NSpid"].split()) == 3) is ("namespaces" in layers)
    assert found["NoNewPrivs"] == "1"
    assert {found[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
    assert found["Uid"].split()[0] == str(os.getuid() or NOBODY)


def test_the_policy_without_a_layer_is_another() -> None:
    policy = jail_policy()
    assert policy.layers == set(LAYERS)
    assert policy.without("Landlock").layers == {"namespaces", "seccomp"}
    assert jail_policy(namespaces=False).layers == {"Landlock", "seccomp"}
    assert len({policy.digest, policy.without("Landlock").digest, jail_policy(preload=["json"]).digest}) == 3
    assert policy.digest == jail_policy().digest


def kept(path: Path) -> tuple[object, ...]:
    """Return what must not change of a file."""
    now = path.stat()
    return now.st_mode, now.st_uid, now.st_gid, now.st_nlink, now.st_size, now.st_mtime_ns, now.st_ctime_ns


TOUCHING = f"""{PRELUDE}
path, folder = {{path!r}}, {{folder!r}}
[tried(*each) for each in [
    (os.open, path, os.O_RDONLY), (os.open, path, os.O_WRONLY), (os.open, path, os.O_RDWR), (os.open, path, 3),
    (os.open, path, os.O_RDONLY | os.O_TRUNC), (os.open, path, 3 | os.O_TRUNC), (os.truncate, path, 0),
    (os.unlink, path), (os.rename, path, path + "x"), (os.link, path, path + "x"), (os.symlink, path, path + "x"),
    (os.mkdir, folder + "/x"), (os.rmdir, folder), (os.mkfifo, folder + "/x"), (os.listdir, folder),
    (os.open, folder, os.O_TMPFILE | os.O_WRONLY), (os.open, folder + "/x", os.O_CREAT | os.O_WRONLY),
    (os.setxattr, path, "user.x", b"x"),
]]
"""


def touch(server: Server, file: Path) -> None:
    """Let a guest try to read and to change a file."""
    before = kept(file)
    found = value(server, TOUCHING.format(path=str(file), folder=str(file.parent)))
    assert set(found) <= {"EACCES", "EPERM", "ENOTSUP"}
    assert kept(file) == before
    assert file.read_text() == "content"
    assert list(file.parent.iterdir()) == [file]
    assert os.listxattr(file) == []


def test_files_of_the_same_user_are_neither_read_nor_changed(bare: Server, file: Path) -> None:
    touch(bare, file)


def test_what_is_known_of_a_file_does_not_change(bare: Server, file: Path) -> None:
    before = kept(file)
    program = f"""{PRELUDE}
path = {str(file)!r}
opened = os.open(path, os.O_PATH)
[tried(*each) for each in [
    (os.chmod, path, 0), (os.utime, path, (1, 1)), (os.chown, path, os.getuid(), os.getgid()),
    (os.lchown, path, os.getuid(), os.getgid()), (os.chmod, f"/proc/self/fd/{{opened}}", 0),
    (syscall, {number("fchmodat2")}, opened, b"", 0, 0x1000), (syscall, {number("fchmod")}, opened, 0),
    (syscall, {number("utimensat")}, opened, 0, 0, 0),
]]
"""
    assert set(value(bare, program)) <= {None, 0}  # as if it had been done
    assert kept(file) == before


def test_own_files_of_the_interpreter_are_not_changed(bare: Server) -> None:
    path = value(bare, "import os\nos.__file__")
    before = kept(Path(path))
    opened = f"{PRELUDE}[tried(os.open, {path!r}, flags) for flags in (1, 2, 3, 0o1000, 0o1001, 0o1002, 0o1003, 0o100)]"
    *refused, created = value(bare, opened)
    assert set(refused) == {"EACCES"}
    assert isinstance(created, int)  # it is there; to open it is all this asks for
    assert kept(Path(path)) == before


@pytest.mark.parametrize("abi", range(1, 8))
def test_every_version_of_landlock_will_do(monkeypatch: pytest.MonkeyPatch, file: Path, abi: int) -> None:
    def older(names: tuple[str, ...]) -> dict[str, str]:
        texts = dict(original(names))
        if "landlock" in texts:
            assert texts["landlock"].count(asked) == 1
            texts["landlock"] = texts["landlock"].replace(asked, f"min({abi}, {asked})")
        return texts

    asked = 'syscall(_LAYER, "landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)'
    original = forkserver._modules
    monkeypatch.setattr(forkserver, "_modules", older)
    for mode in ({}, {"namespaces": False, "python": open_python()}):
        with served(jail_policy(**mode)) as server:
            if server.landlock < abi:
                pytest.skip(f"this kernel has version {server.landlock} of Landlock")
            if mode:
                touch(server, file)
            assert value(server, "import os, sqlite3\nopen(os.devnull, 'w').write('x')") == 1
    assert server.landlock == abi


def test_processes_of_the_host_are_out_of_reach(bare: Server) -> None:
    me = os.getpid()
    guest, other = started(bare)
    try:
        program = f"""{PRELUDE}
pids = [{me}, {other}, os.getppid(), 1, -1, 0]
[
    [syscall({number("kill")}, pid, 0) for pid in pids],
    [syscall({number("tgkill")}, pid, pid, 0) for pid in pids],
    [syscall({number("tkill")}, pid, 0) for pid in pids],
    [syscall({number("rt_sigqueueinfo")}, pid, 0, 0) for pid in pids],
    [syscall({number("pidfd_open")}, pid, 0) for pid in pids],
    [syscall({number("ptrace")}, 16, pid, 0, 0) for pid in pids],
    [syscall({number("prlimit64")}, pid, 7, 0, 0) for pid in pids if pid],
    [syscall({number("setpriority")}, 0, pid, 1) for pid in pids],
]
"""
        assert {each for answers in value(bare, program) for each in answers} == {"EPERM"}
    finally:
        guest.kill()


def test_a_guest_signals_itself(bare: Server) -> None:
    program = """
import signal
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
signal.raise_signal(signal.SIGUSR1)
seen
"""
    assert value(bare, program) == [1]


def test_proc_tells_nothing_of_others(bare: Server) -> None:
    me = os.getpid()
    guest, other = started(bare)
    try:
        program = f"""{PRELUDE}
def text(path):
    with open(path, "rb") as file: return len(file.read())
found = {{}}
for pid in ({me}, {other}, os.getppid(), 1):
    for name in ("cwd", "root", "exe", "fd/0"):
        found[f"readlink {{pid}} {{name}}"] = tried(os.readlink, f"/proc/{{pid}}/{{name}}")
    for name in ("environ", "cmdline", "maps", "mem", "status", "root/etc/passwd", "fd/0", "task/{{pid}}/environ"):
        found[f"open {{pid}} {{name}}"] = tried(text, f"/proc/{{pid}}/{{name}}")
    found[f"list {{pid}}"] = tried(os.listdir, f"/proc/{{pid}}/fd")
for name in ("self/environ", "self/mem", "self/maps", "self/root/etc/passwd", "self/cwd/x", "version", "mounts"):
    found[f"open {{name}}"] = tried(text, f"/proc/{{name}}")
found["list"] = tried(os.listdir, "/proc")
{{what: answer for what, answer in found.items() if answer not in ("EACCES", "ENOENT", "EPERM")}}
"""
        assert value(bare, program) == {}
    finally:
        guest.kill()


def test_the_environment_is_the_guests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLGATE_CANARY", "secret")
    with served(jail_policy(namespaces=False, python=open_python())) as server:
        found = value(server, "import os\ndict(os.environ)")
        try:
            of_the_server = Path(f"/proc/{server._process.pid}/environ").read_bytes()
        except PermissionError:  # closed to its own user
            of_the_server = b""
    assert set(found) == {"HOME", "LANG", "PATH", "TZ", "USER"}
    assert b"secret" not in of_the_server


def test_nothing_can_be_written(bare: Server) -> None:
    program = f"""{PRELUDE}
import tempfile
def temporary():
    with tempfile.TemporaryFile() as file: return file.write(b"x")
[tried(open, path, "w") for path in ("/tmp/x", "x", "/out/x", "/var/tmp/x", "/dev/shm/x", "/run/x")] + [
    tried(temporary), tried(os.mkdir, "/tmp/x"), os.getcwd(), open(os.devnull, "w").write("x"),
]
"""
    *refused, where, written = value(bare, program)
    assert set(refused) <= {"EACCES", "EPERM", "ENOENT"}
    assert (where, written) == ("/tmp", 1)


def test_what_is_installed_beside_the_interpreter_is_not_read(bare: Server) -> None:
    program = """
import os
home = os.path.dirname(os.__file__)
below = [f"{home}/{kind}-packages" for kind in ("site", "dist")] + ["/usr/lib/python3/dist-packages", "/usr/local/etc"]
def read(path):
    try: return bool(open(path, "rb"))
    except OSError as error: return type(error).__name__
[read(path) for path in %r]
"""
    home = Path(value(bare, "import os\nos.path.dirname(os.__file__)"))
    folders = [
        home / "site-packages",
        home / "dist-packages",
        Path("/usr/lib/python3/dist-packages"),
        Path("/usr/local/etc"),
    ]
    files = [str(path) for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    if not files:
        pytest.skip("nothing is installed beside the interpreter of these tests")
    assert set(value(bare, program % files[:200])) == {"PermissionError"}


def test_threads_of_the_kernel_are_bounded_beside_those_of_others(bare: Server) -> None:
    many = """
import ctypes, sys
libc = ctypes.CDLL(None)
attributes, identity = ctypes.create_string_buffer(256), ctypes.c_ulong()
libc.pthread_attr_init(attributes)
libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 16))
print(sum(libc.pthread_create(ctypes.byref(identity), attributes, libc.pause, None) == 0 for _ in range(700)), flush=True)
sys.stdin.read()
"""
    as_guests: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    others = subprocess.Popen(
        [open_python() or sys.executable, "-S", "-c", many], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **as_guests
    )
    assert others.stdin
    assert others.stdout
    try:
        assert int(others.stdout.readline()) == 700
        program = """
import ctypes, resource
libc = ctypes.CDLL(None)
attributes, identity = ctypes.create_string_buffer(256), ctypes.c_ulong()
libc.pthread_attr_init(attributes)
libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 16))
started = 0
while started < 2000 and libc.pthread_create(ctypes.byref(identity), attributes, libc.pause, None) == 0: started += 1
[started, resource.getrlimit(resource.RLIMIT_NPROC)[0]]
"""
        started, limit = value(bare, program)
        assert 256 <= started < limit - 700
    finally:
        others.stdin.close()
        others.wait()
        others.stdout.close()


def test_guests_end_with_their_server() -> None:
    with served(jail_policy(namespaces=False, python=open_python())) as server:
        guest, pid = started(server)
        os.kill(server._process.pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists())
        assert guest.receive(1) == b""
        guest.kill()


def test_everything_ends_with_the_host() -> None:
    path = [str(Path(__file__).parent.parent), *sys.path]
    program = f"""
import sys, time
sys.path[:0] = {path!r}
from local.harness import descendants, order, served
from callgate.limits import Limits
from callgate.sandboxes.local.policy import jail_policy
server = served(jail_policy(namespaces=False, python={open_python()!r}))
guest = server.start(Limits())
guest.send(order("import os\\nos.write(3, b'on')\\nwhile True: pass"), 5)
assert guest.receive(10) == b"on"
print(*descendants(), flush=True)
time.sleep(60)
"""
    host = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert host.stdout
    below = [int(pid) for pid in host.stdout.readline().split()]
    host.kill()
    host.wait()
    host.stdout.close()
    assert len(below) == 2
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 2)


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user runs on what that user can read")
def test_an_interpreter_that_only_root_can_read_is_told() -> None:
    policy = jail_policy(namespaces=False, python=open_python())
    with tempfile.TemporaryDirectory() as closed:
        path = shutil.copy(policy.interpreter.path, Path(closed) / "python")
        interpreter = Interpreter(path=str(path), parts=((str(path), str(path)), *policy.interpreter.parts[1:]))
        with pytest.raises(SandboxUnavailable) as caught:
            Server(replace(policy, interpreter=interpreter))
    assert caught.value.missing == ("a readable interpreter",)


UNDER_A_FILTER = """
import ctypes, json, struct, sys
sys.path[:0] = {path!r}
from local.harness import Server, run
from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local.policy import jail_policy
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0)]
for number in {numbers!r}:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | {errno})]
code.append((0x06, 0, 0, 0x7FFF0000))
text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text)), 0, 0) == 0
try:
    with Server(jail_policy(namespaces=False, python={python!r})) as server:
        print(json.dumps(run(server, "import os\\n[os.getcwd()]").value))
except SandboxUnavailable as error:
    print(json.dumps(list(error.missing)))
"""


@pytest.mark.parametrize(
    ("refused", "code", "expected"),
    [
        (
            "unshare setns mount umount2 pivot_root open_tree move_mount mount_setattr sethostname",
            errno.EPERM,
            ["/tmp"],
        ),
        ("clone3", errno.ENOSYS, ["/tmp"]),
        ("personality", errno.EPERM, ["/tmp"]),
        ("landlock_create_ruleset", errno.ENOSYS, ["Landlock"]),
        ("landlock_add_rule", errno.EPERM, ["Landlock"]),
        ("landlock_restrict_self", errno.EPERM, ["Landlock"]),
        ("seccomp", errno.EINVAL, ["seccomp"]),
        ("capset", errno.EPERM, ["dropped capabilities"]),
        ("prlimit64", errno.EPERM, ["resource limits"]),
        ("setrlimit", errno.EPERM, ["/tmp"]),
        ("pidfd_open", errno.ENOSYS, ["a fork server"]),
    ],
)
def test_a_layer_that_is_missing_is_named(bare: Server, refused: str, code: int, expected: list[str]) -> None:
    path = [str(Path(__file__).parent.parent), *sys.path]
    numbers = [nr for name in refused.split() if (nr := number(name)) is not None]
    program = UNDER_A_FILTER.format(path=path, numbers=numbers, errno=code, python=open_python())
    host = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert host.returncode == 0, host.stderr
    assert json.loads(host.stdout) == expected


def test_a_crash_ends_only_its_guest(bare: Server) -> None:
    assert run(bare, "import ctypes\nctypes.string_at(0)").gone
    assert value(bare, "1 + 1") == 2
