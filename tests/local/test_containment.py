"""What a program must not reach, tried from inside."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from local.harness import Server, order, run, value

from callgate.limits import Limits
from callgate.sandboxes.local import LocalSandbox
from callgate.sandboxes.local.inside.syscalls import number

PRELUDE = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)

def syscall(nr, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(nr), *words)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else result

def opened(path, flags=os.O_RDONLY):
    fd = libc.open(path.encode(), flags)
    return errno.errorcode[ctypes.get_errno()] if fd == -1 else "opened"
"""

REFUSED = {
    "mount": (b"none", b"/tmp", b"tmpfs", 0, 0),
    "umount2": (b"/tmp", 2),
    "pivot_root": (b"/tmp", b"/tmp"),
    "chroot": (b"/tmp",),
    "open_tree": (-100, b"/usr", 1),
    "fsopen": (b"tmpfs", 0),
    "unshare": (0x10000000,),
    "setns": (3, 0),
    "bpf": (0, 0, 0),
    "io_uring_setup": (8, 0),
    "userfaultfd": (0,),
    "keyctl": (0, 0),
    "add_key": (b"user", b"x", b"y", 1, -3),
    "perf_event_open": (0, 0, -1, -1, 0),
    "kexec_load": (0, 0, 0, 0),
    "init_module": (0, 0, b""),
    "open_by_handle_at": (-100, 0, 0),
    "name_to_handle_at": (-100, b"/tmp", 0, 0, 0),
    "ptrace": (0, 0, 0, 0),
    "process_vm_readv": (1, 0, 0, 0, 0, 0),
    "process_vm_writev": (1, 0, 0, 0, 0, 0),
    "pidfd_open": (1, 0),
    "kcmp": (1, 1, 0, 0, 0),
    "kill": (1, 0),
    "tkill": (1, 0),
    "rt_sigqueueinfo": (1, 0, 0),
    "execve": (b"/usr/bin/true", 0, 0),
    "execveat": (-100, b"/usr/bin/true", 0, 0, 0),
    "socket": (2, 1, 0),
    "connect": (3, 0, 0),
    "bind": (3, 0, 0),
    "sendmsg": (3, 0, 0),
    "recvmsg": (3, 0, 0),
    "setsockopt": (3, 1, 26, 0, 0),
    "memfd_create": (b"x", 0),
    "personality": (0xFFFFFFFF,),
    "seccomp": (0, 0, 0),
    "landlock_create_ruleset": (0, 0, 1),
    "capset": (0, 0),
    "setresuid": (0, 0, 0),
    "setgroups": (0, 0),
    "chown": (b"/tmp", 0, 0),
    "mknod": (b"/tmp/x", 0o20666, 0x103),
    "mlock": (0, 4096),
    "shmget": (0, 4096, 0o1600),
    "semget": (0, 1, 0o1600),
    "msgget": (0, 0o1600),
    "mq_open": (b"/x", 66, 0o600, 0),
    "inotify_init1": (0,),
    "fanotify_init": (0, 0),
    "syslog": (3, 0, 0),
    "reboot": (0, 0, 0, 0),
    "sethostname": (b"x", 1),
    "quotactl": (0, 0, 0, 0),
    "sched_setaffinity": (0, 8, b"\xff" * 8),
    "splice": (0, 0, 0, 0, 0, 0),
    "sync": (),
}


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_system_calls_are_refused(either: Server, mode: dict[str, Any], name: str) -> None:
    nr = number(name)
    if nr is None:
        pytest.skip(f"this processor has no {name}")
    assert value(either, f"{PRELUDE}\nsyscall({nr}, *{REFUSED[name]!r})") == (
        0 if mode and name == "chown" else "EPERM"
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param("clone, 17, 0, 0, 0, 0", "EPERM", id="a process by clone"),
        pytest.param("clone, 0x10000100, 0, 0, 0, 0", "EPERM", id="a namespace by clone"),
        pytest.param("clone3, 0, 0", "ENOSYS", id="clone3 hides its flags"),
        pytest.param("prctl, 1, 0, 0, 0, 0", "EPERM", id="clear the death signal"),
        pytest.param("prctl, 4, 1, 0, 0, 0", "EPERM", id="become dumpable"),
        pytest.param("prlimit64, 1, 7, 0, 0", "EPERM", id="limits by process id"),
        pytest.param("socketpair, 2, 1, 0, 0", "EPERM", id="an internet socket pair"),
        pytest.param("sendto, 3, b'x', 1, 0, b'\\1\\0\\0x', 4", "EPERM", id="a datagram to an address"),
        pytest.param("tgkill, 2, 2, 9", "EPERM", id="a signal to another thread group"),
        pytest.param("ioctl, 0, 0x5412, b'x'", "ENOTTY", id="type into a terminal"),
        pytest.param("fcntl, 0, 1024, 1", "EINVAL", id="a lease"),
        pytest.param("fcntl, 3, 8, 1", "EINVAL", id="signals by a descriptor"),
        pytest.param("getxattr, b'/tmp', b'user.x', 0, 0", "EOPNOTSUPP", id="attributes"),
        pytest.param("openat2, -100, b'/usr', 0, 24", "ENOSYS", id="openat2, unknown to the list"),
    ],
)
def test_calls_judged_by_their_arguments(either: Server, call: str, expected: str) -> None:
    name, _, arguments = call.partition(", ")
    nr = 437 if name == "openat2" else number(name)
    found = value(either, f"{PRELUDE}\nsyscall({nr}, {arguments})")
    assert found in (expected, {"EOPNOTSUPP": "ENOTSUP"}.get(expected))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 is a personality of x86_64")
