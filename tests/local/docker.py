"""Hosts that allow less than this one, by filters in front of a host process: containers, old kernels, Ubuntu.

The calls are real and so are their refusals; only who refuses them is another. A host process gets its filters, user
and capabilities from a launcher and is then executed anew, as a container's first process is. What it is to run comes
as text and prints one line of JSON.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EACCES, ENOSYS, EPERM
from pathlib import Path
from struct import pack
from typing import Any

import pydantic
import pytest

from callgate.sandboxes.local.inside.syscalls import AUDIT_ARCH, MACHINE, NUMBERS, number

NOBODY = 65534
SYSTEM_PYTHON = Path(f"/usr/bin/python3.{sys.version_info.minor}")
"""An interpreter that every user can read; the one of these tests may lie below somebody's home."""

LOAD, EQUAL, ABOVE, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
ALLOW, ERRNO, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
NR, ARCH, ARGUMENTS = 0, 4, 16

Code = list[tuple[int, int, int, int]]

# moby/profiles, seccomp/default.json, as of 2026: what a container without CAP_SYS_ADMIN may call on these processors.
DOCKER_ALLOWS = """
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_adjtime
    clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit
    exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat
    fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
    futex_requeue futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid geteuid getgid
    getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit
    get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getxattr
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents
    io_pgetevents ioprio_get ioprio_set io_setup io_submit kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr
    lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod
    mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at
    nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
    pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
    process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom
    recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto setfsgid setfsuid
    setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit set_robust_list
    setsid setsockopt set_thread_area set_tid_address setuid setxattr setxattrat shmat shmctl shmdt shmget shutdown
    sigaltstack signalfd signalfd4 socketpair splice stat statfs statmount statx symlink symlinkat sync
    sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat
    uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write writev
"""
DOCKER_CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
"""CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE
SETFCAP, the ones that Docker leaves to root."""
DOCKER_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
DOCKER_NO_FAMILIES = (12, 19, 20, 23, 25, 34, 37, 38, 40)
DOCKER_KNOWS = 466
"""The last call of the profile: runc answers what is newer as a kernel would that does not have it."""
CLONE_NEW = 0x7E020000

# Calls that no program of this library makes or refuses: x86_64's number, then aarch64's.
OTHERS: dict[str, tuple[int | None, int | None]] = {
    "arch_prctl": (158, None), "cachestat": (451, 451), "futex_requeue": (456, 456), "futex_wait": (455, 455),
    "futex_wake": (454, 454), "get_thread_area": (211, None), "getxattrat": (464, 464), "inotify_add_watch": (254, 27),
    "inotify_rm_watch": (255, 28), "io_cancel": (210, 3), "io_destroy": (207, 1), "io_getevents": (208, 4),
    "io_pgetevents": (333, 292), "io_setup": (206, 0), "io_submit": (209, 2), "ioprio_get": (252, 31),
    "listmount": (458, 458), "listxattrat": (465, 465), "map_shadow_stack": (453, 453), "membarrier": (324, 283),
    "mincore": (27, 232), "mseal": (462, 462), "munlock": (150, 229), "munlockall": (152, 231), "openat2": (437, 437),
    "pkey_alloc": (330, 289), "pkey_free": (331, 290), "pkey_mprotect": (329, 288), "readahead": (187, 213),
    "removexattrat": (466, 466), "sched_getattr": (315, 275), "sched_rr_get_interval": (148, 127),
    "set_thread_area": (205, None), "setxattrat": (463, 463), "signalfd": (282, None), "statmount": (457, 457),
    "sync_file_range": (277, 84), "uretprobe": (335, None),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host to emulate."""

    filter: Code
    capabilities: tuple[int, ...] | None = None
    """What root is left with; None: all."""
    landlock: int | None = None
    """The version of Landlock its kernel claims; the rules are then those of that version."""


def nr(name: str) -> int | None:
    if name in NUMBERS:
        return number(name)
    return OTHERS[name][0 if MACHINE == "x86_64" else 1]


def docker() -> Code:
    """Docker's default profile."""
    clone3, clone, personality, socket_ = (number(name) for name in ("clone3", "clone", "personality", "socket"))
    refused = (RETURN, 0, 0, ERRNO | EPERM)
    code: Code = [(LOAD, 0, 0, NR)]
    for each in sorted({found for name in DOCKER_ALLOWS.split() if (found := nr(name)) is not None}):
        code += [(EQUAL, 0, 1, each), (RETURN, 0, 0, ALLOW)]
    code += [(EQUAL, 0, 1, clone3), (RETURN, 0, 0, ERRNO | ENOSYS)]
    code += [(ABOVE, 0, 1, DOCKER_KNOWS), (RETURN, 0, 0, ERRNO | ENOSYS)]
    code += [
        (EQUAL, 0, 4, clone),
        (LOAD, 0, 0, ARGUMENTS),
        (ANY_BIT, 0, 1, CLONE_NEW),
        refused,
        (RETURN, 0, 0, ALLOW),
    ]
    for call, values, match, otherwise in (
        (personality, DOCKER_PERSONALITIES, (RETURN, 0, 0, ALLOW), refused),
        (socket_, DOCKER_NO_FAMILIES, refused, (RETURN, 0, 0, ALLOW)),
    ):
        code += [(EQUAL, 0, 2 * len(values) + 2, call), (LOAD, 0, 0, ARGUMENTS)]
        code += [line for value in values for line in ((EQUAL, 0, 1, value), match)]
        code.append(otherwise)
    return [*native(), *code, refused]


def without(*names: str, errno: int = ENOSYS) -> Code:
    """A kernel, or a profile, that lacks some calls."""
    code: Code = [*native(), (LOAD, 0, 0, NR)]
    for name in names:
        code += [(EQUAL, 0, 1, number(name) or -1 & 0xFFFFFFFF), (RETURN, 0, 0, ERRNO | errno)]
    return [*code, (RETURN, 0, 0, ALLOW)]


def without_power_over_user_namespaces() -> Code:
    """Ubuntu from 24.04 on: a user namespace is made, and AppArmor leaves whoever made it no power over it.

    Its maps then cannot be written: the first of them that is opened, relative to /proc, is refused.
    """
    return [
        *native(),
        (LOAD, 0, 0, NR),
        (EQUAL, 0, 4, number("openat") or 0),
        (LOAD, 0, 0, ARGUMENTS),
        (ABOVE, 2, 0, 1 << 20),  # AT_FDCWD: not relative
        (LOAD, 0, 0, ARGUMENTS + 16),
        (EQUAL, 1, 0, os.O_WRONLY | os.O_CLOEXEC),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | EACCES),
    ]


def an_older_landlock() -> Code:
    """Whoever asks for the version of Landlock is answered by the launcher."""
    return [
        *native(),
        (LOAD, 0, 0, NR),
        (EQUAL, 0, 3, number("landlock_create_ruleset") or 0),
        (LOAD, 0, 0, ARGUMENTS + 16),
        (EQUAL, 0, 1, 1),
        (RETURN, 0, 0, NOTIFY),
        (RETURN, 0, 0, ALLOW),
    ]


def native() -> Code:
    """Leave other processors' calls alone, as far as a filter for this one goes."""
    return [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, AUDIT_ARCH[MACHINE]), (RETURN, 0, 0, ALLOW)]