def test_x32_numbers_end_the_guest(either: Server) -> None:
    assert run(either, f"{PRELUDE}\nsyscall(0x40000000 + 39)").gone


def test_no_filter_lets_a_new_filter_count(either: Server) -> None:
    assert value(either, f"{PRELUDE}\nsyscall({number('prctl')}, 22, 2, 0, 0, 0)") == "EPERM"


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/proc/self/environ", "/sys/kernel", "/root", "/home"])
def test_paths_of_the_host_are_absent(either: Server, path: str) -> None:
    assert value(either, f"{PRELUDE}\nopened({path!r})") in ("ENOENT", "EACCES")


def test_a_file_of_the_host_is_absent(either: Server, mode: dict[str, Any], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    canary.chmod(0o666)
    found = value(
        either,
        f"{PRELUDE}\n[opened({str(canary)!r}), opened({str(canary)!r}, os.O_WRONLY), os.path.exists({str(canary)!r})]",
    )
    assert found[:2] == (["EACCES"] * 2 if mode else ["ENOENT"] * 2)
    assert mode or found[2] is False


@pytest.mark.parametrize("path", ["/x", "/usr/x", "/dev/x", "/etc/x", "/usr/lib/x"])
def test_nothing_outside_tmp_is_written(either: Server, path: str) -> None:
    assert value(either, f"{PRELUDE}\nopened({path!r}, os.O_CREAT | os.O_WRONLY)") in ("EROFS", "EACCES", "ENOENT")


def test_the_interpreter_is_not_changed(sandbox: LocalSandbox) -> None:
    attempt = (
        "try:\n    os.chmod(sys.executable, 0o777)\nexcept OSError as e:\n    found = errno.errorcode[e.errno]\nfound"
    )
    assert value(sandbox, f"import errno, os, sys\n{attempt}") in ("EROFS", "EPERM")


def test_links_do_not_lead_out(sandbox: LocalSandbox) -> None:
    program = """
os.symlink("/etc/passwd", "/tmp/link")
os.symlink("../../../../etc/passwd", "/tmp/up")
hard = libc.link(b"/usr/bin/env", b"/tmp/hard")
[opened("/tmp/link"), opened("/tmp/up"), hard]
"""
    assert value(sandbox, PRELUDE + program) == ["ENOENT", "ENOENT", -1]


def test_nothing_written_is_executed(sandbox: LocalSandbox) -> None:
    program = """
import mmap, shutil
with open("/tmp/x", "wb") as f: f.write(b"x" * 4096)
fd = os.open("/tmp/x", os.O_RDONLY)
try:
    mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    found = "mapped"
except OSError as e:
    found = errno.errorcode[e.errno]
found
"""
    assert value(sandbox, PRELUDE + program) == "EPERM"


def test_the_environment_of_the_host_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLGATE_CANARY", "secret")
    with LocalSandbox() as own:
        found = value(own, "import os\ndict(os.environ)")
    assert set(found) <= {"HOME", "LANG", "LC_CTYPE", "PATH", "TZ", "USER"}
    assert "secret" not in str(found)


def test_no_path_of_the_host_is_in_the_guest(sandbox: LocalSandbox) -> None:
    program = """
import sys
places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.executable, *sys.path, *sys.argv]
places += [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
places += [str(getattr(m, "__path__", "")) for m in list(sys.modules.values())]
sorted({p for p in places if "/" in p and not p.strip("[']").startswith(("/usr/", "/python"))} - {"/usr"})
"""
    assert value(sandbox, program) == []


def test_the_user_of_the_host_is_not_shown(sandbox: LocalSandbox) -> None:
    program = "import os\n[os.getuid(), os.getgid(), libc.getpid(), libc.getppid(), os.uname().nodename, os.getcwd()]"
    assert value(sandbox, PRELUDE + program) == [65534, 65534, 1, 0, "sandbox", "/tmp"]


def test_only_the_channel_is_open(either: Server) -> None:
    program = """
import os
def kind(fd):
    try: return os.fstat(fd).st_mode & 0o170000
    except OSError: return None
{fd: kind(fd) for fd in range(256) if kind(fd)}
"""
    assert value(either, program) == {"0": 0o020000, "1": 0o020000, "2": 0o020000, "3": 0o140000}


def test_capabilities_and_limits_of_privilege(sandbox: LocalSandbox) -> None:
    program = f"""
data = ctypes.create_string_buffer(24)
header = (0x20080522).to_bytes(4, "little") + bytes(4)
[syscall({number("capget")}, header, data), data.raw == bytes(24)]
"""
    assert value(sandbox, PRELUDE + program) == [0, True]


def test_a_listening_host_is_not_reached(either: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), 1)
    found = "connected"