DOCKER = Host(filter=docker(), capabilities=DOCKER_CAPABILITIES)
UBUNTU = Host(filter=without_power_over_user_namespaces())
NO_LANDLOCK = Host(filter=without("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"))
NEITHER = Host(
    filter=without("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "unshare", errno=EPERM)
)
NO_SECCOMP = Host(filter=without("seccomp", errno=22))


def landlock(version: int) -> Host:
    """A kernel with an older Landlock."""
    return Host(filter=an_older_landlock(), landlock=version)


LAUNCHER = """
import array, ctypes, os, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
code, keep, user, landlock, seccomp = {code!r}, {keep!r}, {user!r}, {landlock!r}, {seccomp!r}
python, program = {python!r}, {program!r}

def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def filtered(flags):
    text = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(text))
    return must(libc.syscall(seccomp, 1, flags, header))

def become():
    if os.getuid() == 0:
        for capability in range(41):
            if keep is not None and capability not in keep:
                must(libc.prctl(24, capability, 0, 0, 0))
        if user is not None:
            os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
    os.execve(python, [python, "-B", "-c", program], {{"SECRET": "x"}})

if os.getuid() != 0:
    must(libc.prctl(38, 1, 0, 0, 0))
if landlock is None:
    filtered(0)
    become()
mine, theirs = socket.socketpair()
if not (child := os.fork()):
    listener = filtered(8)  # SECCOMP_FILTER_FLAG_NEW_LISTENER
    socket.send_fds(theirs, [b"!"], [listener])
    os.close(listener)
    mine.close(); theirs.close()
    become()
theirs.close()
_, (listener,), _, _ = socket.recv_fds(mine, 1, 1)

def answer():
    while True:
        notice = ctypes.create_string_buffer(80)
        if libc.ioctl(listener, ctypes.c_ulong(0xC0502100), notice) < 0:  # SECCOMP_IOCTL_NOTIF_RECV
            continue
        which = struct.unpack_from("=Q", notice)[0]
        reply = struct.pack("=QqiI", which, landlock, 0, 0)
        libc.ioctl(listener, ctypes.c_ulong(0xC0182101), reply)  # SECCOMP_IOCTL_NOTIF_SEND

threading.Thread(target=answer, daemon=True).start()
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def on(host: Host, program: str, *, root: bool = False, python: str | None = None) -> Any:
    """Run program on an emulated host and return the JSON it prints.

    Args:
        host: what to emulate.
        program: Python that prints one line of JSON. Finds this library, and the tests, on its path.
        root: run it as root, with what the host leaves root; else as an ordinary user.
        python: the interpreter to run it with; None is `SYSTEM_PYTHON`.
    """
    path = importable()
    if root and os.getuid() != 0:
        pytest.skip("only root can leave root less")
    if MACHINE not in AUDIT_ARCH:
        pytest.skip(f"{MACHINE} has no table of system calls")
    text = LAUNCHER.format(
        code=b"".join(pack("=HBBI", *each) for each in host.filter),
        keep=host.capabilities if root else None,
        user=None if root or os.getuid() != 0 else NOBODY,
        landlock=host.landlock,
        seccomp=number("seccomp"),
        python=python or str(SYSTEM_PYTHON),
        program=f"import json, sys\nsys.path[:0] = {path!r}\n{program}",
    )
    return ran([str(SYSTEM_PYTHON), "-B", "-c", text])


def ran(command: Sequence[str]) -> Any:
    done = subprocess.run(command, env={}, cwd="/", capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@functools.cache
def importable() -> list[str]:
    """Return the path under which an ordinary user can import this library and these tests."""
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"no {SYSTEM_PYTHON}, and the interpreter of these tests may lie where only root can read")
    tests = Path(__file__).parent.parent
    path = [str(tests.parent / "src"), str(tests), str(Path(pydantic.__file__).parent.parent)]
    identity: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    readable = subprocess.run(
        [SYSTEM_PYTHON, "-B", "-c", f"import sys; sys.path[:0] = {path!r}; import callgate, local.harness"],
        env={}, cwd="/", capture_output=True, text=True, **identity,
    )  # fmt: skip
    if readable.returncode:
        pytest.skip(f"an ordinary user cannot import the library here: {readable.stderr.splitlines()[-1]}")
    return path