except OSError as e:
    found = type(e).__name__
found
"""
        assert value(either, program) == "PermissionError"


@pytest.mark.parametrize("family", ["AF_INET, SOCK_STREAM", "AF_INET, SOCK_DGRAM", "AF_INET6, SOCK_DGRAM", "AF_UNIX"])
def test_no_socket_is_opened(either: Server, family: str) -> None:
    kinds = ", ".join(f"socket.{each}" for each in family.split(", "))
    program = (
        f"import socket\ntry:\n    socket.socket({kinds})\nexcept OSError as e:\n    found = type(e).__name__\nfound"
    )
    assert value(either, program) == "PermissionError"


def test_there_is_no_pair_of_sockets_either(either: Server) -> None:
    program = f"pair = (ctypes.c_int * 2)()\nsyscall({number('socketpair')}, 1, 1, 0, pair)"
    assert value(either, PRELUDE + program) == "EPERM"


@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",
        "subprocess.run(['/usr/bin/true'])",
        "os.system('true')",
        "os.execv('/usr/bin/true', ['true'])",
        "os.kill(os.getppid() or 1, 9)",
        "os.posix_spawn('/usr/bin/true', ['true'], {})",
    ],
)
def test_processes_are_refused_to_python(either: Server, attempt: str) -> None:
    program = f"import os, subprocess\ntry:\n    {attempt}\nexcept OSError as e:\n    found = type(e).__name__\nfound"
    assert value(either, program) == "PermissionError"


def test_a_fork_bomb_starts_nothing(either: Server) -> None:
    assert value(either, f"{PRELUDE}\n[libc.fork() for _ in range(1000)] == [-1] * 1000") is True


def test_state_is_fresh(sandbox: LocalSandbox) -> None:
    value(sandbox, "import builtins, json\nbuiltins.left = 1\njson.left = 1\nopen('/tmp/left', 'w').write('x')")
    assert (
        value(sandbox, "import builtins, json, os\n[hasattr(builtins, 'left'), hasattr(json, 'left')]") == [False] * 2
    )
    assert value(sandbox, "import os\nos.listdir('/tmp')") == []


def test_locks_on_shared_files_are_granted_and_not_taken(either: Server) -> None:
    lock = "import fcntl, os\nfd = os.open('/usr/bin/env', os.O_RDONLY)\nfcntl.flock(fd, fcntl.LOCK_EX)\n"
    guest = either.start(Limits())
    try:
        guest.send(order(lock + "os.write(3, b'locked')\nwhile True: pass"), 5)
        seen = b""
        while b"locked" not in seen:
            seen += guest.receive(10) or b""
        with open("/usr/bin/env", "rb") as file:  # noqa: PTH123
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        guest.kill()
